package conformance

import (
	"testing"
	"time"
)

func TestSessionPresent(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-3.1.2-6", "MQTT-3.1.2-23", "MQTT-3.1.4-4", "MQTT-3.2.2-2", "MQTT-3.2.2-3"},
		v311: {"MQTT-3.1.2-4", "MQTT-3.1.2-6", "MQTT-3.1.4-3", "MQTT-3.2.2-1", "MQTT-3.2.2-2", "MQTT-3.2.2-3"},
	}, func(t *testing.T, v version) {
		id, topic := unique(), unique()
		c := connecting(t, lasting(v, id))
		if c.accepted().present {
			t.Fatal("a session before the first connection")
		}
		c.listen(1, topic)
		c.leave()
		speaker := open(t, fresh(v))
		speaker.say(topic, "kept")

		c = connecting(t, lasting(v, id))
		if !c.accepted().present {
			t.Fatal("no session")
		}
		c.hears("kept")
		c.leave()

		clean := lasting(v, id)
		clean.clean = true
		c = open(t, clean) // inspect sees to Session Present 0
		speaker.say(topic, "to nobody")
		c.quiet()
		c.leave()

		// MQTT 5 has begun a session that lasts, MQTT 3.1.1 one that has ended.
		c = connecting(t, lasting(v, id))
		if got, want := c.accepted().present, v == v5; got != want {
			t.Errorf("session present %t after a clean start, want %t", got, want)
		}
		speaker.say(topic, "to nobody")
		c.quiet()
	})
}

func TestRefusalHasNoSessionPresent(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.2.2-6", "MQTT-3.2.2-7"}, v311: {"MQTT-3.2.2-4"}}, func(t *testing.T, v version) {
		id := unique()
		open(t, lasting(v, id)).leave()
		p := lasting(v, id)
		if v == v5 {
			p.props = join(p.props, prop(pReceiveMaximum, 0))
			connecting(t, p).refused(0x82)
		} else {
			p.level = 2
			connecting(t, p).refused(0x01)
		}
		if !connecting(t, lasting(v, id)).accepted().present {
			t.Error("the refused CONNECT ended the session")
		}
	})
}

func TestMaximumQoS(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.2.2-9", "MQTT-3.2.2-10", "MQTT-3.2.2-11", "MQTT-3.2.2-12")
	addr, topic := startBroker(t, settings{maximumQoS: 1}), unique()
	c := connectingTo(t, addr, fresh(v5))
	if p := c.accepted(); p.number(pMaximumQoS, 2) != 1 {
		t.Fatalf("got %v, want Maximum QoS 1", p)
	}
	if codes := c.subscribe(sub{topic, 2}, sub{topic + "/1", 1}, sub{topic + "/0", 0}); codes[0] > 1 || codes[1] != 1 || codes[2] != 0 {
		t.Errorf("granted % X, want at most QoS 1", codes)
	}
	c.say(topic, "x")
	c.hears("x")
	c.send(publishPacket{topic: topic, qos: 2, id: 9}.bytes(v5))
	c.dropped(0x9B)

	p := fresh(v5)
	p.will = &will{topic: topic, qos: 2}
	connectingTo(t, addr, p).refused(0x9B)
}

func TestClientIdentifierIsRejected(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.3-8", "MQTT-3.2.2-7"},
		v311: {"MQTT-3.1.3-9", "MQTT-3.2.2-4", "MQTT-3.2.2-5"},
	}, func(t *testing.T, v version) {
		addr := startBroker(t, settings{maximumClientID: 23})
		p := lasting(v, "01234567890123456789012")
		openAt(t, addr, p).leave()
		p.id += "3"
		connectingTo(t, addr, p).refused(map[version]byte{v5: 0x85, v311: 0x02}[v])
	})
}

// What a server does not support it says in CONNACK, and it refuses the
// subscriptions that need it.
func TestUnsupportedSubscriptions(t *testing.T) {
	topic := unique()
	for _, test := range []struct {
		name     string
		settings settings
		property byte
		packet   func(v version) []byte
		code     byte
		shows    statements
	}{
		{"wildcards", settings{wildcardsOff: true}, pWildcardAvailable,
			func(v version) []byte { return subscribe(v, 1, nil, sub{topic, 0}, sub{topic + "/+", 0}) }, 0xA2,
			statements{v311: {"MQTT-3.8.3-2"}}},
		{"wildcard at the end", settings{wildcardsOff: true}, pWildcardAvailable,
			func(v version) []byte { return subscribe(v, 1, nil, sub{topic, 0}, sub{topic + "/#", 0}) }, 0xA2,
			statements{v311: {"MQTT-3.8.3-2"}}},
		{"shared subscriptions", settings{sharedOff: true}, pSharedAvailable,
			func(v version) []byte { return subscribe(v, 1, nil, sub{topic, 0}, sub{"$share/g/" + topic, 0}) }, 0x9E, nil},
		{"subscription identifiers", settings{subscriptionIDsOff: true}, pSubscriptionAvailable,
			func(v version) []byte { return subscribe(v, 1, prop(pSubscriptionID, 1), sub{topic, 0}) }, 0xA1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachVersion(t, test.shows, func(t *testing.T, v version) {
				if v == v311 && test.property == pSubscriptionAvailable {
					t.Skip("not in this version")
				}
				c := connectingTo(t, startBroker(t, test.settings), fresh(v))
				if p := c.accepted(); v == v5 && p.number(test.property, 1) != 0 {
					t.Errorf("got %v, want property 0x%02X to be 0", p, test.property)
				}
				c.send(test.packet(v))
				p := c.next()
				if v == v5 && p.typ == DISCONNECT && p.code == test.code {
					c.gone()
					return
				}
				want := test.code
				if v == v311 {
					want = 0x80
				}
				if p.typ != SUBACK || len(p.codes) != 2 || p.codes[0] != 0 || p.codes[1] != want {
					t.Errorf("got %v, want 0x%02X", p, want)
				}
				c.quiet()
			})
		})
	}
}

