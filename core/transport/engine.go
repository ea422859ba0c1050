package transport

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of [Config].
const (
	DefaultHighWater    = 256 << 10
	DefaultLowWater     = 128 << 10
	DefaultWriteTimeout = 30 * time.Second
)

// lingerTime bounds how long a connection that we close waits for its last bytes to be taken and for the peer's own close. Closing
// a socket that still has unread bytes makes the kernel send a reset, which can destroy a DISCONNECT that is under way.
const lingerTime = time.Second

// Config sets up an [Engine]. The zero value works.
type Config struct {
	// NewScratch makes the caller's per-pass state, [Pass.Scratch]; called once per pass, from any goroutine.
	NewScratch func() any

	// Settle is called before a pass writes what may have waited (see [Pass.FlushLater]), if [Pass.Owe] was called: the caller
	// appends what it has kept back, and has it written by [Pass.Bring]. It must not call Owe.
	Settle func(p *Pass)

	// HighWater and LowWater are marks on the bytes in a connection's out-buffer, see [Conn.OverHighWater] and [Drainer].
	// Defaults 256 KiB and half of HighWater.
	HighWater, LowWater int

	// WriteTimeout closes a connection whose peer takes no byte for this long while there are some for it. Default 30 s.
	WriteTimeout time.Duration

	// Now is the clock of [Conn.LastRead] in Unix milliseconds; called once per read, so give a coarse one. Default time.Now.
	Now func() int64

	// Driver waits for readiness; nil is the best one for this system. A Driver serves one engine.
	Driver Driver

	// Logger gets accept errors (warn) and failed handshakes (debug). Default: slog.Default.
	Logger *slog.Logger
}

// Engine owns the passes, the buffer pools, the driver and all open connections. Its methods are safe for concurrent use.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	chunks chunkPools
	passes passPool

	mu        sync.Mutex
	listeners map[*Listener]struct{}
	closed    bool

	conns        atomic.Int64
	severalLoops atomic.Bool   // there is more than one event loop
	gone         chan struct{} // capacity 1: a connection has ended while the engine was closing
}

// New makes an engine; it starts no goroutine.
func New(cfg Config) *Engine {
	if cfg.HighWater <= 0 {
		cfg.HighWater = DefaultHighWater
	}
	if cfg.LowWater <= 0 || cfg.LowWater > cfg.HighWater {
		cfg.LowWater = cfg.HighWater / 2
	}
	if cfg.WriteTimeout <= 0 {
		cfg.WriteTimeout = DefaultWriteTimeout
	}
	if cfg.Now == nil {
		cfg.Now = func() int64 { return time.Now().UnixMilli() }
	}
	if cfg.Driver == nil {
		cfg.Driver = defaultDriver()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Engine{cfg: cfg, log: cfg.Logger, listeners: make(map[*Listener]struct{}), gone: make(chan struct{}, 1)}
}

// Do borrows a pass for work that comes from elsewhere than a connection (timers, a publish from inside the process), calls fn and
// writes what fn caused. fn must not block and must not keep p; Do must not be called while holding another pass.
func (e *Engine) Do(fn func(p *Pass)) {
	p := e.borrow()
	fn(p)
	p.end()
}

// EachScratch calls fn with the Scratch of every pass made so far, while the passes may be in use: what fn reads must be atomic.
func (e *Engine) EachScratch(fn func(scratch any)) {
	for _, p := range e.passes.snapshot() {
		fn(p.Scratch)
	}
}

// Connections is the number of open sockets, including those in a handshake or lingering after their close.
func (e *Engine) Connections() int { return int(e.conns.Load()) }

// Close stops all listeners, closes every connection in order (see [Conn.Close]) and waits until all are gone. When ctx ends first
// the rest is cut off and the error of ctx is returned. Later calls of Listen fail.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	ls := make([]*Listener, 0, len(e.listeners))
	for l := range e.listeners {
		ls = append(ls, l)
	}
	e.mu.Unlock()
	for _, l := range ls {
		l.Close()
	}
	defer e.cfg.Driver.stop()
	err := e.waitGone(ctx)
	if err == nil {
		return nil
	}
	for _, l := range ls {
		l.cut()
	}
	// Cut connections only have to run their last turn, so this wait is short, but it must not depend on the ended ctx.
	last, cancel := context.WithTimeout(context.Background(), lingerTime)
	defer cancel()
	_ = e.waitGone(last)
	return err
}

func (e *Engine) waitGone(ctx context.Context) error {
	for e.conns.Load() > 0 {
		select {
		case <-e.gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (e *Engine) connGone() {
	e.conns.Add(-1)
	select {
	case e.gone <- struct{}{}:
	default:
	}
}
