package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// DefaultHandshakeTimeout bounds PROXY header, TLS and WebSocket handshake together.
const DefaultHandshakeTimeout = 10 * time.Second

// ListenerConfig sets up a [Listener].
type ListenerConfig struct {
	Name    string // for logs and metrics
	Network string // "tcp", "tls", "ws", "wss" or "unix"
	Address string // host:port, or the path of the socket

	TLS       *TLSConfig // needed for tls and wss
	WebSocket *WSConfig  // for ws and wss; nil is the zero value

	// Proxy is about the PROXY protocol; TrustedProxies are the networks that may send it, empty: all.
	Proxy          ProxyMode
	TrustedProxies []netip.Prefix

	// MaxConnections bounds the open connections of this listener, those in a handshake included; 0: no bound. What comes beyond
	// is accepted and closed at once, counted, and told to OnRefused (if set; on the accepting goroutine, must not block).
	MaxConnections int
	OnRefused      func(remote net.Addr, reason RefuseReason)

	// AcceptRate bounds accepted connections per second, with bursts of AcceptBurst (at least 1); 0: no bound. What comes faster
	// waits in the kernel's queue.
	AcceptRate  float64
	AcceptBurst int

	HandshakeTimeout time.Duration // default 10 s

	// KeepAlive is the idle time before TCP keep-alive probes; 0 is Go's default (15 s), negative switches them off.
	KeepAlive time.Duration

	// Nagle leaves Nagle's algorithm on, which delays small writes; off by default because passes batch already.
	Nagle bool

	// UnixMode is the mode of the socket file; 0 leaves what the umask makes of it.
	UnixMode fs.FileMode

	// User is the caller's own data, see [Listener.User].
	User any
}

// RefuseReason says why a connection was closed right after it was accepted.
type RefuseReason string

// The reasons of [ListenerConfig].OnRefused.
const (
	RefusedMaxConnections RefuseReason = "max_connections" // the listener has as many as it may
	RefusedNotTrusted     RefuseReason = "proxy_untrusted" // PROXY is required and the peer may not send it
)

// ListenerStats are counters since the start of a listener.
type ListenerStats struct {
	Accepted       uint64 // sockets accepted, refused ones included
	RefusedMax     uint64 // closed for [RefusedMaxConnections]
	RefusedProxy   uint64 // closed for [RefusedNotTrusted]
	FailedTCP      uint64 // the socket broke between the handshakes
	FailedProxy    uint64 // bad or missing PROXY header, or closed before it was complete
	FailedTLS      uint64
	FailedWS       uint64
	FailedTimeout  uint64 // handshake not finished in time, at whatever step
	AcceptErrors   uint64
	HandlerRefused uint64 // the accept function returned nil
}

// Listener accepts connections of one address. Its methods are safe for concurrent use.
type Listener struct {
	eng    *Engine
	cfg    ListenerConfig
	ln     net.Listener
	accept func(*Conn) Handler
	tls    atomic.Pointer[tls.Config]
	stop   chan struct{} // closed by Stop
	done   chan struct{} // closed when the accept loop has ended

	mu      sync.Mutex
	conns   map[*Conn]struct{}
	stopped bool

	accepted, refusedMax, refusedProxy, failedTCP, failedProxy, failedTLS, failedWS, failedTimeout, acceptErrors, handlerRefused atomic.Uint64
}

// Listen opens a listener and begins to accept. accept is called for every connection whose handshakes (PROXY, TLS, WebSocket) are
// done, on a goroutine of its own, and returns the connection's handler; nil closes it. The error names the address and unwraps to
// the system's (syscall.EADDRINUSE and so on).
func (e *Engine) Listen(cfg ListenerConfig, accept func(c *Conn) Handler) (*Listener, error) {
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if cfg.WebSocket == nil {
		cfg.WebSocket = &WSConfig{}
	}
	l := &Listener{
		eng: e, cfg: cfg, accept: accept, conns: make(map[*Conn]struct{}),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("listen on %s %s: %w", cfg.Network, cfg.Address, err)
	}
	ln, err := e.cfg.Driver.listener(l.ln, &cfg)
	if err != nil {
		l.ln.Close()
		return nil, fmt.Errorf("listen on %s %s: %w", cfg.Network, cfg.Address, err)
	}
	l.ln = ln
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.listeners[l] = struct{}{}
	}
	e.mu.Unlock()
	if closed {
		l.ln.Close()
		return nil, fmt.Errorf("listen on %s %s: %w", cfg.Network, cfg.Address, ErrClosed)
	}
	go l.acceptLoop()
	return l, nil
}

