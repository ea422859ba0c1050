package broker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// patience is how long a test waits for something that has to come.
const patience = 10 * time.Second

// start runs a broker on a free port of loopback until the test ends.
func start(t testing.TB, options ...func(*Options)) (*Broker, string) {
	t.Helper()
	quiet := func(o *Options) { o.Logger = slog.New(slog.DiscardHandler) }
	b, err := New(append([]func(*Options){quiet}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.Listen(Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b, l.Addr().String()
}

// peer is a client by the packet.
type peer struct {
	t   testing.TB
	nc  net.Conn
	v   packet.Version
	buf []byte
	ack packet.Connack
}

func dial(t testing.TB, addr string) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, nc: nc, v: packet.V5}
}

// connect opens a connection and expects CONNACK with Success.
func connect(t testing.TB, addr, id string, change ...func(*packet.Connect)) *peer {
	t.Helper()
	p := dial(t, addr)
	p.sendConnect(id, change...)
	p.ack = p.expectConnack(packet.Success)
	return p
}

func (p *peer) sendConnect(id string, change ...func(*packet.Connect)) {
	p.t.Helper()
	c := packet.Connect{Version: packet.V5, CleanStart: true, ClientID: id, KeepAlive: 60}
	for _, f := range change {
		f(&c)
	}
	p.v = c.Version
	p.send(&c)
}

func v311(c *packet.Connect) { c.Version = packet.V311 }

func keepSession(c *packet.Connect) {
	c.CleanStart = false
	if c.Version == packet.V5 {
		c.Props.SetSessionExpiry(1000)
	}
}

type encoder interface {
	Append(dst []byte, v packet.Version) ([]byte, error)
}

func (p *peer) send(e encoder) {
	p.t.Helper()
	b, err := e.Append(nil, p.v)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(b)
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) publish(topic, payload string, qos byte, id uint16) {
	p.t.Helper()
	b, _ := packet.AppendPublish(nil, p.v, &packet.PublishOut{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, PacketID: id})
	p.write(b)
}

func (p *peer) subscribe(filter string, qos byte) {
	p.t.Helper()
	p.send(&packet.Subscribe{PacketID: 9, Subscriptions: []packet.Subscription{{Filter: filter, QoS: qos}}})
	h, body := p.read()
	var s packet.Suback
	if h.Type != packet.TypeSuback || s.Decode(p.v, body) != nil || s.Codes[0].IsError() {
		p.t.Fatalf("subscribe %s: got %v %v", filter, h.Type, s.Codes)
	}
}

func (p *peer) sendAck(typ packet.Type, id uint16, code packet.ReasonCode) {
	p.t.Helper()
	p.write(packet.AppendAck(nil, typ, p.v, id, code, nil))
}

var errNoPacket = errors.New("no packet")

// readUntil reads the next packet; errNoPacket if none comes until the deadline.
func (p *peer) readUntil(deadline time.Time) (packet.Header, []byte, error) {
	p.nc.SetReadDeadline(deadline)
	for {
		h, n, err := packet.ReadHeader(p.buf)
		if err != nil {
			return h, nil, err
		}
		if n > 0 && len(p.buf) >= n+h.Remaining {
			body := p.buf[n : n+h.Remaining : n+h.Remaining]
			p.buf = p.buf[n+h.Remaining:]
			return h, body, nil
		}
		chunk := make([]byte, 64<<10)
		m, err := p.nc.Read(chunk)
		p.buf = append(p.buf, chunk[:m]...)
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				return h, nil, errNoPacket
			}
			return h, nil, err
		}
	}
}

func (p *peer) read() (packet.Header, []byte) {
	p.t.Helper()
	h, body, err := p.readUntil(time.Now().Add(patience))
	if err != nil {
		p.t.Fatalf("waiting for a packet: %v", err)
	}
	return h, body
}

func (p *peer) expectConnack(code packet.ReasonCode) packet.Connack {
	p.t.Helper()
	h, body := p.read()
	var a packet.Connack
	if h.Type != packet.TypeConnack {
		p.t.Fatalf("got %v, want CONNACK", h.Type)
	}
	if err := a.Decode(p.v, body); err != nil {
		p.t.Fatal(err)
	}
	if a.Code != code {
		p.t.Fatalf("CONNACK with %v (%s), want %v", a.Code, a.Props.ReasonString, code)
	}
	return a
}

func (p *peer) expectPublish(topic, payload string) packet.Publish {
	p.t.Helper()
	h, body := p.read()
	var m packet.Publish
	if h.Type != packet.TypePublish {
		p.t.Fatalf("got %v, want PUBLISH %s %s", h.Type, topic, payload)
	}
	if err := packet.DecodePublish(&m, p.v, h, body, true); err != nil {
		p.t.Fatal(err)
	}
	if string(m.Topic) != topic || string(m.Payload) != payload {
		p.t.Fatalf("got %s %s, want %s %s", m.Topic, m.Payload, topic, payload)
	}
	return m
}

// expectAnyPublish expects a PUBLISH, of whatever.
func (p *peer) expectAnyPublish() packet.Publish {
	p.t.Helper()
	h, body := p.read()
	var m packet.Publish
	if h.Type != packet.TypePublish {
		p.t.Fatalf("got %v, want PUBLISH", h.Type)
	}
	if err := packet.DecodePublish(&m, p.v, h, body, true); err != nil {
		p.t.Fatal(err)
	}
	return m
}

func (p *peer) expectAck(typ packet.Type, id uint16, code packet.ReasonCode) {
	p.t.Helper()
	h, body := p.read()
	var a packet.Ack
	if h.Type != typ {
		p.t.Fatalf("got %v, want %v", h.Type, typ)
	}
	if err := packet.DecodeAck(&a, typ, p.v, body); err != nil {
		p.t.Fatal(err)
	}
	if a.PacketID != id || a.Code != code {
		p.t.Fatalf("%v for %d with %v, want %d with %v", typ, a.PacketID, a.Code, id, code)
	}
}

// expectQuiet expects nothing but the answer to a PINGREQ.
func (p *peer) expectQuiet() {
	p.t.Helper()
	p.write(packet.Pingreq)
	if h, _ := p.read(); h.Type != packet.TypePingresp {
		p.t.Fatalf("got %v, want nothing", h.Type)
	}
}

// expectEnd expects the connection to end, with the given code in DISCONNECT
// unless that is Success.
func (p *peer) expectEnd(code packet.ReasonCode) {
	p.t.Helper()
	h, body, err := p.readUntil(time.Now().Add(patience))
	if code != packet.Success {
		var d packet.Disconnect
		if err != nil || h.Type != packet.TypeDisconnect || d.Decode(p.v, body) != nil || d.Code != code {
			p.t.Fatalf("got %v %v %v, want DISCONNECT with %v", h.Type, d.Code, err, code)
		}
		_, _, err = p.readUntil(time.Now().Add(patience))
	}
	if err == nil || errors.Is(err, errNoPacket) {
		p.t.Fatalf("the connection did not end: %v", err)
	}
	if !errors.Is(err, io.EOF) {
		p.t.Logf("ended with %v", err)
	}
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for: %s", what)
		}
	}
}
