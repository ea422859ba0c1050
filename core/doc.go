// Package core is the heart of Patchbay: an MQTT server as a library. The
// folders below say what a broker is made of; this one holds nothing else.
//
//	packet     the wire format of MQTT 3.1, 3.1.1 and 5.0
//	topic      Topic Names, Topic Filters and $share
//	transport  sockets: listeners, TLS, WebSocket, batched reads and writes
//	router     who gets a message
//	session    the protocol state of one client
//	retained   retained messages
//	access     permissions and rate limits
//	store      where state lives that outlives a connection
//	clock      the coarse clock and the timing wheel
//	hook       where others may decide, and what they are told
//	broker     joins them: start here
//
// Dependencies point one way, from broker down to packet and topic; a test in
// this folder enforces it. docs/architecture.md follows one message through.
package core
