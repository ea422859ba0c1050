package packet

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

var (
	v3  = []Version{V31, V311}
	all = []Version{V31, V311, V5}
	v5  = []Version{V5}
)

// golden has every packet in its canonical bytes: the packet decodes from them and
// encodes to them, in every version listed.
var golden = []struct {
	name     string
	versions []Version
	packet   any
	bytes    string
}{
	{"CONNECT 3.1", []Version{V31}, &Connect{Version: V31, CleanStart: true, KeepAlive: 60, ClientID: "c"},
		"10 0f 0006'MQIsdp' 03 02 003c 0001'c'"},
	{"CONNECT 3.1.1 minimal", []Version{V311}, &Connect{Version: V311, CleanStart: true},
		"10 0c 0004'MQTT' 04 02 0000 0000"},
	{"CONNECT 3.1.1 full", []Version{V311}, &Connect{
		Version: V311, KeepAlive: 0xFFFF, ClientID: "cl", HasUsername: true, Username: "us", HasPassword: true, Password: []byte{0, 255},
		Will: &Will{Topic: "w/t", Payload: []byte("bye"), QoS: 2, Retain: true},
	}, "10 20 0004'MQTT' 04 f4 ffff 0002'cl' 0003'w/t' 0003'bye' 0002'us' 0002 00ff"},
	{"CONNECT 3.1.1 empty user name", []Version{V311}, &Connect{Version: V311, CleanStart: true, ClientID: "c", HasUsername: true},
		"10 0f 0004'MQTT' 04 82 0000 0001'c' 0000"},
	{"CONNECT 5 minimal", v5, &Connect{Version: V5}, "10 0d 0004'MQTT' 05 00 0000 00 0000"},
	{"CONNECT 5 password alone", v5, &Connect{Version: V5, HasPassword: true, Password: []byte("pw")},
		"10 11 0004'MQTT' 05 40 0000 00 0000 0002'pw'"},
	{"CONNECT 5 full", v5, &Connect{
		Version: V5, CleanStart: true, KeepAlive: 10, ClientID: "c5", HasUsername: true, Username: "u",
		Props: with(func(p *Properties) {
			p.SetSessionExpiry(0xFFFFFFFF)
			p.SetAuthMethod("m")
			p.SetAuthData([]byte{1})
			p.SetRequestProblemInfo(0)
			p.SetRequestResponseInfo(1)
			p.SetReceiveMaximum(20)
			p.SetTopicAliasMaximum(0)
			p.SetMaximumPacketSize(256)
			p.AddUser("a", "1")
			p.AddUser("a", "2")
		}),
		Will: &Will{Topic: "w", Payload: []byte("x"), QoS: 1,
			Props: with(func(p *Properties) {
				p.SetPayloadFormat(1)
				p.SetMessageExpiry(5)
				p.SetContentType("t")
				p.SetResponseTopic("r")
				p.SetCorrelationData([]byte{9})
				p.SetWillDelay(7)
				p.AddUser("k", "v")
			}),
			Forward: []byte("\x01\x01\x03\x00\x01t\x08\x00\x01r\x09\x00\x01\x09\x26\x00\x01k\x00\x01v"),
		},
	}, "10 62 0004'MQTT' 05 8e 000a" +
		"2a 11ffffffff 150001'm' 16000101 1700 1901 210014 220000 2700000100 260001'a'0001'1' 260001'a'0001'2'" +
		"0002'c5' 1f 0101 0200000005 030001't' 080001'r' 09000109 1800000007 260001'k'0001'v' 0001'w' 0001'x' 0001'u'"},

	{"CONNACK 3", v3, &Connack{}, "20 02 00 00"},
	{"CONNACK 3.1.1 present", []Version{V311}, &Connack{SessionPresent: true}, "20 02 01 00"},
	{"CONNACK 3 level", v3, &Connack{Code: UnsupportedProtocolVersion}, "20 02 00 01"},
	{"CONNACK 3 identifier", v3, &Connack{Code: ClientIdentifierNotValid}, "20 02 00 02"},
	{"CONNACK 3 unavailable", v3, &Connack{Code: ServerUnavailable}, "20 02 00 03"},
	{"CONNACK 3 credentials", v3, &Connack{Code: BadUserNameOrPassword}, "20 02 00 04"},
	{"CONNACK 3 authorization", v3, &Connack{Code: NotAuthorized}, "20 02 00 05"},
	{"CONNACK 5 minimal", v5, &Connack{SessionPresent: true}, "20 03 01 00 00"},
	{"CONNACK 5 refusal", v5, &Connack{Code: Banned, Props: with(func(p *Properties) { p.SetReasonString("no") })},
		"20 08 00 8a 05 1f0002'no'"},
	{"CONNACK 5 full", v5, &Connack{Props: with(func(p *Properties) {
		p.SetSessionExpiry(1)
		p.SetAssignedClientID("id")
		p.SetServerKeepAlive(30)
		p.SetAuthMethod("m")
		p.SetAuthData(nil)
		p.AuthData = []byte{}
		p.SetResponseInfo("ri")
		p.SetServerReference("sr")
		p.SetReasonString("rs")
		p.SetReceiveMaximum(65535)
		p.SetTopicAliasMaximum(10)
		p.SetMaximumQoS(1)
		p.SetRetainAvailable(0)
		p.SetMaximumPacketSize(1 << 20)
		p.SetWildcardAvailable(1)
		p.SetSubscriptionIDAvailable(0)
		p.SetSharedAvailable(1)
		p.AddUser("", "")
	})}, "20 40 00 00 3d 1100000001 120002'id' 13001e 150001'm' 160000 1a0002'ri' 1c0002'sr' 1f0002'rs' 21ffff 22000a 2401 2500" +
		"2700100000 2801 2900 2a01 2600000000"},

	{"PUBLISH QoS 0", all, &message{Topic: "a/b", Payload: "hi"}, "!30 07 0003'a/b' 'hi'|30 08 0003'a/b' 00 'hi'"},
	{"PUBLISH QoS 0 empty retained", all, &message{Topic: "t", Retain: true}, "!31 03 0001't'|31 04 0001't' 00"},
	{"PUBLISH QoS 1 DUP", all, &message{Topic: "t", PacketID: 0x0A0B, QoS: 1, Dup: true, Payload: "\x00"},
		"!3a 06 0001't' 0a0b 00|3a 07 0001't' 0a0b 00 00"},
	{"PUBLISH QoS 2", all, &message{Topic: "t", PacketID: 0xFFFF, QoS: 2, Retain: true}, "!35 05 0001't' ffff|35 06 0001't' ffff 00"},
	{"PUBLISH 5 alias only", v5, &message{TopicAlias: 3, Set: 1 << PropTopicAlias, Payload: "p"}, "30 07 0000 03 230003 'p'"},
	{"PUBLISH 5 full", v5, &message{
		Topic: "tü", Payload: "p", PacketID: 1, QoS: 1, MessageExpiry: 60, TopicAlias: 0x0102, PayloadFormat: 1, ContentType: "json",
		ResponseTopic: "re/ply", CorrelationData: "\x00\x01", User: []UserProperty{{"k", "v"}, {"k", ""}}, SubscriptionIDs: []uint32{1, 128, MaxRemaining},
		Set: set(PropMessageExpiryInterval, PropTopicAlias, PropPayloadFormatIndicator, PropContentType, PropResponseTopic, PropCorrelationData,
			PropUserProperty, PropSubscriptionIdentifier),
	}, "32 3f 0003'tü' 0001 36 020000003c 230102 0b01 0b8001 0bffffff7f 0101 030004'json' 080006're/ply' 0900020001 260001'k'0001'v' 260001'k'0000 'p'"},

	{"PUBACK", all, &ackCopy{Type: TypePuback, PacketID: 1}, "40 02 0001"},
	{"PUBREC", all, &ackCopy{Type: TypePubrec, PacketID: 0xABCD}, "50 02 abcd"},
	{"PUBREL", all, &ackCopy{Type: TypePubrel, PacketID: 3}, "62 02 0003"},
	{"PUBCOMP", all, &ackCopy{Type: TypePubcomp, PacketID: 4}, "70 02 0004"},
	{"PUBACK 5 code", v5, &ackCopy{Type: TypePuback, PacketID: 1, Code: NoMatchingSubscribers}, "40 03 0001 10"},
	{"PUBREC 5 full", v5, &ackCopy{Type: TypePubrec, PacketID: 2, Code: QuotaExceeded, ReasonString: "full", User: []UserProperty{{"a", "b"}}},
		"50 12 0002 97 0e 1f0004'full' 260001'a'0001'b'"},
	{"PUBREL 5", v5, &ackCopy{Type: TypePubrel, PacketID: 2, Code: PacketIdentifierNotFound}, "62 03 0002 92"},
	{"PUBCOMP 5 properties", v5, &ackCopy{Type: TypePubcomp, PacketID: 2, ReasonString: "x"}, "70 08 0002 00 04 1f0001'x'"},

	{"SUBSCRIBE 3", v3, &Subscribe{PacketID: 10, Subscriptions: []Subscription{{Filter: "a/+", QoS: 1}, {Filter: "#", QoS: 2}, {Filter: "c"}}},
		"82 10 000a 0003'a/+' 01 0001'#' 02 0001'c' 00"},
	{"SUBSCRIBE 5", v5, &Subscribe{PacketID: 10, Subscriptions: []Subscription{
		{Filter: "a", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}, {Filter: "$share/g/b", RetainHandling: 1},
	}, Props: with(func(p *Properties) { p.SetSubscriptionID(200); p.AddUser("u", "p") })},
		"82 1e 000a 0a 0bc801 260001'u'0001'p' 0001'a' 2e 000a'$share/g/b' 10"},
	{"SUBACK 3", v3, &Suback{PacketID: 1, Codes: []ReasonCode{Success, GrantedQoS1, GrantedQoS2, UnspecifiedError}}, "90 06 0001 00 01 02 80"},
	{"SUBACK 5", v5, &Suback{PacketID: 1, Codes: []ReasonCode{GrantedQoS2, TopicFilterInvalid, WildcardSubscriptionsNotSupported},
		Props: with(func(p *Properties) { p.SetReasonString("r") })}, "90 0a 0001 04 1f0001'r' 02 8f a2"},
	{"UNSUBSCRIBE 3", v3, &Unsubscribe{PacketID: 7, Filters: []string{"a", "b/#"}}, "a2 0a 0007 0001'a' 0003'b/#'"},
	{"UNSUBSCRIBE 5", v5, &Unsubscribe{PacketID: 7, Filters: []string{"a"}, Props: with(func(p *Properties) { p.AddUser("", "x") })},
		"a2 0c 0007 06 2600000001'x' 0001'a'"},
	{"UNSUBACK 3", v3, &Unsuback{PacketID: 7}, "b0 02 0007"},
	{"UNSUBACK 5", v5, &Unsuback{PacketID: 7, Codes: []ReasonCode{Success, NoSubscriptionExisted, NotAuthorized}}, "b0 06 0007 00 00 11 87"},

	{"PINGREQ", all, ping(TypePingreq), "c0 00"},
	{"PINGRESP", all, ping(TypePingresp), "d0 00"},
	{"DISCONNECT", all, &Disconnect{}, "e0 00"},
	{"DISCONNECT 5 code", v5, &Disconnect{Code: SessionTakenOver}, "e0 02 8e 00"},
	{"DISCONNECT 5 full", v5, &Disconnect{Code: ServerMoved, Props: with(func(p *Properties) {
		p.SetSessionExpiry(0)
		p.SetServerReference("h")
		p.SetReasonString("r")
	})}, "e0 0f 9d 0d 1100000000 1c0001'h' 1f0001'r'"},
	{"AUTH 5 empty", v5, &Auth{}, "f0 00"},
	{"AUTH 5", v5, &Auth{Code: ContinueAuthentication, Props: with(func(p *Properties) { p.SetAuthMethod("m"); p.SetAuthData([]byte{1, 2}) })},
		"f0 0b 18 09 150001'm' 1600020102"},
}

