package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// testTimeout bounds every wait of these tests.
const testTimeout = 10 * time.Second

// eachDriver runs a test with every driver of this system.
func eachDriver(t *testing.T, run func(t *testing.T, cfg Config)) {
	for name, driver := range testDrivers() {
		t.Run(name, func(t *testing.T) { run(t, Config{Driver: driver}) })
	}
}

func newTestEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := New(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Errorf("close of the engine: %v, %d connections left", err, e.Connections())
		}
	})
	return e
}

// frameHandler speaks packets of a four byte length and that many bytes.
type frameHandler struct {
	c       *Conn
	packet  func(h *frameHandler, p *Pass, pkt []byte) // nil: echo
	woken   func(p *Pass)
	drained chan struct{}
	closed  chan error
	calls   atomic.Int64 // of Data
}

func newFrameHandler(c *Conn) *frameHandler {
	return &frameHandler{c: c, closed: make(chan error, 2), drained: make(chan struct{}, 100)}
}

func (h *frameHandler) Data(p *Pass, b []byte) (used, need int) {
	h.calls.Add(1)
	for !h.c.Paused() {
		rest := b[used:]
		if len(rest) < 4 {
			return used, 0
		}
		n := 4 + int(binary.BigEndian.Uint32(rest))
		if len(rest) < n {
			return used, n
		}
		used += n
		if h.packet != nil {
			h.packet(h, p, rest[4:n])
			continue
		}
		h.c.Append(rest[:n])
		p.Flush(h.c)
	}
	return used, 0
}

func (h *frameHandler) Woken(p *Pass) {
	if h.woken != nil {
		h.woken(p)
	}
}

func (h *frameHandler) Closed(_ *Pass, err error) { h.closed <- err }
func (h *frameHandler) Drained(*Pass) {
	select {
	case h.drained <- struct{}{}:
	default:
	}
}

// frame makes a packet of frameHandler.
func frame(payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}

func readFrame(t testing.TB, r io.Reader) []byte {
	t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatalf("read of a packet: %v", err)
	}
	payload := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Fatalf("read of a packet of %d bytes: %v", len(payload), err)
	}
	return payload
}

// listen opens a listener whose handlers come out of the channel.
func listen(t testing.TB, e *Engine, cfg ListenerConfig, prepare func(h *frameHandler)) (*Listener, chan *frameHandler) {
	t.Helper()
	if cfg.Network == "" {
		cfg.Network = "tcp"
	}
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	handlers := make(chan *frameHandler, 20000)
	l, err := e.Listen(cfg, func(c *Conn) Handler {
		h := newFrameHandler(c)
		if prepare != nil {
			prepare(h)
		}
		handlers <- h
		return h
	})
	if err != nil {
		t.Fatal(err)
	}
	return l, handlers
}

func dial(t testing.TB, l *Listener) net.Conn {
	t.Helper()
	nc, err := net.DialTimeout(l.Addr().Network(), l.Addr().String(), testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(testTimeout))
	return nc
}

func receive[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(testTimeout):
		t.Fatalf("waited too long for %s", what)
		panic("unreachable")
	}
}

// eventually polls; for what has no channel to wait on.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long until %s", what)
		}
	}
}

func write(t testing.TB, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// pattern makes n bytes that differ by position and seed.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// echoSession sends packets of many sizes, in writes that do not respect their borders, and checks what comes back.
func echoSession(t *testing.T, rw io.ReadWriter) {
	t.Helper()
	sizes := []int{0, 1, 3, 100, 4000, 4096, 65530, 65536, 70000, 300000, 7, 0, 20}
	var all []byte
	for i, n := range sizes {
		all = append(all, frame(pattern(i, n))...)
	}
	var sender sync.WaitGroup
	sender.Add(1)
	go func() {
		defer sender.Done()
		for b := all; len(b) > 0; {
			n := min(len(b), 1+len(b)%9973)
			if _, err := rw.Write(b[:n]); err != nil {
				t.Errorf("write: %v", err)
				return
			}
			b = b[n:]
		}
	}()
	for i, n := range sizes {
		if got := readFrame(t, rw); !bytes.Equal(got, pattern(i, n)) {
			t.Fatalf("packet %d of %d bytes came back different", i, n)
		}
	}
	sender.Wait()
}

// byteSession sends a packet byte by byte.
func byteSession(t *testing.T, rw io.ReadWriter) {
	t.Helper()
	want := pattern(77, 60)
	for _, b := range frame(want) {
		write(t, rw, []byte{b})
	}
	if got := readFrame(t, rw); !bytes.Equal(got, want) {
		t.Fatal("packet sent byte by byte came back different")
	}
}

// owner counts the references that were given back.
type owner struct{ unrefs atomic.Int64 }

func (o *owner) Unref() { o.unrefs.Add(1) }

// nullLink is a socket that takes everything, or nothing, or at most a few bytes at a time.
type nullLink struct {
	c       *Conn
	got     []byte
	keep    bool // remember what was written
	perCall int  // 0: everything
	full    bool
	blocked atomic.Int64
	ended   bool
}

func (l *nullLink) start([]byte) {}
func (l *nullLink) wake()        {}
func (l *nullLink) write() (int, error) {
	if l.full {
		return 0, errWouldBlock
	}
	n := 0
	for k := l.c.wire.head; k != nil; k = k.next {
		b := k.bytes()
		if l.perCall > 0 {
			b = b[:min(len(b), l.perCall-n)]
		}
		if l.keep {
			l.got = append(l.got, b...)
		}
		if n += len(b); l.perCall > 0 && n == l.perCall {
			break
		}
	}
	return n, nil
}
func (l *nullLink) awaitWritable() { l.blocked.Add(1) }
func (l *nullLink) closeWrite()    { l.ended = true }

// newNullConn makes a connection without a socket.
func newNullConn(e *Engine) (*Conn, *nullLink) {
	c := &Conn{eng: e}
	l := &nullLink{c: c, keep: true}
	c.link = l
	c.h = newFrameHandler(c)
	return c, l
}
