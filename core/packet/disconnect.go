package packet

// Pingreq and Pingresp are the whole packets. They are shared and must not be
// modified.
var (
	Pingreq  = []byte{byte(TypePingreq) << 4, 0}
	Pingresp = []byte{byte(TypePingresp) << 4, 0}
)

// Disconnect is a DISCONNECT. In 3.x it has neither a Reason Code nor properties,
// and only a Client sends it.
type Disconnect struct {
	Code  ReasonCode
	Props Properties
}

// Decode fills p from the body of a DISCONNECT. It keeps nothing of body. Which
// codes and properties come from which side only is for the caller to check.
func (p *Disconnect) Decode(v Version, body []byte) error {
	*p = Disconnect{}
	r := reader{b: body, t: TypeDisconnect}
	if v != V5 || len(body) == 0 {
		return r.end()
	}
	p.Code = ReasonCode(r.byte("reason code"))
	if !disconnectCodes.has(p.Code) {
		return protocolError("MQTT-3.14.2-1", "DISCONNECT: reason code that this packet may not carry")
	}
	if len(body) > 1 {
		r.properties(&p.Props, TypeDisconnect)
	}
	return r.end()
}

// Append appends p as a packet of version v. The error wraps ErrTooLarge.
func (p *Disconnect) Append(dst []byte, v Version) ([]byte, error) {
	return appendReason(dst, TypeDisconnect, v, p.Code, &p.Props)
}

// Auth is an AUTH, which 5.0 alone has.
type Auth struct {
	Code  ReasonCode
	Props Properties
}

// Decode fills p from the body of an AUTH. It keeps nothing of body. An empty body
// is Success without properties; otherwise an Authentication Method must be there
// (§3.15.2.2.2).
func (p *Auth) Decode(v Version, body []byte) error {
	*p = Auth{}
	if v != V5 {
		return protocolError("", "AUTH: not in this version of MQTT")
	}
	if len(body) == 0 {
		return nil
	}
	r := reader{b: body, t: TypeAuth}
	p.Code = ReasonCode(r.byte("reason code"))
	if !authCodes.has(p.Code) {
		return protocolError("MQTT-3.15.2-1", "AUTH: reason code that this packet may not carry")
	}
	r.properties(&p.Props, TypeAuth)
	if r.err == nil && !p.Props.Has(PropAuthenticationMethod) {
		return protocolError("", "AUTH: no Authentication Method")
	}
	return r.end()
}

// Append appends p. The error wraps ErrTooLarge.
func (p *Auth) Append(dst []byte, v Version) ([]byte, error) {
	return appendReason(dst, TypeAuth, v, p.Code, &p.Props)
}

// appendReason appends a packet that consists of a Reason Code and properties, all
// of which is left out for Success without properties, and for 3.x.
func appendReason(dst []byte, t Type, v Version, code ReasonCode, p *Properties) ([]byte, error) {
	s := sizer{t: t, n: 1}
	props := s.properties(p, t)
	if v != V5 || (code == Success && props == 0) {
		return append(dst, byte(t)<<4, 0), nil
	}
	dst, err := s.begin(dst)
	if err != nil {
		return dst, err
	}
	return p.append(appendVar(append(dst, byte(code)), props), t), nil
}
