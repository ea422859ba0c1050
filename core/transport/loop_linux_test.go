package transport

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// secondLoop has the driver's only loop helped by another.
func secondLoop(t *testing.T, e *Engine) (first, second *loop) {
	t.Helper()
	d := e.cfg.Driver.(*loopDriver)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.loops) != 1 {
		t.Fatalf("%d loops", len(d.loops))
	}
	second, err := d.addLocked(e)
	if err != nil {
		t.Fatal(err)
	}
	return d.loops[0], second
}

func (lp *loop) giveHalfTo(to *loop) {
	lp.mu.Lock()
	lp.moving = to
	lp.ringLocked()
	lp.mu.Unlock()
}

// Connections move between loops in the middle of what they are doing: packets in parts, output that the socket has no room
// for, pauses, wakes, closes. Nothing is lost, and nothing comes twice.
func TestConnectionsMove(t *testing.T) {
	e := newTestEngine(t, Config{Driver: Loops()})
	l, _ := listen(t, e, ListenerConfig{}, func(h *frameHandler) {
		h.packet = func(h *frameHandler, p *Pass, pkt []byte) {
			h.c.Append(frame(pkt))
			p.Flush(h.c)
			if len(pkt) == 7 { // answered, and then a rest
				h.c.Pause(1)
				go func() {
					h.c.Wake()
					h.c.Resume(1)
				}()
			}
		}
	})
	byteSession(t, dial(t, l))
	first, second := secondLoop(t, e)
	var stopped sync.WaitGroup
	stop := make(chan struct{})
	moves := 0
	stopped.Add(1)
	go func() {
		defer stopped.Done()
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond): // as fast as is possible, and leave time for work
				first.giveHalfTo(second)
				second.giveHalfTo(first)
				moves++
			}
		}
	}()
	var clients sync.WaitGroup
	for range 20 {
		nc := dial(t, l)
		_ = nc.SetDeadline(time.Now().Add(3 * testTimeout))
		clients.Add(1)
		go func() {
			defer clients.Done()
			for range 3 {
				echoSession(t, nc)
			}
			nc.Close()
		}()
	}
	clients.Wait()
	close(stop)
	stopped.Wait()
	eventually(t, "all but the first have gone", func() bool { return e.Connections() == 1 })
	eventually(t, "the loops know it", func() bool { return first.links.Load()+second.links.Load() == 1 })
	if n := first.blocked.Load() + second.blocked.Load(); n != 0 {
		t.Errorf("%d connections wait for room", n)
	}
	if moves < 3 {
		t.Errorf("%d moves", moves)
	}
}

// A loop that is busy gets help, and its connections are shared.
func TestLoopsShareTheirWork(t *testing.T) {
	e := newTestEngine(t, Config{Driver: Loops()})
	l, _ := listen(t, e, ListenerConfig{}, nil)
	for range 10 {
		byteSession(t, dial(t, l))
	}
	first, second := secondLoop(t, e)
	first.load.percent.Store(90)
	e.cfg.Driver.(*loopDriver).balance(time.Now())
	eventually(t, "half of the connections have moved", func() bool { return first.links.Load() == 5 && second.links.Load() == 5 })
	// And again only after a while.
	first.load.percent.Store(90)
	e.cfg.Driver.(*loopDriver).balance(time.Now())
	byteSession(t, dial(t, l))
	if n := first.links.Load() + second.links.Load(); n != 11 {
		t.Errorf("%d connections", n)
	}
}

// A paused connection whose peer sends on, and then breaks the connection, costs no processor time: the kernel would tell of
// both over and over.
func TestPausedConnectionIsQuiet(t *testing.T) {
	e := newTestEngine(t, Config{Driver: Loops()})
	l, handlers := listen(t, e, ListenerConfig{}, func(h *frameHandler) {
		h.packet = func(h *frameHandler, _ *Pass, pkt []byte) {
			if string(pkt) == "pause" {
				h.c.Pause(1)
			}
		}
	})
	nc := dial(t, l)
	h := receive(t, handlers, "handler")
	write(t, nc, frame([]byte("pause")))
	eventually(t, "it is paused", h.c.Paused)
	write(t, nc, frame([]byte("more")))
	_ = nc.(*net.TCPConn).SetLinger(0)
	nc.Close() // a reset
	link := &h.c.nc.(*loopSocket).link
	eventually(t, "the kernel is not asked any more", func() bool {
		link.mu.Lock()
		defer link.mu.Unlock()
		return link.told == 0
	})
	h.c.Resume(1)
	if err := receive(t, h.closed, "Closed"); err == nil || err == io.EOF {
		t.Errorf("Closed got %v, want a reset", err)
	}
}

