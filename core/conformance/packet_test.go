package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

type kind byte

const (
	kindByte kind = iota + 1
	kindU16
	kindU32
	kindVBI
	kindString
	kindBinary
	kindPair
)

// willProps stands in a packet list for the Will Properties of CONNECT.
const willProps byte = 0

// propertyTypes is the table of MQTT 5 §2.2.2.2: data type and packets.
var propertyTypes = map[byte]struct {
	kind kind
	in   []byte
}{
	pPayloadFormat:         {kindByte, []byte{PUBLISH, willProps}},
	pMessageExpiry:         {kindU32, []byte{PUBLISH, willProps}},
	pContentType:           {kindString, []byte{PUBLISH, willProps}},
	pResponseTopic:         {kindString, []byte{PUBLISH, willProps}},
	pCorrelationData:       {kindBinary, []byte{PUBLISH, willProps}},
	pSubscriptionID:        {kindVBI, []byte{PUBLISH, SUBSCRIBE}},
	pSessionExpiry:         {kindU32, []byte{CONNECT, CONNACK, DISCONNECT}},
	pAssignedClientID:      {kindString, []byte{CONNACK}},
	pServerKeepAlive:       {kindU16, []byte{CONNACK}},
	pAuthMethod:            {kindString, []byte{CONNECT, CONNACK, AUTH}},
	pAuthData:              {kindBinary, []byte{CONNECT, CONNACK, AUTH}},
	pRequestProblemInfo:    {kindByte, []byte{CONNECT}},
	pWillDelay:             {kindU32, []byte{willProps}},
	pRequestResponseInfo:   {kindByte, []byte{CONNECT}},
	pResponseInfo:          {kindString, []byte{CONNACK}},
	pServerReference:       {kindString, []byte{CONNACK, DISCONNECT}},
	pReasonString:          {kindString, []byte{CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH}},
	pReceiveMaximum:        {kindU16, []byte{CONNECT, CONNACK}},
	pTopicAliasMaximum:     {kindU16, []byte{CONNECT, CONNACK}},
	pTopicAlias:            {kindU16, []byte{PUBLISH}},
	pMaximumQoS:            {kindByte, []byte{CONNACK}},
	pRetainAvailable:       {kindByte, []byte{CONNACK}},
	pUserProperty:          {kindPair, []byte{CONNECT, CONNACK, PUBLISH, willProps, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH}},
	pMaximumPacketSize:     {kindU32, []byte{CONNECT, CONNACK}},
	pWildcardAvailable:     {kindByte, []byte{CONNACK}},
	pSubscriptionAvailable: {kindByte, []byte{CONNACK}},
	pSharedAvailable:       {kindByte, []byte{CONNACK}},
}

// property is one property of a packet that arrived: number or text by its type.
type property struct {
	id   byte
	num  int
	text string
	pair [2]string
}

// packet is a Control Packet that arrived from the broker.
type packet struct {
	typ, flags byte
	size       int // of the whole packet
	v          version

	id      int    // Packet Identifier
	code    byte   // Reason Code or return code; the only one
	codes   []byte // of SUBACK and UNSUBACK
	props   []property
	present bool // Session Present
	topic   string
	payload string
}

func (p packet) qos() byte    { return p.flags >> 1 & 3 }
func (p packet) dup() bool    { return p.flags&8 != 0 }
func (p packet) retain() bool { return p.flags&1 != 0 }

func (p packet) String() string {
	s := typeNames[p.typ]
	switch p.typ {
	case PUBLISH:
		return fmt.Sprintf("PUBLISH(%q, %.40q, qos %d, id %d, dup %t, retain %t, %v)", p.topic, p.payload, p.qos(), p.id, p.dup(), p.retain(), p.props)
	case CONNACK:
		return fmt.Sprintf("CONNACK(0x%02X, session present %t, %v)", p.code, p.present, p.props)
	case SUBACK, UNSUBACK:
		return fmt.Sprintf("%s(id %d, % X, %v)", s, p.id, p.codes, p.props)
	case PINGRESP:
		return s
	}
	return fmt.Sprintf("%s(id %d, 0x%02X, %v)", s, p.id, p.code, p.props)
}

// number returns the value of an integer property, or the default.
func (p packet) number(id byte, or int) int {
	for _, x := range p.props {
		if x.id == id {
			return x.num
		}
	}
	return or
}

// text returns the value of a string or binary property.
func (p packet) text(id byte) (string, bool) {
	for _, x := range p.props {
		if x.id == id {
			return x.text, true
		}
	}
	return "", false
}

