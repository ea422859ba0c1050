//go:build linux || darwin

package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// passReadLimit bounds the bytes one pass takes from a connection whose reads keep returning full buffers. A longer pass puts
// more messages into each subscriber's single write, which is what makes dense traffic cheap; half a megabyte is some
// milliseconds of work, which is the delay it adds for others that wait for a processor.
const passReadLimit = 512 << 10

// Portable is the driver for systems with non-blocking sockets: one goroutine per connection, parked in syscall.RawConn.Read
// without a buffer, about 4 KiB of memory per idle connection.
func Portable() Driver { return rawDriver{} }

type rawDriver struct{}

func (rawDriver) link(c *Conn) (link, error) {
	sc, ok := c.nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("transport: %T has no file descriptor", c.nc)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &rawLink{c: c, rc: rc}
	// Bound once: a method value made per read would be an allocation per read.
	l.onReadable, l.onWritable = l.readable, l.writable
	return l, nil
}

func (rawDriver) listener(ln net.Listener, _ *ListenerConfig) (net.Listener, error) { return ln, nil }

func (rawDriver) stop() {}

// States of a rawLink: whether a wake has to interrupt the wait for readability.
const (
	rawRunning uint32 = iota
	rawWaiting
	rawWoken // the deadline is being set to interrupt the wait
)

type rawLink struct {
	c                      *Conn
	rc                     syscall.RawConn
	onReadable, onWritable func(fd uintptr) bool
	state                  atomic.Uint32
	over                   bool // executor: the connection has ended

	// Owned by the holder of Conn.flushing.
	patient bool // stay in RawConn.Write until there is room
	n       int
	err     error
}

// aLongTimeAgo interrupts a wait when set as a deadline.
var aLongTimeAgo = time.Unix(1, 0)

func (l *rawLink) start(rest []byte) { go l.run(rest) }

func (l *rawLink) run(rest []byte) {
	c := l.c
	if c.begin(rest) {
		l.readLoop()
	}
	if c.conclude() {
		c.linger()
	}
	c.release()
}

func (l *rawLink) readLoop() {
	c := l.c
	for !l.over {
		err := l.rc.Read(l.onReadable)
		l.state.Store(rawRunning)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			// First the deadline, then the flags (in readable): a wake that comes between is seen or sets the deadline again. One
			// that sets it late causes an idle round, no more.
			_ = c.nc.SetReadDeadline(time.Time{})
		default:
			c.readEnded(err)
			return
		}
	}
}

// wake interrupts the wait. The caller has set its flag before, the executor says that it waits before it looks at the flags a last
// time, so one of the two sees the other.
func (l *rawLink) wake() {
	if l.state.Load() == rawWaiting && l.state.CompareAndSwap(rawWaiting, rawWoken) {
		_ = l.c.nc.SetReadDeadline(aLongTimeAgo)
	}
}

// readable is called by RawConn.Read before each wait; returning true leaves it.
func (l *rawLink) readable(fd uintptr) bool {
	c := l.c
	for {
		l.state.Store(rawRunning)
		if c.paused.Load() == 0 || c.pending.Load() != 0 {
			if !l.turn(int(fd)) {
				l.over = true
				return true
			}
		}
		// A paused connection waits here as well: new bytes bring it back for nothing, at most once per segment that the
		// socket's buffer has room for. Resume interrupts the wait, and the next round starts with a read.
		l.state.Store(rawWaiting)
		if c.pending.Load() == 0 {
			return false
		}
	}
}

// turn reads until the socket is empty and reports whether the connection goes on.
func (l *rawLink) turn(fd int) (alive bool) {
	c := l.c
	p := c.eng.borrow()
	for total := 0; ; {
		if c.pending.Load() != 0 && !c.service(p) {
			break
		}
		if c.paused.Load() != 0 {
			alive = !c.dead
			break
		}
		n, err := readFD(fd, p.buf)
		if err == errWouldBlock {
			alive = !c.dead
			break
		}
		if err != nil || n == 0 {
			if err == nil {
				err = io.EOF
			}
			c.readEnded(err)
			break
		}
		c.received(p, p.buf[:n])
		total += n
		switch {
		case total >= passReadLimit:
			p.end()
			p = c.eng.borrow()
			total = 0
		case n < len(p.buf):
			// Probably empty, so answer first. The read that finds it empty cannot be saved: bytes and FIN that came together
			// make one edge, and without it the FIN would never be seen.
			p.finish()
		}
	}
	p.end()
	return alive
}

func (l *rawLink) write() (int, error) {
	if err := l.rc.Write(l.onWritable); err != nil {
		return 0, err
	}
	return l.n, l.err
}

func (l *rawLink) writable(fd uintptr) bool {
	l.n, l.err = writeFD(int(fd), &l.c.wire)
	return !l.patient || l.err != errWouldBlock
}

func (l *rawLink) awaitWritable() { go l.drain() }

// drain is the writer of a connection whose peer does not keep up; it exists only while the socket is full.
func (l *rawLink) drain() {
	c := l.c
	for {
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.eng.cfg.WriteTimeout))
		l.patient = true
		n, err := l.write()
		l.patient = false
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = os.ErrDeadlineExceeded
			}
			c.writeFailed(err)
			return
		}
		// Cleared before the right to write can be given back: an old deadline would fail somebody else's write.
		_ = c.nc.SetWriteDeadline(time.Time{})
		c.account(nil, n)
		if !c.pump(nil) {
			return
		}
	}
}

func (l *rawLink) closeWrite() {
	if cw, ok := l.c.nc.(interface{ CloseWrite() error }); ok {
		_ = cw.CloseWrite()
	}
}
