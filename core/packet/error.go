package packet

import "strings"

// Error says what is wrong with a packet. Decoders return it as *Error, so that
// errors.As with a *Error finds the Reason Code to answer with.
//
// Values may be shared between calls and must not be modified.
type Error struct {
	Code   ReasonCode // what an MQTT 5.0 CONNACK or DISCONNECT answers
	Clause string     // the normative statement broken, "MQTT-1.5.4-2"; "" when the text has no number for it
	Detail string     // what was wrong and where, "PUBLISH: topic name contains U+0000"
}

// Error returns "malformed packet: PUBLISH: topic name contains U+0000
// [MQTT-1.5.4-2]".
func (e *Error) Error() string {
	s := strings.ToLower(e.Code.String()) + ": " + e.Detail
	if e.Clause != "" {
		s += " [" + e.Clause + "]"
	}
	return s
}

func malformed(clause, detail string) *Error {
	return &Error{Code: MalformedPacket, Clause: clause, Detail: detail}
}

func protocolError(clause, detail string) *Error {
	return &Error{Code: ProtocolError, Clause: clause, Detail: detail}
}