func with(f func(*Properties)) (p Properties) {
	f(&p)
	return p
}

func set(ids ...Property) (s PropSet) {
	for _, id := range ids {
		s.Add(id)
	}
	return s
}

// goldenBytes resolves "!a|b": a for 3.x, b for 5.
func goldenBytes(t testing.TB, s string, v Version) []byte {
	if s[0] == '!' {
		old, five, _ := bytes.Cut([]byte(s[1:]), []byte("|"))
		if s = string(old); v == V5 {
			s = string(five)
		}
	}
	return wire(t, s)
}

func TestGolden(t *testing.T) {
	for _, c := range golden {
		for _, v := range c.versions {
			want := goldenBytes(t, c.bytes, v)
			got, err := encodeFrame(v, c.packet)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s in %v encodes to\n %x, %v; want\n %x", c.name, v, got, err, want)
			}
			p, err := decodeFrame(v, want, true)
			if err != nil || !reflect.DeepEqual(p, c.packet) {
				t.Errorf("%s in %v decodes to\n %+v, %v; want\n %+v", c.name, v, p, err, c.packet)
			}
		}
	}
}

// Every packet cut short anywhere is refused, or is not a packet yet.
func TestGoldenTruncated(t *testing.T) {
	for _, c := range golden {
		for _, v := range c.versions {
			frame := goldenBytes(t, c.bytes, v)
			for n := range frame {
				if p, err := decodeFrame(v, frame[:n], true); !errors.Is(err, errIncomplete) {
					t.Fatalf("%s in %v: %d of %d bytes give %+v, %v", c.name, v, n, len(frame), p, err)
				}
			}
			h, n, _ := ReadHeader(frame)
			for cut := range h.Remaining {
				h := h
				h.Remaining = cut
				p, err := decodeBody(v, h, frame[n:n+cut], true)
				var e *Error
				if err == nil && shorterIsLegal(v, h, cut) {
					continue
				}
				if !errors.As(err, &e) || !e.Code.IsError() {
					t.Fatalf("%s in %v: a body of %d instead of %d bytes gives %+v, %v", c.name, v, cut, len(frame)-n, p, err)
				}
			}
		}
	}
}

