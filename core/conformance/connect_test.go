package conformance

import (
	"fmt"
	"strings"
	"testing"
)

func TestConnectIsAccepted(t *testing.T) {
	eachVersion(t, statements{
		v5: {"MQTT-3.1.4-5", "MQTT-3.2.0-1", "MQTT-3.2.2-1", "MQTT-3.2.2-8", "MQTT-4.2.0-1", "MQTT-4.12.0-6"},
		// That a client written from the specification alone gets in shows that no
		// extension is needed.
		v311: {"MQTT-3.1.4-4", "MQTT-3.2.0-1", "MQTT-7.0.0-2", "MQTT-7.1.1-1"},
	}, func(t *testing.T, v version) {
		open(t, fresh(v)).quiet()
	})
}

func TestMQTT31IsAccepted(t *testing.T) {
	t.Parallel()
	topic := unique() + "/a"
	c := open(t, fresh(v31))
	c.listen(1, topic)
	open(t, fresh(v5)).say(topic, "from 5.0")
	c.hears("from 5.0")
	c.say(topic, "from 3.1")
	c.hears("from 3.1")
	c.quiet()
}

// MQTT 3.1 knows no Client Identifier that the server assigns.
func TestMQTT31NeedsAClientIdentifier(t *testing.T) {
	t.Parallel()
	connecting(t, connectPacket{v: v31, clean: true}).refused(0x02)
}

// The first packet must be CONNACK even if the client has not waited for it.
func TestPacketsSentBehindConnect(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.2.0-1", "MQTT-3.2.0-2"},
		v311: {"MQTT-3.2.0-1"},
	}, func(t *testing.T, v version) {
		topic := unique()
		c := dial(t, broker(t), v)
		c.connect = fresh(v)
		c.send(c.connect.bytes(), subscribe(v, 1, nil, sub{topic, 0}),
			publishPacket{topic: topic, payload: "x"}.bytes(v), pingreq)
		c.accepted()
		c.expect(SUBACK)
		c.hears("x")
		c.expect(PINGRESP)
	})
}

func TestFirstPacketIsNotConnect(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.0-1", "MQTT-3.14.0-1", "MQTT-4.13.1-1"},
		v311: {"MQTT-3.1.0-1", "MQTT-4.8.0-1"},
	}, func(t *testing.T, v version) {
		for name, b := range map[string][]byte{
			"CONNACK":     frame(CONNACK, 0, []byte{0, 0}),
			"PUBLISH":     publishPacket{topic: "a", payload: "x"}.bytes(v),
			"PUBACK":      ack(PUBACK, 1),
			"PUBREL":      ack(PUBREL, 1),
			"SUBSCRIBE":   subscribe(v, 1, nil, sub{"a", 0}),
			"UNSUBSCRIBE": unsubscribe(v, 1, nil, "a"),
			"PINGREQ":     pingreq,
			"DISCONNECT":  disconnect,
			"AUTH":        auth(0x18, prop(pAuthMethod, "m")),
			"no packet":   []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		} {
			c := dial(t, broker(t), v)
			c.send(b)
			if p, err := c.read(); err != errClosed {
				t.Errorf("%s as the first packet: got %v, %v, want the connection closed", name, p, err)
			}
		}
	})
}

func TestSecondConnect(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.0-2", "MQTT-3.2.0-2", "MQTT-4.13.1-1", "MQTT-4.13.2-1"},
		v311: {"MQTT-3.1.0-2", "MQTT-4.8.0-1"},
	}, func(t *testing.T, v version) {
		c := open(t, fresh(v))
		c.send(c.connect.bytes())
		c.dropped(0x82)
	})
}

func TestProtocolName(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.1.2-1"}, v311: {"MQTT-3.1.2-1"}}, func(t *testing.T, v version) {
		for _, name := range []string{"MQTT ", "mqtt", "MQT", "MQTTX", "X", "HTTP"} {
			p := fresh(v)
			p.name = name
			refusedVersion(t, p)
		}
	})
}

func TestProtocolVersion(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.2-2")
	shows(t, v311, "MQTT-3.1.2-2")
	for _, level := range []byte{1, 2, 6, 7, 0x7F, 0xFF} {
		p := fresh(v311)
		p.level = level
		c := connecting(t, p)
		// MQTT 3.1.1 asks for CONNACK 0x01; MQTT 5 allows CONNACK 0x84. The two
		// differ in length, and only the level tells what the client can read.
		first, body, err := readFrame(c.br)
		if err != nil || first != CONNACK<<4 || len(body) < 2 || body[0] != 0 || body[1] != 0x01 && body[1] != 0x84 {
			t.Errorf("level %d: got %X % X, %v, want CONNACK 0x01 or 0x84", level, first, body, err)
			continue
		}
		c.gone()
	}
}

// refusedVersion expects no more than that the connection is closed, perhaps
// after a CONNACK that names the version as the reason.
func refusedVersion(t *testing.T, p connectPacket) {
	t.Helper()
	c := connecting(t, p)
	first, body, err := readFrame(c.br)
	if err == nil {
		if first != CONNACK<<4 || len(body) < 2 || body[0] != 0 || body[1] != 0x01 && body[1] != 0x84 {
			t.Errorf("name %q, level %d: got %X % X, want CONNACK 0x01 or 0x84", p.name, p.level, first, body)
			return
		}
		c.gone()
	}
}

