package conformance

import (
	"fmt"
	"testing"
)

func TestPublishIsAnswered(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-2.2.1-2", "MQTT-2.2.1-5", "MQTT-3.3.4-1", "MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.7.2-1", "MQTT-4.3.2-4", "MQTT-4.3.3-8", "MQTT-4.3.3-11"},
		v311: {"MQTT-2.3.1-5", "MQTT-2.3.1-6", "MQTT-3.3.4-1", "MQTT-4.3.2-2", "MQTT-4.3.3-2"},
	}, func(t *testing.T, v version) {
		c := open(t, fresh(v))
		topic := unique()
		c.send(publishPacket{topic: topic, payload: "x"}.bytes(v))
		c.quiet()
		for _, id := range []int{1, 2, 0x0100, 0xFFFF} {
			c.publish(publishPacket{topic: topic, qos: 1, id: id})
			c.publish(publishPacket{topic: topic, qos: 2, id: id})
			c.quiet()
		}
	})
}

// After PUBACK the identifier is free: another message, even if DUP is set.
func TestQoS1IdentifierIsUsedAgain(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-4.3.2-5"}, v311: {"MQTT-4.3.2-2"}}, func(t *testing.T, v version) {
		topic := unique()
		c := open(t, fresh(v))
		c.listen(1, topic)
		for i, dup := range []bool{false, true, false, true} {
			c.publish(publishPacket{topic: topic, payload: fmt.Sprint(i), qos: 1, id: 9, dup: dup})
		}
		c.receives("0", "1", "2", "3")
		c.quiet()
	})
}

func TestQoS2IdentifierIsHeldUntilRelease(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-4.3.3-10", "MQTT-4.3.3-11", "MQTT-4.3.3-12"},
		v311: {"MQTT-4.3.3-2"},
	}, func(t *testing.T, v version) {
		topic := unique()
		watcher := open(t, fresh(v))
		watcher.listen(2, topic)
		c := open(t, fresh(v))
		m := publishPacket{topic: topic, payload: "1", qos: 2, id: 9}
		c.send(m.bytes(v))
		c.sameID(c.expect(PUBREC), 9)
		for _, dup := range []bool{true, false, true} {
			m.dup = dup
			c.send(m.bytes(v))
			if p := c.expect(PUBREC); p.id != 9 || p.code >= 0x80 {
				t.Errorf("got %v for a PUBLISH sent again, want success", p)
			}
		}
		for range 2 { // the second PUBREL finds nothing
			c.send(ack(PUBREL, 9))
			p := c.expect(PUBCOMP)
			c.sameID(p, 9)
		}
		watcher.receives("1")
		watcher.quiet()
		m.payload, m.dup = "2", true
		c.publish(m)
		watcher.receives("2")
		watcher.quiet()
	})
}

// Acknowledgements of what was never sent must not confuse the broker.
func TestUnknownAcknowledgements(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.6.2-1", "MQTT-3.7.2-1"}, v311: nil}, func(t *testing.T, v version) {
		c := open(t, fresh(v))
		c.send(ack(PUBACK, 1234), ack(PUBCOMP, 1234))
		c.quiet()
		c.send(ack(PUBREL, 1234))
		if p := c.expect(PUBCOMP); p.id != 1234 || v == v5 && p.code != 0x92 {
			t.Errorf("got %v, want PUBCOMP 0x92", p)
		}
		c.send(ack(PUBREC, 1234))
		if p := c.expect(PUBREL); p.id != 1234 || v == v5 && p.code != 0x92 {
			t.Errorf("got %v, want PUBREL 0x92", p)
		}
		c.send(ack(PUBCOMP, 1234))
		c.quiet()
	})
}

// The broker as the sender, step by step.
func TestDeliveryQoS1(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-2.2.1-4", "MQTT-4.3.2-1", "MQTT-4.3.2-2", "MQTT-4.3.2-3"},
		v311: {"MQTT-2.3.1-1", "MQTT-2.3.1-4", "MQTT-4.3.2-1"},
	}, func(t *testing.T, v version) {
		topic, id := unique(), unique()
		c, speaker := open(t, lasting(v, id)), open(t, fresh(v))
		c.listen(1, topic)
		for i := range 20 {
			speaker.say(topic, fmt.Sprint(i))
		}
		var sent []packet
		for i := range 20 {
			p := c.hear() // inspect sees to identifiers that are not in use
			if p.payload != fmt.Sprint(i) || p.dup() || p.qos() != 1 {
				t.Fatalf("got %v, want message %d", p, i)
			}
			sent = append(sent, p)
		}
		for i := 0; i < 20; i += 2 { // in an order of our own
			c.puback(sent[18-i].id)
		}
		c.quiet()
		c.cut()
		c = open(t, lasting(v, id))
		for i := 1; i < 20; i += 2 {
			if p := c.hear(); p.id != sent[i].id || p.payload != sent[i].payload || !p.dup() {
				t.Fatalf("got %v, want %v again", p, sent[i])
			}
		}
		c.quiet()
	})
}