// shorterIsLegal reports whether a packet that lost its end may be a good one: the
// payload of a PUBLISH and lists of what follow have no length, some packets may
// leave out their end, and MQTT 3.1 may leave out a user name.
func shorterIsLegal(v Version, h Header, n int) bool {
	switch h.Type {
	case TypePublish, TypeSuback, TypeUnsuback, TypeSubscribe, TypeUnsubscribe:
		return n > 2
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		return v == V5 && (n == 2 || n == 3)
	case TypeDisconnect:
		return v == V5 && n <= 1
	case TypeAuth:
		return n == 0
	}
	return false
}

func TestConnackCode311(t *testing.T) {
	for c := range 256 {
		got := ConnackCode311(ReasonCode(c))
		if (got == 0) != (c == 0) || got > 5 {
			t.Errorf("0x%02x becomes %d", c, got)
		}
	}
	for code := byte(0); code < 6; code++ {
		c, ok := connackReason(code)
		if !ok || ConnackCode311(c) != code {
			t.Errorf("return code %d becomes %v, and that %d", code, c, ConnackCode311(c))
		}
	}
	for c, want := range map[ReasonCode]byte{ServerBusy: 3, QuotaExceeded: 3, Banned: 5, BadAuthenticationMethod: 5, MalformedPacket: 5} {
		if got := ConnackCode311(c); got != want {
			t.Errorf("%v becomes %d, want %d", c, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		V31.String(): "3.1", V311.String(): "3.1.1", V5.String(): "5.0", Version(9).String(): "level 9",
		TypePublish.String(): "PUBLISH", TypeAuth.String(): "AUTH", Type(0).String(): "RESERVED", Type(77).String(): "type 77",
		MalformedPacket.String(): "Malformed Packet", WildcardSubscriptionsNotSupported.String(): "Wildcard Subscriptions not supported",
		ReasonCode(0x42).String(): "0x42", PropTopicAlias.String(): "Topic Alias", Property(0).String(): "property 0x0",
		Property(0x7F).String(): "property 0x7f", errPublishNUL.Error(): "malformed packet: PUBLISH: topic name contains U+0000 [MQTT-1.5.4-2]",
		errHeaderType.Error(): "malformed packet: fixed header: packet type 0 is reserved",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	// Every code that a packet may carry has a name.
	for c := range 256 {
		for _, s := range []codeSet{connackCodes, pubackCodes, pubrelCodes, subackCodes, unsubackCodes, disconnectCodes, authCodes} {
			if n := ReasonCode(c).String(); s.has(ReasonCode(c)) && n[0] == '0' {
				t.Errorf("0x%02x has no name", c)
			}
		}
	}
}