// A message that cannot be made safe must not be acknowledged as if it were.
func TestStoreFails(t *testing.T) {
	eachVersion(t, statements{v5: nil, v311: {"MQTT-4.8.0-2"}}, func(t *testing.T, v version) {
		addr, topic := startBroker(t, settings{storeFails: true}), unique()
		away := openAt(t, addr, lasting(v, unique()))
		away.listen(1, topic)
		away.leave()
		for qos := byte(1); qos < 3; qos++ {
			c := openAt(t, addr, fresh(v))
			c.send(publishPacket{topic: topic, payload: "x", qos: qos, id: 1}.bytes(v))
			if v == v311 {
				c.gone()
			} else if p := c.next(); p.code < 0x80 {
				t.Errorf("got %v, want an error", p)
			}
		}
	})
}

func TestRetainUnavailable(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.2.2-13", "MQTT-3.2.2-14")
	addr, topic := startBroker(t, settings{retainUnavailable: true}), unique()
	c := connectingTo(t, addr, fresh(v5))
	if p := c.accepted(); p.number(pRetainAvailable, 1) != 0 {
		t.Fatalf("got %v, want Retain Available 0", p)
	}
	c.send(publishPacket{topic: topic, payload: "x", retain: true}.bytes(v5))
	c.dropped(0x9A)

	p := fresh(v5)
	p.will = &will{topic: topic, retain: true}
	connectingTo(t, addr, p).refused(0x9A)
}

func TestServerMaximumPacketSize(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.2.2-15", "MQTT-4.13.1-1")
	const limit = 2000
	addr, topic := startBroker(t, settings{maximumPacketSize: limit}), unique()
	for _, v := range []version{v5, v311} {
		c := connectingTo(t, addr, fresh(v))
		p := c.accepted()
		if v == v5 && p.number(pMaximumPacketSize, 0) != limit {
			t.Fatalf("got %v, want Maximum Packet Size %d", p, limit)
		}
		m := publishPacket{topic: topic, qos: 1, id: 1}
		m.payload = string(make([]byte, limit-len(m.bytes(v))-1)) // one byte more of Remaining Length
		if n := len(m.bytes(v)); n != limit {
			t.Fatalf("the test's packet has %d bytes", n)
		}
		c.send(m.bytes(v))
		c.sameID(c.expect(PUBACK), 1)
		m.payload += "x"
		c.trySend(m.bytes(v))
		c.dropped(0x95)
	}
}

// The fixed header alone is enough to see that a packet is too large.
func TestServerMaximumPacketSizeIsSeenEarly(t *testing.T) {
	t.Parallel()
	addr := startBroker(t, settings{maximumPacketSize: 2000})
	for _, v := range []version{v5, v311} {
		c := openAt(t, addr, fresh(v))
		c.send([]byte{PUBLISH << 4}, vbi(1<<27))
		c.dropped(0x95)
	}
}

func TestServerKeepAlive(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.2-21", "MQTT-3.2.2-21")
	addr := startBroker(t, settings{serverKeepAlive: 1})
	steady(t, func(t testing.TB) {
		p := fresh(v5)
		p.keepAlive = 60
		start := time.Now()
		c := connectingTo(t, addr, p)
		if a := c.accepted(); a.number(pServerKeepAlive, 0) != 1 {
			t.Fatalf("got %v, want Server Keep Alive 1", a)
		}
		closesWithin(t, c, start, 1500, 4000)
	})
}

func TestResponseInformation(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.2-28")
	addr := startBroker(t, settings{responseInfo: "reply/to/me"})
	for ask, want := range map[string]bool{"": false, "\x00": false, "\x01": true} {
		p := fresh(v5)
		if ask != "" {
			p.props = prop(pRequestResponseInfo, int(ask[0]))
		}
		info, given := connectingTo(t, addr, p).accepted().text(pResponseInfo)
		if given != want || want && info != "reply/to/me" {
			t.Errorf("request %q: response information %q, %t", ask, info, given)
		}
	}
}

// A client that has declared a small Maximum Packet Size is told what is wrong in
// packets of that size.
func TestConnackFitsMaximumPacketSize(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.2.2-19", "MQTT-3.2.2-20")
	addr := startBroker(t, settings{maximumQoS: 1})
	const smallest = 5
	p := fresh(v5)
	p.props = join(prop(pMaximumPacketSize, smallest), prop(pAuthMethod, "no such method"))
	connectingTo(t, addr, p).refused(0x8C, 0x87)
	p.props = prop(pMaximumPacketSize, smallest)
	p.will = &will{topic: "w", qos: 2}
	connectingTo(t, addr, p).refused(0x9B)
}
