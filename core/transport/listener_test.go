package transport

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestListenErrors(t *testing.T) {
	e := newTestEngine(t, Config{})
	l, _ := listen(t, e, ListenerConfig{}, nil)
	taken := l.Addr().String()
	if _, err := e.Listen(ListenerConfig{Network: "tcp", Address: taken}, nil); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), taken) {
		t.Errorf("taken port: %v", err)
	}
	if _, err := e.Listen(ListenerConfig{Network: "carrier pigeon", Address: "x"}, nil); err == nil || !strings.Contains(err.Error(), "carrier pigeon") {
		t.Errorf("unknown network: %v", err)
	}
}

func TestEchoUnix(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		path := filepath.Join(t.TempDir(), "mqtt.sock")
		unixCfg := ListenerConfig{Network: "unix", Address: path, UnixMode: 0o600, User: "mine", Name: "local"}
		l, handlers := listen(t, e, unixCfg, nil)
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("socket file %v, %v", info.Mode(), err)
		}
		nc := dial(t, l)
		echoSession(t, nc)
		byteSession(t, nc)
		c := receive(t, handlers, "handler").c
		if c.Network() != "unix" || l.User() != "mine" || l.Name() != "local" || l.Network() != "unix" {
			t.Errorf("wrong facts: %q %v %q", c.Network(), l.User(), l.Name())
		}
		if _, err := e.Listen(unixCfg, nil); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("socket in use: %v", err)
		}
	})
}

func TestStaleUnixSocket(t *testing.T) {
	e := newTestEngine(t, Config{})
	dir := t.TempDir()
	path := filepath.Join(dir, "stale.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, _ := listen(t, e, ListenerConfig{Network: "unix", Address: path}, nil)
	echoSession(t, dial(t, l))

	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Listen(ListenerConfig{Network: "unix", Address: file}, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("ordinary file: %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "data" {
		t.Error("an ordinary file was touched")
	}
}

func TestMaxConnections(t *testing.T) {
	e := newTestEngine(t, Config{})
	refused := make(chan RefuseReason, 1)
	l, handlers := listen(t, e, ListenerConfig{MaxConnections: 2, OnRefused: func(remote net.Addr, reason RefuseReason) {
		if remote == nil {
			t.Error("no address of the refused")
		}
		refused <- reason
	}}, nil)
	// One after the other: handlers arrive in the order in which connections
	// begin, not in that in which they were dialled.
	a := dial(t, l)
	byteSession(t, a)
	first := receive(t, handlers, "handler")
	byteSession(t, dial(t, l))
	if _, err := dial(t, l).Read(make([]byte, 1)); err == nil {
		t.Error("third connection got bytes")
	}
	if got := receive(t, refused, "OnRefused"); got != RefusedMaxConnections {
		t.Errorf("reason %q", got)
	}
	if s := l.Stats(); s.Accepted != 3 || s.RefusedMax != 1 || l.Connections() != 2 {
		t.Errorf("stats %+v, %d connections", s, l.Connections())
	}
	a.Close()
	receive(t, first.closed, "Closed")
	eventually(t, "there is room again", func() bool { return l.Connections() < 2 })
	byteSession(t, dial(t, l))
}

func TestHandlerRefuses(t *testing.T) {
	e := newTestEngine(t, Config{})
	l, err := e.Listen(ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, func(*Conn) Handler { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, l).Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("refused client sees %v, want EOF", err)
	}
	eventually(t, "it is counted", func() bool { return l.Stats().HandlerRefused == 1 && e.Connections() == 0 })
}

func TestStopKeepsConnections(t *testing.T) {
	e := newTestEngine(t, Config{})
	l, handlers := listen(t, e, ListenerConfig{}, nil)
	nc := dial(t, l)
	byteSession(t, nc)
	h := receive(t, handlers, "handler")
	l.Stop()
	if late, err := net.Dial("tcp", l.Addr().String()); err == nil {
		late.Close()
		t.Error("connected after Stop")
	}
	echoSession(t, nc)
	l.Close()
	if err := receive(t, h.closed, "Closed"); err != ErrClosed {
		t.Errorf("Closed got %v", err)
	}
}

// Closing a listener ends handshakes that are under way.
func TestCloseDuringHandshake(t *testing.T) {
	e := newTestEngine(t, Config{})
	l, _ := listen(t, e, ListenerConfig{Network: "ws", HandshakeTimeout: time.Hour}, nil)
	nc := dial(t, l)
	write(t, nc, []byte("GET /mqtt"))
	eventually(t, "it is accepted", func() bool { return l.Connections() == 1 })
	l.Close()
	eventually(t, "it is gone", func() bool { return e.Connections() == 0 })
}

func TestAcceptBucket(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBucket(10, 3, now)
	var waits []time.Duration
	for range 5 {
		w := max(0, b.take(now))
		waits = append(waits, w)
		now = now.Add(w)
	}
	for i, want := range []time.Duration{0, 0, 100, 100, 100} {
		if waits[i] != want*time.Millisecond {
			t.Errorf("waits %v: number %d, want %v ms", waits, i, want)
		}
	}
	now = now.Add(time.Hour)
	for i := range 3 {
		if wait := b.take(now) > 0; wait != (i == 2) {
			t.Errorf("after a rest, number %d: wait %v", i, wait)
		}
	}
	if none := newBucket(0, 0, now); none.take(now) != 0 {
		t.Error("no bound, but a wait")
	}
}

func TestAcceptRate(t *testing.T) {
	e := newTestEngine(t, Config{})
	l, handlers := listen(t, e, ListenerConfig{AcceptRate: 50, AcceptBurst: 2}, nil)
	begin := time.Now()
	for range 6 {
		dial(t, l)
	}
	for range 6 {
		receive(t, handlers, "handler")
	}
	if d := time.Since(begin); d < 75*time.Millisecond {
		t.Errorf("six connections in %v, want at least four intervals of 20 ms", d)
	}
}

// failingListener fails for a while, as with EMFILE.
type failingListener struct {
	net.Listener
	left atomic.Int64
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func TestAcceptErrorsPass(t *testing.T) {
	e := newTestEngine(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	failing := &failingListener{Listener: ln}
	failing.left.Store(3)
	l := &Listener{
		eng: e, cfg: ListenerConfig{Network: "tcp"}, ln: failing, conns: make(map[*Conn]struct{}),
		stop: make(chan struct{}), done: make(chan struct{}),
		accept: func(c *Conn) Handler { return newFrameHandler(c) },
	}
	begin := time.Now()
	go l.acceptLoop()
	defer l.Close()
	byteSession(t, dial(t, l))
	if d := time.Since(begin); d < 7*acceptPauseMin {
		t.Errorf("three errors in %v: no growing pause between them", d)
	}
	if got := l.Stats().AcceptErrors; got != 3 {
		t.Errorf("%d errors counted", got)
	}
}
