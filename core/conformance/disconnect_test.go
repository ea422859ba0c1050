package conformance

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

func TestPing(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.12.4-1"}, v311: {"MQTT-3.12.4-1"}}, func(t *testing.T, v version) {
		c := open(t, fresh(v))
		const many = 500
		for range many {
			c.send(pingreq)
		}
		for range many {
			c.expect(PINGRESP)
		}
		c.quiet()
	})
}

// The broker closes the connection after DISCONNECT if the client does not.
func TestDisconnect(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.14.4-2", "MQTT-3.14.4-1"},
		v311: {"MQTT-3.14.4-1", "MQTT-3.14.4-2"},
	}, func(t *testing.T, v version) {
		topic := unique()
		watcher := open(t, fresh(v))
		watcher.listen(0, topic)
		c := open(t, fresh(v))
		c.listen(0, topic)
		c.send(disconnect, publishPacket{topic: topic, payload: "after"}.bytes(v), pingreq)
		c.gone()
		watcher.quiet()
	})
}

func TestDisconnectReasonCodes(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.14.2-1")
	for _, code := range []byte{0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99} {
		c := open(t, fresh(v5))
		c.send(disconnect5(code, prop(pReasonString, "because"), user("k", "v")))
		c.gone()
	}
}

func TestTakeover(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.4-3", "MQTT-3.14.2-2", "MQTT-4.1.0-1"},
		v311: {"MQTT-3.1.4-2", "MQTT-4.1.0-1", "MQTT-4.1.0-2"},
	}, func(t *testing.T, v version) {
		topic, id := unique(), unique()
		speaker := open(t, fresh(v))
		first := open(t, lasting(v, id))
		first.listen(1, topic)
		speaker.say(topic, "1")
		unacknowledged := first.hear()

		second := connecting(t, lasting(v, id))
		if !second.accepted().present {
			t.Error("no session")
		}
		first.dropped(0x8E)
		if p := second.hear(); p.id != unacknowledged.id || !p.dup() || p.payload != "1" {
			t.Errorf("got %v, want %v again", p, unacknowledged)
		} else {
			second.acknowledge(p)
		}
		speaker.say(topic, "2")
		second.hears("2")

		clean := fresh(v)
		clean.id = id
		third := open(t, clean)
		second.dropped(0x8E)
		speaker.say(topic, "3")
		third.quiet()
	})
}

// The Client Identifier is the same whatever version the client speaks.
func TestTakeoverByAnotherVersion(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.4-3", "MQTT-3.1.2-5")
	shows(t, v311, "MQTT-3.1.4-2", "MQTT-3.1.2-4")
	topic, id := unique(), unique()
	first := open(t, lasting(v311, id))
	first.listen(1, topic)
	second := connecting(t, lasting(v5, id))
	if !second.accepted().present {
		t.Error("no session")
	}
	first.dropped()
	open(t, fresh(v5)).say(topic, "x")
	second.hears("x")
	third := connecting(t, lasting(v311, id))
	if !third.accepted().present {
		t.Error("no session")
	}
	second.dropped(0x8E)
}

// Many connections with one Client Identifier at once: one is left.
func TestTakeoverInARush(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.1.4-3"}, v311: {"MQTT-3.1.4-2"}}, func(t *testing.T, v version) {
		p := lasting(v, unique())
		var all []*client
		for range 20 {
			all = append(all, connecting(t, p))
		}
		var left int
		for _, c := range all {
			c.accepted()
		}
		for _, c := range all {
			c.trySend(pingreq)
			if p, err := c.read(); err == nil && p.typ == PINGRESP {
				left++
			} else if err == nil && p.code != 0x8E {
				t.Errorf("got %v, want DISCONNECT 0x8E", p)
			} else if v == v5 && err == errClosed && strict() {
				t.Error("closed without DISCONNECT 0x8E")
			}
		}
		if left != 1 {
			t.Errorf("%d connections are left, want 1", left)
		}
	})
}

