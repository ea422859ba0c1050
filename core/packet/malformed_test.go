package packet

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// refused has packets that break one rule each. clause may be empty.
var refused = []struct {
	name     string
	versions []Version
	bytes    string
	code     ReasonCode
	clause   string
}{
	{"reserved type", all, "00 00", MalformedPacket, ""},
	{"flags of CONNECT", all, "11 00", MalformedPacket, "MQTT-2.1.3-1"},
	{"flags of PUBACK", all, "42 02 0001", MalformedPacket, "MQTT-2.1.3-1"},
	{"flags of PUBREL", all, "60 02 0001", MalformedPacket, "MQTT-2.1.3-1"},
	{"flags of SUBSCRIBE", all, "80 06 0001 0001'a' 00", MalformedPacket, "MQTT-2.1.3-1"},
	{"flags of UNSUBSCRIBE", all, "a3 05 0001 0001'a'", MalformedPacket, "MQTT-2.1.3-1"},
	{"flags of PINGREQ", all, "c1 00", MalformedPacket, "MQTT-2.1.3-1"},
	{"flags of DISCONNECT", all, "e8 00", MalformedPacket, "MQTT-2.1.3-1"},
	{"flags of AUTH", v5, "f2 00", MalformedPacket, "MQTT-2.1.3-1"},
	{"DUP on PUBREL", []Version{V311, V5}, "6a 02 0001", MalformedPacket, "MQTT-2.1.3-1"},
	{"QoS 3", all, "36 05 0001'a' 0001", MalformedPacket, "MQTT-3.3.1-4"},
	{"DUP on QoS 0", all, "38 03 0001'a'", MalformedPacket, "MQTT-3.3.1-2"},
	{"long remaining length", all, "30 8080808001", MalformedPacket, "MQTT-1.5.5-1"},
	{"remaining length with padding", all, "30 8300 0001'a'", MalformedPacket, "MQTT-1.5.5-1"},
	{"remaining length with long padding", all, "c0 80808000", MalformedPacket, "MQTT-1.5.5-1"},
	{"PINGREQ with a body", all, "c0 01 00", MalformedPacket, ""},

	{"protocol name", all, "10 0c 0004'MQTX' 04 02 0000 0000", UnsupportedProtocolVersion, "MQTT-3.1.2-1"},
	{"protocol name in lower case", all, "10 0c 0004'mqtt' 04 02 0000 0000", UnsupportedProtocolVersion, "MQTT-3.1.2-1"},
	{"level 6", all, "10 0c 0004'MQTT' 06 02 0000 0000", UnsupportedProtocolVersion, "MQTT-3.1.2-2"},
	{"level 3 of MQTT", all, "10 0c 0004'MQTT' 03 02 0000 0000", UnsupportedProtocolVersion, "MQTT-3.1.2-2"},
	{"level 4 of MQIsdp", all, "10 0e 0006'MQIsdp' 04 02 0000 0000", UnsupportedProtocolVersion, "MQTT-3.1.2-2"},
	{"CONNECT without a level", all, "10 06 0004'MQTT'", MalformedPacket, ""},
	{"reserved connect flag", all, "10 0c 0004'MQTT' 04 03 0000 0000", MalformedPacket, "MQTT-3.1.2-3"},
	{"reserved connect flag in 5", all, "10 0d 0004'MQTT' 05 03 0000 00 0000", MalformedPacket, "MQTT-3.1.2-3"},
	{"Will QoS 3", all, "10 12 0004'MQTT' 04 1e 0000 0000 0001'w' 0001'm'", MalformedPacket, "MQTT-3.1.2-12"},
	{"Will QoS without Will", all, "10 0c 0004'MQTT' 04 0a 0000 0000", MalformedPacket, "MQTT-3.1.2-11"},
	{"Will Retain without Will", all, "10 0c 0004'MQTT' 04 22 0000 0000", MalformedPacket, "MQTT-3.1.2-13"},
	{"password without user name", all, "10 0f 0004'MQTT' 04 42 0000 0000 0001'p'", MalformedPacket, "MQTT-3.1.2-22"},
	{"user name missing", all, "10 0d 0004'MQTT' 04 82 0000 0001'c'", MalformedPacket, ""},
	{"empty client id, session kept", all, "10 0c 0004'MQTT' 04 00 0000 0000", ClientIdentifierNotValid, "MQTT-3.1.3-8"},
	{"empty client id in 3.1", all, "10 0e 0006'MQIsdp' 03 02 0000 0000", ClientIdentifierNotValid, "MQTT-3.1.3-8"},
	{"client id with U+0000", all, "10 0d 0004'MQTT' 04 02 0000 0001 00", MalformedPacket, "MQTT-1.5.4-2"},
	{"client id with a surrogate", all, "10 0f 0004'MQTT' 04 02 0000 0003 eda080", MalformedPacket, "MQTT-3.1.3-4"},
	{"user name not UTF-8", all, "10 0f 0004'MQTT' 04 82 0000 0000 0001 ff", MalformedPacket, "MQTT-3.1.3-12"},
	{"will topic not UTF-8", all, "10 12 0004'MQTT' 04 06 0000 0000 0001 c0 0001'm'", MalformedPacket, "MQTT-3.1.3-11"},
	{"will topic empty", all, "10 11 0004'MQTT' 04 06 0000 0000 0000 0001'm'", TopicNameInvalid, "MQTT-4.7.3-1"},
	{"will topic with a wildcard", all, "10 12 0004'MQTT' 04 06 0000 0000 0001'#' 0001'm'", TopicNameInvalid, "MQTT-4.7.1-1"},
	{"bytes after CONNECT", all, "10 0d 0004'MQTT' 04 02 0000 0000 00", MalformedPacket, ""},
	{"Receive Maximum 0", all, "10 10 0004'MQTT' 05 02 0000 03 210000 0000", ProtocolError, ""},
	{"Maximum Packet Size 0", all, "10 12 0004'MQTT' 05 02 0000 05 2700000000 0000", ProtocolError, ""},
	{"Request Problem Information 2", all, "10 0f 0004'MQTT' 05 02 0000 02 1702 0000", ProtocolError, ""},
	{"Request Response Information 2", all, "10 0f 0004'MQTT' 05 02 0000 02 1902 0000", ProtocolError, ""},
	{"Authentication Data alone", all, "10 11 0004'MQTT' 05 02 0000 04 16000101 0000", ProtocolError, ""},
	{"Session Expiry Interval twice", all, "10 17 0004'MQTT' 05 02 0000 0a 1100000001 1100000001 0000", ProtocolError, ""},
	{"unknown property", all, "10 0f 0004'MQTT' 05 02 0000 02 0501 0000", MalformedPacket, ""},
	{"property beyond the table", all, "10 0f 0004'MQTT' 05 02 0000 02 7f01 0000", MalformedPacket, ""},
	{"property identifier with padding", all, "10 10 0004'MQTT' 05 02 0000 03 970000 0000", MalformedPacket, ""},
	{"Server Keep Alive in CONNECT", all, "10 10 0004'MQTT' 05 02 0000 03 130001 0000", MalformedPacket, ""},
	{"Will Delay Interval outside of the Will", all, "10 12 0004'MQTT' 05 02 0000 05 1800000001 0000", MalformedPacket, ""},
	{"Session Expiry Interval in the Will", all, "10 19 0004'MQTT' 05 06 0000 00 0000 05 1100000001 0001'w' 0001'm'", MalformedPacket, ""},
	{"Response Topic of the Will with a wildcard", all, "10 18 0004'MQTT' 05 06 0000 00 0000 04 080001'+' 0001'w' 0001'm'", ProtocolError, "MQTT-3.3.2-14"},
	{"Response Topic of the Will empty", all, "10 17 0004'MQTT' 05 06 0000 00 0000 03 080000 0001'w' 0001'm'", ProtocolError, "MQTT-4.7.3-1"},
	{"Will properties twice", all, "10 18 0004'MQTT' 05 06 0000 00 0000 04 0101 0100 0001'w' 0001'm'", ProtocolError, ""},
	{"property length too large", all, "10 0d 0004'MQTT' 05 02 0000 05 0000", MalformedPacket, ""},
	{"property cut by its length", all, "10 0f 0004'MQTT' 05 02 0000 02 1100 0000", MalformedPacket, ""},
	{"property length of five bytes", all, "10 11 0004'MQTT' 05 02 0000 8080808000 0000", MalformedPacket, "MQTT-1.5.5-1"},
	{"property length with padding", all, "10 0e 0004'MQTT' 05 02 0000 8000 0000", MalformedPacket, "MQTT-1.5.5-1"},
	{"User Property name with U+0000", all, "10 13 0004'MQTT' 05 02 0000 06 26000100 0000 0000", MalformedPacket, "MQTT-1.5.4-2"},
	{"User Property value not UTF-8", all, "10 13 0004'MQTT' 05 02 0000 06 260000 000180 0000", MalformedPacket, "MQTT-1.5.4-1"},

	{"topic with U+0000", all, "30 03 0001 00", MalformedPacket, "MQTT-1.5.4-2"},
	{"topic not UTF-8", all, "30 04 0002 c3 28", MalformedPacket, "MQTT-3.3.2-1"},
	{"topic over-long NUL", all, "30 04 0002 c080", MalformedPacket, "MQTT-3.3.2-1"},
	{"topic over-long slash", all, "30 05 0003 e080af", MalformedPacket, "MQTT-3.3.2-1"},
	{"topic with a surrogate", all, "30 0c 000a'abcdefg' edbfbf", MalformedPacket, "MQTT-3.3.2-1"},
	{"topic beyond U+10FFFF", all, "30 06 0004 f4908080", MalformedPacket, "MQTT-3.3.2-1"},
	{"topic with +", all, "30 05 0003'a/+'", TopicNameInvalid, "MQTT-3.3.2-2"},
	{"long topic with #", all, "30 12 0010'abcdefgh/ijkl/#x'", TopicNameInvalid, "MQTT-3.3.2-2"},
	{"no topic", v3, "30 02 0000", ProtocolError, "MQTT-4.7.3-1"},
	{"no topic and no alias", v5, "30 03 0000 00", ProtocolError, "MQTT-4.7.3-1"},
	{"topic longer than PUBLISH", all, "30 03 0002'a'", MalformedPacket, ""},
	{"PUBLISH without identifier", all, "32 04 0001'a' 00", MalformedPacket, ""},
	{"identifier 0", v3, "32 05 0001'a' 0000", ProtocolError, "MQTT-2.2.1-3"},
	{"identifier 0", v5, "34 06 0001'a' 0000 00", ProtocolError, "MQTT-2.2.1-3"},
	{"PUBLISH without property length", v5, "30 03 0001'a'", MalformedPacket, ""},
	{"PUBLISH property length too large", v5, "30 04 0001'a' 01", MalformedPacket, ""},
	{"PUBLISH property length with padding", v5, "30 05 0001'a' 8000", MalformedPacket, "MQTT-1.5.5-1"},
	{"alias 0", v5, "30 07 0001'a' 03 230000", TopicAliasInvalid, "MQTT-3.3.2-8"},
	{"alias twice", v5, "30 0a 0001'a' 06 230001 230001", ProtocolError, ""},
	{"Payload Format Indicator 2", v5, "30 06 0001'a' 02 0102", ProtocolError, ""},
	{"Message Expiry Interval twice", v5, "30 0e 0001'a' 0a 0200000001 0200000001", ProtocolError, ""},
	{"Content Type twice", v5, "30 0a 0001'a' 06 030000 030000", ProtocolError, ""},
	{"Content Type not UTF-8", v5, "30 08 0001'a' 04 030001ff", MalformedPacket, "MQTT-1.5.4-1"},
	{"Response Topic twice", v5, "30 0c 0001'a' 08 080001'r' 080001'r'", ProtocolError, ""},
	{"Response Topic with a wildcard", v5, "30 08 0001'a' 04 080001'+'", ProtocolError, "MQTT-3.3.2-14"},
	{"Response Topic empty", v5, "30 07 0001'a' 03 080000", ProtocolError, "MQTT-4.7.3-1"},
	{"Correlation Data twice", v5, "30 0a 0001'a' 06 090000 090000", ProtocolError, ""},
	{"Correlation Data too long", v5, "30 08 0001'a' 04 09000201", MalformedPacket, ""},
	{"Subscription Identifier 0", v5, "30 06 0001'a' 02 0b00", ProtocolError, ""},
	{"Subscription Identifier of five bytes", v5, "30 0a 0001'a' 06 0bffffffff01", MalformedPacket, "MQTT-1.5.5-1"},
	{"Subscription Identifier cut short", v5, "30 06 0001'a' 02 0b80", MalformedPacket, ""},
	{"Session Expiry Interval in PUBLISH", v5, "30 09 0001'a' 05 1100000000", MalformedPacket, ""},

	{"PUBACK without identifier", all, "40 01 00", MalformedPacket, ""},
	{"PUBACK of 3", v5, "40 02 0000", ProtocolError, "MQTT-2.2.1-3"},
	{"PUBREL of 0", v3, "62 02 0000", ProtocolError, "MQTT-2.2.1-3"},
	{"PUBACK with code in 3", v3, "40 03 0001 00", MalformedPacket, ""},
	{"PUBACK with a code of PUBREL", v5, "40 03 0001 92", ProtocolError, "MQTT-3.4.2-1"},
	{"PUBREC with a granted QoS", v5, "50 03 0001 01", ProtocolError, "MQTT-3.5.2-1"},
	{"PUBREL with a code of PUBACK", v5, "62 03 0001 10", ProtocolError, "MQTT-3.6.2-1"},
	{"PUBCOMP with an unknown code", v5, "70 03 0001 ff", ProtocolError, "MQTT-3.7.2-1"},
	{"PUBACK property length too large", v5, "40 05 0001 00 02 00", MalformedPacket, ""},
	{"PUBACK property length too small", v5, "40 08 0001 00 00 1f0001'x'", MalformedPacket, ""},
	{"PUBACK Reason String twice", v5, "40 0a 0001 00 06 1f0000 1f0000", ProtocolError, ""},
	{"PUBACK with Content Type", v5, "40 07 0001 00 03 030000", MalformedPacket, ""},

	{"SUBSCRIBE of 0", v3, "82 06 0000 0001'a' 00", ProtocolError, "MQTT-2.2.1-3"},
	{"SUBSCRIBE of nothing", v3, "82 02 0001", ProtocolError, "MQTT-3.8.3-2"},
	{"SUBSCRIBE of nothing", v5, "82 03 0001 00", ProtocolError, "MQTT-3.8.3-2"},
	{"SUBSCRIBE without options", v3, "82 05 0001 0001'a'", MalformedPacket, ""},
	{"SUBSCRIBE with QoS 3", v3, "82 06 0001 0001'a' 03", MalformedPacket, "MQTT-3.8.3-4"},
	{"SUBSCRIBE with reserved bits in 3", v3, "82 06 0001 0001'a' 04", MalformedPacket, "MQTT-3.8.3-4"},
	{"SUBSCRIBE with QoS 3", v5, "82 07 0001 00 0001'a' 03", ProtocolError, ""},
	{"SUBSCRIBE with retain handling 3", v5, "82 07 0001 00 0001'a' 30", ProtocolError, ""},
	{"SUBSCRIBE with reserved bits", v5, "82 07 0001 00 0001'a' 40", MalformedPacket, "MQTT-3.8.3-5"},
	{"no local on a shared subscription", v5, "82 10 0001 00 000a'$share/g/a' 04", ProtocolError, "MQTT-3.8.3-4"},
	{"filter with U+0000", v3, "82 06 0001 0001 00 00", MalformedPacket, "MQTT-1.5.4-2"},
	{"filter not UTF-8", v3, "82 06 0001 0001 ff 00", MalformedPacket, "MQTT-3.8.3-1"},
	{"SUBSCRIBE Subscription Identifier 0", v5, "82 09 0001 02 0b00 0001'a' 00", ProtocolError, ""},
	{"SUBSCRIBE Subscription Identifier twice", v5, "82 0b 0001 04 0b01 0b02 0001'a' 00", ProtocolError, ""},
	{"SUBSCRIBE Reason String", v5, "82 0a 0001 03 1f0000 0001'a' 00", MalformedPacket, ""},
	{"UNSUBSCRIBE of 0", v3, "a2 05 0000 0001'a'", ProtocolError, "MQTT-2.2.1-3"},
	{"UNSUBSCRIBE of nothing", v3, "a2 02 0001", ProtocolError, "MQTT-3.10.3-2"},
	{"UNSUBSCRIBE of nothing", v5, "a2 03 0001 00", ProtocolError, "MQTT-3.10.3-2"},
	{"UNSUBSCRIBE filter not UTF-8", v3, "a2 05 0001 0001 ff", MalformedPacket, "MQTT-3.10.3-1"},

	{"CONNACK flags", []Version{V311}, "20 02 02 00", MalformedPacket, "MQTT-3.2.2-1"},
	{"CONNACK flags", v5, "20 03 80 00 00", MalformedPacket, "MQTT-3.2.2-1"},
	{"CONNACK refusal with session", v5, "20 03 01 80 00", ProtocolError, "MQTT-3.2.2-6"},
	{"CONNACK code", v5, "20 03 00 10 00", ProtocolError, "MQTT-3.2.2-8"},
	{"CONNACK return code 6", v3, "20 02 00 06", MalformedPacket, ""},
	{"CONNACK Maximum QoS 2", v5, "20 05 00 00 02 2402", ProtocolError, ""},
	{"CONNACK Retain Available 2", v5, "20 05 00 00 02 2502", ProtocolError, ""},
	{"SUBACK code", v5, "90 04 0001 00 03", ProtocolError, "MQTT-3.9.3-2"},
	{"SUBACK code of 5", v3, "90 03 0001 8f", ProtocolError, "MQTT-3.9.3-2"},
	{"SUBACK of nothing", v3, "90 02 0001", MalformedPacket, ""},
	{"UNSUBACK code", v5, "b0 04 0001 00 01", ProtocolError, "MQTT-3.11.3-2"},
	{"UNSUBACK with codes in 3", v3, "b0 03 0001 00", MalformedPacket, ""},

	{"DISCONNECT with a body in 3", v3, "e0 01 00", MalformedPacket, ""},
	{"DISCONNECT code", v5, "e0 01 01", ProtocolError, "MQTT-3.14.2-1"},
	{"DISCONNECT property length", v5, "e0 02 00 01", MalformedPacket, ""},
	{"bytes after DISCONNECT", v5, "e0 03 00 00 00", MalformedPacket, ""},
	{"AUTH in 3", v3, "f0 00", ProtocolError, ""},
	{"AUTH code", v5, "f0 02 80 00", ProtocolError, "MQTT-3.15.2-1"},
	{"AUTH without method", v5, "f0 02 18 00", ProtocolError, ""},
	{"AUTH with code alone", v5, "f0 01 18", MalformedPacket, ""},
}

