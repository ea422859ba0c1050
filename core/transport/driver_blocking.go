package transport

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// blockingReadSize is the read buffer that each connection of the blocking driver owns.
const blockingReadSize = 4 << 10

// lastReadTime is what is left for reading after a failed write; only bytes that have arrived already are of interest.
const lastReadTime = 20 * time.Millisecond

// Blocking is the driver for systems without a usable readiness interface (Windows): one goroutine per connection in a blocking
// read with a buffer of its own, and a writer goroutine whenever there is something to write. It works everywhere.
func Blocking() Driver { return blockingDriver{} }

type blockingDriver struct{}

func (blockingDriver) link(c *Conn) (link, error) {
	return &blockingLink{c: c, woken: make(chan struct{}, 1)}, nil
}

func (blockingDriver) listener(ln net.Listener, _ *ListenerConfig) (net.Listener, error) {
	return ln, nil
}

func (blockingDriver) stop() {}

type blockingLink struct {
	c       *Conn
	woken   chan struct{} // capacity 1, for the waits while paused
	reading atomic.Bool
}

func (l *blockingLink) start(rest []byte) { go l.run(rest) }

func (l *blockingLink) run(rest []byte) {
	c := l.c
	if c.begin(rest) {
		l.readLoop()
	}
	if c.conclude() {
		c.linger()
	}
	c.release()
}

func (l *blockingLink) readLoop() {
	c := l.c
	buf := make([]byte, blockingReadSize)
	for {
		if c.pending.Load() != 0 {
			p := c.eng.borrow()
			alive := c.service(p)
			p.end()
			if !alive {
				return
			}
		}
		if c.paused.Load() != 0 {
			if c.dead {
				return
			}
			<-l.woken // Resume, Wake and Close all come by here; an old token costs one round
			continue
		}
		n, err := l.read(buf)
		if n > 0 {
			p := c.eng.borrow()
			c.received(p, buf[:n])
			p.end()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && !c.dead {
			continue
		}
		if err != nil {
			c.readEnded(err)
			return
		}
	}
}

// read blocks until bytes are there or wake interrupts it. The same order as in rawLink: say that we wait, then look at the flags.
func (l *blockingLink) read(buf []byte) (int, error) {
	c := l.c
	var deadline time.Time
	if c.dead {
		deadline = time.Now().Add(lastReadTime)
	}
	_ = c.nc.SetReadDeadline(deadline)
	l.reading.Store(true)
	defer l.reading.Store(false)
	if c.pending.Load() != 0 {
		return 0, nil
	}
	return c.nc.Read(buf)
}

func (l *blockingLink) wake() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
	if l.reading.Load() {
		_ = l.c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// write never writes: whether it would block cannot be known here, so awaitWritable does it all.
func (l *blockingLink) write() (int, error) { return 0, errWouldBlock }

func (l *blockingLink) awaitWritable() { go l.drain() }

func (l *blockingLink) drain() {
	c := l.c
	for {
		for k := c.wire.head; k != nil; k = c.wire.head {
			_ = c.nc.SetWriteDeadline(time.Now().Add(c.eng.cfg.WriteTimeout))
			n, err := c.nc.Write(k.bytes())
			if n > 0 {
				c.account(nil, n)
			}
			if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					err = os.ErrDeadlineExceeded
				}
				c.writeFailed(err)
				return
			}
		}
		_ = c.nc.SetWriteDeadline(time.Time{})
		if !c.pump(nil) {
			return
		}
	}
}

func (l *blockingLink) closeWrite() {
	if cw, ok := l.c.nc.(interface{ CloseWrite() error }); ok {
		_ = cw.CloseWrite()
	}
}
