package packet

import (
	"bytes"
	"slices"
	"testing"
)

// decodePublish decodes a whole PUBLISH in place.
func decodePublish(tb testing.TB, v Version, frame []byte) *Publish {
	tb.Helper()
	h, n, err := ReadHeader(frame)
	if err != nil {
		tb.Fatal(err)
	}
	p := new(Publish)
	if err := DecodePublish(p, v, h, frame[n:], true); err != nil {
		tb.Fatal(err)
	}
	return p
}

// What is decoded are views that end where the field ends, so that an append to one
// cannot reach the next field.
func TestPublishKeepsViews(t *testing.T) {
	frame := wire(t, "32 1f 0003'a/b' 0001 13 030001't' 080001'r' 090001'c' 260001'k'0001'v' 'payl'")
	p := decodePublish(t, V5, frame)
	before := bytes.Clone(frame)
	for _, b := range [][]byte{p.Topic, p.Props.Raw, p.Props.ContentType, p.Props.ResponseTopic, p.Props.CorrelationData} {
		_ = append(b, "overwritten"...)
	}
	for k, v := range p.Props.UserProperties() {
		_ = append(k, "overwritten"...)
		_ = append(v[:len(v):len(v)], "overwritten"...)
		if cap(k) != len(k) {
			t.Error("the name of a User Property reaches beyond its end")
		}
	}
	if !bytes.Equal(frame, before) {
		t.Fatal("append to a view changed the packet")
	}
	frame[4] = 'X'
	if string(p.Topic) != "X/b" {
		t.Errorf("topic %q is not a view", p.Topic)
	}
}

// Decoding into a used Publish leaves nothing of what it held.
func TestPublishReuse(t *testing.T) {
	full := wire(t, "3b 11 0001't' 0001 0a 230001 260001'k'0001'v' 'x'")
	p := decodePublish(t, V5, full)
	frame := wire(t, "30 04 0002'zz'")
	h, n, _ := ReadHeader(frame)
	if err := DecodePublish(p, V311, h, frame[n:], false); err != nil {
		t.Fatal(err)
	}
	if m := copyPublish(p); m.Topic != "zz" || m.Payload != "" || m.PacketID != 0 || m.QoS != 0 || m.Dup || m.Retain || m.Set != 0 || p.Props.Raw != nil || m.User != nil {
		t.Errorf("left over: %+v", m)
	}
}

func TestForward(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"nothing", "", ""},
		{"all of it", "260001'k'0001'v' 0101 030001't' 080001'r' 09000100", "260001'k'0001'v' 0101 030001't' 080001'r' 09000100"},
		{"only what is not", "230005 0200000001 0b8001 0b01", ""},
		{"mixed", "260000 0001'1' 230005 0100 0200000001 260000 0001'2' 0bffff03 090000 260000 0001'1'",
			"260000 0001'1' 0100 260000 0001'2' 090000 260000 0001'1'"},
	} {
		raw := wire(t, c.in)
		frame := append(appendVar(append(appendVar([]byte{0x30}, 3+sizeVar(len(raw))+len(raw)), 0, 1, 'a'), len(raw)), raw...)
		p := decodePublish(t, V5, frame)
		scratch := append(make([]byte, 0, 200), "kept"...)
		got := p.Props.Forward(scratch)
		if want := wire(t, c.out); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", c.name, got, want)
		}
		if string(scratch[:4]) != "kept" || !bytes.Equal(p.Props.Raw, raw) {
			t.Errorf("%s: Forward changed its source or what scratch held", c.name)
		}
		if c.in == c.out && len(got) > 0 && &got[0] != &p.Props.Raw[0] {
			t.Errorf("%s: copied although all is passed on", c.name)
		}
	}
}

// Iteration may stop early.
func TestWalksStop(t *testing.T) {
	p := decodePublish(t, V5, wire(t, "30 14 0001't' 10 0b01 0b02 260001'a'0000 260001'b'0000"))
	for k := range p.Props.UserProperties() {
		if string(k) != "a" {
			t.Errorf("first name is %q", k)
		}
		break
	}
	for id := range p.Props.SubscriptionIdentifiers() {
		if id != 1 {
			t.Errorf("first identifier is %d", id)
		}
		break
	}
}

