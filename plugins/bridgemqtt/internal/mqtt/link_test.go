package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

const wait = time.Minute

// server is the other end of a Link, which does what a test says.
type server struct {
	t *testing.T
	l net.Listener
}

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &server{t, l}
}

// peer is one connection of a server.
type peer struct {
	t  *testing.T
	nc net.Conn
}

// accept takes the next connection and lets it in.
func (s *server) accept(present bool, change func(*packets.Connack)) *peer {
	s.t.Helper()
	_ = s.l.(*net.TCPListener).SetDeadline(time.Now().Add(wait))
	nc, err := s.l.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	p := &peer{s.t, nc}
	p.expect("CONNECT")
	cp := packets.NewControlPacket(packets.CONNACK)
	a := cp.Content.(*packets.Connack)
	a.SessionPresent, a.Properties = present, &packets.Properties{}
	if change != nil {
		change(a)
	}
	p.write(cp)
	return p
}

func (p *peer) write(cp *packets.ControlPacket) {
	p.t.Helper()
	if _, err := cp.WriteTo(p.nc); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) ack(kind byte, id uint16, code byte) {
	p.t.Helper()
	b := []byte{kind << 4, 3, byte(id >> 8), byte(id), code}
	if kind == typePubrel {
		b[0] |= 2
	}
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// next is the next packet in short, but for PINGREQ.
func (p *peer) next() (string, uint16) {
	p.t.Helper()
	for {
		_ = p.nc.SetReadDeadline(time.Now().Add(wait))
		cp, err := packets.ReadPacket(p.nc)
		if err != nil {
			p.t.Fatal(err)
		}
		switch c := cp.Content.(type) {
		case *packets.Connect:
			return "CONNECT", 0
		case *packets.Publish:
			s := fmt.Sprintf("PUBLISH %s q%d", c.Payload, c.QoS)
			if c.Duplicate {
				s += " dup"
			}
			return s, c.PacketID
		case *packets.Pingreq:
		case *packets.Puback:
			return "PUBACK", c.PacketID
		case *packets.Pubrec:
			return "PUBREC", c.PacketID
		case *packets.Pubrel:
			return "PUBREL", c.PacketID
		case *packets.Pubcomp:
			return "PUBCOMP", c.PacketID
		case *packets.Subscribe:
			return "SUBSCRIBE", c.PacketID
		case *packets.Disconnect:
			return "DISCONNECT", 0
		default:
			return cp.PacketType(), 0
		}
	}
}

func (p *peer) expect(want string) uint16 {
	p.t.Helper()
	got, id := p.next()
	if got != want {
		p.t.Fatalf("%s, want %s", got, want)
	}
	return id
}

// quiet checks that nothing comes.
func (p *peer) quiet() {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _ := p.nc.Read(make([]byte, 1)); n > 0 {
		p.t.Fatal("something comes")
	}
}

// results are what Done was told.
type results struct {
	mu   sync.Mutex
	list []string
}

func (r *results) outgoing(payload string, qos byte) *Outgoing {
	return &Outgoing{Message: Message{Topic: "t", Payload: []byte(payload), QoS: qos}, Done: func(code byte, reason string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.list = append(r.list, fmt.Sprintf("%s %#x%s", payload, code, reason))
	}}
}

func (r *results) expect(t *testing.T, want string) {
	t.Helper()
	var got string
	for until := time.Now().Add(wait); time.Now().Before(until); time.Sleep(time.Millisecond) {
		r.mu.Lock()
		got = strings.Join(r.list, ", ")
		r.mu.Unlock()
		if got == want {
			return
		}
	}
	t.Fatalf("%q, want %q", got, want)
}

func run(t *testing.T, s *server, change func(*Options)) *Link {
	t.Helper()
	at, err := ParseServer("mqtt://" + s.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Servers: []*Server{at}, Versions: []Version{V5}, ClientID: "c", SessionExpiry: 100, KeepAlive: 30 * time.Second, ConnectTimeout: 5 * time.Second,
		ReceiveMaximum: 10, MaxInflight: 10, MaxPacket: 1 << 16, RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	l := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return l
}

// A packet may take longer than the Keep Alive allows to be silent.
func TestSlowPacket(t *testing.T) {
	t.Parallel() // it waits
	s := newServer(t)
	l := run(t, s, func(o *Options) { o.KeepAlive = 2 * time.Second })
	p := s.accept(false, nil)
	cp := packets.NewControlPacket(packets.PUBLISH)
	m := cp.Content.(*packets.Publish)
	m.Topic, m.Payload = "t", bytes.Repeat([]byte("x"), 1000)
	var b bytes.Buffer
	if _, err := cp.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	for b.Len() > 0 {
		if _, err := p.nc.Write(b.Next(100)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(400 * time.Millisecond) // the way is slow: 4 s in all
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	list, err := l.Receive(ctx, 10, 1<<20)
	if err != nil || len(list) != 1 || len(list[0].Payload) != 1000 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	if s, _ := l.State(); !s.Connected || s.Since.After(time.Now().Add(-3*time.Second)) {
		t.Errorf("not the first connection: %+v", s)
	}
}

// What was not acknowledged is sent again, in order and first, as the session says.
func TestResend(t *testing.T) {
	s := newServer(t)
	l := run(t, s, nil)
	var r results
	payload := []byte("c")
	third := r.outgoing("c", 1)
	third.Payload = payload
	p := s.accept(false, nil)
	l.Publish([]*Outgoing{r.outgoing("a", 1), r.outgoing("b", 2), third})
	a, b := p.expect("PUBLISH a q1"), p.expect("PUBLISH b q2")
	p.expect("PUBLISH c q1")
	p.ack(typePubrec, b, 0)
	p.expect("PUBREL")
	l.Detach([]*Outgoing{third})
	copy(payload, "x") // its memory is somebody else's now
	p.nc.Close()

	p = s.accept(true, nil)
	l.Publish([]*Outgoing{r.outgoing("d", 1)})
	if id := p.expect("PUBLISH a q1 dup"); id != a {
		t.Errorf("id %d in place of %d", id, a)
	}
	if id := p.expect("PUBREL"); id != b {
		t.Errorf("id %d in place of %d", id, b)
	}
	c := p.expect("PUBLISH c q1 dup")
	p.expect("PUBLISH d q1")
	p.ack(typePuback, c, 0x97)
	r.expect(t, "c 0x97")
	p.nc.Close()

	p = s.accept(false, nil) // the session is lost: what was released has been passed on
	r.expect(t, "c 0x97, b 0x0")
	a = p.expect("PUBLISH a q1")
	d := p.expect("PUBLISH d q1")
	p.ack(typePuback, d, 0)
	p.ack(typePuback, a, 0x10)
	r.expect(t, "c 0x97, b 0x0, d 0x0, a 0x10")
}

// The server's limits are kept to.
func TestLimits(t *testing.T) {
	s := newServer(t)
	l := run(t, s, nil)
	var r results
	two, one, size, no := uint16(2), byte(1), uint32(50), byte(0)
	p := s.accept(false, func(a *packets.Connack) {
		a.Properties = &packets.Properties{ReceiveMaximum: &two, MaximumQOS: &one, MaximumPacketSize: &size, RetainAvailable: &no}
	})
	large := r.outgoing(strings.Repeat("x", 60), 1)
	l.Publish([]*Outgoing{r.outgoing("a", 2), r.outgoing("b", 1), r.outgoing("c", 1), large, r.outgoing("d", 0)})
	a := p.expect("PUBLISH a q1")
	b := p.expect("PUBLISH b q1")
	p.quiet()
	p.ack(typePuback, b, 0)
	p.expect("PUBLISH c q1")
	p.expect("PUBLISH d q0")
	p.ack(typePuback, a, 0)
	r.expect(t, "b 0x0, "+strings.Repeat("x", 60)+" 0x95, d 0x0, a 0x0")
}

// What comes is acknowledged when it is safe, and of QoS 2 comes once.
func TestIncoming(t *testing.T) {
	s := newServer(t)
	l := run(t, s, func(o *Options) { o.Subscribe = []Subscription{{Filter: "#", QoS: 2}} })
	publish := func(p *peer, payload string, qos byte, id uint16) {
		cp := packets.NewControlPacket(packets.PUBLISH)
		*cp.Content.(*packets.Publish) = packets.Publish{Topic: "t", Payload: []byte(payload), QoS: qos, PacketID: id, Properties: &packets.Properties{}}
		p.write(cp)
	}
	receive := func(want string) []*Incoming {
		t.Helper()
		var got []string
		var out []*Incoming
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		for len(got) < len(strings.Fields(want)) {
			list, err := l.Receive(ctx, 10, 1000)
			if err != nil {
				t.Fatalf("%v of %s: %v", got, want, err)
			}
			for _, x := range list {
				got = append(got, string(x.Payload))
			}
			out = append(out, list...)
		}
		if s := strings.Join(got, " "); s != want {
			t.Fatalf("%s, want %s", s, want)
		}
		return out
	}
	p := s.accept(false, nil)
	p.expect("SUBSCRIBE")
	publish(p, "a", 1, 1)
	publish(p, "b", 2, 2)
	publish(p, "b", 2, 2)
	publish(p, "c", 0, 0)
	list := receive("a b c")
	p.quiet()
	l.Acknowledge(list)
	p.expect("PUBACK")
	p.expect("PUBREC")
	p.nc.Close()
	p = s.accept(true, nil) // no SUBSCRIBE: the server has it
	publish(p, "b", 2, 2)
	if id := p.expect("PUBREC"); id != 2 {
		t.Errorf("id %d", id)
	}
	p.ack(typePubrel, 2, 0)
	p.expect("PUBCOMP")
	publish(p, "d", 2, 2)
	list = receive("d")
	p.nc.Close()
	p = s.accept(false, nil)
	p.expect("SUBSCRIBE")
	l.Acknowledge(list) // of a session that is gone: nothing to say
	publish(p, "e", 1, 3)
	l.Acknowledge(receive("e"))
	if id := p.expect("PUBACK"); id != 3 {
		t.Errorf("id %d", id)
	}
	// One that is too large is not kept, but acknowledged.
	publish(p, strings.Repeat("x", 100_000), 1, 4)
	list = receive("")
	if len(list) == 0 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		var err error
		if list, err = l.Receive(ctx, 10, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if x := list[0]; !x.TooLarge || x.Topic != "t" || len(x.Payload) != 0 {
		t.Errorf("%+v", x)
	}
	l.Acknowledge(list)
	if id := p.expect("PUBACK"); id != 4 {
		t.Errorf("id %d", id)
	}
}

// A process before may have left halves of QoS 2 exchanges: a server that says nothing of
// identifiers that it does not know holds nothing up for ever.
func TestRecoveryEnds(t *testing.T) {
	s := newServer(t)
	l := run(t, s, func(o *Options) { o.QoS2, o.MaxInflight = true, 3 })
	var r results
	p := s.accept(true, nil)
	l.Publish([]*Outgoing{r.outgoing("a", 1)})
	for range 3 {
		p.expect("PUBREL")
	}
	p.ack(typePubcomp, 1, 0x92)
	p.quiet()
	began := time.Now()
	p.expect("PUBLISH a q1")
	if took := time.Since(began); took < time.Second {
		t.Errorf("after %s", took)
	}
}

// Servers that do not know a version are asked in another.
func TestVersions(t *testing.T) {
	s := newServer(t)
	l := run(t, s, func(o *Options) { o.Versions, o.Bridge = []Version{V5, V311}, true })
	var levels []byte
	for i := range 3 {
		_ = s.l.(*net.TCPListener).SetDeadline(time.Now().Add(wait))
		nc, err := s.l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		b := make([]byte, 100)
		n, err := nc.Read(b)
		if err != nil || n < 9 || !bytes.Equal(b[4:8], []byte("MQTT")) {
			t.Fatalf("%q, %v", b[:n], err)
		}
		levels = append(levels, b[8])
		switch i {
		case 0:
			_, _ = nc.Write([]byte{0x20, 2, 0, 1})
			nc.Close()
		case 1:
			nc.Close()
		case 2:
			_, _ = nc.Write([]byte{0x20, 2, 0, 0})
		}
	}
	if !bytes.Equal(levels, []byte{5, 0x84, 4}) {
		t.Errorf("levels %#v", levels)
	}
	for until := time.Now().Add(wait); ; {
		state, changed := l.State()
		if state.Connected {
			if state.Version != V311 || state.Bridge {
				t.Errorf("%+v", state)
			}
			return
		}
		select {
		case <-changed:
		case <-time.After(time.Until(until)):
			t.Fatalf("%+v", state)
		}
	}
}

// A refusal says why, and the password is not in it.
func TestRefused(t *testing.T) {
	s := newServer(t)
	l := run(t, s, func(o *Options) { o.Username, o.Password, o.HasPassword = "u", []byte("hush"), true })
	s.accept(false, func(a *packets.Connack) {
		a.ReasonCode, a.Properties.ReasonString = 0x87, "not you"
	})
	for until := time.Now().Add(wait); ; time.Sleep(time.Millisecond) {
		state, _ := l.State()
		if strings.Contains(state.Err, "not authorized (0x87): not you") && !strings.Contains(state.Err, "hush") {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%+v", state)
		}
	}
}

// A connection that is lost before CONNACK does not make a server that has spoken MQTT 5
// one of 3.1.1.
func TestVersionStays(t *testing.T) {
	s := newServer(t)
	run(t, s, func(o *Options) { o.Versions = []Version{V5, V311} })
	s.accept(false, nil).nc.Close()
	for range 3 {
		_ = s.l.(*net.TCPListener).SetDeadline(time.Now().Add(wait))
		nc, err := s.l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		if n, err := nc.Read(b); err != nil || b[8] != 5 {
			t.Fatalf("%q, %v", b[:n], err)
		}
		nc.Close()
	}
}
