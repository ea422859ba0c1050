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
// Why it is not Eclipse's paho.golang (0.23), which the tests use:
//   - That speaks MQTT 5 only. 3.1.1, and the bit by which a bridge asks 3.1.1 servers not to
//     send its own messages back, would take another library beside it, with other ways.
//   - A window of messages in order: its Publish waits for one message, so that a window of 500
//     is 500 goroutines, without order among them; its asynchronous way keeps order and tells
//     nobody of acknowledgements. A SessionManager of our own could hear them; then the
//     session, which is most of such a library, would be ours all the same.
//   - If the server has lost the session, what was on its way is dropped, and who waits for it
//     is not told. A bridge has to send it again, in order.
//   - A half of an exchange of QoS 2 that a process before has left behind is known to it
//     only by files of its own; a Link asks the server, and needs no second place for state.
//   - Each packet is written by itself: BenchmarkPaho takes about 8 times as long as
//     BenchmarkLink for a message of QoS 1, and 59 allocations in place of 6.
//
// What paho.golang would give: a client that others use and test too. For that the tests here
// have both ends speak to it and to Mosquitto, and the parsers are fuzzed.
//
// It knows nothing of routes, topics' mapping, and of the broker on this side.
//
// Start at link.go; connection.go is one connection, outgoing.go and incoming.go the two
// windows, dial.go transports, encode.go and decode.go the packets.
package mqtt
