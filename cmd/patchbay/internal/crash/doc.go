// Package crash kills the broker, or cuts its power, again and again, and shows
// that nothing that it had acknowledged is lost by that.
//
// It has no code but tests. A run starts the real program on a data folder of its
// own, lets publishers and persistent subscribers (MQTT 3.1.1 and 5.0, QoS 1 and
// 2) loose on it, ends it with kill -9 at a random moment, starts it again on the
// same folder, and lets the clients resume their sessions as the protocol says.
//
//	run ──► program ══ listens ◄══ publisher, subscriber ◄─ cast: who they are
//	 │                                       │
//	 └─ round: calm, wild, kill -9           └─► ledger: what has to be true
//
// The ledger hears of everything before it is sent and after it has been read, so
// it knows what the broker owes: each acknowledged message at each session that
// was entitled to it, in order for each publisher, topic and QoS, at QoS 2 exactly
// once; sessions, subscriptions and the end of subscriptions; the newest
// acknowledged retained message of each topic. The clients check what can be seen
// on one connection: Packet Identifiers, DUP, PUBREL, Receive Maximum.
//
//	go test -run 'Crash|PowerLoss|Plugin' ./cmd/patchbay/...
//	go test -run Crash ./cmd/patchbay/internal/crash -timeout 1h -args -crash.kills 200 -crash.sync always
//
// -crash.kills is the number of kills, shared out between the modes of
// -crash.sync (always, interval, never; a process that dies must lose nothing in
// any of them), and -crash.seed chooses what clients do and when the broker is killed,
// not what that meets. After a violation the folder with data and log stays.
//
// A program may be a machine whose power fails: a broker in this process, with its
// store on a file system that loses what was not synced (machine_test.go). With sync:
// always the same has to be true for it; else see bounded_test.go. Or it has a plugin
// (testdata/recorder, plugin_run_test.go) that is killed as well, and whose files show
// what it had before an acknowledgement.
//
// That violations are found is shown by the memory store, by disks and plugins that
// lie, by a broker with faults (the build tag patchbay_faults), and by the self tests.
//
// But for machine_test.go the package must know nothing of the broker except its
// configuration, the log lines that say where it listens, and MQTT. Start at run_test.go; the invariants
// are in ledger_test.go and account_test.go.
package crash
