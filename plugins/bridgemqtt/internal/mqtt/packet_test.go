package mqtt

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	packets3 "github.com/eclipse/paho.mqtt.golang/packets"
)

var full = Message{
	Topic: "a/b", Payload: []byte("hello"), QoS: 2, Retain: true, MessageExpiry: 60, PayloadFormat: 1, ContentType: "text/plain", ResponseTopic: "c",
	CorrelationData: []byte{0, 1}, UserProperties: []Pair{{"k", "v"}, {"k", "w"}, {"", ""}},
}

// What is written is read by paho's codec as it was meant.
func TestPublishByPaho(t *testing.T) {
	for _, payload := range []int{0, 1, 100, 200, 20_000, 3 << 20} {
		m := full
		m.Payload = bytes.Repeat([]byte("x"), payload)
		cp, err := packets.ReadPacket(bytes.NewReader(appendPublish(nil, V5, &m, 7, true)))
		if err != nil {
			t.Fatal(err)
		}
		p := cp.Content.(*packets.Publish)
		x := p.Properties
		if p.Topic != m.Topic || !bytes.Equal(p.Payload, m.Payload) || p.QoS != 2 || !p.Retain || !p.Duplicate || p.PacketID != 7 || *x.MessageExpiry != 60 ||
			*x.PayloadFormat != 1 || x.ContentType != m.ContentType || x.ResponseTopic != "c" || !bytes.Equal(x.CorrelationData, m.CorrelationData) || len(x.User) != 3 {
			t.Errorf("%d: %+v %+v", payload, p, x)
		}
		cp3, err := packets3.ReadPacket(bytes.NewReader(appendPublish(nil, V311, &m, 7, true)))
		if err != nil {
			t.Fatal(err)
		}
		p3 := cp3.(*packets3.PublishPacket)
		if p3.TopicName != m.Topic || !bytes.Equal(p3.Payload, m.Payload) || p3.Qos != 2 || !p3.Retain || !p3.Dup || p3.MessageID != 7 {
			t.Errorf("%d: %+v", payload, p3)
		}
	}
}

func TestConnectByPaho(t *testing.T) {
	c := connect{
		version: V5, clientID: "id", username: "u", password: []byte("p"), hasPassword: true, cleanStart: true, keepAlive: 30, sessionExpiry: 100, receiveMaximum: 5,
		maximumPacket: 1000, will: &Message{Topic: "w", Payload: []byte("0"), QoS: 1, Retain: true},
	}
	cp, err := packets.ReadPacket(bytes.NewReader(appendConnect(nil, &c)))
	if err != nil {
		t.Fatal(err)
	}
	p := cp.Content.(*packets.Connect)
	if p.ClientID != "id" || p.Username != "u" || string(p.Password) != "p" || !p.CleanStart || p.KeepAlive != 30 || *p.Properties.SessionExpiryInterval != 100 ||
		*p.Properties.ReceiveMaximum != 5 || *p.Properties.MaximumPacketSize != 1000 || p.WillTopic != "w" || p.WillQOS != 1 || !p.WillRetain || string(p.WillMessage) != "0" {
		t.Errorf("%+v", p)
	}
	c.version = V311
	cp3, err := packets3.ReadPacket(bytes.NewReader(appendConnect(nil, &c)))
	if err != nil {
		t.Fatal(err)
	}
	p3 := cp3.(*packets3.ConnectPacket)
	if p3.ClientIdentifier != "id" || p3.Username != "u" || !p3.CleanSession || p3.WillTopic != "w" || p3.ProtocolVersion != 4 || p3.Validate() != 0 {
		t.Errorf("%+v", p3)
	}
	c.bridge = true
	if b := appendConnect(nil, &c); b[8] != 0x84 {
		t.Errorf("protocol level 0x%02X", b[8])
	}
}

func TestSubscribeByPaho(t *testing.T) {
	subs := []Subscription{{Filter: "a/#", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}, {Filter: "b"}}
	cp, err := packets.ReadPacket(bytes.NewReader(appendSubscribe(nil, V5, 9, subs)))
	if err != nil {
		t.Fatal(err)
	}
	p := cp.Content.(*packets.Subscribe)
	if want := (packets.SubOptions{Topic: "a/#", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}); p.PacketID != 9 || len(p.Subscriptions) != 2 || p.Subscriptions[0] != want {
		t.Errorf("%+v", p)
	}
	cp3, err := packets3.ReadPacket(bytes.NewReader(appendSubscribe(nil, V311, 9, subs)))
	if p3 := cp3.(*packets3.SubscribePacket); err != nil || p3.MessageID != 9 || !reflect.DeepEqual(p3.Topics, []string{"a/#", "b"}) || !bytes.Equal(p3.Qoss, []byte{1, 0}) {
		t.Errorf("%+v, %v", cp3, err)
	}
	cp, err = packets.ReadPacket(bytes.NewReader(appendUnsubscribe(nil, V5, 9, []string{"a", "b"})))
	if p := cp.Content.(*packets.Unsubscribe); err != nil || !reflect.DeepEqual(p.Topics, []string{"a", "b"}) {
		t.Errorf("%+v, %v", cp, err)
	}
	cp, err = packets.ReadPacket(bytes.NewReader(appendDisconnect(nil, V5, 4)))
	if p := cp.Content.(*packets.Disconnect); err != nil || p.ReasonCode != 4 {
		t.Errorf("%+v, %v", cp, err)
	}
}