// What package net sets on each connection is inherited here.
func TestAcceptedSocketsInherit(t *testing.T) {
	for _, c := range []struct {
		cfg                  ListenerConfig
		noDelay, alive, idle int
	}{
		{ListenerConfig{}, 1, 1, 15},
		{ListenerConfig{Nagle: true, KeepAlive: 90 * time.Second}, 0, 1, 90},
		{ListenerConfig{KeepAlive: -1}, 1, 0, -1},
	} {
		e := newTestEngine(t, Config{Driver: Loops()})
		l, handlers := listen(t, e, c.cfg, nil)
		nc := dial(t, l)
		h := receive(t, handlers, "handler")
		get := func(level, option int) int {
			v, err := unix.GetsockoptInt(h.c.nc.(*loopSocket).link.fd, level, option)
			if err != nil {
				t.Fatal(os.NewSyscallError("getsockopt", err))
			}
			return v
		}
		if got := get(unix.IPPROTO_TCP, unix.TCP_NODELAY); got != c.noDelay {
			t.Errorf("%+v: TCP_NODELAY %d", c.cfg, got)
		}
		if got := get(unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != c.alive {
			t.Errorf("%+v: SO_KEEPALIVE %d", c.cfg, got)
		}
		if got := get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); c.idle > 0 && got != c.idle {
			t.Errorf("%+v: TCP_KEEPIDLE %d", c.cfg, got)
		}
		if got := h.c.LocalAddr().String(); got != nc.RemoteAddr().String() {
			t.Errorf("LocalAddr %s, want %s", got, nc.RemoteAddr())
		}
	}
}

// The end of a listener is no failure to accept.
func TestListenerEndsQuietly(t *testing.T) {
	for range 20 {
		e := newTestEngine(t, Config{Driver: Loops()})
		l, _ := listen(t, e, ListenerConfig{}, nil)
		l.Stop()
		if n := l.Stats().AcceptErrors; n != 0 {
			t.Fatalf("%d errors", n)
		}
	}
}

