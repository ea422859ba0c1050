// Package router decides who gets a message: it holds the subscriptions of one namespace and finds the ones that match
// a Topic Name, each session once (MQTT 5 §3.3.4, §4.7, §4.8.2).
//
// It does not know packets, connections or message contents, checks no permissions, applies neither No Local nor the
// QoS of the message, and keeps no state of a session: a [Subscriber] is three questions and an identity. Filters
// and topics come validated (core/topic).
//
//	topic ──► Last ──► Cache ──► Router ──► Targets ─┬─► Target.Sub
//	          8 ns     20 ns     0.2–1.5 µs          └─► Target.Group.Pick ──► Target.Sub
//
// Entry points: [Router.Subscribe], [Router.Unsubscribe]; [Last.Lookup] in a connection, [Cache.Lookup] in an executor,
// [Router.Match] elsewhere; [Group.Pick] for shared subscriptions.
//
// # Locks and ownership
//
// Changes are made under one mutex per Router and published by atomic pointers; matching takes no lock and waits for
// nobody. A match sees each subscription that is not being changed meanwhile exactly as it is, every change whose call
// returned before the match began, and no session twice. Targets are immutable, may be kept, and are often the index's own memory.
//
// Caches are told by generation counters: one for each of 256 branches (the hash of the first level), and one
// for filters that start with a wildcard. A subscription in another branch leaves a result valid.
//
// # Where to go next
//
//   - node.go: the trie and its hash tables of children, read while they change
//   - subset.go, bigset.go: the subscribers of one filter, in one list or in blocks
//   - walk.go: a match, and the union of several filters' subscribers
//   - cache.go: Cache and Last
//   - group.go, sticky.go, strategy.go: shared subscriptions
package router
