package conformance

import (
	"strings"
	"testing"
)

// badStrings are no UTF-8 Encoded Strings: MQTT 5 §1.5.4.
var badStrings = map[string]string{
	"U+0000":                  "a\x00b",
	"surrogate U+D800":        "\xED\xA0\x80",
	"surrogate U+DFFF":        "\xED\xBF\xBF",
	"overlong U+002F":         "\xC0\xAF",
	"overlong U+0000":         "\xC0\x80",
	"overlong, three bytes":   "\xE0\x80\xAF",
	"overlong, four bytes":    "\xF0\x80\x80\xAF",
	"above U+10FFFF":          "\xF4\x90\x80\x80",
	"continuation alone":      "a\x80",
	"truncated at the end":    "abcdefgh\xE2\x82",
	"truncated in the middle": "\xE2\x28\xA1",
	"0xFE":                    "\xFE",
	"bad after 16 ASCII":      "0123456789abcdef\xFF0123456789abcdef",
}

func TestIllFormedStringsInConnect(t *testing.T) {
	for _, field := range []struct {
		name  string
		put   func(p *connectPacket, s string)
		only5 bool
		shows statements
	}{
		{"client identifier", func(p *connectPacket, s string) { p.id = s }, false,
			statements{v5: {"MQTT-3.1.3-4"}, v311: {"MQTT-3.1.3-4"}}},
		{"will topic", func(p *connectPacket, s string) { p.will = &will{topic: s} }, false,
			statements{v5: {"MQTT-3.1.3-11"}, v311: {"MQTT-3.1.3-10"}}},
		{"user name", func(p *connectPacket, s string) { p.username = &s }, false,
			statements{v5: {"MQTT-3.1.3-12"}, v311: {"MQTT-3.1.3-11"}}},
		{"protocol name", func(p *connectPacket, s string) { p.name = s }, false, nil},
		{"user property, key", func(p *connectPacket, s string) { p.props = user(s, "") }, true, statements{v5: {"MQTT-1.5.7-1"}}},
		{"user property, value", func(p *connectPacket, s string) { p.props = user("", s) }, true, statements{v5: {"MQTT-1.5.7-1"}}},
		{"authentication method", func(p *connectPacket, s string) { p.props = prop(pAuthMethod, s) }, true, nil},
		{"will, content type", func(p *connectPacket, s string) { p.will = &will{topic: "a", props: prop(pContentType, s)} }, true, nil},
		{"will, response topic", func(p *connectPacket, s string) { p.will = &will{topic: "a", props: prop(pResponseTopic, s)} }, true, nil},
		{"will, user property", func(p *connectPacket, s string) { p.will = &will{topic: "a", props: user("a", s)} }, true, nil},
	} {
		t.Run(field.name, func(t *testing.T) {
			s := statements{v5: append([]string{"MQTT-1.5.4-1", "MQTT-1.5.4-2"}, field.shows[v5]...)}
			if !field.only5 {
				s[v311] = append([]string{"MQTT-1.5.3-1", "MQTT-1.5.3-2"}, field.shows[v311]...)
			}
			eachVersion(t, s, func(t *testing.T, v version) {
				if v == v311 && field.only5 {
					t.Skip("no such field")
				}
				for name, bad := range badStrings {
					p := fresh(v)
					field.put(&p, bad)
					if field.name == "protocol name" {
						refusedVersion(t, p) // before anything else it is no protocol that the broker knows
					} else {
						connecting(t, p).malformed(0x81)
					}
					if t.Failed() {
						t.Fatalf("%s in %s", name, field.name)
					}
				}
			})
		})
	}
}

