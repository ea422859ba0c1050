package packet

// Connack is a CONNACK. Code is a Reason Code of 5.0 for all versions; what goes
// over the wire for 3.x is ConnackCode311 of it.
type Connack struct {
	SessionPresent bool // not in 3.1
	Code           ReasonCode
	Props          Properties // 5.0 only
}

// Decode fills p from the body of a CONNACK. It keeps nothing of body.
func (p *Connack) Decode(v Version, body []byte) error {
	*p = Connack{}
	r := reader{b: body, t: TypeConnack}
	flags, code := r.byte("acknowledge flags"), r.byte("reason code")
	if r.err != nil {
		return r.err
	}
	if v == V31 {
		flags = 0 // "reserved, not used"
	}
	if flags > 1 {
		return malformed("MQTT-3.2.2-1", "CONNACK: reserved acknowledge flags are set")
	}
	p.SessionPresent = flags == 1
	if v == V5 {
		p.Code = ReasonCode(code)
		if !connackCodes.has(p.Code) {
			return protocolError("MQTT-3.2.2-8", "CONNACK: reason code that this packet may not carry")
		}
		r.properties(&p.Props, TypeConnack)
	} else {
		var ok bool
		if p.Code, ok = connackReason(code); !ok {
			return malformed("", "CONNACK: return code is reserved")
		}
	}
	if r.err == nil && p.SessionPresent && p.Code != Success {
		return protocolError("MQTT-3.2.2-6", "CONNACK: session present in a refusal")
	}
	return r.end()
}

// Append appends p as a packet of version v. Session Present is written only with
// Success [MQTT-3.2.2-6]. The error wraps ErrTooLarge.
func (p *Connack) Append(dst []byte, v Version) ([]byte, error) {
	var present byte
	if p.SessionPresent && p.Code == Success && v != V31 {
		present = 1
	}
	if v != V5 {
		return append(dst, byte(TypeConnack)<<4, 2, present, ConnackCode311(p.Code)), nil
	}
	s := sizer{t: TypeConnack, n: 2}
	props := s.properties(&p.Props, TypeConnack)
	dst, err := s.begin(dst)
	if err != nil {
		return dst, err
	}
	return p.Props.append(appendVar(append(dst, present, byte(p.Code)), props), TypeConnack), nil
}