// Under load deliveries wait for more of them, for a while, and answers do not; without load
// nothing waits.
func TestConclude(t *testing.T) {
	e := newTestEngine(t, Config{Driver: Loops()})
	l, handlers := listen(t, e, ListenerConfig{}, nil)
	nc := dial(t, l)
	byteSession(t, nc)
	c := receive(t, handlers, "handler").c
	lp := &loop{eng: e, took: flushDelay}
	p := e.borrow()
	// Nobody else flushes c meanwhile: its own loop has nothing to do.
	later := func(text string) {
		c.Append(frame([]byte(text)))
		p.FlushLater(c)
	}
	waits := func() bool { return c.dirty.Load() >= flushLater && !c.out.empty() }
	arrives := func(texts ...string) {
		t.Helper()
		for _, want := range texts {
			if got := readFrame(t, nc); string(got) != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}

	later("a")
	lp.conclude(p, denseEvents, false)
	if !waits() || lp.held != p {
		t.Error("after a turn with many events a delivery does not wait")
	}
	later("b")
	lp.turnRead = denseBytes
	lp.conclude(p, 1, false)
	if !waits() || lp.held != p {
		t.Error("after a turn with many bytes a delivery does not wait")
	}
	c.Append(frame([]byte("answer")))
	p.Flush(c)
	lp.conclude(p, denseEvents, false)
	arrives("a", "b", "answer")

	later("c")
	lp.heldAt -= flushDelay
	lp.conclude(p, denseEvents, false)
	arrives("c")
	if lp.held != nil {
		t.Error("the pass is kept longer than its time")
	}

	p = e.borrow()
	later("quick")
	lp.took = time.Nanosecond
	lp.conclude(p, denseEvents, false)
	lp.heldAt -= flushFactor * lp.took
	lp.conclude(p, denseEvents, false)
	arrives("quick")
	if lp.held != nil {
		t.Error("the pass is kept longer than writing takes")
	}

	p = e.borrow()
	later("d")
	lp.turnRead = denseBytes - 1
	lp.conclude(p, denseEvents-1, false)
	arrives("d")

	p = e.borrow()
	later("e")
	lp.conclude(p, denseEvents, false)
	lp.turnRead = 0
	lp.conclude(p, 0, false)
	arrives("e")
	if lp.held != nil {
		t.Error("the pass is kept although there is no more to come")
	}

	p = e.borrow()
	later("f")
	lp.conclude(p, denseEvents, true)
	arrives("f")
}

// What a caller owes waits as deliveries do; answers do not wait for it.
func TestSettle(t *testing.T) {
	var c *Conn
	settled := 0
	e := newTestEngine(t, Config{Driver: Loops(), Settle: func(p *Pass) {
		settled++
		c.Append(frame([]byte("owed")))
		p.Bring(c)
	}})
	l, handlers := listen(t, e, ListenerConfig{}, nil)
	nc := dial(t, l)
	byteSession(t, nc)
	c = receive(t, handlers, "handler").c
	other := dial(t, l)
	byteSession(t, other)
	asker := receive(t, handlers, "handler").c
	lp := &loop{eng: e, took: flushDelay}
	arrives := func(nc net.Conn, want string) {
		t.Helper()
		if got := readFrame(t, nc); string(got) != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}

	p := e.borrow()
	p.Owe()
	asker.Append(frame([]byte("answer")))
	p.Flush(asker)
	lp.conclude(p, denseEvents, false)
	arrives(other, "answer")
	if lp.held != p || settled > 0 {
		t.Error("after a turn with many events what is owed does not wait")
	}
	lp.turnRead = 0
	lp.conclude(p, 0, false)
	arrives(nc, "owed")
	if settled != 1 || p.owes {
		t.Errorf("settled %d times, owes %v", settled, p.owes)
	}
}

// Two passes that owe a connection output write once: the one that has announced it first, for both.
func TestBring(t *testing.T) {
	e := newTestEngine(t, Config{Driver: Loops(), Settle: func(*Pass) {}})
	l, handlers := listen(t, e, ListenerConfig{}, nil)
	nc := dial(t, l)
	byteSession(t, nc)
	c := receive(t, handlers, "handler").c
	look := func() (waits, writes bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.out.empty(), c.flushing
	}
	for { // the loop may not be through with the answer
		if _, writes := look(); !writes {
			break
		}
		runtime.Gosched()
	}
	first, second := e.borrow(), e.borrow()
	bring := func(p *Pass, what string, written bool) {
		t.Helper()
		c.Append(frame([]byte(what)))
		p.Bring(c)
		if waits, _ := look(); waits == written {
			t.Errorf("%s: written is %v", what, !written)
		}
	}
	arrives := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if got := readFrame(t, nc); string(got) != w {
				t.Fatalf("got %q, want %q", got, w)
			}
		}
	}
	first.FlushLater(c)
	second.FlushLater(c)
	bring(second, "a", false)
	bring(second, "b", false)
	bring(first, "c", true)
	arrives("a", "b", "c")
	bring(second, "d", true) // first has nothing more to write
	arrives("d")
	first.finish()
	second.finish()

	// First turns out to have nothing itself.
	first.FlushLater(c)
	second.FlushLater(c)
	bring(second, "e", false)
	second.finish()
	if waits, _ := look(); !waits {
		t.Error("both wrote it")
	}
	first.finish()
	arrives("e")

	// Somebody is in a hurry.
	first.FlushLater(c)
	c.Append(frame([]byte("f")))
	second.Flush(c)
	second.finish()
	arrives("f")
	bring(first, "g", true)
	arrives("g")
	first.finish()
}