func TestSessionExpiry(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.1.0-2", "MQTT-3.1.2-23", "MQTT-4.1.0-1")
	for _, test := range []struct {
		name   string
		expiry int64 // on CONNECT, -1 none
		end    []byte
		wait   time.Duration
		kept   bool
	}{
		{"none", -1, disconnect, 0, false},
		{"0", 0, disconnect, 0, false},
		{"none, connection lost", -1, nil, 0, false},
		{"1 s", 1, disconnect, 2200 * time.Millisecond, false},
		{"1 s, connection lost", 1, nil, 2200 * time.Millisecond, false},
		{"10 s, early", 10, disconnect, 1100 * time.Millisecond, true},
		{"for ever", 0xFFFFFFFF, disconnect, 1100 * time.Millisecond, true},
		{"shortened by DISCONNECT", 100, disconnect5(0, prop(pSessionExpiry, 1)), 2200 * time.Millisecond, false},
		{"ended by DISCONNECT", 100, disconnect5(0, prop(pSessionExpiry, 0)), 0, false},
		{"prolonged by DISCONNECT", 1, disconnect5(0, prop(pSessionExpiry, 100)), 2200 * time.Millisecond, true},
		{"unchanged by DISCONNECT", 100, disconnect5(0), 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			steady(t, func(t testing.TB) {
				topic := unique()
				p := connectPacket{v: v5, id: unique()}
				if test.expiry >= 0 {
					p.props = binary.BigEndian.AppendUint32([]byte{pSessionExpiry}, uint32(test.expiry))
				}
				c := open(t, p)
				c.listen(1, topic)
				if test.end == nil {
					c.cut()
				} else {
					c.send(test.end)
					c.gone()
				}
				pass(test.wait)
				open(t, fresh(v5)).say(topic, "x")
				c = connecting(t, p)
				if got := c.accepted().present; got != test.kept {
					t.Errorf("session present %t, want %t", got, test.kept)
				}
				if test.kept {
					c.hears("x")
				}
				c.quiet()
			})
		})
	}
}

// The period begins anew with each connection's end, and does not run meanwhile.
func TestSessionExpiryStandsStillWhileConnected(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.1.0-1")
	steady(t, func(t testing.TB) {
		p := connectPacket{v: v5, id: unique(), props: prop(pSessionExpiry, 2)}
		c := open(t, p)
		pass(3200 * time.Millisecond)
		c.leave()
		for range 3 {
			c = connecting(t, p)
			if !c.accepted().present {
				t.Fatal("no session")
			}
			c.quiet()
			c.cut()
		}
	})
}

// In MQTT 3.1.1 a Session without CleanSession has no end.
func TestCleanSessionEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	shows(t, v311, "MQTT-3.1.2-6")
	for _, how := range []string{"left", "lost"} {
		topic := unique()
		p := fresh(v311)
		c := open(t, p)
		c.listen(1, topic)
		if how == "left" {
			c.leave()
		} else {
			c.cut()
		}
		open(t, fresh(v311)).say(topic, "x")
		p.clean = false
		c = connecting(t, p)
		if c.accepted().present {
			t.Errorf("%s: session present", how)
		}
		c.quiet()
	}
}

// All that belongs to a Session comes back: subscriptions of all sorts, messages
// under way in both directions, and those that wait.
func TestSessionState(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.2-5", "MQTT-3.1.2-23", "MQTT-4.5.0-1"},
		v311: {"MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-4.1.0-1", "MQTT-4.5.0-1"},
	}, func(t *testing.T, v version) {
		base, id := unique(), unique()
		speaker := open(t, fresh(v))
		c := open(t, lasting(v, id))
		c.listen(0, base+"/0")
		c.listen(1, base+"/1/+")
		c.listen(2, base+"/2/#")
		c.send(publishPacket{topic: base + "/2", payload: "begun", qos: 2, id: 77}.bytes(v))
		c.sameID(c.take(PUBREC), 77)
		c.cut()
		open(t, fresh(v)).quiet()
		for i := range 5 {
			speaker.say(base+"/1/x", fmt.Sprint("one ", i))
			speaker.publish(publishPacket{topic: base + "/2/x", payload: fmt.Sprint("two ", i), qos: 2})
		}
		c = connecting(t, lasting(v, id))
		if !c.accepted().present {
			t.Fatal("no session")
		}
		// The QoS 2 message was ours to finish, and whether it has been passed on
		// before that is up to the broker.
		c.send(ack(PUBREL, 77))
		c.sameID(c.take(PUBCOMP), 77)
		var ones, twos, begun int
		for range 11 {
			p := c.take(PUBLISH)
			c.acknowledge(p)
			switch p.payload {
			case fmt.Sprint("one ", ones):
				ones++
			case fmt.Sprint("two ", twos):
				twos++
			case "begun":
				begun++
			default:
				t.Fatalf("got %v after %d, %d", p, ones, twos)
			}
		}
		if ones != 5 || twos != 5 || begun != 1 {
			t.Errorf("got %d, %d, %d messages, want 5, 5, 1", ones, twos, begun)
		}
		for topic, qos := range map[string]byte{"/0": 0, "/1/y": 1, "/2/y/z": 2} {
			speaker.publish(publishPacket{topic: base + topic, payload: "again", qos: 2})
			if p := c.hears("again"); p.qos() != qos {
				t.Errorf("got %v, want QoS %d", p, qos)
			}
		}
		c.quiet()
	})
}
