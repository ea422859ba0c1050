package conformance

import (
	"bytes"
	"slices"
	"time"
)

// publish sends a message, completes the exchange of its QoS and returns the
// first acknowledgement (the zero packet for QoS 0).
func (c *client) publish(p publishPacket) packet {
	c.t.Helper()
	if p.qos > 0 && p.id == 0 {
		p.id = c.packetID()
	}
	c.send(p.bytes(c.v))
	switch p.qos {
	case 1:
		a := c.take(PUBACK)
		c.sameID(a, p.id)
		return a
	case 2:
		a := c.take(PUBREC)
		c.sameID(a, p.id)
		if a.code >= 0x80 {
			return a
		}
		c.send(ack(PUBREL, p.id))
		done := c.take(PUBCOMP)
		c.sameID(done, p.id)
		if done.code != 0 {
			c.t.Fatalf("got %v, want success", done)
		}
		return a
	}
	return packet{}
}

// say publishes at QoS 1: when it returns, the broker has routed the message.
func (c *client) say(topic, payload string) {
	c.t.Helper()
	if a := c.publish(publishPacket{topic: topic, payload: payload, qos: 1}); a.code >= 0x80 {
		c.t.Fatalf("publish %q: %v", topic, a)
	}
}

// retain publishes a retained message at QoS 1.
func (c *client) retain(topic, payload string) {
	c.t.Helper()
	if a := c.publish(publishPacket{topic: topic, payload: payload, qos: 1, retain: true}); a.code >= 0x80 {
		c.t.Fatalf("publish %q: %v", topic, a)
	}
}

func (c *client) sameID(p packet, id int) {
	c.t.Helper()
	if p.id != id {
		c.t.Fatalf("got %v, want packet identifier %d", p, id)
	}
}

// subscribe sends a SUBSCRIBE and returns the codes of its SUBACK.
func (c *client) subscribe(subs ...sub) []byte {
	c.t.Helper()
	return c.subscribeWith(nil, subs...)
}

func (c *client) subscribeWith(props []byte, subs ...sub) []byte {
	c.t.Helper()
	id := c.packetID()
	c.send(subscribe(c.v, id, props, subs...))
	a := c.take(SUBACK)
	c.sameID(a, id)
	if len(a.codes) != len(subs) {
		c.t.Fatalf("got %v for %d filters", a, len(subs))
	}
	return a.codes
}

// listen subscribes to filters at a QoS, which must be granted.
func (c *client) listen(qos byte, filters ...string) {
	c.t.Helper()
	var subs []sub
	for _, f := range filters {
		subs = append(subs, sub{f, qos})
	}
	if codes := c.subscribe(subs...); !bytes.Equal(codes, bytes.Repeat([]byte{qos}, len(filters))) {
		c.t.Fatalf("subscribe %q: granted % X, want QoS %d", filters, codes, qos)
	}
}

// unsubscribe sends an UNSUBSCRIBE and returns the codes of its UNSUBACK.
func (c *client) unsubscribe(filters ...string) []byte {
	c.t.Helper()
	id := c.packetID()
	c.send(unsubscribe(c.v, id, nil, filters...))
	a := c.take(UNSUBACK)
	c.sameID(a, id)
	if want := len(filters); c.v == v5 && len(a.codes) != want || c.v != v5 && len(a.codes) != 0 {
		c.t.Fatalf("got %v for %d filters", a, want)
	}
	return a.codes
}

// hear returns the next packet, a PUBLISH, without acknowledging it.
func (c *client) hear() packet {
	c.t.Helper()
	return c.expect(PUBLISH)
}

// hears receives and acknowledges the next message, which must have the payload.
func (c *client) hears(payload string) packet {
	c.t.Helper()
	p := c.hear()
	if p.payload != payload {
		c.t.Fatalf("got %v, want payload %q", p, payload)
	}
	c.acknowledge(p)
	return p
}

// acknowledge completes the exchange of a message that was received.
func (c *client) acknowledge(p packet) {
	c.t.Helper()
	switch p.qos() {
	case 1:
		c.puback(p.id)
	case 2:
		c.send(ack(PUBREC, p.id))
		rel := c.take(PUBREL)
		c.sameID(rel, p.id)
		c.pubcomp(p.id)
	}
}

// puback and pubcomp finish an exchange, so that the identifier is free again.
func (c *client) puback(id int) {
	c.t.Helper()
	delete(c.inflight, id)
	c.send(ack(PUBACK, id))
}

func (c *client) pubcomp(id int) {
	c.t.Helper()
	delete(c.inflight, id)
	c.send(ack(PUBCOMP, id))
}

// reject answers a message with a Reason Code that ends its exchange.
func (c *client) reject(p packet, code byte) {
	c.t.Helper()
	delete(c.inflight, p.id)
	c.send(ack5([]byte{0, PUBACK, PUBREC}[p.qos()], p.id, code))
}

// payloads lists what the messages carry.
func payloads(ps []packet) []string {
	out := []string{}
	for _, p := range ps {
		out = append(out, p.payload)
	}
	return out
}

// receives reads and acknowledges messages until all payloads have come, in that order.
func (c *client) receives(want ...string) {
	c.t.Helper()
	var got []string
	for range want {
		p := c.take(PUBLISH)
		c.acknowledge(p)
		got = append(got, p.payload)
	}
	if !slices.Equal(got, want) {
		c.t.Fatalf("got %q, want %q", got, want)
	}
}

// pass lets an interval of the protocol go by (an expiry, a delay): it is what
// the test is about, and not a wait for the broker to get something done.
func pass(d time.Duration) { time.Sleep(d) }
