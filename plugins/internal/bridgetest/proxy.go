package bridgetest

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy is a network between a bridge and its other side, that can fail. It listens for as
// long as the test lasts, also while there is nobody behind it: then connections are
// closed at once.
type Proxy struct {
	// Addr is where it listens, as host:port.
	Addr string

	l  net.Listener
	to string

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	down   bool
	stall  bool
	rate   int           // bytes per second each way of a connection; 0 is no limit
	wake   chan struct{} // closed when something has changed
}

// StartProxy passes connections on to an address: host:port, or the path of a socket.
func StartProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), l: l, to: to, conns: map[net.Conn]struct{}{}, wake: make(chan struct{})}
	go p.accept()
	t.Cleanup(func() {
		l.Close()
		p.set(func() { p.closed = true })
		p.Cut()
	})
	return p
}

// Cut closes all connections. New ones may come.
func (p *Proxy) Cut() {
	p.set(func() {
		for c := range p.conns {
			c.Close()
		}
		clear(p.conns)
	})
}

// Refuse has new connections closed at once, as long as it is on.
func (p *Proxy) Refuse(on bool) { p.set(func() { p.down = on }) }

// HalfOpen holds back everything, while it is on, and tells nobody: connections stay open, new
// ones are accepted, and nothing passes. Afterwards what was held back goes on.
func (p *Proxy) HalfOpen(on bool) { p.set(func() { p.stall = on }) }

// Slow limits each way of each connection to so many bytes per second; 0 is without limit.
func (p *Proxy) Slow(rate int) { p.set(func() { p.rate = rate }) }

// Heal has the network work again. Connections that are there stay.
func (p *Proxy) Heal() { p.set(func() { p.down, p.stall, p.rate = false, false, 0 }) }

func (p *Proxy) set(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
	close(p.wake)
	p.wake = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		a, err := p.l.Accept()
		if err != nil {
			return
		}
		b, err := net.DialTimeout(network(p.to), p.to, 10*time.Second)
		if err != nil {
			a.Close()
			continue
		}
		p.mu.Lock()
		refuse := p.down || p.closed
		if !refuse {
			p.conns[a], p.conns[b] = struct{}{}, struct{}{}
		}
		p.mu.Unlock()
		if refuse {
			a.Close()
			b.Close()
			continue
		}
		go p.pass(a, b)
		go p.pass(b, a)
	}
}

// network is that of an address: a path is a socket's.
func network(addr string) string {
	if strings.HasPrefix(addr, "/") {
		return "unix"
	}
	return "tcp"
}

func (p *Proxy) pass(from, to net.Conn) {
	defer func() {
		from.Close()
		to.Close()
		p.mu.Lock()
		delete(p.conns, from)
		delete(p.conns, to)
		p.mu.Unlock()
	}()
	buf := make([]byte, 1<<10) // what goes at once over a slow network
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.hold(from, n)
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits as long as the network takes for n bytes of a connection.
func (p *Proxy) hold(c net.Conn, n int) {
	began := time.Now()
	for {
		p.mu.Lock()
		stall, rate, wake := p.stall, p.rate, p.wake
		_, open := p.conns[c]
		p.mu.Unlock()
		switch {
		case !open:
			return
		case stall:
			<-wake
		case rate > 0:
			left := time.Duration(n)*time.Second/time.Duration(rate) - time.Since(began)
			if left <= 0 {
				return
			}
			select {
			case <-time.After(left):
				return
			case <-wake:
			}
		default:
			return
		}
	}
}
