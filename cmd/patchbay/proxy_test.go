package main_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Packet types that proxies look at.
const (
	typePublish = 3
	typePuback  = 4
	typePubrec  = 5
	typePubrel  = 6
	typePubcomp = 7
)

// seen is a packet on its way from the broker to the client.
type seen struct {
	kind  byte // packet type
	flags byte
	id    uint16
	topic string // of PUBLISH
	at    time.Time
}

func (s seen) dup() bool { return s.flags&8 != 0 }
func (s seen) qos() byte { return s.flags >> 1 & 3 }

// String is the packet without its time.
func (s seen) String() string {
	if s.kind == typePubrel {
		return fmt.Sprintf("PUBREL %d", s.id)
	}
	return fmt.Sprintf("PUBLISH %s q%d dup=%v %d", s.topic, s.qos(), s.dup(), s.id)
}

// proxy stands between one client and the broker. It loses acknowledgements of
// the client, and notes what the broker sends that wants one.
type proxy struct {
	t      testing.TB
	ln     net.Listener
	broker string

	mu      sync.Mutex
	lose    map[byte]bool // packet types that do not get through to the broker
	lost    int
	packets []seen
	changed chan struct{} // closed with every change of the above
	conns   []net.Conn
	closed  bool
	copying sync.WaitGroup
}

func newProxy(t testing.TB, b *broker, lose ...byte) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, ln: ln, broker: b.addr["tcp"], changed: make(chan struct{})}
	p.set(lose...)
	p.copying.Go(p.accept)
	t.Cleanup(func() {
		ln.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.cut()
		p.copying.Wait()
	})
	return p
}

func (p *proxy) target() target { return target{network: "tcp", address: p.ln.Addr().String()} }

// set changes what is lost.
func (p *proxy) set(lose ...byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = map[byte]bool{}
	for _, kind := range lose {
		p.lose[kind] = true
	}
}

// cut closes the connections that are open.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.DialTimeout("tcp", p.broker, patience)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		over := p.closed
		p.mu.Unlock()
		if over {
			p.cut()
			return
		}
		p.copying.Go(func() { p.pass(server, client, p.fromClient) })
		p.copying.Go(func() { p.pass(client, server, p.fromBroker) })
	}
}

// pass copies packets as long as both sides are open.
func (p *proxy) pass(to, from net.Conn, look func(first byte, body []byte) (lost bool)) {
	defer to.Close()
	defer from.Close()
	r := bufio.NewReader(from)
	for {
		first, head, body, err := readPacket(r)
		if err != nil {
			return
		}
		if look(first, body) {
			continue
		}
		if _, err := to.Write(append(head, body...)); err != nil {
			return
		}
	}
}

func readPacket(r *bufio.Reader) (first byte, head, body []byte, err error) {
	first, err = r.ReadByte()
	if err != nil {
		return 0, nil, nil, err
	}
	n, err := binary.ReadUvarint(r) // MQTT's lengths are written the same way
	if err != nil {
		return 0, nil, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return first, binary.AppendUvarint([]byte{first}, n), body, err
}

func (p *proxy) fromClient(first byte, _ []byte) (lost bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.lose[first>>4] {
		return false
	}
	p.lost++
	p.change()
	return true
}

func (p *proxy) fromBroker(first byte, body []byte) (lost bool) {
	s := seen{kind: first >> 4, flags: first & 15, at: time.Now()}
	switch s.kind {
	case typePublish:
		n := 2 + binary.BigEndian.Uint16(body)
		s.topic = string(body[2:n])
		if s.qos() == 0 {
			return false
		}
		s.id = binary.BigEndian.Uint16(body[n:])
	case typePubrel:
		s.id = binary.BigEndian.Uint16(body)
	default:
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.packets = append(p.packets, s)
	p.change()
	return false
}

func (p *proxy) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait waits until the packets so far, and the number of what was lost, are as
// wanted, and returns them.
func (p *proxy) wait(what string, done func(packets []seen, lost int) bool) []seen {
	p.t.Helper()
	limit := deadline(p.t)
	for {
		p.mu.Lock()
		packets, lost, changed := append([]seen(nil), p.packets...), p.lost, p.changed
		p.mu.Unlock()
		if done(packets, lost) {
			return packets
		}
		select {
		case <-changed:
		case <-limit:
			p.t.Fatalf("%s: not within %v; %d acknowledgements lost, the broker sent %v", what, patience, lost, packets)
		}
	}
}

// count waits for n packets.
func (p *proxy) count(what string, n int) []seen {
	p.t.Helper()
	return p.wait(what, func(packets []seen, _ int) bool { return len(packets) >= n })
}

// forget starts the record anew.
func (p *proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.packets, p.lost = nil, 0
}
