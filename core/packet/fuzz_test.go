package packet

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// checkDecoding feeds bytes of a peer, any number of packets, to the decoders, and
// checks what must hold for every input.
func checkDecoding(t *testing.T, v Version, data []byte) {
	read := ReadHeader
	if v == V31 {
		read = ReadHeaderV31
	}
	before := bytes.Clone(data)
	rest := data
	for {
		h, n, err := read(rest)
		if err != nil {
			mustBeError(t, rest, err)
			break
		}
		if n == 0 || h.Remaining > len(rest)-n {
			break
		}
		frame := rest[:n+h.Remaining]
		rest = rest[len(frame):]
		p, err := decodeBody(v, h, frame[n:], true)
		if err != nil {
			mustBeError(t, frame, err)
			continue
		}
		checkReencoding(t, v, frame, p)
	}
	if !bytes.Equal(before, data) {
		t.Fatalf("decoding changed %x to %x", before, data)
	}
}

func mustBeError(t *testing.T, frame []byte, err error) {
	var e *Error
	if !errors.As(err, &e) || !e.Code.IsError() || e.Detail == "" {
		t.Fatalf("%x: error %#v has no reason code", frame, err)
	}
}

// checkReencoding encodes an accepted packet and compares. Properties may change
// their order and reason codes their form, but nothing may be lost, and an encoding
// is never longer than what came.
func checkReencoding(t *testing.T, v Version, frame []byte, p any) {
	if c, ok := p.(*Connect); ok {
		v = c.Version
	}
	again, err := encodeFrame(v, p)
	if err != nil {
		t.Fatalf("in %v %x was accepted as %#v, and cannot be encoded: %v", v, frame, p, err)
	}
	if len(again) > len(frame)+1 { // DISCONNECT writes the Property Length that it may leave out
		t.Fatalf("in %v %x grows to %x", v, frame, again)
	}
	q, err := decodeFrame(v, again, true)
	if err != nil {
		t.Fatalf("in %v %x is encoded as %x, which is refused: %v", v, frame, again, err)
	}
	if c, ok := p.(*Connect); ok && c.Will != nil {
		// These keep the order of the properties that came.
		if len(c.Will.Forward) != len(q.(*Connect).Will.Forward) {
			t.Fatalf("%x: will properties are lost", frame)
		}
		c.Will.Forward = q.(*Connect).Will.Forward
	}
	if !reflect.DeepEqual(p, q) {
		t.Fatalf("in %v %x is\n %#v, encoded again\n %#v", v, frame, p, q)
	}
}

func seed(f *testing.F, versions ...Version) {
	for _, c := range golden {
		for _, v := range c.versions {
			for _, w := range versions {
				if v == w {
					f.Add(goldenBytes(f, c.bytes, v))
				}
			}
		}
	}
	for _, c := range refused {
		for _, v := range c.versions {
			for _, w := range versions {
				if v == w {
					f.Add(wire(f, c.bytes))
				}
			}
		}
	}
}

func FuzzDecodeV5(f *testing.F) {
	seed(f, V5)
	f.Fuzz(func(t *testing.T, data []byte) { checkDecoding(t, V5, data) })
}

func FuzzDecodeV311(f *testing.F) {
	seed(f, V31, V311)
	f.Fuzz(func(t *testing.T, data []byte) {
		checkDecoding(t, V311, data)
		checkDecoding(t, V31, data)
	})
}

// FuzzRoundTrip builds a PUBLISH from its parts, as the broker does when it passes
// one on, and decodes what it encoded.
func FuzzRoundTrip(f *testing.F) {
	f.Add("a/b", []byte("payload"), []byte{1, 1}, byte(1), uint16(7), uint16(0), uint32(0), uint32(60))
	f.Add("", []byte{}, []byte("\x26\x00\x01k\x00\x01v\x23\x00\x01"), byte(0), uint16(0), uint16(5), uint32(300), uint32(0))
	f.Fuzz(func(t *testing.T, topic string, payload, props []byte, flags byte, id, alias uint16, sub, expiry uint32) {
		var in PublishProps
		if in.Decode(props, true) != nil || len(topic) > maxString || checkTopicName([]byte(topic)) != "" || (topic == "" && alias == 0) {
			return
		}
		o := &PublishOut{
			Topic: []byte(topic), Payload: payload, Forward: in.Forward(nil), MessageExpiry: expiry, HasExpiry: flags&8 != 0,
			TopicAlias: alias, PacketID: max(id, 1), QoS: flags & 3 % 3, Retain: flags&4 != 0,
		}
		o.Dup = o.QoS > 0 && flags&16 != 0
		if sub > 0 && sub <= MaxRemaining {
			o.SubscriptionIDs = []uint32{sub}
		}
		frame, _ := AppendPublish(nil, V5, o)
		h, n, err := ReadHeader(frame)
		var p Publish
		if err != nil || h.Remaining != len(frame)-n || len(frame) != o.Size(V5) {
			t.Fatalf("%x: %+v, %v, size %d", frame, h, err, o.Size(V5))
		}
		if err := DecodePublish(&p, V5, h, frame[n:], true); err != nil {
			t.Fatalf("%x: %v", frame, err)
		}
		if !bytes.Equal(p.Props.Forward(nil), o.Forward) {
			t.Fatalf("forwarded properties %x became %x", o.Forward, p.Props.Forward(nil))
		}
		got := p.Props
		same := string(p.Topic) == topic && bytes.Equal(p.Payload, payload) && p.QoS == o.QoS && p.Dup == o.Dup && p.Retain == o.Retain &&
			got.Set.Has(PropMessageExpiryInterval) == o.HasExpiry && (!o.HasExpiry || got.MessageExpiry == expiry) && got.TopicAlias == alias &&
			got.Set.Has(PropSubscriptionIdentifier) == (len(o.SubscriptionIDs) > 0) && (o.QoS == 0 || p.PacketID == o.PacketID)
		for s := range got.SubscriptionIdentifiers() {
			same = same && s == sub
		}
		if !same {
			t.Fatalf("%+v became %+v", o, copyPublish(&p))
		}
	})
}
