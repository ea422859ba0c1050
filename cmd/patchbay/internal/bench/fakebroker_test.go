package bench

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// faults are what a fakeBroker does wrong on purpose, and its limits.
type faults struct {
	dropEvery   int64 // leaves out each n-th delivery
	dupEvery    int64 // delivers each n-th twice
	swapEvery   int64 // holds each n-th back until the next one has gone out
	refuseEvery int64 // answers each n-th CONNECT with Not authorized
	rejectEvery int64 // answers each n-th PUBLISH at QoS 1 with Quota exceeded
	noAckEvery  int64 // does not answer each n-th PUBLISH at QoS 1
	queueLimit  int   // messages kept for a session that is away
	forget      bool  // keeps no session

	connack packet.Properties
}

// fakeBroker is just enough of a broker: exact topic filters, QoS 0 to 2, sessions
// that keep messages. It counts what it does wrong, so that the bench's account can
// be held against it.
type fakeBroker struct {
	*faults
	ln   net.Listener
	ws   bool
	wait sync.WaitGroup

	mu        sync.Mutex
	sessions  map[string]*fakeSession
	filters   map[string][]*fakeSession
	persisted atomic.Int64 // connections without Clean Start

	connects, publishes, deliveries    atomic.Int64
	dropped, doubled, swapped, refused atomic.Int64
	rejected, unanswered               atomic.Int64
	inFlight, maxInFlight              atomic.Int64
	disconnects                        atomic.Int64
	cut                                atomic.Bool // ends connections at their next packet
}

type fakeSession struct {
	b          *fakeBroker
	mu         sync.Mutex
	conn       net.Conn // nil while away
	version    packet.Version
	persistent bool
	qos        map[string]byte
	queue      []packet.PublishOut
	held       *packet.PublishOut
	nextID     uint16
	released   map[uint16]bool // QoS 2 ids received
}

func startFake(t *testing.T, f *faults) *fakeBroker {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveFake(t, f, ln, false)
}

func serveFake(t *testing.T, f *faults, ln net.Listener, overWS bool) *fakeBroker {
	b := &fakeBroker{faults: f, ln: ln, ws: overWS, sessions: map[string]*fakeSession{}, filters: map[string][]*fakeSession{}}
	b.wait.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			b.wait.Go(func() { b.serve(nc) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		b.wait.Wait() // the clients have gone, or this would hang
	})
	return b
}

func (b *fakeBroker) url() string { return "mqtt://" + b.ln.Addr().String() }

// nth reports whether this is the n-th of something, and every n-th after it.
func nth(c *atomic.Int64, every int64) bool { return c.Add(1)%max(every, 1) == 0 && every > 0 }

func readFrame(r *bufio.Reader) (h packet.Header, body []byte, err error) {
	for n := 2; ; n++ {
		head, err := r.Peek(n)
		if err != nil {
			return h, nil, err
		}
		h, used, err := packet.ReadHeader(head)
		if err != nil {
			return h, nil, err
		}
		if used > 0 {
			r.Discard(used)
			body = make([]byte, h.Remaining)
			_, err = io.ReadFull(r, body)
			return h, body, err
		}
	}
}

func (b *fakeBroker) serve(nc net.Conn) {
	defer nc.Close()
	if b.ws {
		up := ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == "mqtt" }}
		if _, err := up.Upgrade(nc); err != nil {
			return
		}
		nc = &fakeWS{Conn: nc}
	}
	r := bufio.NewReader(nc)
	h, body, err := readFrame(r)
	if err != nil {
		return
	}
	var c packet.Connect
	if c.Decode(h, body) != nil {
		return
	}
	if nth(&b.connects, b.refuseEvery) {
		b.refused.Add(1)
		out, _ := (&packet.Connack{Code: packet.NotAuthorized}).Append(nil, c.Version)
		nc.Write(out)
		return
	}
	s := b.attach(nc, &c)
	for {
		h, body, err := readFrame(r)
		if err != nil || b.cut.Load() || !b.packet(s, nc, h, body) {
			break
		}
	}
	b.detach(s, nc)
}

// attach finds or makes the session, answers and sends what was kept.
func (b *fakeBroker) attach(nc net.Conn, c *packet.Connect) *fakeSession {
	b.mu.Lock()
	s, present := b.sessions[c.ClientID]
	if c.CleanStart || b.forget {
		present = false
	}
	if !present {
		s = &fakeSession{b: b, qos: map[string]byte{}, released: map[uint16]bool{}}
		b.sessions[c.ClientID] = s
	}
	b.mu.Unlock()
	ack := packet.Connack{SessionPresent: present}
	if c.Version == packet.V5 {
		ack.Props = b.connack
	}
	out, _ := ack.Append(nil, c.Version)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.version, s.persistent = nc, c.Version, !c.CleanStart
	if s.persistent {
		b.persisted.Add(1)
	}
	nc.Write(out)
	for _, p := range s.queue {
		s.write(p)
	}
	s.queue = nil
	return s
}

func (b *fakeBroker) detach(s *fakeSession, nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nc {
		s.conn = nil
	}
}

