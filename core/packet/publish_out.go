package packet

import "encoding/binary"

// PublishOut is a PUBLISH to be encoded. Its slices are only read. What 5.0 alone
// has, from Forward to TopicAlias, is ignored for other versions.
type PublishOut struct {
	Topic, Payload  []byte
	Forward         []byte   // properties in wire form, as from PublishProps.Forward
	SubscriptionIDs []uint32 // each 1..268,435,455
	MessageExpiry   uint32   // seconds, sent if HasExpiry
	HasExpiry       bool
	TopicAlias      uint16 // 0 for none; Topic may be empty if set
	PacketID        uint16 // for QoS 1 and 2
	QoS             byte
	Dup, Retain     bool
}

// Size is the length of the whole packet, which a receiver's Maximum Packet Size
// limits, in bytes.
func (p *PublishOut) Size(v Version) int {
	_, remaining := p.lengths(v)
	return 1 + sizeVar(remaining) + remaining
}

// Fits reports whether p can be encoded: a Topic Name of up to 65,535 bytes and a
// Remaining Length of up to 268,435,455. What was decoded from a packet always
// fits if less than MaxRemaining by the few bytes that a Server adds; whoever makes
// up topics or payloads asks before AppendPublish, which panics.
func (p *PublishOut) Fits(v Version) bool {
	_, remaining := p.lengths(v)
	return remaining <= MaxRemaining && len(p.Topic) <= maxString
}

// lengths returns the Property Length and the Remaining Length.
func (p *PublishOut) lengths(v Version) (props, remaining int) {
	remaining = 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		remaining += 2
	}
	if v != V5 {
		return 0, remaining
	}
	props = len(p.Forward)
	if p.HasExpiry {
		props += 5
	}
	if p.TopicAlias != 0 {
		props += 3
	}
	for _, id := range p.SubscriptionIDs {
		props += 1 + sizeVar(int(id))
	}
	return props, remaining + sizeVar(props) + props
}

// AppendPublish appends p as a packet of version v to dst. idOffset is where its
// Packet Identifier lies, counted from the packet's first byte, for PutPacketID; 0
// for QoS 0. It panics if p does not fit (see Fits).
func AppendPublish(dst []byte, v Version, p *PublishOut) (out []byte, idOffset int) {
	out, idOffset = AppendPublishHead(dst, v, p)
	return append(out, p.Payload...), idOffset
}

// AppendPublishHead is AppendPublish without the payload, for writev. The lengths
// count it.
func AppendPublishHead(dst []byte, v Version, p *PublishOut) (out []byte, idOffset int) {
	props, remaining := p.lengths(v)
	if remaining > MaxRemaining || len(p.Topic) > maxString {
		panic("packet: PUBLISH with a topic or payload too long for MQTT")
	}
	start := len(dst)
	first := byte(TypePublish)<<4 | p.QoS<<1
	if p.Dup {
		first |= flagDup
	}
	if p.Retain {
		first |= flagRetain
	}
	dst = appendVar(append(dst, first), remaining)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.Topic)))
	dst = append(dst, p.Topic...)
	if p.QoS > 0 {
		idOffset = len(dst) - start
		dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	}
	if v != V5 {
		return dst, idOffset
	}
	dst = appendVar(dst, props)
	if p.HasExpiry {
		dst = append(dst, byte(PropMessageExpiryInterval))
		dst = binary.BigEndian.AppendUint32(dst, p.MessageExpiry)
	}
	if p.TopicAlias != 0 {
		dst = append(dst, byte(PropTopicAlias))
		dst = binary.BigEndian.AppendUint16(dst, p.TopicAlias)
	}
	for _, id := range p.SubscriptionIDs {
		dst = appendVar(append(dst, byte(PropSubscriptionIdentifier)), int(id))
	}
	return append(dst, p.Forward...), idOffset
}

// PutPacketID sets the Packet Identifier of an encoded PUBLISH with QoS 1 or 2. off
// is the idOffset that AppendPublish returned.
func PutPacketID(frame []byte, off int, id uint16) {
	binary.BigEndian.PutUint16(frame[off:], id)
}
