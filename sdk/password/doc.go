// Package password hashes passwords for storage and verifies them, within bounds: a
// thousand clients that come back at once cost no more memory than a few.
//
// New hashes are argon2id (PHC string, "$argon2id$v=19$m=…,t=…,p=…$salt$key") or
// bcrypt ("$2b$…"). Verified are also bcrypt's other letters ("$2a$", "$2y$") and what
// Mosquitto has in a password_file: SHA-512 ("$6$salt$key") and PBKDF2 ("$7$iterations$
// salt$key").
//
// It owns the forms of hashes and what they may cost; not users, files or where a hash
// is kept. It imports the standard library and golang.org/x/crypto only, so that a
// plugin of any runtime may use it. In WebAssembly the memory of argon2id does not fit
// the sandbox: there sdk.Host.PasswordVerify has the broker do the work.
//
//	h := password.New(password.Options{})
//	hash, err := h.Hash(ctx, secret, password.Argon2id)
//	ok, err := h.Verify(ctx, secret, hash)
//
// Whoever reads hashes from a file asks Check about each, to name a bad line at once,
// and verifies a Decoy for users that do not exist, so that time tells nothing.
//
// Start at password.go; argon2id.go, bcrypt.go and mosquitto.go have one form each.
package password
