// Package packet is the wire codec: all fifteen MQTT Control Packets of MQTT
// 3.1 (MQIsdp), 3.1.1 and 5.0, from and to byte slices.
//
// It owns framing, field layout, and every check that one packet allows without
// knowing the connection it came by: UTF-8, lengths, reserved bits, which
// property may stand where and how often, which Reason Code a packet may carry.
// It does not know sessions, limits a peer has announced, or what a Topic Filter
// matches (package topic), and it does no I/O.
//
//	bytes ── ReadHeader ──► Header ──┬─ DecodePublish, DecodeAck   views of the bytes, no allocation
//	                                 └─ (*Connect).Decode, …       copies, for the rare packets
//	AppendPublish, AppendAck, (*Connack).Append, … ──► bytes appended to dst
//
// Two styles, because packets differ by a factor of a million in how often they
// come. PUBLISH and its acknowledgements are decoded into caller-owned structs
// that keep views of the input: they are valid for as long as the input is
// unchanged. Everything else is decoded into plain structs of strings that keep
// nothing of the input.
//
// A Decode that fails returns an *Error with the MQTT 5.0 Reason Code to answer
// with (for 3.x the nearest one; a Server just closes, or sends ConnackCode311)
// and leaves its receiver in an unspecified state.
//
// Nothing here holds state: all functions may be called from any goroutine, a
// single struct from one at a time.
//
// Start at header.go and publish.go; property.go holds the table that says which
// property is of what type and allowed where. [Message], what the broker keeps
// of a PUBLISH, is in message.go.
package packet
