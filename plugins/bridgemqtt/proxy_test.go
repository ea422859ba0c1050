package bridgemqtt

import (
	"net"
	"sync"
	"testing"
	"time"
)

// proxy is a network between two brokers that can fail.
type proxy struct {
	l  net.Listener
	to string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	down  bool          // new connections are refused, by closing them
	stall bool          // nothing passes, and nobody is told
	pause time.Duration // after each KiB
	wake  chan struct{} // closed when something has changed
}

func startProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to, conns: map[net.Conn]struct{}{}, wake: make(chan struct{})}
	go p.accept()
	t.Cleanup(func() {
		l.Close()
		p.cut()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) accept() {
	for {
		a, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		down := p.down
		p.mu.Unlock()
		b, err := net.Dial("tcp", p.to)
		if down || err != nil {
			a.Close()
			if err == nil {
				b.Close()
			}
			continue
		}
		p.mu.Lock()
		p.conns[a], p.conns[b] = struct{}{}, struct{}{}
		p.mu.Unlock()
		go p.pass(a, b)
		go p.pass(b, a)
	}
}

func (p *proxy) pass(from, to net.Conn) {
	defer func() {
		from.Close()
		to.Close()
		p.mu.Lock()
		delete(p.conns, from)
		delete(p.conns, to)
		p.mu.Unlock()
	}()
	buf := make([]byte, 1<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.hold(from)
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits as long as the network does.
func (p *proxy) hold(c net.Conn) {
	for {
		p.mu.Lock()
		stall, pause, wake := p.stall, p.pause, p.wake
		_, open := p.conns[c]
		p.mu.Unlock()
		switch {
		case !open:
			return
		case stall:
			<-wake
			continue
		case pause > 0:
			select {
			case <-time.After(pause):
			case <-wake:
			}
		}
		return
	}
}

// set changes how the network is.
func (p *proxy) set(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
	close(p.wake)
	p.wake = make(chan struct{})
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	var list []net.Conn
	for c := range p.conns {
		list = append(list, c)
	}
	clear(p.conns)
	close(p.wake)
	p.wake = make(chan struct{})
	p.mu.Unlock()
	for _, c := range list {
		c.Close()
	}
}
