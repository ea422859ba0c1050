package mqtt

import "encoding/binary"

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func appendBytes(b, s []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// appendVarint appends a Variable Byte Integer (MQTT 5 §1.5.5).
func appendVarint(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func sizeVarint(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

// properties appends the properties of a message, without their length.
func (m *Message) properties(b []byte) []byte {
	if m.PayloadFormat != 0 {
		b = append(b, propPayloadFormat, m.PayloadFormat)
	}
	if m.MessageExpiry != 0 {
		b = binary.BigEndian.AppendUint32(append(b, propMessageExpiry), m.MessageExpiry)
	}
	if m.ContentType != "" {
		b = appendString(append(b, propContentType), m.ContentType)
	}
	if m.ResponseTopic != "" {
		b = appendString(append(b, propResponseTopic), m.ResponseTopic)
	}
	if len(m.CorrelationData) > 0 {
		b = appendBytes(append(b, propCorrelationData), m.CorrelationData)
	}
	for _, p := range m.UserProperties {
		b = appendString(appendString(append(b, propUserProperty), p.Name), p.Value)
	}
	return b
}

func (m *Message) propertiesSize() int {
	n := 0
	if m.PayloadFormat != 0 {
		n += 2
	}
	if m.MessageExpiry != 0 {
		n += 5
	}
	if m.ContentType != "" {
		n += 3 + len(m.ContentType)
	}
	if m.ResponseTopic != "" {
		n += 3 + len(m.ResponseTopic)
	}
	if len(m.CorrelationData) > 0 {
		n += 3 + len(m.CorrelationData)
	}
	for _, p := range m.UserProperties {
		n += 5 + len(p.Name) + len(p.Value)
	}
	return n
}

// remaining is the Remaining Length of a PUBLISH.
func (m *Message) remaining(v Version) int {
	n := 2 + len(m.Topic) + len(m.Payload)
	if m.QoS > 0 {
		n += 2
	}
	if v == V5 {
		p := m.propertiesSize()
		n += sizeVarint(p) + p
	}
	return n
}

// appendPublish appends a PUBLISH. What has no room in a packet is the caller's to find.
func appendPublish(b []byte, v Version, m *Message, id uint16, dup bool) []byte {
	first := byte(typePublish<<4) | m.QoS<<1
	if dup {
		first |= 8
	}
	if m.Retain {
		first |= 1
	}
	b = appendVarint(append(b, first), m.remaining(v))
	b = appendString(b, m.Topic)
	if m.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	if v == V5 {
		b = m.properties(appendVarint(b, m.propertiesSize()))
	}
	return append(b, m.Payload...)
}

// appendAck appends PUBACK, PUBREC, PUBREL or PUBCOMP with Reason Code Success.
func appendAck(b []byte, kind byte, id uint16) []byte {
	first := kind << 4
	if kind == typePubrel {
		first |= 2 // [MQTT-3.6.1-1]
	}
	return binary.BigEndian.AppendUint16(append(b, first, 2), id)
}

func appendConnect(b []byte, c *connect) []byte {
	p := appendString(nil, "MQTT")
	level := byte(c.version)
	if c.bridge {
		level |= 0x80
	}
	flags := byte(0)
	if c.cleanStart {
		flags |= 2
	}
	if w := c.will; w != nil {
		flags |= 4 | w.QoS<<3
		if w.Retain {
			flags |= 0x20
		}
	}
	if c.hasPassword {
		flags |= 0x40
	}
	if c.username != "" {
		flags |= 0x80
	}
	p = binary.BigEndian.AppendUint16(append(p, level, flags), c.keepAlive)
	if c.version == V5 {
		var x []byte
		if c.sessionExpiry > 0 {
			x = binary.BigEndian.AppendUint32(append(x, propSessionExpiry), c.sessionExpiry)
		}
		x = binary.BigEndian.AppendUint16(append(x, propReceiveMaximum), c.receiveMaximum)
		x = binary.BigEndian.AppendUint32(append(x, propMaximumPacketSize), c.maximumPacket)
		p = append(appendVarint(p, len(x)), x...)
	}
	p = appendString(p, c.clientID)
	if w := c.will; w != nil {
		if c.version == V5 {
			p = w.properties(appendVarint(p, w.propertiesSize()))
		}
		p = appendBytes(appendString(p, w.Topic), w.Payload)
	}
	if c.username != "" {
		p = appendString(p, c.username)
	}
	if c.hasPassword {
		p = appendBytes(p, c.password)
	}
	return append(appendVarint(append(b, typeConnect<<4), len(p)), p...)
}

func appendSubscribe(b []byte, v Version, id uint16, subs []Subscription) []byte {
	p := binary.BigEndian.AppendUint16(nil, id)
	if v == V5 {
		p = append(p, 0)
	}
	for _, s := range subs {
		o := s.QoS
		if v == V5 {
			if s.NoLocal {
				o |= 4
			}
			if s.RetainAsPublished {
				o |= 8
			}
			o |= s.RetainHandling << 4
		}
		p = append(appendString(p, s.Filter), o)
	}
	return append(appendVarint(append(b, typeSubscribe<<4|2), len(p)), p...)
}

func appendUnsubscribe(b []byte, v Version, id uint16, filters []string) []byte {
	p := binary.BigEndian.AppendUint16(nil, id)
	if v == V5 {
		p = append(p, 0)
	}
	for _, f := range filters {
		p = appendString(p, f)
	}
	return append(appendVarint(append(b, typeUnsubscribe<<4|2), len(p)), p...)
}

// appendDisconnect appends a DISCONNECT, whose Reason Code 3.1.1 does not have.
func appendDisconnect(b []byte, v Version, code byte) []byte {
	if v == V5 && code != 0 {
		return append(b, typeDisconnect<<4, 1, code)
	}
	return append(b, typeDisconnect<<4, 0)
}
