package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestEchoTCP(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, handlers := listen(t, e, ListenerConfig{}, nil)
		nc := dial(t, l)
		echoSession(t, nc)
		byteSession(t, nc)
		c := receive(t, handlers, "handler").c
		if got := c.RemoteAddr().String(); got != nc.LocalAddr().String() {
			t.Errorf("RemoteAddr %s, want %s", got, nc.LocalAddr())
		}
		if c.Network() != "tcp" || c.Listener() != l || c.TLS() != nil || c.ProxyInfo() != nil {
			t.Errorf("wrong facts: network %q, TLS %v, proxy %v", c.Network(), c.TLS(), c.ProxyInfo())
		}
		eventually(t, "all bytes are counted", func() bool { return c.BytesIn() == c.BytesOut() && c.Buffered() == 0 })
	})
}

func TestPeerCloses(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, handlers := listen(t, e, ListenerConfig{}, nil)
		nc := dial(t, l)
		h := receive(t, handlers, "handler")
		// Bytes and the end of the stream in one go: the last packet must be answered, and the end must be seen.
		write(t, nc, frame([]byte("last words")))
		if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := readFrame(t, nc); string(got) != "last words" {
			t.Errorf("got %q", got)
		}
		if err := receive(t, h.closed, "Closed"); err != io.EOF {
			t.Errorf("Closed got %v, want EOF", err)
		}
		eventually(t, "the connection is forgotten", func() bool { return e.Connections() == 0 && l.Connections() == 0 })
		select {
		case err := <-h.closed:
			t.Errorf("Closed called twice, with %v", err)
		default:
		}
	})
}

// A client that has only closed its sending side still gets an answer that does not fit into the socket at once.
func TestHalfCloseDrains(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		big := pattern(3, 8<<20)
		l, _ := listen(t, e, ListenerConfig{}, func(h *frameHandler) {
			h.packet = func(h *frameHandler, p *Pass, _ []byte) {
				h.c.Append(frame(big))
				p.Flush(h.c)
			}
		})
		nc := dial(t, l)
		write(t, nc, frame(nil))
		if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := readFrame(t, nc); !bytes.Equal(got, big) {
			t.Error("answer differs")
		}
	})
}

func TestPauseKeepsBytes(t *testing.T) {
	const reasonA, reasonB = 1, 4
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		var seen atomic.Int64
		l, handlers := listen(t, e, ListenerConfig{}, func(h *frameHandler) {
			h.packet = func(h *frameHandler, p *Pass, pkt []byte) {
				if seen.Add(1) == 2 {
					h.c.Pause(reasonA)
					h.c.Pause(reasonB)
				}
				h.c.Append(frame(pkt))
				p.Flush(h.c)
			}
		})
		nc := dial(t, l)
		h := receive(t, handlers, "handler")
		// Five packets in one segment: three are kept.
		write(t, nc, bytes.Repeat(frame([]byte("x")), 5))
		readFrame(t, nc)
		readFrame(t, nc)
		write(t, nc, frame([]byte("more"))) // arrives while paused
		woken := make(chan struct{})
		var once sync.Once
		h.woken = func(*Pass) { once.Do(func() { close(woken) }) }
		h.c.Resume(reasonA) // one reason is left
		h.c.Wake()
		receive(t, woken, "Woken while paused")
		if n := seen.Load(); n != 2 {
			t.Fatalf("%d packets were handled while paused", n)
		}
		h.c.Resume(reasonB)
		for range 3 {
			readFrame(t, nc)
		}
		if got := readFrame(t, nc); string(got) != "more" {
			t.Errorf("got %q", got)
		}
	})
}

