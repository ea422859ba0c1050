package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Driver waits for the readiness of sockets and runs the executors of their connections. [Portable] and [Blocking] make one; the
// methods are not exported because a driver works on the inside of a connection.
type Driver interface {
	// link ties c to its socket. The executor is not running before link.start.
	link(c *Conn) (link, error)

	// listener returns ln, or something around it whose Accept returns connections of a kind that link likes better.
	listener(ln net.Listener, cfg *ListenerConfig) (net.Listener, error)

	// stop is called when the engine has closed; what the driver runs ends with its last connection.
	stop()
}

// link is what a connection needs from its driver.
type link interface {
	// start begins the executor with a first turn, which presents what the handshakes have left over.
	start(rest []byte)

	// wake makes the executor look at Conn.pending soon. Any goroutine, before start too.
	wake()

	// write offers Conn.wire to the kernel without blocking: bytes taken, or errWouldBlock if it has no room.
	// Called by the holder of Conn.flushing, as are the next two.
	write() (int, error)

	// awaitWritable takes over the right to write: when there is room it writes on and calls Conn.pump again, when there is none for
	// too long it calls Conn.writeFailed.
	awaitWritable()

	// closeWrite tells the peer that nothing more comes.
	closeWrite()
}

// service does what other goroutines asked for and reports whether the connection goes on.
func (c *Conn) service(p *Pass) bool {
	for {
		bits := c.pending.Swap(0)
		switch {
		case bits == 0:
			return true
		case bits&pendClose != 0:
			return false
		}
		if bits&pendBroken != 0 {
			c.dead = true
		}
		if bits&pendWake != 0 {
			c.h.Woken(p)
		}
		if bits&pendResume != 0 && c.tail != nil {
			c.need = 0
			c.present(p, nil)
		}
	}
}

// readEnded turns the end of the input into the end of the connection.
func (c *Conn) readEnded(err error) {
	// After EOF the output is still offered once: a client that has only shut down its sending side may wait for it.
	c.closeWith(err, err != io.EOF)
}

// begin runs the first turn of the executor; it reports whether the connection goes on.
func (c *Conn) begin(rest []byte) bool {
	p := c.eng.borrow()
	defer p.end()
	return c.beginIn(p, rest)
}

func (c *Conn) beginIn(p *Pass, rest []byte) bool {
	if len(rest) > 0 {
		c.unframe(p, rest)
	}
	if c.tls != nil {
		c.decrypt(p, nil) // what came with the last handshake message
	}
	return c.service(p)
}

// conclude is the last turn of the executor. It reports whether the socket should be kept for a moment, see lingerTime.
func (c *Conn) conclude() (linger bool) {
	p := c.eng.borrow()
	c.concludeIn(p)
	p.end()

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flushing {
		c.written = make(chan struct{})
	}
	return c.lingersLocked()
}

func (c *Conn) concludeIn(p *Pass) {
	if c.tail != nil {
		c.eng.chunks.put(c.tail)
		c.tail = nil
	}
	c.mu.Lock()
	err := c.closeErr
	c.mu.Unlock()
	c.h.Closed(p, err)
	c.flush(p)
}

// lingersLocked: a peer that has closed and has everything needs no time.
func (c *Conn) lingersLocked() bool { return !c.dropped && (c.closeErr != io.EOF || c.flushing) }

func (c *Conn) lingers() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lingersLocked()
}

func (c *Conn) isFlushing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flushing
}

// linger waits until the output is written and the peer has closed, for at most lingerTime.
func (c *Conn) linger() {
	var buf [2048]byte
	end := time.Now().Add(lingerTime)
	for time.Now().Before(end) {
		if c.nc.SetReadDeadline(end) != nil {
			return
		}
		// A wake that was under way may have put the deadline into the past; then there is still time left.
		if _, err := c.nc.Read(buf[:]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	c.mu.Lock()
	written := c.written
	c.mu.Unlock()
	if written == nil {
		return
	}
	timeout := time.NewTimer(time.Until(end))
	defer timeout.Stop()
	select {
	case <-written:
	case <-timeout.C:
	}
}

// release closes the socket and forgets the connection.
func (c *Conn) release() {
	c.nc.Close()
	c.mu.Lock()
	rest := c.dropLocked()
	c.mu.Unlock()
	rest.free(&c.eng.chunks)
	c.lis.forget(c)
}
