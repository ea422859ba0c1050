package conformance

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
)

// exchange is one QoS 2 message of a sender that keeps the rules of a client.
type exchange struct {
	id       int
	payload  string
	released bool // PUBREC has come, PUBREL was sent
}

// sender publishes numbered messages at QoS 2 over connections that break.
type sender struct {
	c         *client
	connect   connectPacket
	topic     string
	next      int
	exchanges []exchange // not completed, in the order of sending
}

func (s *sender) send() {
	e := exchange{id: 1 + s.next%20, payload: fmt.Sprint(s.next)}
	s.next++
	s.exchanges = append(s.exchanges, e)
	s.c.send(publishPacket{topic: s.topic, payload: e.payload, qos: 2, id: e.id}.bytes(s.c.v))
}

// receive reads one acknowledgement and answers it, or does not get to that.
func (s *sender) receive(answer bool) {
	s.c.t.Helper()
	p := s.c.next()
	i := slices.IndexFunc(s.exchanges, func(e exchange) bool { return e.id == p.id })
	switch {
	case i < 0:
		s.c.t.Fatalf("got %v of no message under way", p)
	case p.typ == PUBREC && !s.exchanges[i].released && p.code < 0x80:
		if answer {
			s.exchanges[i].released = true
			s.c.send(ack(PUBREL, p.id))
		}
	case p.typ == PUBCOMP && s.exchanges[i].released:
		s.exchanges = slices.Delete(s.exchanges, i, i+1)
	default:
		s.c.t.Fatalf("got %v", p)
	}
}

func (s *sender) reconnect() {
	s.c.t.Helper()
	s.c.cut()
	s.c = open(s.c.t, s.connect)
	for _, e := range s.exchanges {
		if e.released {
			s.c.send(ack(PUBREL, e.id))
		} else {
			s.c.send(publishPacket{topic: s.topic, payload: e.payload, qos: 2, id: e.id, dup: true}.bytes(s.c.v))
		}
	}
}

// receiver takes messages at QoS 2 over connections that break.
type receiver struct {
	c       *client
	connect connectPacket
	got     []string
	held    map[int]bool // identifiers received and not released
}

// drain handles what has come, and breaks the connection after some packets
// (never if breakAfter is negative), with or without an answer to the last.
func (r *receiver) drain(breakAfter int, answer bool) {
	r.c.t.Helper()
	r.c.send(pingreq)
	for n := 0; ; n++ {
		p := r.c.next()
		last := n == breakAfter
		switch p.typ {
		case PINGRESP:
			if breakAfter >= 0 {
				r.reconnect()
			}
			return
		case PUBLISH:
			if r.held[p.id] && !p.dup() {
				r.c.t.Fatalf("got %v, whose identifier is not released", p)
			}
			if !r.held[p.id] {
				r.held[p.id] = true
				r.got = append(r.got, p.payload)
			}
			if !last || answer {
				r.c.send(ack(PUBREC, p.id))
			}
		case PUBREL:
			delete(r.held, p.id)
			if !last || answer {
				r.c.pubcomp(p.id)
			}
		default:
			r.c.t.Fatalf("got %v", p)
		}
		if last {
			r.reconnect()
			return
		}
	}
}

func (r *receiver) reconnect() {
	r.c.t.Helper()
	r.c.cut()
	r.c = open(r.c.t, r.connect)
}

// Whatever connection breaks at whatever step: every message arrives once, in order.
func TestQoS2ExactlyOnceAtRandom(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-4.3.3-5", "MQTT-4.3.3-6", "MQTT-4.3.3-10", "MQTT-4.3.3-12", "MQTT-4.4.0-1", "MQTT-4.6.0-5"},
		v311: {"MQTT-4.3.3-1", "MQTT-4.3.3-2", "MQTT-4.4.0-1", "MQTT-4.6.0-1", "MQTT-4.6.0-6"},
	}, func(t *testing.T, v version) {
		for seed := range int64(8) {
			rng := rand.New(rand.NewSource(seed))
			s := &sender{connect: lasting(v, unique()), topic: unique()}
			s.c = open(t, s.connect)
			r := &receiver{connect: lasting(v, unique()), held: map[int]bool{}}
			r.c = open(t, r.connect)
			r.c.listen(2, s.topic)
			const total = 40
			for s.next < total || len(s.exchanges) > 0 {
				switch n := rng.Intn(10); {
				case n < 3 && s.next < total && len(s.exchanges) < 5:
					s.send()
				case n < 7 && len(s.exchanges) > 0:
					s.receive(true)
				case n == 7 && len(s.exchanges) > 0:
					s.receive(false)
					s.reconnect()
				case n == 8:
					s.reconnect()
				case n == 9:
					r.drain(rng.Intn(6)-2, rng.Intn(2) == 0)
				}
			}
			for len(r.got) < total || len(r.held) > 0 {
				r.drain(-1, true)
			}
			r.c.quiet()
			for i, payload := range r.got {
				if payload != fmt.Sprint(i) || len(r.got) != total {
					t.Fatalf("seed %d: received %q", seed, r.got)
				}
			}
		}
	})
}