// A resume that comes while Data is still running must not be lost.
func TestResumeDuringData(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, _ := listen(t, e, ListenerConfig{}, func(h *frameHandler) {
			h.packet = func(h *frameHandler, p *Pass, pkt []byte) {
				h.c.Append(frame(pkt))
				p.Flush(h.c)
				h.c.Pause(1)
				resumed := make(chan struct{})
				go func() { h.c.Resume(1); close(resumed) }()
				if pkt[0]%2 == 0 {
					<-resumed
					h.c.Pause(1)
					go h.c.Resume(1)
				}
			}
		})
		nc := dial(t, l)
		var all []byte
		for i := range 200 {
			all = append(all, frame([]byte{byte(i)})...)
		}
		write(t, nc, all)
		for i := range 200 {
			if got := readFrame(t, nc); got[0] != byte(i) {
				t.Fatalf("packet %d is %d", i, got[0])
			}
		}
	})
}

func TestWake(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		var wakes atomic.Int64
		l, handlers := listen(t, e, ListenerConfig{}, func(h *frameHandler) {
			h.woken = func(*Pass) { wakes.Add(1) }
		})
		nc := dial(t, l)
		h := receive(t, handlers, "handler")
		// One wake after the other, with traffic between, so that every state of the executor is met.
		for i := range int64(200) {
			h.c.Wake()
			if i%3 == 0 {
				write(t, nc, frame([]byte("abc")))
				readFrame(t, nc)
			}
			eventually(t, "woken", func() bool { return wakes.Load() > i })
		}
		// A storm of wakes from several sides; the executor must survive and still read.
		var storm sync.WaitGroup
		for range 4 {
			storm.Add(1)
			go func() {
				defer storm.Done()
				for range 2000 {
					h.c.Wake()
				}
			}()
		}
		echoSession(t, nc)
		storm.Wait()
		byteSession(t, nc)
	})
}

func TestCloseDeliversLastBytes(t *testing.T) {
	reason, last := errors.New("taken over"), frame(pattern(5, 100000))
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, _ := listen(t, e, ListenerConfig{}, func(h *frameHandler) {
			h.packet = func(h *frameHandler, _ *Pass, _ []byte) {
				h.c.Append(last)
				h.c.Close(reason)
				h.c.Append([]byte("too late"))
			}
		})
		for range 20 {
			nc := dial(t, l)
			// The peer goes on sending; what is not read must not turn our close into a reset.
			write(t, nc, bytes.Repeat(frame(pattern(6, 1000)), 30))
			if got := readFrame(t, nc); !bytes.Equal(got, last[4:]) {
				t.Fatal("last packet differs")
			}
			if n, err := nc.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("after the last packet: %d bytes, %v, want EOF", n, err)
			}
			nc.Close()
		}
	})
}

func TestCloseReasons(t *testing.T) {
	reason := errors.New("keep alive timeout")
	for name, tc := range map[string]struct {
		close func(c *Conn)
		want  error
	}{
		"reason":       {func(c *Conn) { c.Close(reason) }, reason},
		"no reason":    {func(c *Conn) { c.Close(nil) }, ErrClosed},
		"now":          {func(c *Conn) { c.CloseNow() }, ErrClosed},
		"first counts": {func(c *Conn) { c.Close(reason); c.Close(nil); c.CloseNow() }, reason},
		"paused":       {func(c *Conn) { c.Pause(2); c.Close(reason) }, reason},
	} {
		t.Run(name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T, cfg Config) {
				e := newTestEngine(t, cfg)
				l, handlers := listen(t, e, ListenerConfig{}, nil)
				nc := dial(t, l)
				byteSession(t, nc)
				h := receive(t, handlers, "handler")
				eventually(t, "the echo is accounted for", func() bool { return h.c.Buffered() == 0 })
				tc.close(h.c)
				if err := receive(t, h.closed, "Closed"); err != tc.want {
					t.Errorf("Closed got %v, want %v", err, tc.want)
				}
				if _, err := io.Copy(io.Discard, nc); err != nil {
					t.Errorf("peer sees %v, want EOF", err)
				}
				var o owner
				h.c.AppendShared([]byte("head"), 0, 0, []byte("payload"), &o)
				if o.unrefs.Load() != 1 || h.c.Buffered() != 0 {
					t.Errorf("append after close: %d references back, %d bytes buffered", o.unrefs.Load(), h.c.Buffered())
				}
			})
		})
	}
}

