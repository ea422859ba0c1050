// Package broker joins the parts of core to an MQTT server: the life of a
// connection (CONNECT, authentication, takeover, keep-alive, DISCONNECT), the way
// of a message from its publisher to sessions, retained messages and Wills, the
// limits, the $SYS topics and an orderly shutdown.
//
//	b, err := broker.New(func(o *broker.Options) { o.MQTT.MaxQoS = 1 })
//	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:1883"}, AllowAnonymous: true})
//	err = b.Serve(ctx) // until ctx ends, then an orderly shutdown
//
// A connection is a state machine (conn) that core/transport feeds with bytes.
// It never blocks: what has to wait pauses reading of that one connection and
// goes on when it is woken (await). The path of a PUBLISH is in publish.go and
// route.go.
//
// What plugins ask of the broker is in plugins.go (they are not trusted to hold
// still: all that they publish is an errand), what they publish as a client in
// proxy.go, and the queues that are kept for them in queues.go and queue.go.
//
// Who owns what: a conn's fields belong to its executor, except those marked
// otherwise. A session has its own lock (core/session); the table of sessions is
// sharded (registry.go); a shard's lock is taken before a session's lock, that
// one before the lock of a connection's out-buffer, and no hook is called with
// any of them held, but for Observe of a message that was dropped, delivered or
// given up. A queue has a lock like a session; Broker.mu is taken before it.
//
// The package knows nothing of plugins (they are behind core/hook), of
// configuration files, and of how state is made durable (core/store).
package broker
