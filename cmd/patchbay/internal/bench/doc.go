// Package bench is `patchbay bench`: a load generator for MQTT 3.1.1 and 5.0
// brokers, any broker, that counts exactly what was lost, duplicated and put out
// of order, and measures end-to-end latency.
//
// It owns its own small client (conn), made for speed: pre-encoded PUBLISH frames
// that only get a Packet Identifier and a stamp, batched reads and writes, no
// allocation per message. The wire codec is core/packet. It knows nothing of the
// broker's insides (core/broker, core/transport) and must not: what it measures
// must be what any client sees.
//
//	options ─► runner ──► publisher (goroutine) ──► conn ══► broker
//	             │          ▲ window: deliveries, PUBACKs, PINGRESPs
//	             │          │                                  ║
//	             │        subscriber ◄── read loop (goroutine) ◄═╝
//	             │          └─► ledger (lost, duplicated, order), meter (latency)
//	             └─► sampler, once a second ─► progress line, Series
//	                                         └► Result ─► table, chart, JSON
//
// Who owns what: a subscriber's ledger belongs to its read loop until that has
// ended; counters that the sampler reads are atomics of the connection's own, added
// to once per read or write; latencies go to one of a few locked histograms once per
// read.
//
// Entry points: Command; a scenario is a subcommand (command.go) and a run function
// (traffic.go, offline.go, idle.go, churn.go). Where to go next: runner.go for the
// phases of a run, publisher.go for pace and stamps, ledger.go for the account.
package bench
