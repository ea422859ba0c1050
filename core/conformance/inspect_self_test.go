package conformance

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

// The checks that run behind every test must find what they are there for.
func TestInspectFindsViolations(t *testing.T) {
	t.Parallel()
	connack := frame(CONNACK, 0, []byte{0, 0}, properties(v5))
	publish := func(qos byte, id int, props ...[]byte) []byte {
		return publishPacket{topic: "a", payload: "x", qos: qos, id: id, props: join(props...)}.bytes(v5)
	}
	reason := prop(pReasonString, "because")
	for _, test := range []struct {
		name    string
		connect connectPacket
		stream  [][]byte
		want    string // in the violation or error of the last packet; empty: none
	}{
		{"nothing", connectPacket{v: v5}, [][]byte{connack, publish(1, 1), publish(2, 2), publish(0, 0)}, ""},
		{"PUBLISH first", connectPacket{v: v5}, [][]byte{publish(0, 0)}, "MQTT-3.2.0-1"},
		{"DISCONNECT first", connectPacket{v: v5}, [][]byte{disconnect5(0x81)}, "MQTT-3.14.0-1"},
		{"second CONNACK", connectPacket{v: v5}, [][]byte{connack, connack}, "MQTT-3.2.0-2"},
		{"after DISCONNECT", connectPacket{v: v5}, [][]byte{connack, disconnect5(0x81), frame(PINGRESP, 0)}, "MQTT-3.14.4-1"},
		{"session present, clean", connectPacket{v: v5, clean: true}, [][]byte{frame(CONNACK, 0, []byte{1, 0, 0})}, "MQTT-3.2.2-2"},
		{"session present, refused", connectPacket{v: v5}, [][]byte{frame(CONNACK, 0, []byte{1, 0x80, 0})}, "MQTT-3.2.2-6"},
		{"CONNACK flags", connectPacket{v: v5}, [][]byte{frame(CONNACK, 0, []byte{2, 0, 0})}, "MQTT-3.2.2-1"},
		{"CONNACK code", connectPacket{v: v5}, [][]byte{frame(CONNACK, 0, []byte{0, 0x93, 0})}, "0x93 is no code of CONNACK"},
		{"return code", connectPacket{v: v311}, [][]byte{frame(CONNACK, 0, []byte{0, 6})}, "0x06 is no code of CONNACK"},
		{"PUBACK code", connectPacket{v: v5}, [][]byte{connack, ack5(PUBACK, 1, 0x92)}, "0x92 is no code of PUBACK"},
		{"SUBACK code", connectPacket{v: v5}, [][]byte{connack, frame(SUBACK, 0, u16(1), []byte{0, 0, 3})}, "0x03 is no code of SUBACK"},
		{"reserved flags", connectPacket{v: v5}, [][]byte{connack, frame(PINGRESP, 1)}, "MQTT-2.1.3-1"},
		{"QoS 3", connectPacket{v: v5}, [][]byte{connack, frame(PUBLISH, 6, str("a"), u16(1), []byte{0})}, "MQTT-3.3.1-4"},
		{"DUP at QoS 0", connectPacket{v: v5}, [][]byte{connack, frame(PUBLISH, 8, str("a"), []byte{0})}, "MQTT-3.3.1-2"},
		{"identifier 0", connectPacket{v: v5}, [][]byte{connack, publish(1, 0)}, "MQTT-2.2.1-4"},
		{"identifier in use", connectPacket{v: v5}, [][]byte{connack, publish(1, 1), publish(2, 1)}, "MQTT-2.2.1-4"},
		{"window", connectPacket{v: v5, props: prop(pReceiveMaximum, 1)}, [][]byte{connack, publish(1, 1), publish(1, 2)}, "MQTT-3.3.4-9"},
		{"size", connectPacket{v: v5, props: prop(pMaximumPacketSize, 5)}, [][]byte{connack, publish(0, 0)}, "MQTT-3.1.2-24"},
		{"alias not asked for", connectPacket{v: v5}, [][]byte{connack, publish(0, 0, prop(pTopicAlias, 1))}, "MQTT-3.1.2-27"},
		{"alias too large", connectPacket{v: v5, props: prop(pTopicAliasMaximum, 1)}, [][]byte{connack, publish(0, 0, prop(pTopicAlias, 2))}, "MQTT-3.1.2-26"},
		{"alias 0", connectPacket{v: v5, props: prop(pTopicAliasMaximum, 1)}, [][]byte{connack, publish(0, 0, prop(pTopicAlias, 0))}, "MQTT-3.3.2-8"},
		{"alias unknown", connectPacket{v: v5, props: prop(pTopicAliasMaximum, 1)}, [][]byte{connack, frame(PUBLISH, 0, str(""), properties(v5, prop(pTopicAlias, 1)))}, "MQTT-4.7.3-1"},
		{"wildcard", connectPacket{v: v5}, [][]byte{connack, frame(PUBLISH, 0, str("a/#"), []byte{0})}, "MQTT-3.3.2-2"},
		{"problem information", connectPacket{v: v5, props: prop(pRequestProblemInfo, 0)}, [][]byte{connack, ack5(PUBACK, 1, 0x80, reason)}, "MQTT-3.1.2-29"},
		{"problem information in DISCONNECT", connectPacket{v: v5, props: prop(pRequestProblemInfo, 0)}, [][]byte{connack, disconnect5(0x80, reason)}, ""},
		{"response information", connectPacket{v: v5}, [][]byte{frame(CONNACK, 0, []byte{0, 0}, properties(v5, prop(pResponseInfo, "x")))}, "MQTT-3.1.2-28"},
		{"session expiry in DISCONNECT", connectPacket{v: v5}, [][]byte{connack, disconnect5(0x80, prop(pSessionExpiry, 1))}, "MQTT-3.14.2-2"},
		{"foreign property", connectPacket{v: v5}, [][]byte{connack, ack5(PUBACK, 1, 0, prop(pTopicAlias, 1))}, "does not belong here"},
		{"property twice", connectPacket{v: v5}, [][]byte{connack, ack5(PUBACK, 1, 0, reason, reason)}, "is there twice"},
		{"method not asked for", connectPacket{v: v5}, [][]byte{frame(CONNACK, 0, []byte{0, 0}, properties(v5, prop(pAuthMethod, "x")))}, "MQTT-4.12.0-6"},
		{"AUTH not asked for", connectPacket{v: v5}, [][]byte{auth(0x18)}, "MQTT-4.12.0-6"},
		{"method missing", connectPacket{v: v5, props: prop(pAuthMethod, "x")}, [][]byte{connack}, "MQTT-4.12.0-5"},
		{"bad UTF-8", connectPacket{v: v5}, [][]byte{connack, frame(PUBLISH, 0, str("\xFF"), []byte{0})}, "MQTT-1.5.4-1"},
		{"U+0000", connectPacket{v: v5}, [][]byte{connack, frame(PUBLISH, 0, str("\x00"), []byte{0})}, "MQTT-1.5.4-2"},
		{"long variable byte integer", connectPacket{v: v5}, [][]byte{connack, frame(PUBLISH, 0, str("a"), []byte{0x80, 0})}, "MQTT-1.5.5-1"},
		{"long remaining length", connectPacket{v: v5}, [][]byte{connack, {PINGRESP << 4, 0x80, 0}}, "MQTT-1.5.5-1"},
		{"too short", connectPacket{v: v5}, [][]byte{connack, frame(PUBACK, 0, []byte{1})}, "too early"},
		{"too long", connectPacket{v: v311}, [][]byte{frame(CONNACK, 0, []byte{0, 0, 0})}, "after its end"},
		{"packet of a client", connectPacket{v: v5}, [][]byte{connack, pingreq}, "server sent PINGREQ"},
		{"DISCONNECT in 3.1.1", connectPacket{v: v311}, [][]byte{frame(CONNACK, 0, []byte{0, 0}), disconnect}, "server sent DISCONNECT"},
	} {
		c := &client{v: test.connect.v, connect: test.connect, inflight: map[int]byte{}, aliases: map[int]string{}}
		var found []string
		for _, b := range test.stream {
			found = nil
			first, body, err := readFrame(bufio.NewReader(bytes.NewReader(b)))
			var p packet
			if err == nil {
				p, err = decode(c.v, first, body)
			}
			if err != nil {
				found = append(found, err.Error())
				continue
			}
			found = c.inspect(&p)
		}
		got := strings.Join(found, "; ")
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: found %q, want %q", test.name, got, test.want)
		}
	}
}

// FuzzDecode: no answer of a broker may bring the tests themselves down.
func FuzzDecode(f *testing.F) {
	for _, v := range []version{v311, v5} {
		f.Add(byte(v), publishPacket{topic: "a", payload: "x", qos: 1, id: 1, props: propertiesOf(PUBLISH)}.bytes(v))
		f.Add(byte(v), frame(CONNACK, 0, []byte{0, 0}, properties(v, propertiesOf(CONNACK))))
		f.Add(byte(v), frame(SUBACK, 0, u16(1), properties(v, user("k", "v")), []byte{0, 1, 2, 0x80}))
		f.Add(byte(v), disconnect5(0x81, prop(pReasonString, "because")))
	}
	f.Fuzz(func(t *testing.T, level byte, b []byte) {
		first, body, err := readFrame(bufio.NewReader(bytes.NewReader(b)))
		if err != nil || len(body) > len(b) {
			return
		}
		c := &client{v: version(level), inflight: map[int]byte{}, aliases: map[int]string{}}
		p, err := decode(c.v, first, body)
		if err != nil {
			return
		}
		if p.size > len(b) {
			t.Errorf("%v has %d bytes, of %d", p, p.size, len(b))
		}
		c.inspect(&p)
	})
}