// What paho's codec writes is read as it was meant.
func TestPahoWrites(t *testing.T) {
	read := func(p io.WriterTo) (header, []byte) {
		t.Helper()
		var b bytes.Buffer
		if _, err := p.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(&b)
		h, err := readHeader(r)
		if err != nil || r.Buffered() != h.remaining {
			t.Fatalf("%+v, %v, %d left", h, err, r.Buffered())
		}
		rest, _ := io.ReadAll(r)
		return h, rest
	}
	receive, size, yes, no, alive, expiry := uint16(10), uint32(1000), byte(1), byte(0), uint16(20), uint32(5)
	cp := packets.NewControlPacket(packets.CONNACK)
	ca := cp.Content.(*packets.Connack)
	ca.SessionPresent = true
	ca.Properties = &packets.Properties{
		ReceiveMaximum: &receive, MaximumPacketSize: &size, MaximumQOS: &yes, RetainAvailable: &no, ServerKeepAlive: &alive, AssignedClientID: "x",
		ReasonString: "because", SessionExpiryInterval: &expiry, User: []packets.User{{Key: "a", Value: "b"}}, ServerReference: "y",
	}
	_, b := read(cp)
	a, err := parseConnack(b, V5)
	if want := (connack{true, 0, "because", "x", 10, 1000, 1, false, 20, true, 5, true}); err != nil || a != want {
		t.Errorf("%+v, %v", a, err)
	}
	cp = packets.NewControlPacket(packets.PUBLISH)
	pp := cp.Content.(*packets.Publish)
	format, id := byte(1), 5
	*pp = packets.Publish{Topic: "a/b", Payload: []byte("hello"), QoS: 2, Retain: true, Duplicate: true, PacketID: 77, Properties: &packets.Properties{
		MessageExpiry: &size, PayloadFormat: &format, ContentType: "t", ResponseTopic: "r", CorrelationData: []byte("c"), User: []packets.User{{Key: "k", Value: "v"}}, SubscriptionIdentifier: &id,
	}}
	h, b := read(cp)
	p, err := parsePublish(b, h.flags, V5)
	if want := (publish{Message{"a/b", []byte("hello"), 2, true, 1000, 1, "t", "r", []byte("c"), []Pair{{"k", "v"}}}, true, 77}); err != nil || !reflect.DeepEqual(p, want) {
		t.Errorf("%+v, %v", p, err)
	}
	cp = packets.NewControlPacket(packets.PUBACK)
	pa := cp.Content.(*packets.Puback)
	pa.PacketID, pa.ReasonCode, pa.Properties = 3, 0x97, &packets.Properties{ReasonString: "full"}
	_, b = read(cp)
	if a, err := parseAck(b, V5); err != nil || a != (ack{3, 0x97, "full"}) {
		t.Errorf("%+v, %v", a, err)
	}
	cp = packets.NewControlPacket(packets.SUBACK)
	sa := cp.Content.(*packets.Suback)
	sa.PacketID, sa.Reasons, sa.Properties = 3, []byte{1, 0x87}, &packets.Properties{ReasonString: "x"}
	_, b = read(cp)
	if id, codes, err := parseSuback(b, V5); err != nil || id != 3 || !bytes.Equal(codes, []byte{1, 0x87}) {
		t.Errorf("%d %v, %v", id, codes, err)
	}
	cp = packets.NewControlPacket(packets.DISCONNECT)
	pd := cp.Content.(*packets.Disconnect)
	pd.ReasonCode, pd.Properties = 0x8E, &packets.Properties{ReasonString: "other"}
	_, b = read(cp)
	if code, reason, err := parseDisconnect(b); err != nil || code != 0x8E || reason != "other" {
		t.Errorf("%d %s, %v", code, reason, err)
	}
}

