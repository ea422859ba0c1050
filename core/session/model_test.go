package session

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// fakeLink collects what a session says to its client.
type fakeLink struct {
	frames    [][]byte
	congested bool
}

func (l *fakeLink) Append(b []byte) {
	if len(b) > 0 {
		l.frames = append(l.frames, append([]byte(nil), b...))
	}
}

func (l *fakeLink) OverHighWater() bool { return l.congested }
func (l *fakeLink) Full() bool          { return l.congested }

func (l *fakeLink) AppendPublish(frame []byte, idOffset int, id uint16) {
	b := append([]byte(nil), frame...)
	if idOffset != 0 {
		packet.PutPacketID(b, idOffset, id)
	}
	l.frames = append(l.frames, b)
}

func (l *fakeLink) AppendAll(packets [][]byte, size int) {
	for _, b := range packets {
		size -= len(b)
		for len(b) > 0 { // what lies side by side comes in one piece
			h, n, err := packet.ReadHeader(b)
			if err != nil || n == 0 {
				panic("AppendAll with something that is not a packet")
			}
			l.Append(b[:n+h.Remaining])
			b = b[n+h.Remaining:]
		}
	}
	if size != 0 {
		panic("AppendAll with a wrong size")
	}
}

func (l *fakeLink) AppendShared(head []byte, idOffset int, id uint16, payload []byte, owner interface{ Unref() }) {
	l.AppendPublish(append(append([]byte(nil), head...), payload...), idOffset, id)
	owner.Unref()
}

// modelClient is a client by the book: it acknowledges when it likes, forgets
// what was on the wire when its connection drops, and keeps its QoS 2 state.
type modelClient struct {
	t       *testing.T
	rng     *rand.Rand
	s       *Session
	f       *Frames
	link    *fakeLink
	version packet.Version
	window  int

	unacked  int             // PUBLISH packets of this connection, not settled
	answers  []func()        // acknowledgements under way to the session
	held     map[uint16]bool // QoS 2 identifiers between PUBLISH and PUBREL
	got      [3][]uint32     // numbers received, by QoS, QoS 2 without what it had
	lastSeen [3]uint32
}

func (c *modelClient) connect() {
	c.link = &fakeLink{}
	c.window = 1 + c.rng.Intn(8)
	c.unacked = 0
	c.answers = nil
	if _, _, ok := c.s.Attach(c.link, Params{Version: c.version, ReceiveMaximum: uint16(c.window), SessionExpiry: 100}); !ok {
		c.t.Fatal("Attach refused a live session")
	}
	c.s.Pump(c.f)
}

func (c *modelClient) drop() {
	if c.rng.Intn(2) == 0 {
		c.s.Detach(c.link)
	}
	c.link = nil // else: taken over by the next connect
}

// read takes one packet from the wire.
func (c *modelClient) read() {
	if len(c.link.frames) == 0 {
		return
	}
	b := c.link.frames[0]
	c.link.frames = c.link.frames[1:]
	h, n, err := packet.ReadHeader(b)
	if err != nil || n == 0 {
		c.t.Fatalf("the session sent an invalid packet: %v", err)
	}
	body := b[n:]
	switch h.Type {
	case packet.TypePublish:
		c.publish(h, body)
	case packet.TypePubrel:
		var a packet.Ack
		if err := packet.DecodeAck(&a, packet.TypePubrel, c.version, body); err != nil {
			c.t.Fatal(err)
		}
		delete(c.held, a.PacketID)
		c.answers = append(c.answers, func() {
			c.s.Pubcomp(a.PacketID)
		})
	default:
		c.t.Fatalf("the session sent a %v", h.Type)
	}
}