func TestDeliveryQoS2(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-2.2.1-4", "MQTT-3.6.2-1", "MQTT-4.3.3-1", "MQTT-4.3.3-2", "MQTT-4.3.3-3", "MQTT-4.3.3-4", "MQTT-4.3.3-5", "MQTT-4.3.3-6"},
		v311: {"MQTT-2.3.1-1", "MQTT-2.3.1-4", "MQTT-2.3.1-6", "MQTT-4.3.3-1"},
	}, func(t *testing.T, v version) {
		topic, id := unique(), unique()
		c, speaker := open(t, lasting(v, id)), open(t, fresh(v))
		c.listen(2, topic)
		speaker.publish(publishPacket{topic: topic, payload: "x", qos: 2})
		reconnect := func() {
			t.Helper()
			c.cut()
			c = open(t, lasting(v, id))
		}
		sent := c.hear()
		if sent.dup() || sent.qos() != 2 {
			t.Errorf("got %v, want QoS 2 and no DUP", sent)
		}
		c.quiet()
		for range 2 {
			reconnect()
			if p := c.hear(); p.id != sent.id || p.payload != "x" || !p.dup() {
				t.Fatalf("got %v, want %v again", p, sent)
			}
			c.quiet()
		}
		c.send(ack(PUBREC, sent.id))
		c.sameID(c.expect(PUBREL), sent.id)
		c.quiet()
		for range 2 {
			reconnect()
			if p := c.expect(PUBREL); p.id != sent.id {
				t.Fatalf("got %v, want PUBREL of %d again", p, sent.id)
			}
			c.quiet()
		}
		// PUBREC once more is answered with PUBREL once more, and not with PUBLISH.
		c.send(ack(PUBREC, sent.id))
		c.sameID(c.expect(PUBREL), sent.id)
		c.send(ack(PUBCOMP, sent.id))
		c.quiet()
		reconnect()
		c.quiet()
	})
}

// The client breaks off and comes back after every step; the message must come
// through exactly once in both directions.
func TestQoS2ExactlyOnce(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-4.3.3-10", "MQTT-4.3.3-12", "MQTT-4.4.0-1"},
		v311: {"MQTT-4.3.3-2", "MQTT-4.4.0-1"},
	}, func(t *testing.T, v version) {
		topic, id := unique(), unique()
		watcher := open(t, fresh(v))
		watcher.listen(2, topic)
		c := open(t, lasting(v, id))
		reconnect := func() {
			t.Helper()
			c.cut()
			c = open(t, lasting(v, id))
		}
		m := publishPacket{topic: topic, payload: "once", qos: 2, id: 21}
		for range 3 {
			c.send(m.bytes(v))
			reconnect() // the PUBREC may have been on its way
			m.dup = true
		}
		c.send(m.bytes(v))
		c.sameID(c.expect(PUBREC), 21)
		for range 3 {
			reconnect()
			c.send(ack(PUBREL, 21))
		}
		c.sameID(c.expect(PUBCOMP), 21)
		reconnect()
		c.send(ack(PUBREL, 21)) // the PUBCOMP got lost
		c.sameID(c.expect(PUBCOMP), 21)
		watcher.receives("once")
		watcher.quiet()
		m.payload, m.dup = "next", false
		c.publish(m)
		watcher.receives("next")
		watcher.quiet()
	})
}

// All that is unacknowledged is sent again in the original order, and with its
// identifiers; only then come messages that have not been sent before.
func TestResendOnReconnect(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.3.1-1", "MQTT-4.4.0-1"},
		v311: {"MQTT-2.3.1-4", "MQTT-3.3.1-1", "MQTT-4.4.0-1", "MQTT-4.6.0-1"},
	}, func(t *testing.T, v version) {
		topic, id := unique(), unique()
		c, speaker := open(t, lasting(v, id)), open(t, fresh(v))
		c.listen(2, topic)
		const total = 18
		var sent []packet
		for i := range total {
			speaker.publish(publishPacket{topic: topic, payload: fmt.Sprint(i), qos: byte(1 + i%2)})
			sent = append(sent, c.hear())
		}
		// Of every six: 0 QoS 1 acknowledged, 1 QoS 2 received, 3 QoS 2 completed.
		for i, p := range sent {
			switch i % 6 {
			case 0:
				c.puback(p.id)
			case 1:
				c.send(ack(PUBREC, p.id))
				c.sameID(c.expect(PUBREL), p.id)
			case 3:
				c.acknowledge(p)
			}
		}
		c.quiet()
		for range 2 {
			c.cut()
			speaker.say(topic, "later")
			c = open(t, lasting(v, id))
			for i, p := range sent {
				switch i % 6 {
				case 1:
					if again := c.expect(PUBREL); again.id != p.id {
						t.Fatalf("got %v, want PUBREL of %v", again, p)
					}
				case 2, 4, 5:
					if again := c.hear(); again.id != p.id || again.payload != p.payload || again.qos() != p.qos() || !again.dup() {
						t.Fatalf("got %v, want %v again", again, p)
					}
				}
			}
			c.hears("later")
			c.quiet()
		}
	})
}