// slow makes a connection whose peer does not read, with more in the out-buffer than the kernel takes.
func slow(t *testing.T, e *Engine) (h *frameHandler, nc net.Conn, sent []byte) {
	t.Helper()
	l, handlers := listen(t, e, ListenerConfig{}, nil)
	nc = dial(t, l)
	h = receive(t, handlers, "handler")
	block := pattern(9, 100<<10)
	for !h.c.OverHighWater() || len(sent) < 12<<20 {
		h.c.Append(block)
		sent = append(sent, block...)
		e.Do(func(p *Pass) { p.Flush(h.c) })
	}
	taken := uint64(0)
	eventually(t, "the kernel takes no more", func() bool {
		before := taken
		time.Sleep(10 * time.Millisecond)
		taken = h.c.BytesOut()
		return taken == before
	})
	for len(h.drained) > 0 {
		<-h.drained
	}
	return h, nc, sent
}

func TestSlowReaderDrains(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		h, nc, sent := slow(t, e)
		if !h.c.OverHighWater() {
			t.Fatalf("%d bytes buffered, not over the high water mark", h.c.Buffered())
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(nc, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, sent) {
			t.Error("bytes differ")
		}
		receive(t, h.drained, "Drained")
		eventually(t, "nothing is buffered", func() bool { return h.c.Buffered() == 0 && !h.c.OverHighWater() })
		byteSession(t, nc) // an old write deadline must not fail this
	})
}

func TestWriteTimeout(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		cfg.WriteTimeout = 100 * time.Millisecond
		e := newTestEngine(t, cfg)
		h, _, _ := slow(t, e)
		if err := receive(t, h.closed, "Closed"); err != os.ErrDeadlineExceeded {
			t.Errorf("Closed got %v, want %v", err, os.ErrDeadlineExceeded)
		}
		eventually(t, "the connection is gone", func() bool { return e.Connections() == 0 })
	})
}

func TestCloseOfBlockedPeer(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		h, _, _ := slow(t, e)
		begin := time.Now()
		h.c.Close(nil)
		receive(t, h.closed, "Closed")
		if d := time.Since(begin); d > lingerTime/2 {
			t.Errorf("Closed came after %v, it must not wait for the peer", d)
		}
		eventually(t, "the peer is cut off", func() bool { return e.Connections() == 0 })
		if d := time.Since(begin); d < lingerTime/2 {
			t.Errorf("cut off after %v, the peer had no chance", d)
		}
	})
}

// What the peer has sent before it went away is handled, although a write to it has failed before it was read.
func TestInputSurvivesBrokenWrite(t *testing.T) {
	e := newTestEngine(t, Config{})
	gate, inside := make(chan struct{}), make(chan struct{})
	packets := make(chan string, 10)
	l, handlers := listen(t, e, ListenerConfig{}, func(h *frameHandler) {
		h.packet = func(_ *frameHandler, _ *Pass, pkt []byte) {
			packets <- string(pkt)
			if string(pkt) == "first" {
				close(inside)
				<-gate // only a test may block here
			}
		}
	})
	nc := dial(t, l)
	h := receive(t, handlers, "handler")
	write(t, nc, frame([]byte("first")))
	receive(t, inside, "first packet")
	write(t, nc, frame([]byte("disconnect")))
	nc.Close()
	eventually(t, "a write fails", func() bool {
		h.c.Append([]byte("anything"))
		e.Do(func(p *Pass) { p.Flush(h.c) })
		return h.c.pending.Load()&pendBroken != 0
	})
	close(gate)
	receive(t, packets, "first packet")
	if got := receive(t, packets, "packet sent before the close"); got != "disconnect" {
		t.Errorf("got %q", got)
	}
	if err := receive(t, h.closed, "Closed"); err == nil || err == ErrClosed {
		t.Errorf("Closed got %v", err)
	}
}

