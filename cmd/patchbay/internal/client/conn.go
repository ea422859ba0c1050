package client

import (
	"bufio"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// readBuffer: Paho reads a packet byte by byte, one system call each without a buffer.
	readBuffer = 64 << 10
	// writeHighWater bounds what a flushWriter holds; a writer waits beyond it.
	writeHighWater = 64 << 10
	// closeFlush bounds how long Close waits for a peer that does not read.
	closeFlush = 2 * time.Second
	// maxLinger bounds how long Close waits for a broker that does not close after DISCONNECT.
	maxLinger = time.Second
)

// conn gives Paho a buffered connection: packets written while a write is under way leave together in the
// next one. That makes `pub -l` some times faster than one system call per packet, and costs a lone
// packet nothing but a goroutine switch.
//
// It implements sync.Locker, which paho.golang asks for when a packet takes several Write calls.
type conn struct {
	net.Conn
	frame  sync.Mutex
	in     *bufio.Reader
	out    *flushWriter
	once   sync.Once
	closed chan struct{} // closed when the connection is
	err    error         // of Close; valid once closed is closed
}

func newConn(c net.Conn) *conn {
	return &conn{Conn: c, in: bufio.NewReaderSize(c, readBuffer), out: newFlushWriter(c), closed: make(chan struct{})}
}

func (c *conn) Lock()   { c.frame.Lock() }
func (c *conn) Unlock() { c.frame.Unlock() }

func (c *conn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.Write(p) }

// sendLast writes a packet after which nothing more may be sent: DISCONNECT [MQTT-3.14.4-1]. Paho's pinger
// and its acknowledgements come from goroutines of their own and would not know.
func (c *conn) sendLast(p []byte) error {
	c.Lock()
	defer c.Unlock()
	_, err := c.Write(p)
	c.out.seal()
	return err
}

// SetDeadline bounds reading only. Writes do not wait for the peer below writeHighWater, and a deadline for
// them would race, see Close.
func (c *conn) SetDeadline(t time.Time) error { return c.Conn.SetReadDeadline(t) }

// Close sends what is buffered, for at most closeFlush, and closes the connection. Further calls wait for
// the first and return its result.
func (c *conn) Close() error {
	c.once.Do(func() {
		// Not a write deadline: setting one on a WebSocket races with the write it is for.
		timer := time.AfterFunc(closeFlush, func() { _ = c.Conn.Close() }) // which fails the flush
		c.err = c.out.Close()
		if timer.Stop() && c.err == nil {
			linger(c.Conn)
		}
		if err := c.Conn.Close(); c.err == nil {
			c.err = err
		}
		close(c.closed)
	})
	return c.err
}

// linger ends our direction and reads until the broker has ended its own. A connection that is closed
// with something unread in it is reset, and a reset takes from the broker what it has not read: our last
// acknowledgements.
func linger(c net.Conn) {
	for {
		if half, ok := c.(interface{ CloseWrite() error }); ok {
			if half.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(maxLinger)) == nil {
				_, _ = io.Copy(io.Discard, c) // until its end, whatever that is
			}
			return
		}
		wrapper, ok := c.(interface{ NetConn() net.Conn }) // a WebSocket
		if !ok {
			return
		}
		c = wrapper.NetConn()
	}
}

// flushWriter writes in the background: Write appends to a buffer, a goroutine writes the buffer out, and
// what arrives meanwhile forms the next batch. It is safe for concurrent use.
type flushWriter struct {
	dst     io.Writer
	mu      sync.Mutex
	change  sync.Cond
	buf     []byte
	writing bool
	closing bool
	err     error
}

func newFlushWriter(dst io.Writer) *flushWriter {
	w := &flushWriter{dst: dst}
	w.change.L = &w.mu
	go w.run()
	return w
}

func (w *flushWriter) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var spare []byte
	for {
		for len(w.buf) == 0 && !w.closing && w.err == nil {
			w.change.Wait()
		}
		if len(w.buf) == 0 || w.err != nil {
			return
		}
		batch := w.buf
		w.buf, w.writing = spare[:0], true
		w.change.Broadcast() // there is room again
		w.mu.Unlock()
		_, err := w.dst.Write(batch)
		w.mu.Lock()
		w.err, w.writing = err, false
		if spare = batch; cap(spare) > 4*writeHighWater {
			spare = nil // one huge payload must not stay for good
		}
		w.change.Broadcast()
	}
}

// Write copies p into the buffer. It waits while the buffer is above writeHighWater and returns the error
// of an earlier write.
func (w *flushWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buf) >= writeHighWater && w.err == nil && !w.closing {
		w.change.Wait()
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.closing {
		return 0, net.ErrClosed
	}
	w.buf = append(w.buf, p...)
	w.change.Broadcast()
	return len(p), nil
}

// Flush waits until everything that was written before it has been handed to the destination.
func (w *flushWriter) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for (len(w.buf) > 0 || w.writing) && w.err == nil {
		w.change.Wait()
	}
	return w.err
}

// seal lets nothing more in: writes after it fail with net.ErrClosed. What is buffered still goes out.
func (w *flushWriter) seal() {
	w.mu.Lock()
	w.closing = true
	w.change.Broadcast()
	w.mu.Unlock()
}

// Close seals and flushes, and ends the goroutine.
func (w *flushWriter) Close() error {
	w.seal()
	return w.Flush()
}
