package pluginhost_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// patience is how long a test waits for something that has to come.
const patience = 20 * time.Second

// peer is a client by the packet.
type peer struct {
	t   testing.TB
	nc  net.Conn
	v   packet.Version
	buf []byte
}

// dial opens a connection and sends CONNECT; an empty username is none.
func dial(t testing.TB, addr, id, username string, change ...func(*packet.Connect)) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := packet.Connect{Version: packet.V5, CleanStart: true, ClientID: id, KeepAlive: 60}
	if username != "" {
		c.HasUsername, c.Username = true, username
		c.HasPassword, c.Password = true, []byte("secret")
	}
	for _, f := range change {
		f(&c)
	}
	p := &peer{t: t, nc: nc, v: c.Version}
	p.send(&c)
	return p
}

// connect expects CONNACK with Success.
func connect(t testing.TB, addr, id, username string, change ...func(*packet.Connect)) *peer {
	t.Helper()
	p := dial(t, addr, id, username, change...)
	p.connack(packet.Success)
	return p
}

func v311(c *packet.Connect) { c.Version = packet.V311 }

func (p *peer) send(e interface {
	Append(dst []byte, v packet.Version) ([]byte, error)
}) {
	p.t.Helper()
	b, err := e.Append(nil, p.v)
	if err == nil {
		_, err = p.nc.Write(b)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) publish(topic, payload string, qos byte, id uint16) {
	p.t.Helper()
	b, _ := packet.AppendPublish(nil, p.v, &packet.PublishOut{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, PacketID: id})
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) subscribe(filter string) {
	p.t.Helper()
	p.send(&packet.Subscribe{PacketID: 9, Subscriptions: []packet.Subscription{{Filter: filter, QoS: 2}}})
	h, body := p.read()
	var s packet.Suback
	if h.Type != packet.TypeSuback || s.Decode(p.v, body) != nil || s.Codes[0].IsError() {
		p.t.Fatalf("subscribe %s: got %v %v", filter, h.Type, s.Codes)
	}
}

func (p *peer) next(deadline time.Time) (packet.Header, []byte, error) {
	_ = p.nc.SetReadDeadline(deadline)
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
			return h, nil, err
		}
	}
}

func (p *peer) read() (packet.Header, []byte) {
	p.t.Helper()
	h, body, err := p.next(time.Now().Add(patience))
	if err != nil {
		p.t.Fatalf("waiting for a packet: %v", err)
	}
	return h, body
}

func (p *peer) connack(want packet.ReasonCode) packet.Connack {
	p.t.Helper()
	h, body := p.read()
	var a packet.Connack
	if h.Type != packet.TypeConnack || a.Decode(p.v, body) != nil {
		p.t.Fatalf("got %v, want CONNACK", h.Type)
	}
	if a.Code != want {
		p.t.Fatalf("CONNACK with %v (%s), want %v", a.Code, a.Props.ReasonString, want)
	}
	return a
}

func (p *peer) expect(topic, payload string) {
	p.t.Helper()
	h, body := p.read()
	var m packet.Publish
	if h.Type != packet.TypePublish || packet.DecodePublish(&m, p.v, h, body, true) != nil {
		p.t.Fatalf("got %v, want PUBLISH %s %s", h.Type, topic, payload)
	}
	if string(m.Topic) != topic || string(m.Payload) != payload {
		p.t.Fatalf("got %s %q, want %s %q", m.Topic, m.Payload, topic, payload)
	}
	if m.QoS == 1 {
		_, _ = p.nc.Write(packet.AppendAck(nil, packet.TypePuback, p.v, m.PacketID, 0, nil))
	}
}

func (p *peer) puback(id uint16, code packet.ReasonCode) {
	p.t.Helper()
	h, body := p.read()
	var a packet.Ack
	if h.Type != packet.TypePuback || packet.DecodeAck(&a, h.Type, p.v, body) != nil {
		p.t.Fatalf("got %v, want PUBACK", h.Type)
	}
	if a.PacketID != id || a.Code != code {
		p.t.Fatalf("PUBACK for %d with %v, want %d with %v", a.PacketID, a.Code, id, code)
	}
}

// quiet expects nothing but the answer to a PINGREQ.
func (p *peer) quiet() {
	p.t.Helper()
	if _, err := p.nc.Write(packet.Pingreq); err != nil {
		p.t.Fatal(err)
	}
	if h, _ := p.read(); h.Type != packet.TypePingresp {
		p.t.Fatalf("got %v, want nothing", h.Type)
	}
}

// end expects DISCONNECT with a code and the end of the connection.
func (p *peer) end(code packet.ReasonCode) {
	p.t.Helper()
	h, body, err := p.next(time.Now().Add(patience))
	var d packet.Disconnect
	if err != nil || h.Type != packet.TypeDisconnect || d.Decode(p.v, body) != nil || d.Code != code {
		p.t.Fatalf("got %v %v %v, want DISCONNECT with %v", h.Type, d.Code, err, code)
	}
	if _, _, err = p.next(time.Now().Add(patience)); err == nil || errors.Is(err, errors.ErrUnsupported) {
		p.t.Fatalf("the connection did not end")
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
