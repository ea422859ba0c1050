// Package bridge is what all bridges share: routes, the way of a message from the broker
// to the other side and its acknowledgement, retries, dead letters, figures and status.
//
//	           queue of the route (kept by the host)
//	message ──────────────► Consume ──► Options.Send ──► the other side
//	   │                                     │
//	   └── PUBACK waits ──► Gate ◄───────────┘ is there: ack: after_remote
//
// An Engine belongs to a plugin, which embeds it and so has Consume, Gate, HTTP, Health
// and Narrow. Every route has a queue of its own, so that a route that is held up
// holds up no other; what waits is in the broker's store, and memory has one batch of each.
//
// Order. Messages of a route go one batch after the other. Send says what is there
// (Batch.Done); the first message that is not comes again first. What came after it and was
// there is remembered, and not sent twice. So the order of a route is the order of
// acceptance, and a bridge may work on keys in parallel within a batch.
//
// Failures. An error of Send says that the other side does not answer: it is tried again
// with growing pauses, for ever, and counts against no message. Batch.Fail and Batch.Refuse
// are about one message: after max_attempts, or at once, it becomes a dead letter.
//
// ack: after_remote. The gate does not send: it waits until the queue has brought the
// message over, so that order and batches are the same with and without it, and what
// no PUBACK is about (QoS 0, Wills, messages of plugins) goes the same way. If that
// takes longer than ack_timeout the publisher is refused; the message still arrives.
//
// The package knows nothing of protocols. Templates and codecs are in package template.
//
// Start at route.go (config), then engine.go, batch.go, gate.go, status.go.
package bridge
