package conformance

import (
	"fmt"
	"testing"
)

// limited is a lasting CONNECT with a Receive Maximum.
func limited(receiveMaximum int) connectPacket {
	p := lasting(v5, unique())
	p.props = join(p.props, prop(pReceiveMaximum, receiveMaximum))
	return p
}

func TestReceiveMaximumOfTheClient(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.4-9", "MQTT-3.3.4-10", "MQTT-4.9.0-1", "MQTT-4.9.0-2", "MQTT-4.9.0-3")
	for _, limit := range []int{1, 2, 7} {
		topic := unique()
		c, speaker := open(t, limited(limit)), open(t, fresh(v5))
		c.listen(2, topic)
		for i := range 30 {
			speaker.publish(publishPacket{topic: topic, payload: fmt.Sprint(i), qos: byte(1 + i%2)})
		}
		var window []packet
		for range limit { // so many come, and no more
			window = append(window, c.hear())
		}
		c.quiet()
		// Everything else goes on: QoS 0, subscriptions, acknowledgements.
		c.listen(0, topic+"/0")
		speaker.say(topic+"/0", "QoS 0")
		c.hears("QoS 0")
		if a := c.publish(publishPacket{topic: unique(), qos: 2}); a.code >= 0x80 {
			t.Errorf("got %v", a)
		}
		c.quiet()
		for i := limit; i < 30+limit; i++ { // one for one
			p := window[0]
			window = window[1:]
			if p.payload != fmt.Sprint(i-limit) {
				t.Fatalf("got %v, want message %d", p, i-limit)
			}
			if p.qos() == 2 {
				c.send(ack(PUBREC, p.id))
				c.sameID(c.expect(PUBREL), p.id)
				c.quiet() // PUBREC alone makes no room
				c.pubcomp(p.id)
			} else {
				c.puback(p.id)
			}
			if i < 30 {
				window = append(window, c.hear())
			}
			c.quiet()
		}
	}
}

// A PUBREC with an error makes room.
func TestReceiveMaximumAfterErrors(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.4-9", "MQTT-4.9.0-2")
	topic := unique()
	c, speaker := open(t, limited(1)), open(t, fresh(v5))
	c.listen(2, topic)
	for i := range 6 {
		speaker.publish(publishPacket{topic: topic, payload: fmt.Sprint(i), qos: byte(1 + i%2)})
	}
	for i := range 6 {
		p := c.hear()
		if p.payload != fmt.Sprint(i) {
			t.Fatalf("got %v, want message %d", p, i)
		}
		c.quiet()
		c.reject(p, 0x83)
	}
	c.quiet()
}

// A reconnect brings a window of its own, and what is sent again counts in it.
func TestReceiveMaximumAfterReconnect(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.4-9", "MQTT-4.9.0-1")
	topic := unique()
	p := limited(5)
	c, speaker := open(t, p), open(t, fresh(v5))
	c.listen(2, topic)
	for i := range 12 {
		speaker.publish(publishPacket{topic: topic, payload: fmt.Sprint(i), qos: 2})
	}
	for range 5 {
		c.hear()
	}
	c.quiet()
	c.cut()
	p.props = join(prop(pSessionExpiry, 300), prop(pReceiveMaximum, 2))
	c = open(t, p)
	window := []packet{c.hear(), c.hear()}
	for i := range 12 {
		if got := window[0]; got.payload != fmt.Sprint(i) || got.dup() != (i < 5) {
			t.Fatalf("got %v, want message %d, DUP %t", got, i, i < 5)
		}
		c.quiet()
		c.acknowledge(window[0])
		if window = window[1:]; i < 10 {
			window = append(window, c.take(PUBLISH))
		}
	}
	c.quiet()
}

// QoS 0 is not counted, and so not held back.
func TestReceiveMaximumIsNotForQoS0(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.4-9")
	topic := unique()
	c, speaker := open(t, limited(1)), open(t, fresh(v5))
	c.listen(1, topic)
	speaker.say(topic, "fills the window")
	c.hear()
	for i := range 5 {
		speaker.publish(publishPacket{topic: topic, payload: fmt.Sprint(i)})
	}
	speaker.quiet()
	for i := range 5 {
		c.hears(fmt.Sprint(i))
	}
}

func TestReceiveMaximumOfTheServer(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.4-7")
	const limit = 5
	addr := startBroker(t, settings{receiveMaximum: limit})
	c := connectingTo(t, addr, fresh(v5))
	if p := c.accepted(); p.number(pReceiveMaximum, 65535) != limit {
		t.Fatalf("got %v, want Receive Maximum %d", p, limit)
	}
	topic := unique()
	watcher := openAt(t, addr, fresh(v5))
	watcher.listen(2, topic)
	for i := range limit {
		c.send(publishPacket{topic: topic, payload: fmt.Sprint(i), qos: 2, id: i + 1}.bytes(v5))
	}
	for i := range limit {
		c.sameID(c.expect(PUBREC), i+1)
	}
	// Sent again it is no further one; QoS 0 does not count.
	c.send(publishPacket{topic: topic, payload: "0", qos: 2, id: 1, dup: true}.bytes(v5))
	c.sameID(c.expect(PUBREC), 1)
	c.send(publishPacket{topic: topic + "/0", payload: "QoS 0"}.bytes(v5))
	c.quiet()
	for round := range 3 { // each one that is done makes room for another
		c.send(ack(PUBREL, round+1))
		c.sameID(c.expect(PUBCOMP), round+1)
		c.send(publishPacket{topic: topic, qos: 2, id: round + 1}.bytes(v5))
		c.sameID(c.expect(PUBREC), round+1)
	}
	c.send(publishPacket{topic: topic, qos: 2, id: limit + 1}.bytes(v5))
	c.dropped(0x93)
}

