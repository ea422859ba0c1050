package mqtt

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"
)

// header is the Fixed Header of a packet.
type header struct {
	kind, flags byte
	remaining   int
}

// readHeader reads a Fixed Header.
func readHeader(r *bufio.Reader) (h header, err error) {
	first, err := r.ReadByte()
	if err != nil {
		return h, err
	}
	h.kind, h.flags = first>>4, first&15
	for shift := 0; ; shift += 7 {
		c, err := r.ReadByte()
		if err != nil {
			return h, eof(err)
		}
		h.remaining |= int(c&0x7f) << shift
		if c < 0x80 {
			return h, nil
		}
		if shift == 21 {
			return h, fmt.Errorf("%w: Remaining Length of more than 4 bytes", errMalformed)
		}
	}
}

// eof makes of an end in the middle of a packet what it is.
func eof(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// body takes a packet apart. The first error stays; what is read then is zero.
type body struct {
	b   []byte
	err error
}

func (d *body) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errMalformed, what)
	}
	d.b = nil
}

func (d *body) bytes(n int) []byte {
	if n > len(d.b) {
		d.fail("it ends too soon")
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *body) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *body) uint16() uint16 {
	if b := d.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *body) uint32() uint32 {
	if b := d.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *body) binary() []byte { return d.bytes(int(d.uint16())) }

func (d *body) string() string {
	b := d.binary()
	if !utf8.Valid(b) {
		d.fail("a text that is no UTF-8")
	}
	return string(b)
}

func (d *body) varint() (n int) {
	for shift := 0; shift <= 21; shift += 7 {
		c := d.byte()
		n |= int(c&0x7f) << shift
		if c < 0x80 {
			return n
		}
	}
	d.fail("a Variable Byte Integer of more than 4 bytes")
	return 0
}

// property is one property: of a number its value, of text or bytes those.
type property struct {
	id    int
	n     uint32
	s     string
	data  []byte
	value string // of a User Property, s its name
}

// properties calls fn for each property, in order. Strings are copies, data is not.
func (d *body) properties(fn func(p property)) {
	n := d.varint()
	p := body{b: d.bytes(n)}
	for len(p.b) > 0 && p.err == nil {
		x := property{id: p.varint()}
		switch x.id {
		case propPayloadFormat, propRequestProblem, propRequestResponse, propMaximumQoS, propRetainAvailable, propWildcardAvailable,
			propSubscriptionAvailable, propSharedAvailable:
			x.n = uint32(p.byte())
		case propServerKeepAlive, propReceiveMaximum, propTopicAliasMaximum, propTopicAlias:
			x.n = uint32(p.uint16())
		case propMessageExpiry, propSessionExpiry, propWillDelay, propMaximumPacketSize:
			x.n = p.uint32()
		case propSubscriptionID:
			x.n = uint32(p.varint())
		case propContentType, propResponseTopic, propAssignedClientID, propAuthMethod, propResponseInfo, propServerReference, propReasonString:
			x.s = p.string()
		case propCorrelationData, propAuthData:
			x.data = p.binary()
		case propUserProperty:
			x.s, x.value = p.string(), p.string()
		default:
			p.fail(fmt.Sprintf("property 0x%02X is none", x.id))
		}
		if p.err == nil {
			fn(x)
		}
	}
	if d.err == nil {
		d.err = p.err
	}
}

func parseConnack(b []byte, v Version) (c connack, err error) {
	d := body{b: b}
	c.sessionPresent = d.byte()&1 != 0
	c.code = d.byte()
	c.receiveMaximum, c.maximumQoS, c.retain = 65535, 2, true
	// A 3.1.1 server refuses MQTT 5 with a CONNACK of its own version.
	if v == V5 && len(d.b) > 0 {
		d.properties(func(p property) {
			switch p.id {
			case propReasonString:
				c.reason = p.s
			case propAssignedClientID:
				c.assignedID = p.s
			case propReceiveMaximum:
				c.receiveMaximum = uint16(p.n)
			case propMaximumPacketSize:
				c.maximumPacket = p.n
			case propMaximumQoS:
				c.maximumQoS = byte(p.n)
			case propRetainAvailable:
				c.retain = p.n != 0
			case propServerKeepAlive:
				c.keepAlive, c.hasKeepAlive = uint16(p.n), true
			case propSessionExpiry:
				c.sessionExpiry, c.hasExpiry = p.n, true
			}
		})
	}
	if d.err == nil && (c.receiveMaximum == 0 || c.maximumQoS > 2) {
		d.fail("Receive Maximum or Maximum QoS that cannot be")
	}
	return c, d.err
}

// parsePublish takes a PUBLISH apart. Payload and Correlation Data point into b.
func parsePublish(b []byte, flags byte, v Version) (p publish, err error) {
	d := body{b: b}
	p.dup, p.QoS, p.Retain = flags&8 != 0, flags>>1&3, flags&1 != 0
	if p.QoS == 3 {
		return p, fmt.Errorf("%w: QoS 3", errMalformed)
	}
	p.Topic = d.string()
	if p.QoS > 0 {
		if p.id = d.uint16(); p.id == 0 && d.err == nil {
			d.fail("Packet Identifier 0")
		}
	}
	if v == V5 {
		d.properties(func(x property) {
			switch x.id {
			case propPayloadFormat:
				p.PayloadFormat = byte(x.n)
			case propMessageExpiry:
				p.MessageExpiry = x.n
			case propContentType:
				p.ContentType = x.s
			case propResponseTopic:
				p.ResponseTopic = x.s
			case propCorrelationData:
				p.CorrelationData = x.data
			case propUserProperty:
				p.UserProperties = append(p.UserProperties, Pair{x.s, x.value})
			}
		})
	}
	if d.err == nil && p.Topic == "" {
		d.fail("an empty Topic Name") // Topic Aliases are not allowed to the server
	}
	p.Payload = d.b
	return p, d.err
}

func parseAck(b []byte, v Version) (a ack, err error) {
	d := body{b: b}
	a.id = d.uint16()
	if v == V5 && len(d.b) > 0 {
		a.code = d.byte()
		if len(d.b) > 0 {
			d.properties(func(p property) {
				if p.id == propReasonString {
					a.reason = p.s
				}
			})
		}
	}
	return a, d.err
}

// parseSuback also takes UNSUBACK apart, which has no codes before MQTT 5.
func parseSuback(b []byte, v Version) (id uint16, codes []byte, err error) {
	d := body{b: b}
	id = d.uint16()
	if v == V5 {
		d.properties(func(property) {})
	}
	return id, d.b, d.err
}

// parseDisconnect takes the DISCONNECT of a server apart.
func parseDisconnect(b []byte) (code byte, reason string, err error) {
	d := body{b: b}
	if len(d.b) > 0 {
		code = d.byte()
	}
	if len(d.b) > 0 {
		d.properties(func(p property) {
			if p.id == propReasonString {
				reason = p.s
			}
		})
	}
	return code, reason, d.err
}
