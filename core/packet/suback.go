package packet

import "encoding/binary"

// Suback is a SUBACK. Codes has one Reason Code per Topic Filter, in their order
// [MQTT-3.9.3-1].
type Suback struct {
	PacketID uint16
	Codes    []ReasonCode
	Props    Properties // 5.0 only
}

// Decode fills p from the body of a SUBACK. It keeps nothing of body.
func (p *Suback) Decode(v Version, body []byte) error {
	*p = Suback{}
	r := reader{b: body, t: TypeSuback}
	p.PacketID = r.packetID()
	allowed := &suback311Codes
	if v == V5 {
		allowed = &subackCodes
		r.properties(&p.Props, TypeSuback)
	}
	p.Codes = r.codes(allowed, "MQTT-3.9.3-2")
	return r.end()
}

// Append appends p as a packet of version v. For 3.x every failure is written as
// 0x80; 3.1 has none, and a Server that speaks it grants a QoS it does not serve.
// The error wraps ErrTooLarge.
func (p *Suback) Append(dst []byte, v Version) ([]byte, error) {
	s := sizer{t: TypeSuback, n: 2 + len(p.Codes)}
	props := 0
	if v == V5 {
		props = s.properties(&p.Props, TypeSuback)
	}
	dst, err := s.begin(dst)
	if err != nil {
		return dst, err
	}
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	if v == V5 {
		dst = p.Props.append(appendVar(dst, props), TypeSuback)
	}
	for _, c := range p.Codes {
		if v != V5 && c.IsError() {
			c = UnspecifiedError
		}
		dst = append(dst, byte(c))
	}
	return dst, nil
}

// Unsuback is an UNSUBACK. Codes has one Reason Code per Topic Filter, in their
// order [MQTT-3.11.3-1]; 3.x has neither them nor properties.
type Unsuback struct {
	PacketID uint16
	Codes    []ReasonCode
	Props    Properties
}

// Decode fills p from the body of an UNSUBACK. It keeps nothing of body.
func (p *Unsuback) Decode(v Version, body []byte) error {
	*p = Unsuback{}
	r := reader{b: body, t: TypeUnsuback}
	p.PacketID = r.packetID()
	if v == V5 {
		r.properties(&p.Props, TypeUnsuback)
		p.Codes = r.codes(&unsubackCodes, "MQTT-3.11.3-2")
	}
	return r.end()
}

// Append appends p as a packet of version v. The error wraps ErrTooLarge.
func (p *Unsuback) Append(dst []byte, v Version) ([]byte, error) {
	if v != V5 {
		return append(dst, byte(TypeUnsuback)<<4, 2, byte(p.PacketID>>8), byte(p.PacketID)), nil
	}
	s := sizer{t: TypeUnsuback, n: 2 + len(p.Codes)}
	props := s.properties(&p.Props, TypeUnsuback)
	dst, err := s.begin(dst)
	if err != nil {
		return dst, err
	}
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	dst = p.Props.append(appendVar(dst, props), TypeUnsuback)
	for _, c := range p.Codes {
		dst = append(dst, byte(c))
	}
	return dst, nil
}

// codes reads the Reason Codes that fill the rest of the packet, of which there is
// at least one.
func (r *reader) codes(allowed *codeSet, clause string) []ReasonCode {
	b := r.take(max(len(r.b), 1), "reason codes")
	list := make([]ReasonCode, len(b))
	for i, c := range b {
		list[i] = ReasonCode(c)
		if !allowed.has(list[i]) {
			r.fail(protocolError(clause, r.t.String()+": reason code that this packet may not carry"))
			return nil
		}
	}
	return list
}