func TestIllFormedStrings(t *testing.T) {
	topic := unique()
	for _, field := range []struct {
		name   string
		packet func(v version, s string) []byte
		only5  bool
		shows  statements
	}{
		{"topic name", func(v version, s string) []byte { return publishPacket{topic: s}.bytes(v) }, false,
			statements{v5: {"MQTT-3.3.2-1", "MQTT-4.7.3-2"}, v311: {"MQTT-3.3.2-1", "MQTT-4.7.3-2"}}},
		{"filter of SUBSCRIBE", func(v version, s string) []byte { return subscribe(v, 1, nil, sub{s, 0}) }, false,
			statements{v5: {"MQTT-3.8.3-1", "MQTT-4.7.3-2"}, v311: {"MQTT-3.8.3-1", "MQTT-4.7.3-2"}}},
		{"second filter of SUBSCRIBE", func(v version, s string) []byte { return subscribe(v, 1, nil, sub{topic, 0}, sub{s, 0}) }, false,
			statements{v5: {"MQTT-3.8.3-1"}, v311: {"MQTT-3.8.3-1"}}},
		{"filter of UNSUBSCRIBE", func(v version, s string) []byte { return unsubscribe(v, 1, nil, s) }, false,
			statements{v5: {"MQTT-3.10.3-1"}, v311: {"MQTT-3.10.3-1"}}},
		{"content type", func(v version, s string) []byte {
			return publishPacket{topic: topic, props: prop(pContentType, s)}.bytes(v)
		}, true, statements{v5: {"MQTT-3.3.2-19"}}},
		{"response topic", func(v version, s string) []byte {
			return publishPacket{topic: topic, props: prop(pResponseTopic, s)}.bytes(v)
		}, true, statements{v5: {"MQTT-3.3.2-13"}}},
		{"user property of PUBLISH, key", func(v version, s string) []byte {
			return publishPacket{topic: topic, props: user(s, "")}.bytes(v)
		}, true, statements{v5: {"MQTT-1.5.7-1"}}},
		{"user property of PUBLISH, value", func(v version, s string) []byte {
			return publishPacket{topic: topic, props: user("", s)}.bytes(v)
		}, true, statements{v5: {"MQTT-1.5.7-1"}}},
		{"user property of SUBSCRIBE", func(v version, s string) []byte {
			return subscribe(v, 1, user("k", s), sub{topic, 0})
		}, true, statements{v5: {"MQTT-1.5.7-1"}}},
		{"user property of UNSUBSCRIBE", func(v version, s string) []byte {
			return unsubscribe(v, 1, user(s, "v"), topic)
		}, true, statements{v5: {"MQTT-1.5.7-1"}}},
		{"reason string of PUBACK", func(_ version, s string) []byte { return ack5(PUBACK, 1, 0, prop(pReasonString, s)) }, true, nil},
		{"reason string of PUBREC", func(_ version, s string) []byte { return ack5(PUBREC, 1, 0, prop(pReasonString, s)) }, true, nil},
		{"user property of PUBREL", func(_ version, s string) []byte { return ack5(PUBREL, 1, 0, user("k", s)) }, true, nil},
		{"user property of PUBCOMP", func(_ version, s string) []byte { return ack5(PUBCOMP, 1, 0, user(s, "v")) }, true, nil},
		{"reason string of DISCONNECT", func(_ version, s string) []byte { return disconnect5(0, prop(pReasonString, s)) }, true, nil},
	} {
		t.Run(field.name, func(t *testing.T) {
			s := statements{v5: append([]string{"MQTT-1.5.4-1", "MQTT-1.5.4-2"}, field.shows[v5]...)}
			if !field.only5 {
				s[v311] = append([]string{"MQTT-1.5.3-1", "MQTT-1.5.3-2"}, field.shows[v311]...)
			}
			eachVersion(t, s, func(t *testing.T, v version) {
				if v == v311 && field.only5 {
					t.Skip("no such field")
				}
				for name, bad := range badStrings {
					c := open(t, fresh(v))
					c.send(field.packet(v, bad))
					c.dropped(0x81)
					if t.Failed() {
						t.Fatalf("%s in %s", name, field.name)
					}
				}
			})
		})
	}
}

// What is not forbidden is allowed, and arrives byte for byte.
func TestUnusualStrings(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-1.5.4-3", "MQTT-4.7.3-4"},
		v311: {"MQTT-1.5.3-3", "MQTT-4.7.3-4"},
	}, func(t *testing.T, v version) {
		base := unique()
		names := []string{
			base, base + "/", base + "//", "/" + base, strings.ToUpper(base),
			"\uFEFF" + base, base + "\uFEFF", base + "\uFEFF/a", base + "/\uFEFFa",
			base + "/e\u0301", base + "/\u00E9", // one character, decomposed and composed
			base + "/\u212B", base + "/\u00C5", // the same by normalization
			base + "/\U0010FFFD", base + "/\U0001F600", base + "/\uFFFD", base + "/\uD7FF\uE000",
			base + "/ ", base + "/ x", base + "/x ", base + "/.", base + "/..", base + "/./x",
			base + "/%2F", base + "/\\", base + "/*", base + "/$x", base + "/$share/x",
		}
		listeners := make([]*client, len(names))
		for i, name := range names {
			listeners[i] = open(t, fresh(v))
			listeners[i].listen(0, name)
		}
		speaker := open(t, fresh(v))
		for _, name := range names {
			speaker.say(name, name)
		}
		for i, name := range names {
			if got := listeners[i].drain(); len(got) != 1 || got[0].topic != name || got[0].payload != name {
				t.Errorf("subscription to %q: got %v", name, got)
			}
		}
	})
}

func TestLongestTopic(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-4.7.3-3"}, v311: {"MQTT-4.7.3-3"}}, func(t *testing.T, v version) {
		topic := unique() + "/"
		topic += strings.Repeat("x", 65535-len(topic))
		c := open(t, fresh(v))
		c.listen(1, topic)
		c.say(topic, "long")
		if p := c.hears("long"); p.topic != topic {
			t.Errorf("the topic arrived with %d bytes", len(p.topic))
		}
		c.unsubscribe(topic)
	})
}
