package packet

import (
	"bytes"
	"testing"
)

// hotFrames are PUBLISH packets as they come in numbers: 128 bytes of payload.
func hotFrames(tb testing.TB) []struct {
	name  string
	v     Version
	frame []byte
} {
	payload := bytes.Repeat([]byte{'p'}, 128)
	topic := []byte("sensors/building-7/floor-3/temperature")
	props := wire(tb, "0101 030010'application/json' 08000a'reply/to/1' 090004'corr' 260003'key'0005'value'")
	frame := func(v Version, o PublishOut) []byte {
		o.Topic, o.Payload = topic, payload
		return first(AppendPublish(nil, v, &o))
	}
	return []struct {
		name  string
		v     Version
		frame []byte
	}{
		{"v311qos0", V311, frame(V311, PublishOut{})},
		{"v311qos1", V311, frame(V311, PublishOut{QoS: 1, PacketID: 7})},
		{"v5qos1", V5, frame(V5, PublishOut{QoS: 1, PacketID: 7})},
		{"v5props", V5, frame(V5, PublishOut{QoS: 1, PacketID: 7, Forward: props, HasExpiry: true, MessageExpiry: 60, SubscriptionIDs: []uint32{5}})},
	}
}

func hotOut(tb testing.TB) *PublishOut {
	return &PublishOut{
		Topic: []byte("sensors/building-7/floor-3/temperature"), Payload: bytes.Repeat([]byte{'p'}, 128), QoS: 1, PacketID: 7,
		Forward: wire(tb, "0101 030004'json' 260003'key'0005'value'"), HasExpiry: true, MessageExpiry: 60, SubscriptionIDs: []uint32{5, 300},
	}
}

// The hot path allocates nothing, with and without properties.
func TestNoAllocations(t *testing.T) {
	check := func(name string, f func()) {
		t.Helper()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	dst := make([]byte, 0, 4096)
	scratch := make([]byte, 0, 1024)
	for _, c := range hotFrames(t) {
		var p Publish
		sum := 0
		check("decode "+c.name, func() {
			h, n, err := ReadHeader(c.frame)
			if err == nil {
				err = DecodePublish(&p, c.v, h, c.frame[n:], true)
			}
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range p.Props.UserProperties() {
				sum += len(k) + len(v)
			}
			for id := range p.Props.SubscriptionIdentifiers() {
				sum += int(id)
			}
			sum += len(p.Props.Forward(scratch))
		})
		if c.name == "v5props" && sum == 0 {
			t.Error("the properties were not walked")
		}
	}
	out := hotOut(t)
	for _, v := range all {
		check("encode "+v.String(), func() {
			frame, off := AppendPublish(dst, v, out)
			PutPacketID(frame, off, 9)
			AppendPublishHead(dst, v, out)
		})
	}
	props := with(func(p *Properties) { p.SetReasonString("reason"); p.AddUser("k", "v") })
	for _, v := range all {
		for typ := TypePuback; typ <= TypePubcomp; typ++ {
			var a Ack
			code := ReasonCode(Success)
			frame := AppendAck(nil, typ, v, 5, code, &props)
			check("acknowledge "+typ.String(), func() {
				AppendAck(dst, typ, v, 5, code, nil)
				AppendAck(dst, typ, v, 5, code, &props)
				h, n, err := ReadHeader(frame)
				if err == nil {
					err = DecodeAck(&a, h.Type, v, frame[n:])
				}
				if err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	text := []byte("größer/als/acht/Zeichen")
	check("text", func() {
		if ValidUTF8(text) != nil || !ValidPayloadFormat(text) {
			t.Fatal("refused")
		}
	})
}

func BenchmarkDecodePublish(b *testing.B) {
	for _, c := range hotFrames(b) {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var p Publish
			for b.Loop() {
				h, n, _ := ReadHeader(c.frame)
				if err := DecodePublish(&p, c.v, h, c.frame[n:], true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	plain := &PublishOut{Topic: hotOut(b).Topic, Payload: hotOut(b).Payload, QoS: 1, PacketID: 7}
	for _, c := range []struct {
		name string
		v    Version
		out  *PublishOut
	}{{"v311", V311, plain}, {"v5", V5, plain}, {"v5props", V5, hotOut(b)}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 1024)
			for b.Loop() {
				AppendPublish(dst, c.v, c.out)
			}
		})
	}
}

func BenchmarkForward(b *testing.B) {
	frame := hotFrames(b)[3].frame
	p := decodePublish(b, V5, frame)
	scratch := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		p.Props.Forward(scratch)
	}
}

func BenchmarkAck(b *testing.B) {
	frame := AppendAck(nil, TypePuback, V5, 5, Success, nil)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		var a Ack
		for b.Loop() {
			h, n, _ := ReadHeader(frame)
			if err := DecodeAck(&a, h.Type, V5, frame[n:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]byte, 0, 16)
		for b.Loop() {
			AppendAck(dst, TypePuback, V5, 5, Success, nil)
		}
	})
}

func BenchmarkTopicName(b *testing.B) {
	for _, s := range []string{"a/b", "sensors/building-7/floor-3/temperature", "gebäude/stockwerk/größe/temperatur"} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			t := []byte(s)
			for b.Loop() {
				checkTopicName(t)
			}
		})
	}
}

func BenchmarkConnectDecode(b *testing.B) {
	for _, c := range golden {
		if c.name == "CONNECT 5 full" {
			frame := wire(b, c.bytes)
			h, n, _ := ReadHeader(frame)
			b.ReportAllocs()
			for b.Loop() {
				var p Connect
				if err := p.Decode(h, frame[n:]); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