func TestRefused(t *testing.T) {
	for _, c := range refused {
		for _, v := range c.versions {
			frame := wire(t, c.bytes)
			before := bytes.Clone(frame)
			p, err := decodeFrame(v, frame, true)
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || e.Clause != c.clause {
				t.Errorf("%s in %v: %x gives %+v, %v; want %v [%s]", c.name, v, frame, p, err, c.code, c.clause)
				continue
			}
			if !strings.Contains(e.Error(), e.Detail) || e.Detail == "" {
				t.Errorf("%s in %v: message %q", c.name, v, e)
			}
			if !bytes.Equal(frame, before) {
				t.Errorf("%s in %v: the input was changed", c.name, v)
			}
		}
	}
}

// A Subscription Identifier may come from a Server only.
func TestSubscriptionIdentifierFromClient(t *testing.T) {
	frame := wire(t, "30 06 0001'a' 02 0b05")
	if _, err := decodeFrame(V5, frame, true); err != nil {
		t.Errorf("from a server: %v", err)
	}
	_, err := decodeFrame(V5, frame, false)
	if e := new(Error); !errors.As(err, &e) || e.Code != ProtocolError || e.Clause != "MQTT-3.3.4-6" {
		t.Errorf("from a client: %v", err)
	}
}

// What must be accepted although it looks odd.
func TestAccepted(t *testing.T) {
	for _, c := range []struct {
		name  string
		v     Version
		bytes string
	}{
		{"DUP on PUBREL in 3.1", V31, "6a 02 0001"},
		{"DUP on SUBSCRIBE in 3.1", V31, "8a 06 0001 0001'a' 00"},
		{"DUP on UNSUBSCRIBE in 3.1", V31, "aa 05 0001 0001'a'"},
		{"3.1 user name flag without user name", V31, "10 0f 0006'MQIsdp' 03 82 0000 0001'c'"},
		{"3.1 password flag without password", V31, "10 12 0006'MQIsdp' 03 c2 0000 0001'c' 0001'u'"},
		{"3.1 reserved connect flag", V31, "10 0f 0006'MQIsdp' 03 03 0000 0001'c'"},
		{"3.1 client id of 24 bytes", V31, "10 26 0006'MQIsdp' 03 02 0000 0018'abcdefghijklmnopqrstuvwx'"},
		{"3.1 CONNACK with reserved byte", V31, "20 02 ff 00"},
		{"client id with a byte order mark and a control character", V311, "10 10 0004'MQTT' 04 02 0000 0004 efbbbf 01"},
		{"topic with a non-character", V5, "30 06 0003 efbfbf 00"},
		{"topic of slashes", V311, "30 05 0003'///'"},
		{"topic that begins with $", V5, "30 08 0005'$SYS/' 00"},
		{"PUBACK of 5 with code 0", V5, "40 03 0001 00"},
		{"PUBACK of 5 with empty properties", V5, "40 04 0001 00 00"},
		{"DISCONNECT of 5 with code alone", V5, "e0 01 04"},
		{"DISCONNECT of 5 with empty properties", V5, "e0 02 00 00"},
		{"CONNECT of 5 with an empty Will payload", V5, "10 13 0004'MQTT' 05 06 0000 00 0000 00 0001'w' 0000"},
		{"SUBSCRIBE to what is no filter", V5, "82 09 0001 00 0003'a#b' 00"},
		{"SUBSCRIBE to an empty filter", V311, "82 05 0001 0000 00"},
		{"Correlation Data with any bytes", V5, "30 0a 0001'a' 06 090003 00ff80"},
	} {
		if _, err := decodeFrame(c.v, wire(t, c.bytes), true); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// After Unsupported Protocol Version, Version says how to answer.
func TestConnectVersionForAnswer(t *testing.T) {
	for bytes, want := range map[string]Version{
		"0004'MQTT' 06 02 0000 0000":    V5,
		"0004'MQTT' 85 02 0000 00 0000": V5,
		"0004'MQTT' 84 02 0000 0000":    V311,
		"0004'MQTT' 00 02 0000 0000":    V311,
		"0006'MQIsdp' 83 02 0000 0000":  V311,
		"0004'MQTT' 04 03 0000 0000":    V311,
		"0004'MQTT' 05 03 0000 00 0000": V5,
		"0006'MQIsdp' 03 1e 0000 0000":  V31,
		"0004'MQTT'":                    0,
	} {
		var p Connect
		if err := p.Decode(Header{Type: TypeConnect}, wire(t, bytes)); err == nil || p.Version != want {
			t.Errorf("%s: version %v, error %v; want version %v", bytes, p.Version, err, want)
		}
	}
}