func TestEngineClose(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, handlers := listen(t, e, ListenerConfig{}, nil)
		polite, stubborn := dial(t, l), dial(t, l)
		byteSession(t, polite)
		byteSession(t, stubborn)
		for range 2 {
			receive(t, handlers, "handler").c.Append(frame([]byte("bye")))
		}
		go func() { _, _ = io.Copy(io.Discard, polite); polite.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := e.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close with a stubborn peer: %v", err)
		}
		if n := e.Connections(); n != 0 {
			t.Errorf("%d connections left", n)
		}
		if got := readFrame(t, stubborn); string(got) != "bye" {
			t.Errorf("last packet %q", got)
		}
		if _, err := e.Listen(ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Listen after Close: %v", err)
		}
		if err := e.Close(context.Background()); err != nil {
			t.Errorf("second close: %v", err)
		}
	})
}

// Appends, flushes, pauses, wakes and closes from all sides; for the race detector, and nothing may be lost before a close.
func TestHammer(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		cfg.HighWater = 8 << 10
		e := newTestEngine(t, cfg)
		l, handlers := listen(t, e, ListenerConfig{}, nil)
		const conns, rounds = 8, 300
		var readers, writers sync.WaitGroup
		all := make([]*Conn, 0, conns)
		for range conns {
			nc := dial(t, l)
			all = append(all, receive(t, handlers, "handler").c)
			readers.Add(1)
			go func() {
				defer readers.Done()
				defer nc.Close()
				_, _ = nc.Write(bytes.Repeat(frame(make([]byte, 20)), 100))
				_, _ = io.Copy(io.Discard, nc)
			}()
		}
		var o owner
		payload := pattern(1, 5000)
		for w := range 4 {
			writers.Add(1)
			go func() {
				defer writers.Done()
				for i := range rounds {
					e.Do(func(p *Pass) {
						for _, c := range all {
							c.AppendPublish([]byte("0123456789"), 4, uint16(i))
							c.AppendShared([]byte("01234567"), 2, uint16(i), payload, &o)
							p.Flush(c)
						}
					})
					c := all[(i+w)%conns]
					switch i % 4 {
					case 0:
						c.Pause(1 << w)
					case 1:
						c.Wake()
					case 2:
						c.Resume(1 << w)
					}
				}
			}()
		}
		writers.Wait()
		for i, c := range all {
			if i%2 == 0 {
				c.Close(nil)
			} else {
				c.CloseNow()
			}
		}
		readers.Wait()
		eventually(t, "all is closed", func() bool { return e.Connections() == 0 })
		if got := o.unrefs.Load(); got != 4*rounds*conns {
			t.Errorf("%d references given back, want %d", got, 4*rounds*conns)
		}
	})
}

// More busy connections than passes may exist: all of them get their turn.
func TestMoreConnectionsThanPasses(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		var made atomic.Int64
		cfg.NewScratch = func() any { made.Add(1); return new(int) }
		e := newTestEngine(t, cfg)
		l, _ := listen(t, e, ListenerConfig{}, nil)
		most := passesPerCPU * runtime.GOMAXPROCS(0)
		burst := bytes.Repeat(frame(make([]byte, 1000)), 200)
		var sessions sync.WaitGroup
		for range 5 * most {
			nc := dial(t, l)
			sessions.Go(func() { _, _ = nc.Write(burst) })
			sessions.Go(func() {
				if n, err := io.CopyN(io.Discard, nc, int64(len(burst))); err != nil {
					t.Errorf("%d bytes came back, then %v", n, err)
				}
			})
		}
		sessions.Wait()
		seen := 0
		e.EachScratch(func(s any) {
			if s.(*int) != nil {
				seen++
			}
		})
		if n := int(made.Load()); n > most || seen != n {
			t.Errorf("%d passes made, %d seen, at most %d may exist", n, seen, most)
		}
	})
}
