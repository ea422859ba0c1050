// Package session holds the protocol state of one client, which may outlive its
// connections: subscriptions, the window of unacknowledged messages with their
// QoS 1 and QoS 2 handshakes in both directions, resend, the queue of what
// waits, and the Will (MQTT 5 §4.1, §4.3, §4.4; MQTT 3.1.1 §4.1-4.4).
//
// It does no I/O and starts no goroutine. What it has to say is appended to a
// Link, the session's open connection, and the caller flushes that. Every method
// may be called from any goroutine; a session's mutex is taken before any lock
// of its Link, and no callback of the package is allowed to call back into it.
//
// Life of a QoS 1 or 2 message on its way out:
//
//	Deliver ─► window has room, Link not congested ─► ring ─► Link (PUBLISH)
//	        └► otherwise, or no Link              ─► queue ─► Pump, later
//	Puback / Pubrec / Pubcomp ─► off the ring ─► Pump
//	Attach (a new connection) ─► Pump resends the ring in order, then the queue
//
// QoS 0 goes to the Link at once. A message to many receivers is gathered with
// others before all that (gather.go).
//
// Who receives a message is core/router's affair, what happens when a session
// ends is core/broker's, and where the queue lives is core/store's.
package session
