// Package guard is the plugin "guard": it keeps those out who only make work. It slows
// down who guesses passwords, bans clients that come and go all the time, and turns clients
// away by patterns of their names and ranges of their addresses.
//
//	CONNECT ──Authenticate──► rules ──► ledger ──► the next plugin decides who it is
//	                                       ▲
//	  Connected, AuthFailed ──Observe──────┘        Disconnected ──Observe──► flaps ──► ban
//
// It decides about nobody's identity: it stands before the plugins that do, or before
// listeners that let everybody in, only refuses, and learns from the broker's events what
// others said. Bans are the broker's own (Host.AddBan), which outlive
// this plugin; pauses are in memory and, for restarts, in the plugin's storage.
//
// Start at plugin.go; ledger.go counts failed logins and lets logins in one by one where few
// are left, pause.go says how long a pause is, flaps.go counts connections that end, rules.go
// has the patterns, keep.go the storage.
package guard