func (b *fakeBroker) packet(s *fakeSession, nc net.Conn, h packet.Header, body []byte) bool {
	var a packet.Ack
	switch h.Type {
	case packet.TypeSubscribe:
		var p packet.Subscribe
		if p.Decode(s.version, body) != nil {
			return false
		}
		ack := packet.Suback{PacketID: p.PacketID}
		b.mu.Lock()
		for _, f := range p.Subscriptions {
			s.qos[f.Filter] = f.QoS
			b.filters[f.Filter] = append(b.filters[f.Filter], s)
			ack.Codes = append(ack.Codes, packet.ReasonCode(f.QoS))
		}
		b.mu.Unlock()
		out, _ := ack.Append(nil, s.version)
		s.reply(out)
	case packet.TypePublish:
		return b.publish(s, h, body)
	case packet.TypePubrec:
		packet.DecodeAck(&a, h.Type, s.version, body)
		s.reply(packet.AppendAck(nil, packet.TypePubrel, s.version, a.PacketID, packet.Success, nil))
	case packet.TypePubrel:
		packet.DecodeAck(&a, h.Type, s.version, body)
		delete(s.released, a.PacketID)
		b.inFlight.Add(-1)
		s.reply(packet.AppendAck(nil, packet.TypePubcomp, s.version, a.PacketID, packet.Success, nil))
	case packet.TypePingreq:
		s.reply(packet.Pingresp)
	case packet.TypeDisconnect:
		b.disconnects.Add(1)
		return false
	}
	return true
}

func (s *fakeSession) reply(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Write(b)
	}
}

func (b *fakeBroker) publish(s *fakeSession, h packet.Header, body []byte) bool {
	var p packet.Publish
	if packet.DecodePublish(&p, s.version, h, body, false) != nil {
		return false
	}
	n := b.inFlight.Add(1)
	for m := b.maxInFlight.Load(); n > m && !b.maxInFlight.CompareAndSwap(m, n); m = b.maxInFlight.Load() {
	}
	again := p.QoS == 2 && s.released[p.PacketID]
	if !again {
		b.publishes.Add(1)
		b.mu.Lock()
		targets := b.filters[string(p.Topic)]
		b.mu.Unlock()
		for _, to := range targets {
			to.deliver(packet.PublishOut{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS})
		}
	}
	switch p.QoS {
	case 0:
		b.inFlight.Add(-1)
	case 1:
		b.puback(s, p.PacketID)
	case 2:
		s.released[p.PacketID] = true
		s.reply(packet.AppendAck(nil, packet.TypePubrec, s.version, p.PacketID, packet.Success, nil))
	}
	return true
}

func (b *fakeBroker) puback(s *fakeSession, id uint16) {
	code := packet.Success
	if b.rejectEvery > 0 && b.publishes.Load()%b.rejectEvery == 0 {
		b.rejected.Add(1)
		code = packet.QuotaExceeded
	}
	if b.noAckEvery > 0 && b.publishes.Load()%b.noAckEvery == 0 {
		b.unanswered.Add(1)
		return
	}
	b.inFlight.Add(-1)
	s.reply(packet.AppendAck(nil, packet.TypePuback, s.version, id, code, nil))
}

// deliver sends p, or keeps it, or does what the faults say.
func (s *fakeSession) deliver(p packet.PublishOut) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.b.deliveries.Add(1)
	due := func(every int64) bool { return every > 0 && n%every == 0 }
	if s.conn == nil {
		if !s.persistent || s.b.queueLimit > 0 && len(s.queue) >= s.b.queueLimit {
			s.b.dropped.Add(1)
			return
		}
		s.queue = append(s.queue, p)
		return
	}
	switch {
	case due(s.b.dropEvery):
		s.b.dropped.Add(1)
		return
	case due(s.b.dupEvery):
		s.b.doubled.Add(1)
		s.write(p)
	case due(s.b.swapEvery) && s.held == nil:
		s.held = &p
		return
	}
	s.write(p)
	if s.held != nil {
		s.b.swapped.Add(1)
		s.write(*s.held)
		s.held = nil
	}
}

func (s *fakeSession) write(p packet.PublishOut) {
	if p.QoS > 0 {
		if s.nextID++; s.nextID == 0 {
			s.nextID = 1
		}
		p.PacketID = s.nextID
	}
	frame, _ := packet.AppendPublish(nil, s.version, &p)
	s.conn.Write(frame)
}

// stillThere is what fakeWS pings with, and must come back.
const stillThere = "still there?"

// fakeWS is the server's side of a WebSocket, with frames cut at awkward places.
type fakeWS struct {
	net.Conn
	rest []byte
}

func (c *fakeWS) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		h, err := ws.ReadHeader(c.Conn)
		if err != nil {
			return 0, err
		}
		b := make([]byte, h.Length)
		if _, err := io.ReadFull(c.Conn, b); err != nil {
			return 0, err
		}
		ws.Cipher(b, h.Mask, 0)
		if h.OpCode == ws.OpBinary {
			c.rest = b
		} else if h.OpCode == ws.OpPong && string(b) != stillThere {
			return 0, errors.New("the pong is not what the ping was")
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *fakeWS) Write(p []byte) (int, error) {
	half := len(p) / 2
	for _, f := range []ws.Frame{
		ws.NewFrame(ws.OpBinary, false, p[:half]), ws.NewPingFrame([]byte(stillThere)),
		ws.NewFrame(ws.OpContinuation, true, p[half:]),
	} {
		if err := ws.WriteFrame(c.Conn, f); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
