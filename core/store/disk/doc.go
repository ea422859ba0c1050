// Package disk is the durable store.Store, on Pebble, a log-structured merge tree
// that runs in the process.
//
// It owns the data folder (internal/volume: locks, marker, sync modes, full and
// broken disks), what is in it (internal/format: keys, values, schema), and when
// what becomes safe. It knows nothing of the protocol, of connections, or of who
// may receive what: that is core/session's and core/broker's.
//
//	session.Add ─► slot ─► lists (urgent, lazy, removals)
//	                 ▲            │ take: everything at once, between no Begin and End
//	                 │            ▼
//	        settled before?   batch ─► writer ─► Pebble's log ─► fsync
//	        never written         ▲                              │
//	                              └── the next one gathers ◄─────┤
//	                                                             ▼
//	                                Receipts, Tickets, Sync, Owner.Ready
//
// Writing: session.go and slot.go take changes, commit.go and lists.go decide
// when they are committed, writer.go encodes them. Changes of a session wait in
// the session; the store has lists of sessions. A message that its client
// acknowledges within 5 ms costs no write.
//
// Reading: queue.go keeps the front of a queue in memory, and nothing for a client
// that is away; reader.go reads pages of the rest, again.go what was taken before,
// materialize.go makes entries of records, cursor.go goes past damage, damage.go
// deals with it.
//
// In the background: sweep.go counts after a start, and removes what has expired;
// ending.go removes ended sessions and hands out their orphans; compact.go gives
// space back.
//
// Beside it: load.go starts, view.go shows what is stored, check.go compares it,
// import.go fills a new folder. guard.go keeps Pebble from ending the process.
//
// Start with store.go and session.go.
package disk
