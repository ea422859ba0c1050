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
//	go test -run 'Crash|PowerLoss' ./cmd/patchbay/...
//	go test -run Crash ./cmd/patchbay/internal/crash -timeout 1h -args -crash.kills 200 -crash.sync always
//
// -crash.kills is the number of kills, shared out between the modes of
// -crash.sync (always, interval, never; a process that dies must lose nothing in
// any of them), and -crash.seed chooses what the clients do and when the broker is
// killed, though not what that meets. After a violation the data folder and the
// broker's log stay, and the report says where.
//
// The program is one of two. The other is a machine whose power fails: a broker in
// this process, with its store on a file system that loses what was not synced,
// or a part of that (machine_test.go). With sync: always the same has to be true
// for it; what it may lose with the other modes is in bounded_test.go.
//
// That violations are found is shown by the memory store, by disks that lie, by a
// broker with faults (the build tag patchbay_faults), and by the self tests.
//
// But for machine_test.go the package must know nothing of the broker except its
// configuration, the log lines that say where it listens, and MQTT. Start at run_test.go; the invariants
// are in ledger_test.go and account_test.go.
package crash
