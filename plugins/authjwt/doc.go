// Package authjwt is the plugin "auth-jwt": it lets clients in by JSON Web Tokens (RFC
// 7519), signed with HS, RS, PS, ES or EdDSA, and makes of their claims a user name, a
// Client Identifier, a namespace, groups and permissions.
//
//	CONNECT, AUTH ──► token (parse) ──► keys (config, file, JWKS by URL) ──► claims ──► identity
//
// It owns the form of tokens, where keys come from and how long they are believed, and
// what claims mean; what groups may do is package acl's. Signatures are computed by the
// standard library; a key knows the algorithms that it is for, so that a token cannot
// choose how it is verified.
//
// Keys of a URL are fetched through the broker, kept, and fetched anew when a token names
// one that is not known. Who waits for that is only the client with such a token.
//
// Start at plugin.go. token.go and algorithm.go have the JWS, key.go and jwk.go the keys,
// remote.go the URL, claim.go and identity.go the claims, ask.go what happens before a
// token expires.
package authjwt