func TestMalformed(t *testing.T) {
	for name, c := range map[string]struct {
		b  string
		fn func(b []byte) error
	}{
		"connack, short":           {"\x00", func(b []byte) error { _, err := parseConnack(b, V5); return err }},
		"connack, receive maximum": {"\x00\x00\x03\x21\x00\x00", func(b []byte) error { _, err := parseConnack(b, V5); return err }},
		"connack, property":        {"\x00\x00\x01\x7f", func(b []byte) error { _, err := parseConnack(b, V5); return err }},
		"publish, topic":           {"\x00\x05a", func(b []byte) error { _, err := parsePublish(b, 0, V311); return err }},
		"publish, empty topic":     {"\x00\x00", func(b []byte) error { _, err := parsePublish(b, 0, V311); return err }},
		"publish, UTF-8":           {"\x00\x01\xff", func(b []byte) error { _, err := parsePublish(b, 0, V311); return err }},
		"publish, id 0":            {"\x00\x01a\x00\x00", func(b []byte) error { _, err := parsePublish(b, 2, V311); return err }},
		"publish, QoS 3":           {"\x00\x01a\x00\x01", func(b []byte) error { _, err := parsePublish(b, 6, V311); return err }},
		"publish, varint":          {"\x00\x01a\xff\xff\xff\xff\x01", func(b []byte) error { _, err := parsePublish(b, 0, V5); return err }},
		"ack":                      {"\x00", func(b []byte) error { _, err := parseAck(b, V5); return err }},
		"header":                   {"\x30\xff\xff\xff\xff\x01", func(b []byte) error { _, err := readHeader(bufio.NewReader(bytes.NewReader(b))); return err }},
	} {
		if err := c.fn([]byte(c.b)); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseServer(t *testing.T) {
	for in, want := range map[string]string{
		"mqtt://h": "mqtt://h:1883", "tcp://h:1": "mqtt://h:1", "ssl://[::1]": "mqtts://[::1]:8883", "ws://h/mqtt": "ws://h:80/mqtt", "wss://h": "wss://h:443",
		"unix:///run/x": "unix:///run/x",
	} {
		if s, err := ParseServer(in); err != nil || s.String() != want {
			t.Errorf("%s: %v, %v", in, s, err)
		}
	}
	for in, want := range map[string]string{
		"h:1883": "first path segment", "http://h": "a server is written as", "mqtt://": "no host", "mqtt://u:secret@h": "keys of their own", "mqtt://h/x": "only WebSocket",
		"unix://x": "unix:///path", "mqtt://h:x": "invalid port",
	} {
		if _, err := ParseServer(in); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

func FuzzPublish(f *testing.F) {
	f.Add(appendPublish(nil, V5, &full, 7, true)[2:], byte(0xD), true)
	f.Add(appendPublish(nil, V311, &full, 7, false)[2:], byte(0x5), false)
	f.Fuzz(func(t *testing.T, b []byte, flags byte, five bool) {
		v := V311
		if five {
			v = V5
		}
		p, err := parsePublish(b, flags&15, v)
		if err != nil {
			return
		}
		// What is understood is written so that it is understood as the same.
		out := appendPublish(nil, v, &p.Message, p.id, p.dup)
		r := bufio.NewReader(bytes.NewReader(out))
		h, err := readHeader(r)
		if err != nil || h.remaining != r.Buffered() && h.remaining < 4000 {
			t.Fatalf("%+v, %v", h, err)
		}
		rest, _ := io.ReadAll(r)
		q, err := parsePublish(rest, h.flags, v)
		if err != nil || p.Topic != q.Topic || !bytes.Equal(p.Payload, q.Payload) || p.QoS != q.QoS || p.id != q.id || len(p.UserProperties) != len(q.UserProperties) ||
			p.ContentType != q.ContentType || p.MessageExpiry != q.MessageExpiry {
			t.Errorf("%+v is not %+v, %v", q, p, err)
		}
	})
}

func FuzzOthers(f *testing.F) {
	f.Add([]byte("\x00\x00\x03\x21\x00\x0a"))
	f.Add([]byte("\x00\x03\x97\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []Version{V311, V5} {
			if c, err := parseConnack(b, v); err == nil && c.receiveMaximum == 0 {
				t.Error("Receive Maximum 0")
			}
			_, _ = parseAck(b, v)
			_, _, _ = parseSuback(b, v)
		}
		_, _, _ = parseDisconnect(b)
		_, _ = readHeader(bufio.NewReader(bytes.NewReader(b)))
	})
}

func BenchmarkAppendPublish(b *testing.B) {
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = appendPublish(out[:0], V5, &full, 7, false)
	}
}

func TestAppendPublishDoesNotAllocate(t *testing.T) {
	out := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { out = appendPublish(out[:0], V5, &full, 7, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
