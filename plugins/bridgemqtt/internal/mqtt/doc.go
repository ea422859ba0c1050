// Package mqtt is a client for bridges, of MQTT 3.1.1 and 5.0.
//
//	Publish ──► outgoing window ──► writer ──┐
//	                 ▲                       ├── one connection at a time, of several servers
//	Receive ◄── incoming queue ◄── reader ◄──┘
//
// A Link keeps a connection to one of its servers: it dials them in turn, subscribes,
// sends again what was not acknowledged, in order, and notices a peer that has gone
// without a word. Nothing that comes is acknowledged before Incoming.Done says that it is
// safe, and nothing that goes is done before the server says so.
//
// It is not paho.golang's client, which the tests use: that one reports an acknowledgement
// to a goroutine that waits for one message, so that a window of a thousand needs a
// thousand of them and has no order; and it does not speak 3.1.1, nor the bit by which
// bridges ask 3.1.1 servers not to get their own messages back.
//
// It knows nothing of routes, topics' mapping, and of the broker on this side.
//
// Start at link.go; connection.go is one connection, outgoing.go and incoming.go the two
// windows, dial.go transports, encode.go and decode.go the packets.
package mqtt