func TestConnectFlags(t *testing.T) {
	password := "secret"
	for _, test := range []struct {
		name    string
		connect func(p *connectPacket)
		only    version // 0 both
		shows   statements
	}{
		{"reserved flag", func(p *connectPacket) { p.flags = 0x01 }, 0,
			statements{v5: {"MQTT-3.1.2-3"}, v311: {"MQTT-3.1.2-3"}}},
		{"Will QoS 1 without Will Flag", func(p *connectPacket) { p.flags = 0x08 }, 0,
			statements{v5: {"MQTT-3.1.2-11"}, v311: {"MQTT-3.1.2-11", "MQTT-3.1.2-13"}}},
		{"Will QoS 2 without Will Flag", func(p *connectPacket) { p.flags = 0x10 }, 0,
			statements{v5: {"MQTT-3.1.2-11"}, v311: {"MQTT-3.1.2-11", "MQTT-3.1.2-13"}}},
		{"Will Retain without Will Flag", func(p *connectPacket) { p.flags = 0x20 }, 0,
			statements{v5: {"MQTT-3.1.2-13"}, v311: {"MQTT-3.1.2-11", "MQTT-3.1.2-15"}}},
		{"Will QoS 3", func(p *connectPacket) { p.will = &will{topic: "w", qos: 3} }, 0,
			statements{v5: {"MQTT-3.1.2-12"}, v311: {"MQTT-3.1.2-14"}}},
		{"Will Flag without Will", func(p *connectPacket) { p.flags = 0x04 }, 0,
			statements{v5: {"MQTT-3.1.2-9"}, v311: {"MQTT-3.1.2-9"}}},
		{"User Name Flag without User Name", func(p *connectPacket) { p.flags = 0x80 }, 0,
			statements{v5: {"MQTT-3.1.2-17"}, v311: {"MQTT-3.1.2-19"}}},
		{"User Name without User Name Flag", func(p *connectPacket) { p.username, p.flags = &password, 0x80 }, 0,
			statements{v5: {"MQTT-3.1.2-16"}, v311: {"MQTT-3.1.2-18"}}},
		{"Password Flag without Password", func(p *connectPacket) { p.username, p.flags = &password, 0x40 }, 0,
			statements{v5: {"MQTT-3.1.2-19"}, v311: {"MQTT-3.1.2-21"}}},
		{"Password without Password Flag", func(p *connectPacket) { p.username, p.password, p.flags = &password, &password, 0x40 }, 0,
			statements{v5: {"MQTT-3.1.2-18"}, v311: {"MQTT-3.1.2-20"}}},
		{"Will without Will Flag", func(p *connectPacket) { p.will, p.flags = &will{topic: "w"}, 0x04 }, 0,
			statements{v5: {"MQTT-3.1.4-1"}, v311: {"MQTT-3.1.2-11"}}},
		{"Password without User Name", func(p *connectPacket) { p.password = &password }, v311,
			statements{v311: {"MQTT-3.1.2-22"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachVersion(t, test.shows, func(t *testing.T, v version) {
				if test.only != 0 && v != test.only {
					t.Skip("allowed in this version")
				}
				p := fresh(v)
				test.connect(&p)
				connecting(t, p).malformed(0x81, 0x82)
			})
		})
	}
}

func TestUserNameAndPassword(t *testing.T) {
	text, empty := "user", ""
	for _, test := range []struct {
		name               string
		username, password *string
		only               version
	}{
		{"both", &text, &text, 0},
		{"user name", &text, nil, 0},
		{"both empty", &empty, &empty, 0},
		{"password alone", nil, &text, v5},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachVersion(t, nil, func(t *testing.T, v version) {
				if test.only != 0 && v != test.only {
					t.Skip("not allowed in this version")
				}
				p := fresh(v)
				p.username, p.password = test.username, test.password
				open(t, p).quiet()
			})
		})
	}
}

// A CONNECT with all its fields is understood in the order that they have.
func TestConnectPayloadOrder(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.3-1", "MQTT-3.1.3-3"},
		v311: {"MQTT-3.1.3-1", "MQTT-3.1.3-3", "MQTT-3.1.2-9"},
	}, func(t *testing.T, v version) {
		topic, name, password := unique()+"/will", "user", "password"
		watcher := open(t, fresh(v))
		watcher.listen(1, topic)
		p := lasting(v, unique())
		p.will = &will{topic: topic, payload: "payload", qos: 1, props: prop(pContentType, "type")}
		p.username, p.password = &name, &password
		open(t, p).cut()
		got := watcher.hears("payload")
		if kind, _ := got.text(pContentType); v == v5 && kind != "type" {
			t.Errorf("got %v, want the Will's content type", got)
		}
		p.will = nil
		c := connecting(t, p)
		if !c.accepted().present {
			t.Error("the client identifier of the CONNECT has no session")
		}
	})
}