// Packets larger than the client takes are left out as if they had been sent.
func TestMaximumPacketSizeOfTheClient(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.2-24", "MQTT-3.1.2-25")
	topic := unique()
	for qos := range byte(3) {
		// The largest payload that fits, with the broker's properties (none).
		m := publishPacket{topic: topic, qos: qos, id: 1}
		const limit = 200
		for len(m.bytes(v5)) < limit {
			m.payload += "x"
		}
		p := lasting(v5, unique())
		p.props = join(p.props, prop(pMaximumPacketSize, limit), prop(pReceiveMaximum, 1))
		c, speaker := open(t, p), open(t, fresh(v5))
		c.listen(qos, topic)
		speaker.publish(publishPacket{topic: topic, payload: m.payload + "x", qos: qos})
		speaker.publish(publishPacket{topic: topic, payload: m.payload, qos: qos})
		c.hears(m.payload)
		if qos > 0 {
			// From the queue, and against the limit of the later connection.
			c.leave()
			speaker.publish(publishPacket{topic: topic, payload: m.payload + "x", qos: qos})
			speaker.publish(publishPacket{topic: topic, payload: m.payload, qos: qos})
			c = open(t, p)
			c.hears(m.payload)
		}
		// A retained message that is too large.
		speaker.retain(topic+"/r", m.payload+"xx")
		c.listen(qos, topic+"/r")
		c.quiet()
		// Other receivers are not concerned.
		other := open(t, fresh(v5))
		other.listen(0, topic+"/r")
		other.hears(m.payload + "xx")
	}
}

// With a Maximum Packet Size near the smallest, answers must go without Reason
// Strings and User Properties.
func TestSmallestMaximumPacketSize(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.4.2-2", "MQTT-3.4.2-3", "MQTT-3.5.2-2", "MQTT-3.5.2-3", "MQTT-3.6.2-2", "MQTT-3.6.2-3",
		"MQTT-3.7.2-2", "MQTT-3.7.2-3", "MQTT-3.9.2-1", "MQTT-3.9.2-2", "MQTT-3.11.2-1", "MQTT-3.11.2-2", "MQTT-3.14.2-3", "MQTT-3.14.2-4")
	denied := unique()
	addr := startBroker(t, settings{denyPublish: denied})
	ask := func() *client {
		p := fresh(v5)
		p.props = prop(pMaximumPacketSize, 32) // inspect sees to it
		return openAt(t, addr, p)
	}
	c := ask()
	errorsOf(c, denied)
	for _, bad := range [][]byte{
		c.connect.bytes(),
		subscribe(v5, 1, nil),
		publishPacket{topic: "a/#", qos: 1, id: 1}.bytes(v5),
		publishPacket{topic: "a", props: prop(pTopicAlias, 0xFFFF)}.bytes(v5),
		{0, 0},
	} {
		c := ask()
		c.send(bad)
		c.dropped(0x81, 0x82, 0x90, 0x94)
	}
}

// errorsOf provokes each answer that can carry a Reason String.
func errorsOf(c *client, denied string) {
	c.t.Helper()
	c.publish(publishPacket{topic: denied, qos: 1})
	c.publish(publishPacket{topic: denied, qos: 2})
	c.publish(publishPacket{topic: unique(), qos: 1}) // 0x10
	c.send(ack(PUBREL, 999))
	c.expect(PUBCOMP)
	c.send(ack(PUBREC, 999))
	c.expect(PUBREL)
	c.send(ack(PUBCOMP, 999))
	c.subscribe(sub{"a/#/b", 0}, sub{"#+", 1})
	c.unsubscribe("a/#/b", unique())
}

func TestRequestProblemInformation(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.2-29")
	denied := unique()
	addr := startBroker(t, settings{denyPublish: denied})
	p := fresh(v5)
	p.props = prop(pRequestProblemInfo, 0) // inspect sees to it
	c := openAt(t, addr, p)
	errorsOf(c, denied)
	// User Properties of messages are not problem information.
	c.listen(0, denied+"/x")
	c.publish(publishPacket{topic: denied + "/x", payload: "x", props: user("k", "v")})
	if p := c.hears("x"); len(p.userProperties()) != 1 {
		t.Errorf("got %v, want the user property", p)
	}
}
