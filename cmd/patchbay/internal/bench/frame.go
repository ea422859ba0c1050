package bench

import "github.com/patchbay-mq/patchbay/core/packet"

// frame is a PUBLISH to one topic, encoded once: a message is a copy of it with the
// Packet Identifier and the stamp put in.
type frame struct {
	b       []byte
	id      int // offset of the Packet Identifier, 0 at QoS 0
	payload int // offset of the payload
}

// newFrame encodes a PUBLISH with a payload of size bytes, at least stampSize.
func newFrame(v packet.Version, topic string, qos byte, size int) frame {
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = 'a' + byte(i%26)
	}
	b, id := packet.AppendPublish(nil, v, &packet.PublishOut{
		Topic: []byte(topic), Payload: payload, QoS: qos,
		PacketID: 1, // any but 0; each message gets its own
	})
	return frame{b: b, id: id, payload: len(b) - size}
}

// appendTo appends the message to dst; id counts for nothing at QoS 0.
func (f *frame) appendTo(dst []byte, id uint16, s stamp) []byte {
	at := len(dst)
	dst = append(dst, f.b...)
	if f.id > 0 {
		packet.PutPacketID(dst[at:], f.id, id)
	}
	s.put(dst[at+f.payload:])
	return dst
}
