// Package passwd owns the command `patchbay passwd`: it keeps a file of users and password hashes, one
// "user:hash" a line, for the broker's file authentication.
//
// Hashes are those of sdk/password: argon2id or bcrypt; --verify takes Mosquitto's as well. Everything
// else in the file (comments, blank lines, the order of users) stays as it is.
// The file is replaced atomically: a broker that reads it sees the old one or the new one.
//
// Entry point: [Command]. Errors that it returns have a method ExitCode() int: 1 run-time (also a password
// that --verify finds wrong), 2 usage.
//
// The package must not know the broker or how it authenticates; it shares with it the format only.
//
// Where to go next: file.go for the edit, sdk/password for the hashes and their costs.
package passwd
