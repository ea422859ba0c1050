// Package authcert is the plugin "auth-cert": it lets clients in by the certificate with
// which they have opened their TLS connection, and makes of its names (Common Name,
// Subject Alternative Names, fingerprint) a user name, a Client Identifier, a namespace and
// groups.
//
//	CONNECT ──► certificate ──► pins (by fingerprint) ──► identities (match, templates) ──► identity
//
// It owns what names of certificates mean. That a certificate is genuine, of one of the
// listener's authorities and not revoked is what the listener has verified before; what
// users may do is package acl's, which gets groups in the attribute "groups".
//
// Start at plugin.go. names.go has what a certificate says, pattern.go how texts are
// compared with that and made of it, identity.go the rules, pin.go single certificates and
// the form of their file, recheck.go what happens to clients that are there when that
// changes.
package authcert
