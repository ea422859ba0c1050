package conformance

import (
	"slices"
	"testing"
	"time"
)

func TestPropertiesAreForwarded(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-18", "MQTT-3.3.2-20")
	// User Properties that a map would lose or put in another order.
	pairs := [][2]string{{"b", "1"}, {"a", "2"}, {"b", "1"}, {"", ""}, {"a", "0"}, {"\uFEFF", "é"}}
	var users [][]byte
	for _, p := range pairs {
		users = append(users, user(p[0], p[1]))
	}
	binary := string([]byte{0, 0xFF, 0xED, 0xA0, 0x80})
	props := join(users[0], prop(pCorrelationData, binary), join(users[1:]...), prop(pPayloadFormat, 1),
		prop(pResponseTopic, "reply/to"), prop(pContentType, "text/plain; charset=utf-8"))
	check := func(t *testing.T, p packet) {
		t.Helper()
		if got := p.userProperties(); !slices.Equal(got, pairs) {
			t.Errorf("user properties %q, want %q", got, pairs)
		}
		for id, want := range map[byte]string{pCorrelationData: binary, pResponseTopic: "reply/to", pContentType: "text/plain; charset=utf-8"} {
			if got, ok := p.text(id); !ok || got != want {
				t.Errorf("property 0x%02X: got %q, want %q", id, got, want)
			}
		}
		if p.number(pPayloadFormat, 0) != 1 {
			t.Errorf("got %v, want payload format 1", p)
		}
	}
	for qos := range byte(3) {
		for _, how := range []string{"at once", "retained", "from the queue", "as the will"} {
			t.Run(how, func(t *testing.T) {
				t.Parallel()
				topic, id := unique(), unique()
				m := publishPacket{topic: topic, payload: "text", qos: qos, props: props}
				c := open(t, lasting(v5, id))
				c.listen(2, topic)
				speaker := open(t, fresh(v5))
				switch how {
				case "at once":
					speaker.publish(m)
				case "retained":
					m.retain = true
					speaker.publish(m)
					speaker.quiet()
					c.acknowledge(c.take(PUBLISH))
					c.subscribe(sub{topic, 2})
				case "from the queue":
					if qos == 0 {
						t.Skip("QoS 0 is not queued")
					}
					c.leave()
					speaker.publish(m)
					c = open(t, lasting(v5, id))
				case "as the will":
					shows(t, v5, "MQTT-3.1.3-10")
					p := fresh(v5)
					p.will = &will{topic: topic, payload: "text", qos: qos, props: props}
					open(t, p).cut()
				}
				check(t, c.hears("text"))
				c.quiet()
			})
		}
	}
}

// What a publisher leaves out is left out for the subscriber.
func TestNoPropertiesAreAdded(t *testing.T) {
	t.Parallel()
	topic := unique()
	c := open(t, fresh(v5))
	c.listen(1, topic)
	c.say(topic, "x")
	if p := c.hears("x"); len(p.props) != 0 {
		t.Errorf("got %v, want no properties", p)
	}
	open(t, fresh(v311)).say(topic, "from 3.1.1")
	if p := c.hears("from 3.1.1"); len(p.props) != 0 {
		t.Errorf("got %v, want no properties", p)
	}
}

// Payload Format Indicator 0 is the same as none, but "unaltered" is unaltered.
func TestPayloadsAreBytes(t *testing.T) {
	eachVersion(t, nil, func(t *testing.T, v version) {
		topic := unique()
		c := open(t, fresh(v))
		c.listen(1, topic)
		all := make([]byte, 70000)
		for i := range all {
			all[i] = byte(i * 7)
		}
		for _, n := range []int{0, 1, 2, 126, 127, 128, 16383, 16384, 65535, 65536, len(all)} {
			c.say(topic, string(all[:n]))
			c.hears(string(all[:n]))
		}
	})
}