func (l *Listener) open() (err error) {
	switch l.cfg.Network {
	case "tls", "wss":
		if err = l.loadTLS(); err != nil {
			return err
		}
	case "tcp", "ws":
	case "unix":
		l.ln, err = listenUnix(l.cfg.Address, l.cfg.UnixMode)
		return err
	default:
		return fmt.Errorf("unknown network %q", l.cfg.Network)
	}
	lc := net.ListenConfig{KeepAlive: l.cfg.KeepAlive}
	l.ln, err = lc.Listen(context.Background(), "tcp", l.cfg.Address)
	// The address is in our own message; what is wanted of net's is the reason.
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return err
}

func (l *Listener) loadTLS() error {
	if l.cfg.TLS == nil {
		return errors.New("tls: not configured")
	}
	tc, err := l.cfg.TLS.load(time.Now())
	if err != nil {
		return err
	}
	l.tls.Store(tc)
	return nil
}

// Reload reads the certificates, CAs and revocation lists again. All of it is checked before new handshakes get it; on error they
// go on with what they had. Open connections are not touched. Without TLS it does nothing.
func (l *Listener) Reload() error {
	if l.cfg.TLS == nil || l.tls.Load() == nil {
		return nil
	}
	if err := l.loadTLS(); err != nil {
		return fmt.Errorf("reload of listener %s: %w", l.cfg.Address, err)
	}
	return nil
}

// Addr is the address that is listened on.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Name is [ListenerConfig].Name.
func (l *Listener) Name() string { return l.cfg.Name }

// Network is [ListenerConfig].Network.
func (l *Listener) Network() string { return l.cfg.Network }

// User is [ListenerConfig].User.
func (l *Listener) User() any { return l.cfg.User }

// Connections is the number of open sockets of this listener, those in a handshake or lingering included.
func (l *Listener) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Stats reads the counters.
func (l *Listener) Stats() ListenerStats {
	return ListenerStats{
		Accepted: l.accepted.Load(), RefusedMax: l.refusedMax.Load(), RefusedProxy: l.refusedProxy.Load(),
		FailedTCP: l.failedTCP.Load(), FailedProxy: l.failedProxy.Load(), FailedTLS: l.failedTLS.Load(), FailedWS: l.failedWS.Load(),
		FailedTimeout: l.failedTimeout.Load(), AcceptErrors: l.acceptErrors.Load(), HandlerRefused: l.handlerRefused.Load(),
	}
}

// Stop ends accepting and returns when the accept loop has; connections stay open.
func (l *Listener) Stop() {
	l.mu.Lock()
	first := !l.stopped
	l.stopped = true
	l.mu.Unlock()
	if first {
		close(l.stop)
		l.ln.Close()
	}
	<-l.done
	l.retire()
}

// Close stops and closes all connections in order, without waiting for them.
func (l *Listener) Close() {
	l.Stop()
	for _, c := range l.snapshot() {
		c.Close(nil)
		if !c.started() {
			c.nc.Close() // ends the handshake
		}
	}
}

// cut closes the sockets of connections that did not end in time.
func (l *Listener) cut() {
	for _, c := range l.snapshot() {
		c.CloseNow()
		c.nc.Close()
	}
}

func (l *Listener) snapshot() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		all = append(all, c)
	}
	return all
}

// admit counts c in, unless the listener is full or stopped.
func (l *Listener) admit(c *Conn) (admitted, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full = l.cfg.MaxConnections > 0 && len(l.conns) >= l.cfg.MaxConnections
	if l.stopped || full {
		return false, full && !l.stopped
	}
	l.conns[c] = struct{}{}
	l.eng.conns.Add(1)
	return true, false
}

// forget is the end of c.
func (l *Listener) forget(c *Conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	l.retire()
	l.eng.connGone()
}

// retire takes a stopped listener without connections out of the engine.
func (l *Listener) retire() {
	l.mu.Lock()
	over := l.stopped && len(l.conns) == 0
	l.mu.Unlock()
	if over {
		l.eng.mu.Lock()
		delete(l.eng.listeners, l)
		l.eng.mu.Unlock()
	}
}

// listenUnix opens a socket file. A file that is left of a process that has ended is removed; one that somebody answers on is not.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("%w and not a socket", fs.ErrExist)
		}
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			return nil, syscall.EADDRINUSE
		} else if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("cannot tell whether the socket is in use: %w", err)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, err
	}
	if mode != 0 {
		if err := os.Chmod(path, mode); err != nil {
			ln.Close()
			return nil, err
		}
	}
	return ln, nil
}