func TestAppendPublish(t *testing.T) {
	outs := []*PublishOut{
		{Topic: []byte("a")},
		{Topic: []byte("a/b"), Payload: bytes.Repeat([]byte{7}, 200), QoS: 2, PacketID: 9, Dup: true, Retain: true},
		{Topic: []byte("a"), Payload: make([]byte, 20_000), QoS: 1, PacketID: 65535, HasExpiry: true, MessageExpiry: 0,
			TopicAlias: 1, SubscriptionIDs: []uint32{1, 127, 128, 16383, 16384, 2097151, 2097152, MaxRemaining},
			Forward: append([]byte{1, 1, 3, 0, 130}, bytes.Repeat([]byte{'t'}, 130)...)},
		{Topic: bytes.Repeat([]byte("x"), 65535), Payload: make([]byte, 1<<21)},
	}
	for i, o := range outs {
		for _, v := range all {
			dst := []byte("before")
			out, off := AppendPublish(dst, v, o)
			if string(out[:6]) != "before" || len(out)-6 != o.Size(v) {
				t.Fatalf("%d in %v: %d bytes, Size %d", i, v, len(out)-6, o.Size(v))
			}
			head, headOff := AppendPublishHead(nil, v, o)
			if !bytes.Equal(append(slices.Clone(head), o.Payload...), out[6:]) || off != headOff {
				t.Fatalf("%d in %v: head and payload are not the packet", i, v)
			}
			p := decodePublish(t, v, out[6:])
			if !bytes.Equal(p.Topic, o.Topic) || !bytes.Equal(p.Payload, o.Payload) || p.QoS != o.QoS || p.Dup != o.Dup || p.Retain != o.Retain || p.PacketID != o.PacketID {
				t.Fatalf("%d in %v: decodes to something else", i, v)
			}
			if o.QoS == 0 {
				if off != 0 {
					t.Errorf("%d in %v: identifier at %d for QoS 0", i, v, off)
				}
				continue
			}
			PutPacketID(out[6:], off, 0x1234)
			if again := decodePublish(t, v, out[6:]); again.PacketID != 0x1234 || !bytes.Equal(again.Topic, o.Topic) || !bytes.Equal(again.Payload, o.Payload) {
				t.Errorf("%d in %v: PutPacketID wrote elsewhere", i, v)
			}
		}
	}
	p := decodePublish(t, V5, first(AppendPublish(nil, V5, outs[2])))
	if ids := slices.Collect(p.Props.SubscriptionIdentifiers()); !slices.Equal(ids, outs[2].SubscriptionIDs) {
		t.Errorf("subscription identifiers %v", ids)
	}
	if !p.Props.Set.Has(PropMessageExpiryInterval) || p.Props.MessageExpiry != 0 || p.Props.TopicAlias != 1 || len(p.Props.ContentType) != 130 {
		t.Errorf("properties %+v", p.Props)
	}
}

func first(b []byte, _ int) []byte { return b }

func TestPublishOutTooLong(t *testing.T) {
	for _, o := range []*PublishOut{
		{Topic: make([]byte, 65536)},
		{Topic: []byte("a"), Payload: make([]byte, MaxRemaining)},
	} {
		if o.Fits(V311) {
			t.Error("Fits says yes")
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a packet that MQTT cannot carry was written")
				}
			}()
			AppendPublishHead(nil, V311, o)
		}()
	}
	if o := (&PublishOut{Topic: []byte("a"), Payload: make([]byte, MaxRemaining-3)}); !o.Fits(V311) || o.Fits(V5) {
		t.Error("the largest packet of 3.1.1 fits there, and is one byte too long for 5.0")
	}
}

func TestValidPayloadFormat(t *testing.T) {
	for s, want := range map[string]bool{"": true, "text ü": true, "\x00": true, "\xff": false, "\xed\xa0\x80": false} {
		if ValidPayloadFormat([]byte(s)) != want {
			t.Errorf("%q: want %v", s, want)
		}
	}
}