func (c *modelClient) publish(h packet.Header, body []byte) {
	var p packet.Publish
	if err := packet.DecodePublish(&p, c.version, h, body, true); err != nil {
		c.t.Fatal(err)
	}
	number := binary.BigEndian.Uint32(p.Payload)
	id := p.PacketID
	if p.QoS > 0 {
		if c.unacked++; c.unacked > c.window {
			c.t.Fatalf("%d messages in flight, Receive Maximum is %d", c.unacked, c.window)
		}
	}
	switch p.QoS {
	case 0:
		c.got[0] = append(c.got[0], number)
	case 1:
		switch {
		case number == c.lastSeen[1]+1:
			c.lastSeen[1] = number
		case number > c.lastSeen[1] || !p.Dup:
			c.t.Fatalf("QoS 1: %d after %d, DUP %v", number, c.lastSeen[1], p.Dup)
		}
		c.answers = append(c.answers, func() {
			c.unacked--
			if m := c.s.Puback(id); m != nil {
				m.Unref()
			}
		})
	case 2:
		if !c.held[id] {
			if number != c.lastSeen[2]+1 {
				c.t.Fatalf("QoS 2: %d after %d", number, c.lastSeen[2])
			}
			c.lastSeen[2] = number
			c.held[id] = true
		}
		c.answers = append(c.answers, func() {
			if m := c.s.Pubrec(id, packet.Success); m != nil {
				m.Unref()
			}
			// PUBCOMP will settle it; the client counts from here, which is early.
			c.unacked--
		})
	}
}

// answer lets one acknowledgement arrive; the oldest first, since a connection
// keeps its order.
func (c *modelClient) answer() {
	if len(c.answers) == 0 {
		return
	}
	a := c.answers[0]
	c.answers = c.answers[1:]
	a()
	c.s.Pump(c.f)
}

// Under random drops, reconnects and takeovers nothing is lost, reordered, or
// (QoS 2) received twice.
func TestSessionAgainstModel(t *testing.T) {
	for seed := range int64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, seed) })
	}
}

func runModel(t *testing.T, seed int64) {
	rng := rand.New(rand.NewSource(seed))
	now := int64(1000)
	env := &Env{Store: new(store.Memory), Now: func() int64 { return now }}
	env.Limits.Store(&Limits{MaxInflight: 1 + rng.Intn(20), MaxQueued: 0})
	env.Drop = func(_ *Session, _ *packet.Message, qos byte, reason string) {
		if qos > 0 {
			t.Errorf("a QoS %d message was dropped: %s", qos, reason)
		}
	}
	ids := uint64(0)
	f := &Frames{NextID: func() uint64 { ids++; return ids }}
	s := New(env, "", "c", 1)
	c := &modelClient{t: t, rng: rng, s: s, f: f, version: packet.V311 + packet.Version(seed%2), held: map[uint16]bool{}}
	if seed%3 == 0 {
		s.startAt(65530 + 65535) // identifiers wrap early
	}
	c.connect()
	var sent [3]uint32
	publish := func() {
		qos := byte(1 + rng.Intn(2))
		sent[qos]++
		payload := make([]byte, 4+rng.Intn(2)*5000)
		binary.BigEndian.PutUint32(payload, sent[qos])
		m := packet.Message{Topic: []byte("t"), Payload: payload, QoS: qos}
		f.Begin(&m, now)
		s.Deliver(f, Delivery{QoS: qos})
		f.End()
	}
	for range 3000 {
		now += int64(rng.Intn(50))
		switch k := rng.Intn(100); {
		case k < 30:
			publish()
		case c.link == nil:
			if k < 60 {
				c.connect()
			}
		case k < 60:
			c.read()
		case k < 94:
			c.answer()
		case k < 96:
			c.drop()
		default:
			if c.link.congested = !c.link.congested; !c.link.congested {
				s.Pump(f)
			}
		}
	}
	if c.link == nil {
		c.connect()
	}
	c.link.congested = false
	s.Pump(f)
	for len(c.link.frames) > 0 || len(c.answers) > 0 {
		c.read()
		c.answer()
	}
	for qos := 1; qos <= 2; qos++ {
		if c.lastSeen[qos] != sent[qos] {
			t.Errorf("QoS %d: %d of %d arrived", qos, c.lastSeen[qos], sent[qos])
		}
	}
	if st := s.Stats(); st.Inflight != 0 || st.Queued != 0 || s.Load() != 0 || s.flight != 0 {
		t.Errorf("something is left: %+v, load %d, flight %d", st, s.Load(), s.flight)
	}
}
