package packet

import (
	"encoding/binary"
	"iter"
)

// Ack is a decoded PUBACK, PUBREC, PUBREL or PUBCOMP. Its slices are views of the
// body that DecodeAck was given.
type Ack struct {
	PacketID     uint16
	Code         ReasonCode // Success for 3.x
	ReasonString []byte     // nil if there is none
	Raw          []byte     // all properties as received, validated, without the Property Length
}

// UserProperties walks the User Properties, name and value, in their order. What
// it yields are views of Raw.
func (a *Ack) UserProperties() iter.Seq2[[]byte, []byte] { return userProperties(a.Raw) }

// ackErrors are the errors of one type of acknowledgement.
type ackErrors struct{ short, long, id, code, props *Error }

var errAck = [...]ackErrors{
	TypePuback:  newAckErrors(TypePuback, "MQTT-3.4.2-1"),
	TypePubrec:  newAckErrors(TypePubrec, "MQTT-3.5.2-1"),
	TypePubrel:  newAckErrors(TypePubrel, "MQTT-3.6.2-1"),
	TypePubcomp: newAckErrors(TypePubcomp, "MQTT-3.7.2-1"),
}

func newAckErrors(t Type, codeClause string) ackErrors {
	return ackErrors{
		short: malformed("", t.String()+": shorter than a packet identifier"),
		long:  malformed("", t.String()+": bytes after its end"),
		id:    protocolError("MQTT-2.2.1-3", t.String()+": packet identifier is 0"),
		code:  protocolError(codeClause, t.String()+": reason code that this packet may not carry"),
		props: malformed("", t.String()+": property length does not match the packet"),
	}
}

// DecodeAck fills a from the body of a PUBACK, PUBREC, PUBREL or PUBCOMP, which of
// them t says. It checks the Reason Code against those that t may carry and that
// the Packet Identifier is not 0. It keeps views of body and allocates nothing
// unless the packet is refused.
func DecodeAck(a *Ack, t Type, v Version, body []byte) error {
	if len(body) < 2 {
		return errAck[t].short
	}
	*a = Ack{PacketID: binary.BigEndian.Uint16(body)}
	if a.PacketID == 0 {
		return errAck[t].id
	}
	if len(body) == 2 {
		return nil
	}
	if v != V5 {
		return errAck[t].long
	}
	a.Code = ReasonCode(body[2])
	allowed := &pubackCodes
	if t == TypePubrel || t == TypePubcomp {
		allowed = &pubrelCodes
	}
	if !allowed.has(a.Code) {
		return errAck[t].code
	}
	if len(body) == 3 {
		return nil
	}
	n, size, err := readVar(body[3:])
	if err != nil {
		return err
	}
	if size == 0 || int(n) != len(body)-3-size {
		return errAck[t].props
	}
	return a.decodeProps(t, body[3+size:])
}

func (a *Ack) decodeProps(t Type, raw []byte) error {
	a.Raw = raw
	for b := raw; len(b) > 0; {
		val, rest, err := cutProperty(b, t)
		if err != nil {
			return err
		}
		if Property(b[0]) == PropReasonString {
			if a.ReasonString != nil {
				return duplicateProperty(t, PropReasonString)
			}
			a.ReasonString = val
		}
		b = rest
	}
	return nil
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP in its shortest form: the
// Packet Identifier alone for 3.x, and for Success without properties. props may be
// nil. Properties that t may not carry, or that do not fit into a packet, are left
// out: they only help to find faults, the acknowledgement matters. It allocates
// nothing if dst has room.
func AppendAck(dst []byte, t Type, v Version, id uint16, code ReasonCode, props *Properties) []byte {
	first := byte(t)<<4 | requiredFlags[t]
	n := 0
	if v == V5 && props != nil {
		if size, ok := props.size(t); ok && size < MaxRemaining-8 {
			n = size
		}
	}
	if v != V5 || (code == Success && n == 0) {
		return append(dst, first, 2, byte(id>>8), byte(id))
	}
	if n == 0 {
		return append(dst, first, 3, byte(id>>8), byte(id), byte(code))
	}
	dst = appendVar(append(dst, first), 3+sizeVar(n)+n)
	dst = append(dst, byte(id>>8), byte(id), byte(code))
	return props.append(appendVar(dst, n), t)
}