// On a live connection nothing is sent again, neither by time nor because the
// client acknowledges others.
func TestNothingIsResentWhileConnected(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-4.4.0-1"}, v311: nil}, func(t *testing.T, v version) {
		topic := unique()
		c, speaker := open(t, fresh(v)), open(t, fresh(v))
		c.listen(2, topic)
		speaker.say(topic, "1")
		speaker.publish(publishPacket{topic: topic, payload: "2", qos: 2})
		c.hear()
		second := c.hear()
		c.send(ack(PUBREC, second.id))
		c.expect(PUBREL)
		pass(silence)
		for i := range 10 {
			speaker.say(topic, fmt.Sprint("more ", i))
			c.hears(fmt.Sprint("more ", i))
		}
		c.quiet()
	})
}

// A Reason Code that is an error ends an exchange.
func TestErrorsAcknowledge(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.4.0-2", "MQTT-4.3.3-4")
	topic, id := unique(), unique()
	p := lasting(v5, id)
	p.props = join(p.props, prop(pReceiveMaximum, 2))
	c, speaker := open(t, p), open(t, fresh(v5))
	c.listen(2, topic)
	speaker.say(topic, "1")
	speaker.publish(publishPacket{topic: topic, payload: "2", qos: 2})
	speaker.say(topic, "3")
	speaker.publish(publishPacket{topic: topic, payload: "4", qos: 2})
	for _, code := range []byte{0x80, 0x97} {
		first, second := c.hear(), c.hear()
		c.reject(first, code)
		c.reject(second, code)
	}
	c.quiet() // no PUBREL
	c.cut()
	c = open(t, p)
	c.quiet()
}

// An error of a PUBREC frees the identifier at the receiver, too.
func TestIdentifierAfterRefusedPublish(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.3.3-9")
	denied, allowed := unique(), unique()
	addr := startBroker(t, settings{denyPublish: denied})
	c := openAt(t, addr, fresh(v5))
	c.listen(2, allowed)
	if a := c.publish(publishPacket{topic: denied, payload: "no", qos: 2, id: 3}); a.code != 0x87 {
		t.Errorf("got %v, want 0x87", a)
	}
	if a := c.publish(publishPacket{topic: allowed, payload: "yes", qos: 2, id: 3, dup: true}); a.code != 0 {
		t.Errorf("got %v, want success", a)
	}
	c.receives("yes")
	c.quiet()
}

func TestPublishIsNotAuthorized(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.4.2-1", "MQTT-3.5.2-1"}, v311: {"MQTT-3.3.5-2"}}, func(t *testing.T, v version) {
		topic := unique()
		addr := startBroker(t, settings{denyPublish: topic})
		watcher := openAt(t, addr, fresh(v))
		watcher.listen(2, topic)
		for qos := range byte(3) {
			c := openAt(t, addr, fresh(v))
			c.send(publishPacket{topic: topic, payload: "no", qos: qos, id: 3}.bytes(v), pingreq)
			p, err := c.read()
			switch {
			case err == errClosed && v == v311:
			case err == nil && qos == 0 && p.typ == PINGRESP:
			case err == nil && qos > 0 && p.typ == []byte{0, PUBACK, PUBREC}[qos] && (v == v311 || p.code == 0x87):
			case err == nil && p.typ == DISCONNECT && p.code == 0x87:
			default:
				t.Errorf("QoS %d: got %v, %v", qos, p, err)
			}
			if err == nil && qos == 2 && v == v311 {
				c.send(ack(PUBREL, 3))
				c.take(PUBCOMP)
			}
		}
		watcher.quiet()
	})
}

// 0x10 tells that nobody listens; success that somebody does.
func TestNoMatchingSubscribers(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.4.2-1", "MQTT-3.5.2-1")
	topic := unique()
	c := open(t, fresh(v5))
	for qos := byte(1); qos < 3; qos++ {
		if a := c.publish(publishPacket{topic: topic, qos: qos}); a.code != 0 && a.code != 0x10 {
			t.Errorf("got %v, want 0x00 or 0x10", a)
		}
	}
	c.listen(0, topic)
	for qos := byte(1); qos < 3; qos++ {
		if a := c.publish(publishPacket{topic: topic, qos: qos}); a.code != 0 {
			t.Errorf("got %v, want success", a)
		}
	}
}

// The order of acknowledgements is that of the messages, so that a client can
// keep its window without looking anything up.
func TestAcknowledgementsAreInOrder(t *testing.T) {
	eachVersion(t, nil, func(t *testing.T, v version) {
		topic := unique()
		c := open(t, fresh(v))
		for i := range 20 {
			c.send(publishPacket{topic: topic, qos: byte(1 + i%2), id: 100 + i*3%20}.bytes(v))
		}
		for i := range 20 {
			c.sameID(c.expect([]byte{PUBACK, PUBREC}[i%2]), 100+i*3%20)
		}
	})
}
