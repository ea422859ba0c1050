package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Pauses after a failed accept. Running out of descriptors (EMFILE) passes only when connections close, so trying again at once
// would burn a processor.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

func (l *Listener) acceptLoop() {
	defer close(l.done)
	bucket := newBucket(l.cfg.AcceptRate, l.cfg.AcceptBurst, time.Now())
	var pause time.Duration
	for {
		nc, err := l.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.acceptErrors.Add(1)
			if pause == 0 {
				l.eng.log.Warn("accept failed, trying again", "listener", l.cfg.Address, "error", err)
				pause = acceptPauseMin
			}
			if !l.wait(pause) {
				return
			}
			pause = min(2*pause, acceptPauseMax)
			continue
		}
		pause = 0
		l.accepted.Add(1)
		l.welcome(nc)
		if !l.wait(bucket.take(time.Now())) {
			return
		}
	}
}

// wait returns false when the listener is stopped first.
func (l *Listener) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.stop:
		return false
	}
}

// welcome makes a connection of an accepted socket and begins its handshakes.
func (l *Listener) welcome(nc net.Conn) {
	if l.cfg.Proxy == ProxyRequired && !proxyTrusted(l.cfg.TrustedProxies, nc.RemoteAddr()) {
		l.refuse(nc, RefusedNotTrusted)
		return
	}
	c := &Conn{eng: l.eng, lis: l, nc: nc}
	c.lastRead.Store(l.eng.cfg.Now())
	if tcp, ok := nc.(*net.TCPConn); ok && l.cfg.Nagle {
		_ = tcp.SetNoDelay(false)
	}
	var err error
	if c.link, err = l.eng.cfg.Driver.link(c); err != nil {
		l.eng.log.Warn("cannot drive connection", "listener", l.cfg.Address, "error", err)
		nc.Close()
		return
	}
	switch admitted, full := l.admit(c); {
	case admitted:
		go l.setup(c)
	case full:
		l.refuse(nc, RefusedMaxConnections)
	default:
		nc.Close()
	}
}

func (l *Listener) refuse(nc net.Conn, reason RefuseReason) {
	remote := nc.RemoteAddr()
	nc.Close()
	if reason == RefusedMaxConnections {
		l.refusedMax.Add(1)
	} else {
		l.refusedProxy.Add(1)
	}
	if l.cfg.OnRefused != nil {
		l.cfg.OnRefused(remote, reason)
	}
}

// setup runs the handshakes, which block, and starts the executor on a goroutine of its own: handshakes leave a deep stack behind.
func (l *Listener) setup(c *Conn) {
	var rest []byte
	if l.cfg.Proxy != ProxyOff || l.cfg.Network != "tcp" && l.cfg.Network != "unix" {
		var failed *atomic.Uint64
		var err error
		if rest, failed, err = l.handshake(c); err != nil {
			l.handshakeFailed(c, failed, err)
			return
		}
	}
	h := l.accept(c)
	if h == nil {
		l.handlerRefused.Add(1)
		c.release()
		return
	}
	c.mu.Lock()
	c.h = h
	c.mu.Unlock()
	c.link.start(rest)
}

func (l *Listener) handshakeFailed(c *Conn, failed *atomic.Uint64, err error) {
	late := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case errors.Is(err, net.ErrClosed): // by us, see Listener.Close
	case late:
		l.failedTimeout.Add(1)
	default:
		failed.Add(1)
	}
	l.eng.log.Debug("handshake failed", "listener", l.cfg.Address, "remote", c.RemoteAddr(), "error", err)
	if !late {
		// A TLS alert or an HTTP answer is under way; see lingerTime.
		c.link.closeWrite()
		c.linger()
	}
	c.release()
}

func (c *Conn) started() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.h != nil
}

// handshake does what the listener demands, in order and before one deadline. rest are bytes above TLS and below WebSocket that were
// read already; failed is the counter for the step that went wrong.
func (l *Listener) handshake(c *Conn) (rest []byte, failed *atomic.Uint64, err error) {
	if err := c.nc.SetDeadline(time.Now().Add(l.cfg.HandshakeTimeout)); err != nil {
		return nil, &l.failedTCP, err
	}
	stream := c.nc
	var secure *tlsLayer
	var framed *wsLayer
	if l.cfg.Proxy != ProxyOff && proxyTrusted(l.cfg.TrustedProxies, c.nc.RemoteAddr()) {
		if c.proxy, rest, err = readProxyHeader(c.nc); err == nil && c.proxy == nil && l.cfg.Proxy == ProxyRequired {
			err = errNoProxyHeader
		}
		if err != nil {
			return nil, &l.failedProxy, err
		}
		if len(rest) > 0 {
			stream = &aheadConn{Conn: c.nc, ahead: rest}
		}
	}
	if l.cfg.Network == "tls" || l.cfg.Network == "wss" {
		secure = &tlsLayer{c: c, under: stream}
		secure.conn = tls.Server(secure, l.tls.Load())
		if err := secure.conn.Handshake(); err != nil {
			return nil, &l.failedTLS, fmt.Errorf("tls: %w", err)
		}
		stream, rest = secure.conn, nil
	}
	if l.cfg.Network == "ws" || l.cfg.Network == "wss" {
		if rest, err = wsUpgrade(stream, l.cfg.WebSocket); err != nil {
			return nil, &l.failedWS, err
		}
		framed = &wsLayer{}
	}
	if secure != nil {
		secure.under = nil
	}
	c.mu.Lock() // Listener.Close may be at it at the same time
	c.tls, c.ws = secure, framed
	c.mu.Unlock()
	return rest, &l.failedTCP, c.nc.SetDeadline(time.Time{})
}

// aheadConn reads what a handshake has read too many before it reads the socket.
type aheadConn struct {
	net.Conn
	ahead []byte
}

func (a *aheadConn) Read(b []byte) (int, error) {
	if len(a.ahead) > 0 {
		n := copy(b, a.ahead)
		a.ahead = a.ahead[n:]
		return n, nil
	}
	return a.Conn.Read(b)
}

// bucket is a token bucket for accepts.
type bucket struct {
	interval time.Duration // per token; 0: no bound
	burst    time.Duration // how far ahead of time tokens may be used
	next     time.Time     // when the bucket would be full again
}

func newBucket(rate float64, burst int, now time.Time) bucket {
	if rate <= 0 {
		return bucket{}
	}
	interval := time.Duration(float64(time.Second) / rate)
	return bucket{interval: interval, burst: time.Duration(max(burst, 1)-1) * interval, next: now}
}

// take uses a token and returns how long to wait until there is one for the next connection.
func (b *bucket) take(now time.Time) time.Duration {
	if b.interval == 0 {
		return 0
	}
	if b.next.Before(now) {
		b.next = now
	}
	b.next = b.next.Add(b.interval)
	return b.next.Sub(now) - b.burst
}