func TestMessageExpiry(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.2-5", "MQTT-3.3.2-6")
	steady(t, func(t testing.TB) {
		queued, retained, online := unique(), unique(), unique()
		id := unique()
		c := open(t, lasting(v5, id))
		c.listen(1, queued, online)
		c.leave()
		speaker := open(t, fresh(v5))
		expiring := func(topic, payload string, seconds int, retain bool) {
			speaker.publish(publishPacket{topic: topic, payload: payload, qos: 1, retain: retain, props: prop(pMessageExpiry, seconds)})
		}
		start := time.Now()
		expiring(queued, "short", 1, false)
		expiring(queued, "long", 100, false)
		speaker.say(queued, "endless")
		expiring(retained+"/short", "short", 1, true)
		expiring(retained+"/long", "long", 100, true)

		present := open(t, fresh(v5))
		present.listen(1, online)
		expiring(online, "at once", 100, false)
		if p := present.hears("at once"); p.number(pMessageExpiry, -1) != 100 {
			t.Errorf("got %v, want a message expiry interval of 100", p)
		}

		pass(2200 * time.Millisecond)
		aged := func(p packet) {
			t.Helper()
			waited := int(time.Since(start) / time.Second)
			if got := p.number(pMessageExpiry, -1); got < 100-waited-1 || got > 98 {
				t.Errorf("got %v after %d s, want a message expiry interval of about %d", p, waited, 100-waited)
			}
		}
		c = open(t, lasting(v5, id))
		aged(c.hears("long"))
		if p := c.hears("endless"); p.has(pMessageExpiry) {
			t.Errorf("got %v, want no message expiry interval", p)
		}
		aged(c.hears("at once"))
		c.quiet()
		late := open(t, fresh(v5))
		late.listen(1, retained+"/#")
		aged(late.hears("long"))
		late.quiet()
	})
}

// Message expiry must not stop an exchange that has begun.
func TestExpiryDoesNotEndAnExchange(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.3.3-7", "MQTT-4.3.3-13")
	steady(t, func(t testing.TB) {
		topic, id := unique(), unique()
		c := open(t, lasting(v5, id))
		c.listen(2, topic)
		speaker := open(t, fresh(v5))
		expiring := publishPacket{topic: topic, payload: "sent", qos: 2, props: prop(pMessageExpiry, 2)}
		speaker.publish(expiring)
		sent := c.hear()
		expiring.topic, expiring.id = unique(), 5
		speaker.send(expiring.bytes(v5))
		speaker.sameID(speaker.expect(PUBREC), 5)

		pass(2500 * time.Millisecond)
		speaker.send(ack(PUBREL, 5))
		if p := speaker.expect(PUBCOMP); p.code != 0 || p.id != 5 {
			t.Errorf("got %v, want success", p)
		}
		c.cut()
		c = open(t, lasting(v5, id))
		p := c.hear()
		if p.id != sent.id || !p.dup() || p.payload != "sent" {
			t.Errorf("got %v, want %v again", p, sent)
		}
		c.acknowledge(p)
		c.quiet()
	})
}

// The DUP flag of the publisher is its own affair.
func TestDupIsNotForwarded(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.3.1-3", "MQTT-3.3.1-2", "MQTT-4.3.1-1", "MQTT-4.3.2-2", "MQTT-4.3.3-2"},
		v311: {"MQTT-3.3.1-3", "MQTT-3.3.1-2", "MQTT-4.3.1-1", "MQTT-2.3.1-5"},
	}, func(t *testing.T, v version) {
		topic := unique()
		c := open(t, fresh(v))
		c.listen(2, topic)
		c.publish(publishPacket{topic: topic, payload: "0"})
		c.publish(publishPacket{topic: topic, payload: "1", qos: 1, dup: true})
		c.publish(publishPacket{topic: topic, payload: "2", qos: 2, dup: true})
		for qos := range byte(3) {
			p := c.take(PUBLISH)
			if p.dup() || p.qos() != qos {
				t.Errorf("got %v, want QoS %d and no DUP", p, qos)
			}
			c.acknowledge(p)
		}
	})
}

// A message between the versions keeps what both know.
func TestMessagesBetweenVersions(t *testing.T) {
	t.Parallel()
	topic := unique()
	old, modern := open(t, fresh(v311)), open(t, fresh(v5))
	old.listen(2, topic)
	modern.listen(2, topic)
	modern.publish(publishPacket{topic: topic, payload: "from 5.0", qos: 2, props: propertiesOf(PUBLISH, pSubscriptionID, pTopicAlias)})
	for _, c := range []*client{old, modern} {
		if p := c.take(PUBLISH); p.payload != "from 5.0" || p.topic != topic || p.qos() != 2 {
			t.Errorf("got %v", p)
		} else {
			c.acknowledge(p)
		}
	}
	old.say(topic, "from 3.1.1")
	for _, c := range []*client{old, modern} {
		p := c.take(PUBLISH)
		if p.payload != "from 3.1.1" || p.qos() != 1 {
			t.Errorf("got %v", p)
		}
		c.acknowledge(p)
	}
}
