// Package authfile is the plugin "authfile": it decides who a client is by user names and
// password hashes, from a file (`patchbay passwd`, or Mosquitto's password_file) or from
// the config itself.
//
//	CONNECT ──Authenticate──► directory (user, or a decoy) ──verifier──► identity
//
// It owns what is in the file, who may use which client id, and how much work logging in
// may cost; what hashes are is package sdk/password's, what a client may do is package
// acl's, which gets groups in the attribute "groups".
//
// A login that fails takes as long whether there is such a user or not: for unknown users
// a decoy is verified that costs what a hash of the file costs.
//
// Start at plugin.go; directory.go has users and the file's form, verifier.go the bounds,
// the sharing of equal verifications and the memory of those that were right.
package authfile