func (p packet) has(id byte) bool {
	for _, x := range p.props {
		if x.id == id {
			return true
		}
	}
	return false
}

// numbers returns the values of a property that may be repeated.
func (p packet) numbers(id byte) []int {
	var out []int
	for _, x := range p.props {
		if x.id == id {
			out = append(out, x.num)
		}
	}
	return out
}

func (p packet) userProperties() [][2]string {
	var out [][2]string
	for _, x := range p.props {
		if x.id == pUserProperty {
			out = append(out, x.pair)
		}
	}
	return out
}

var (
	errShort = errors.New("packet ends too early")
	errLong  = errors.New("packet has bytes after its end")
)

// reader consumes a body; the first error sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && len(r.b) < n {
		r.err = errShort
	}
	if r.err != nil {
		return make([]byte, n)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() byte       { return r.take(1)[0] }
func (r *reader) u16() int       { return int(binary.BigEndian.Uint16(r.take(2))) }
func (r *reader) u32() int       { return int(binary.BigEndian.Uint32(r.take(4))) }
func (r *reader) binary() string { return string(r.take(r.u16())) }

func (r *reader) string() string {
	s := r.binary()
	if r.err == nil {
		if !utf8.ValidString(s) {
			r.err = fmt.Errorf("string %q is not UTF-8 [MQTT-1.5.4-1]", s)
		}
		for _, c := range s {
			if c == 0 {
				r.err = fmt.Errorf("string %q holds U+0000 [MQTT-1.5.4-2]", s)
			}
		}
	}
	return s
}

func (r *reader) vbi() int {
	n := 0
	for i := 0; ; i++ {
		c := r.u8()
		if r.err != nil {
			return 0
		}
		n |= int(c&0x7F) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				r.err = errors.New("variable byte integer is longer than need be [MQTT-1.5.5-1]")
			}
			return n
		}
		if i == 3 {
			r.err = errors.New("variable byte integer has more than four bytes")
			return 0
		}
	}
}

func (r *reader) properties() []property {
	n := r.vbi()
	in := reader{b: r.take(n), err: r.err}
	var out []property
	for in.err == nil && len(in.b) > 0 {
		p := property{id: in.u8()}
		switch propertyTypes[p.id].kind {
		case kindByte:
			p.num = int(in.u8())
		case kindU16:
			p.num = in.u16()
		case kindU32:
			p.num = in.u32()
		case kindVBI:
			p.num = in.vbi()
		case kindString:
			p.text = in.string()
		case kindBinary:
			p.text = in.binary()
		case kindPair:
			p.pair = [2]string{in.string(), in.string()}
		default:
			in.err = fmt.Errorf("unknown property 0x%02X", p.id)
		}
		out = append(out, p)
	}
	r.err = in.err
	return out
}

// decode reads a packet that a server may send.
func decode(v version, first byte, body []byte) (packet, error) {
	p := packet{typ: first >> 4, flags: first & 15, v: v, size: 1 + len(vbi(len(body))) + len(body)}
	r := &reader{b: body}
	switch p.typ {
	case CONNACK:
		f := r.u8()
		if f > 1 {
			return p, fmt.Errorf("connect acknowledge flags 0x%02X [MQTT-3.2.2-1]", f)
		}
		p.present, p.code = f == 1, r.u8()
		if v == v5 {
			p.props = r.properties()
		}
	case PUBLISH:
		p.topic = r.string()
		if p.qos() > 0 {
			p.id = r.u16()
		}
		if v == v5 {
			p.props = r.properties()
		}
		p.payload = string(r.b)
		r.b = nil
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p.id = r.u16()
		p.tail(r)
	case SUBACK, UNSUBACK:
		p.id = r.u16()
		if v == v5 {
			p.props = r.properties()
		}
		p.codes = append(p.codes, r.b...)
		r.b = nil
	case DISCONNECT, AUTH:
		if v != v5 {
			return p, fmt.Errorf("server sent %s", typeNames[p.typ])
		}
		p.tail(r)
	case PINGRESP:
	default:
		return p, fmt.Errorf("server sent %s", typeNames[p.typ])
	}
	if r.err != nil {
		return p, fmt.Errorf("%s: %w", typeNames[p.typ], r.err)
	}
	if len(r.b) > 0 {
		return p, fmt.Errorf("%s: %w", typeNames[p.typ], errLong)
	}
	return p, nil
}

// tail reads the Reason Code and properties that may be left out at the end.
func (p *packet) tail(r *reader) {
	if p.v != v5 || len(r.b) == 0 {
		return
	}
	p.code = r.u8()
	if len(r.b) > 0 {
		p.props = r.properties()
	}
}
