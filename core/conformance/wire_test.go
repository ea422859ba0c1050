package conformance

import (
	"encoding/binary"
	"slices"
)

// version is a protocol level as it stands in CONNECT.
type version byte

const (
	v31  version = 3
	v311 version = 4
	v5   version = 5
)

func (v version) String() string {
	switch v {
	case v31:
		return "v3.1"
	case v311:
		return "v3.1.1"
	case v5:
		return "v5.0"
	}
	return "unknown version"
}

// Control Packet types, as in the upper half of the first byte.
const (
	CONNECT     byte = 1
	CONNACK     byte = 2
	PUBLISH     byte = 3
	PUBACK      byte = 4
	PUBREC      byte = 5
	PUBREL      byte = 6
	PUBCOMP     byte = 7
	SUBSCRIBE   byte = 8
	SUBACK      byte = 9
	UNSUBSCRIBE byte = 10
	UNSUBACK    byte = 11
	PINGREQ     byte = 12
	PINGRESP    byte = 13
	DISCONNECT  byte = 14
	AUTH        byte = 15
)

var typeNames = [16]string{
	"RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// Property identifiers.
const (
	pPayloadFormat         = 0x01
	pMessageExpiry         = 0x02
	pContentType           = 0x03
	pResponseTopic         = 0x08
	pCorrelationData       = 0x09
	pSubscriptionID        = 0x0B
	pSessionExpiry         = 0x11
	pAssignedClientID      = 0x12
	pServerKeepAlive       = 0x13
	pAuthMethod            = 0x15
	pAuthData              = 0x16
	pRequestProblemInfo    = 0x17
	pWillDelay             = 0x18
	pRequestResponseInfo   = 0x19
	pResponseInfo          = 0x1A
	pServerReference       = 0x1C
	pReasonString          = 0x1F
	pReceiveMaximum        = 0x21
	pTopicAliasMaximum     = 0x22
	pTopicAlias            = 0x23
	pMaximumQoS            = 0x24
	pRetainAvailable       = 0x25
	pUserProperty          = 0x26
	pMaximumPacketSize     = 0x27
	pWildcardAvailable     = 0x28
	pSubscriptionAvailable = 0x29
	pSharedAvailable       = 0x2A
)

func u16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func u32(v int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
func str(s string) []byte {
	return append(u16(len(s)), s...)
}

// vbi is a Variable Byte Integer in its shortest form.
func vbi(n int) []byte {
	var b []byte
	for {
		d := byte(n & 0x7F)
		if n >>= 7; n > 0 {
			d |= 0x80
		}
		b = append(b, d)
		if n == 0 {
			return b
		}
	}
}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

// frame puts the fixed header in front of a body.
func frame(typ, flags byte, body ...[]byte) []byte {
	b := join(body...)
	return join([]byte{typ<<4 | flags}, vbi(len(b)), b)
}

// prop encodes one property; the value's Go type is checked against the
// identifier's data type only by what the tests need: int for integers, string
// for strings and binary data, [2]string for pairs.
func prop(id byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return join([]byte{id}, str(v))
	case [2]string:
		return join([]byte{id}, str(v[0]), str(v[1]))
	case int:
		switch propertyTypes[id].kind {
		case kindByte:
			return []byte{id, byte(v)}
		case kindU16:
			return join([]byte{id}, u16(v))
		case kindU32:
			return join([]byte{id}, u32(v))
		case kindVBI:
			return join([]byte{id}, vbi(v))
		}
	}
	panic("conformance: property value of an unknown type")
}

func user(key, value string) []byte { return prop(pUserProperty, [2]string{key, value}) }

// properties puts the Property Length in front. Version 3 has none.
func properties(v version, props ...[]byte) []byte {
	if v != v5 {
		return nil
	}
	b := join(props...)
	return join(vbi(len(b)), b)
}

// will is a Will Message of CONNECT.
type will struct {
	topic, payload string
	qos            byte
	retain         bool
	props          []byte
}

// connectPacket is a CONNECT. Its zero value, with a version, is a valid one with
// an empty Client Identifier, Clean Start 0 and no Keep Alive.
type connectPacket struct {
	v         version
	name      string // protocol name; the version's own if empty
	level     byte   // protocol level; the version's own if 0
	clean     bool
	keepAlive int
	id        string
	will      *will
	username  *string
	password  *string
	props     []byte
	flags     byte // XORed onto the Connect Flags
}

func (c connectPacket) body() []byte {
	name, level := c.name, c.level
	if name == "" {
		name = "MQTT"
		if c.v == v31 {
			name = "MQIsdp"
		}
	}
	if level == 0 {
		level = byte(c.v)
	}
	var flags byte
	if c.clean {
		flags |= 0x02
	}
	payload := str(c.id)
	if w := c.will; w != nil {
		flags |= 0x04 | w.qos<<3
		if w.retain {
			flags |= 0x20
		}
		payload = join(payload, properties(c.v, w.props), str(w.topic), str(w.payload))
	}
	if c.username != nil {
		flags |= 0x80
		payload = append(payload, str(*c.username)...)
	}
	if c.password != nil {
		flags |= 0x40
		payload = append(payload, str(*c.password)...)
	}
	return join(str(name), []byte{level, flags ^ c.flags}, u16(c.keepAlive), properties(c.v, c.props), payload)
}

func (c connectPacket) bytes() []byte { return frame(CONNECT, 0, c.body()) }

// publishPacket is a PUBLISH of the client.
type publishPacket struct {
	topic, payload string
	qos            byte
	dup, retain    bool
	id             int
	props          []byte
}

func (p publishPacket) flags() byte {
	f := p.qos << 1
	if p.dup {
		f |= 0x08
	}
	if p.retain {
		f |= 0x01
	}
	return f
}

func (p publishPacket) body(v version) []byte {
	b := str(p.topic)
	if p.qos > 0 {
		b = append(b, u16(p.id)...)
	}
	return join(b, properties(v, p.props), []byte(p.payload))
}

func (p publishPacket) bytes(v version) []byte { return frame(PUBLISH, p.flags(), p.body(v)) }

// ack is a PUBACK, PUBREC, PUBREL or PUBCOMP in the short form that both versions know.
func ack(typ byte, id int) []byte { return frame(typ, fixedFlags(typ), u16(id)) }

// ack5 is one with a Reason Code and properties.
func ack5(typ byte, id int, code byte, props ...[]byte) []byte {
	return frame(typ, fixedFlags(typ), u16(id), []byte{code}, properties(v5, props...))
}

// sub is a Topic Filter with its Subscription Options byte.
type sub struct {
	filter  string
	options byte
}

// Bits of the Subscription Options.
const (
	noLocal           = 0x04
	retainAsPublished = 0x08
	retainIfNew       = 0x10
	retainNever       = 0x20
)

func subscribe(v version, id int, props []byte, subs ...sub) []byte {
	b := join(u16(id), properties(v, props))
	for _, s := range subs {
		b = join(b, str(s.filter), []byte{s.options})
	}
	return frame(SUBSCRIBE, 2, b)
}

func unsubscribe(v version, id int, props []byte, filters ...string) []byte {
	b := join(u16(id), properties(v, props))
	for _, f := range filters {
		b = append(b, str(f)...)
	}
	return frame(UNSUBSCRIBE, 2, b)
}

var pingreq = []byte{PINGREQ << 4, 0}

// disconnect is a normal one: Reason Code 0x00, no properties.
var disconnect = []byte{DISCONNECT << 4, 0}

func disconnect5(code byte, props ...[]byte) []byte {
	return frame(DISCONNECT, 0, []byte{code}, properties(v5, props...))
}

func auth(code byte, props ...[]byte) []byte {
	return frame(AUTH, 0, []byte{code}, properties(v5, props...))
}

// fixedFlags are the flags that a packet type other than PUBLISH must have.
func fixedFlags(typ byte) byte {
	switch typ {
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		return 2
	}
	return 0
}
