package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// decode fills p, which is zero, from the properties in raw, of packet t. It keeps
// nothing of raw.
func (p *Properties) decode(raw []byte, t Type) error {
	for b := raw; len(b) > 0; {
		id := Property(b[0])
		val, rest, err := cutProperty(b, t)
		if err != nil {
			return err
		}
		b = rest
		if p.Set.Has(id) && id != PropUserProperty {
			return duplicateProperty(t, id)
		}
		p.Set.Add(id)
		p.store(id, val)
	}
	return p.consistent(t)
}

func (p *Properties) store(id Property, val []byte) {
	switch propSpecs[id].kind {
	case kindByte:
		*p.byteField(id) = val[0]
	case kindU16:
		*p.uint16Field(id) = binary.BigEndian.Uint16(val)
	case kindU32:
		*p.uint32Field(id) = binary.BigEndian.Uint32(val)
	case kindVar:
		*p.uint32Field(id), _, _ = readVar(val)
	case kindString:
		*p.stringField(id) = string(val)
	case kindBinary:
		*p.binaryField(id) = bytes.Clone(val)
	case kindPair:
		n := 2 + int(binary.BigEndian.Uint16(val))
		p.User = append(p.User, UserProperty{string(val[2:n]), string(val[n+2:])})
	}
}

// consistent checks what the table of properties cannot say.
func (p *Properties) consistent(t Type) error {
	switch {
	case p.Has(PropAuthenticationData) && !p.Has(PropAuthenticationMethod):
		return protocolError("", packetName(t)+": Authentication Data without Authentication Method")
	case p.Has(PropResponseTopic) && p.ResponseTopic == "":
		return protocolError("MQTT-4.7.3-1", packetName(t)+": Response Topic is empty")
	case p.Has(PropResponseTopic) && checkTopicName([]byte(p.ResponseTopic)) != "":
		return protocolError("MQTT-3.3.2-14", packetName(t)+": Response Topic contains a wildcard")
	}
	return nil
}

// writable is what of p goes into packet t, without the User Properties.
func (p *Properties) writable(t Type) (set PropSet) {
	for rest := p.Set; rest != 0; rest &= rest - 1 {
		id := Property(bits.TrailingZeros64(uint64(rest)))
		if int(id) < len(propSpecs) && propSpecs[id].in&(1<<t) != 0 && id != PropUserProperty {
			set.Add(id)
		}
	}
	return set
}

// AppendForward appends those properties of p that a Server passes on with a
// PUBLISH, in the wire form that PublishOut.Forward takes; it is for messages that
// did not come as a packet. The error wraps ErrTooLarge.
func (p *Properties) AppendForward(dst []byte) ([]byte, error) {
	forward := *p
	forward.Set &^= notForwarded | 1<<PropWillDelayInterval
	if _, ok := forward.size(0); !ok {
		return dst, fmt.Errorf("packet: PUBLISH: a property is %w", ErrTooLarge)
	}
	return forward.append(dst, 0), nil
}

// size is the Property Length of p in packet t; ok is false if a string is too
// long to be encoded.
func (p *Properties) size(t Type) (n int, ok bool) {
	ok = true
	for rest := p.writable(t); rest != 0; rest &= rest - 1 {
		id := Property(bits.TrailingZeros64(uint64(rest)))
		switch propSpecs[id].kind {
		case kindByte:
			n += 2
		case kindU16:
			n += 3
		case kindU32:
			n += 5
		case kindVar:
			v := *p.uint32Field(id)
			n += 1 + sizeVar(int(v))
			ok = ok && v <= MaxRemaining
		case kindString:
			l := len(*p.stringField(id))
			n += 3 + l
			ok = ok && l <= maxString
		case kindBinary:
			l := len(*p.binaryField(id))
			n += 3 + l
			ok = ok && l <= maxString
		}
	}
	if propSpecs[PropUserProperty].in&(1<<t) != 0 {
		for i := range p.User {
			u := &p.User[i]
			n += 5 + len(u.Key) + len(u.Value)
			ok = ok && len(u.Key) <= maxString && len(u.Value) <= maxString
		}
	}
	return n, ok
}

// append appends p, whose size is ok, without the Property Length, in the order of
// the identifiers; User Properties come last.
func (p *Properties) append(dst []byte, t Type) []byte {
	for rest := p.writable(t); rest != 0; rest &= rest - 1 {
		id := Property(bits.TrailingZeros64(uint64(rest)))
		dst = append(dst, byte(id))
		switch propSpecs[id].kind {
		case kindByte:
			dst = append(dst, *p.byteField(id))
		case kindU16:
			dst = binary.BigEndian.AppendUint16(dst, *p.uint16Field(id))
		case kindU32:
			dst = binary.BigEndian.AppendUint32(dst, *p.uint32Field(id))
		case kindVar:
			dst = appendVar(dst, int(*p.uint32Field(id)))
		case kindString:
			dst = appendString(dst, *p.stringField(id))
		case kindBinary:
			dst = appendString(dst, *p.binaryField(id))
		}
	}
	if propSpecs[PropUserProperty].in&(1<<t) != 0 {
		for i := range p.User {
			dst = append(dst, byte(PropUserProperty))
			dst = appendString(dst, p.User[i].Key)
			dst = appendString(dst, p.User[i].Value)
		}
	}
	return dst
}

// appendString appends s, of at most 65,535 bytes, as a UTF-8 Encoded String or
// Binary Data.
func appendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}