func TestClientIdentifiersOf23Characters(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.1.3-5"}, v311: {"MQTT-3.1.3-5"}}, func(t *testing.T, v version) {
		const all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		for i := 0; i < len(all); i += 10 {
			id := unique()
			for n := i; len(id) < 23; n++ {
				id += all[n%len(all) : n%len(all)+1]
			}
			p := fresh(v)
			p.id = id
			open(t, p).leave()
		}
		// A single character: of the version, so that the subtests do not meet.
		p := fresh(v)
		p.id = fmt.Sprint(byte(v))
		open(t, p).leave()
	})
}

func TestEmptyClientIdentifierV5(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.3-6", "MQTT-3.1.3-7", "MQTT-3.2.2-16")
	seen := map[string]bool{}
	for range 20 {
		p := connectPacket{v: v5, clean: true, props: prop(pSessionExpiry, 60)}
		c := connecting(t, p)
		id, ok := c.accepted().text(pAssignedClientID)
		if !ok || id == "" || seen[id] {
			t.Fatalf("assigned client identifier %q, want a new one", id)
		}
		seen[id] = true
		if len(seen) > 1 {
			continue
		}
		c.leave()
		again := connecting(t, lasting(v5, id))
		if a := again.accepted(); !a.present || a.has(pAssignedClientID) {
			t.Errorf("reconnect with the assigned identifier: got %v, want a session and no other identifier", a)
		}
	}
}

func TestEmptyClientIdentifierV311(t *testing.T) {
	t.Parallel()
	shows(t, v311, "MQTT-3.1.3-6")
	topic := unique()
	a, b := open(t, connectPacket{v: v311, clean: true}), open(t, connectPacket{v: v311, clean: true})
	a.listen(1, topic)
	b.say(topic, "x") // both are still connected: their identifiers differ
	a.hears("x")
	b.quiet()
}

func TestEmptyClientIdentifierWithoutCleanSession(t *testing.T) {
	t.Parallel()
	shows(t, v311, "MQTT-3.1.3-7", "MQTT-3.1.3-8", "MQTT-3.1.3-9", "MQTT-3.2.2-4", "MQTT-3.2.2-5")
	connecting(t, connectPacket{v: v311}).refused(0x02)
}

func TestClientIdentifierIsCompared(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.1.3-2"}, v311: {"MQTT-3.1.3-2"}}, func(t *testing.T, v version) {
		id := unique() + "a"
		open(t, lasting(v, id)).leave()
		for _, other := range []string{strings.ToUpper(id), id + "b", id[:len(id)-1], " " + id} {
			if connecting(t, lasting(v, other)).accepted().present {
				t.Errorf("%q was given the session of %q", other, id)
			}
		}
		if !connecting(t, lasting(v, id)).accepted().present {
			t.Errorf("%q has no session", id)
		}
	})
}

// What follows a refused CONNECT in the same segment must not be processed.
func TestNothingIsProcessedAfterRefusal(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.4-6", "MQTT-3.2.2-7"},
		v311: {"MQTT-3.1.4-5"},
	}, func(t *testing.T, v version) {
		topic := unique()
		watcher := open(t, fresh(v))
		watcher.listen(0, topic)
		for _, spoil := range []func(p *connectPacket){
			func(p *connectPacket) { p.flags = 0x01 },
			func(p *connectPacket) { p.id, p.clean = "", v == v5 }, // not refused by MQTT 5, but for what follows
			func(p *connectPacket) { p.level = 99 },
		} {
			p := fresh(v)
			p.will = &will{topic: topic, payload: "will"}
			spoil(&p)
			if p.id == "" && v == v5 {
				p.props = prop(pAuthMethod, "no such method")
			}
			c := dial(t, broker(t), v)
			c.connect = p
			c.send(p.bytes(), publishPacket{topic: topic, payload: "published"}.bytes(v))
			// The broker may close with the PUBLISH unread, and then a CONNACK gets lost
			// on the way; only the end of the connection is certain.
			c.cut()
		}
		watcher.quiet()
	})
}

func TestAuthenticationFails(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.4-2", "MQTT-3.2.2-6", "MQTT-3.2.2-7", "MQTT-4.13.2-1"},
		v311: {"MQTT-3.2.2-4", "MQTT-3.2.2-5"},
	}, func(t *testing.T, v version) {
		addr := startBroker(t, settings{noAnonymous: true})
		codes := []byte{4, 5}
		if v == v5 {
			codes = []byte{0x86, 0x87}
		}
		connectingTo(t, addr, lasting(v, unique())).refused(codes...)
	})
}

func TestProtocolNameAndLevelTruncated(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.1.4-1"}, v311: {"MQTT-3.1.4-1"}}, func(t *testing.T, v version) {
		body := fresh(v).body()
		for n := range 7 {
			c := dial(t, broker(t), v)
			c.send(frame(CONNECT, 0, body[:n]))
			if p, err := c.read(); err == nil && p.typ != CONNACK {
				t.Errorf("CONNECT of %d bytes: got %v", n, p)
			} else if err == nil {
				c.gone()
			}
		}
	})
}
