package transport

import (
	"crypto/tls"
	"io"
	"net"
	"time"
)

// starved is the error of a read from memory that is used up. crypto/tls keeps its state when a net.Error that is temporary comes
// from below, also in the middle of a record, and goes on at the next Read.
type starved struct{}

func (starved) Error() string   { return "transport: no more bytes yet" }
func (starved) Timeout() bool   { return true }
func (starved) Temporary() bool { return true }

var errStarved net.Error = starved{}

// tlsLayer is the net.Conn below a tls.Conn. During the handshakes it is the socket itself, blocking. Once live it is memory:
// reads take from what the driver has just read, writes put records into sealed. So TLS is a filter, and neither a driver nor the
// flushing code waits inside crypto/tls.
type tlsLayer struct {
	c      *Conn
	conn   *tls.Conn
	under  net.Conn  // the blocking stream of the handshakes; nil: live
	in     []byte    // live: what is left of the bytes being decrypted; belongs to the executor
	sealed chunkList // live: records for the kernel; guarded by Conn.mu
}

// Read implements net.Conn for crypto/tls.
func (t *tlsLayer) Read(b []byte) (int, error) {
	if t.under != nil {
		return t.under.Read(b)
	}
	if len(t.in) == 0 {
		return 0, errStarved
	}
	n := copy(b, t.in)
	t.in = t.in[n:]
	return n, nil
}

// Write implements net.Conn for crypto/tls, which calls it in the order of the records: from seal, and from Read for answers that
// TLS itself gives.
func (t *tlsLayer) Write(b []byte) (int, error) {
	c := t.c
	if t.under != nil {
		return t.under.Write(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dropped {
		t.sealed.write(&c.eng.chunks, b, 0)
		c.addBuffered(len(b))
	}
	return len(b), nil
}

// Close implements net.Conn. Whoever has the Conn closes its socket, after a failed handshake too.
func (t *tlsLayer) Close() error { return nil }

// LocalAddr implements net.Conn.
func (t *tlsLayer) LocalAddr() net.Addr { return t.c.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *tlsLayer) RemoteAddr() net.Addr { return t.c.nc.RemoteAddr() }

// SetDeadline implements net.Conn. Deadlines of crypto/tls are for its own writes, which do not wait once live.
func (t *tlsLayer) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (t *tlsLayer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (t *tlsLayer) SetWriteDeadline(time.Time) error { return nil }

// seal encrypts and frees batch.
func (t *tlsLayer) seal(batch *chunkList) {
	c := t.c
	for k := batch.head; k != nil; k = batch.head {
		n := len(k.bytes())
		// The layer below never fails; what is left is a stream that was closed for writing, where bytes have no place to go.
		_, _ = t.conn.Write(k.bytes())
		c.buffered.Add(-int64(n))
		batch.pop(&c.eng.chunks)
	}
}

// closeNotify seals the alert that ends the stream.
func (t *tlsLayer) closeNotify() { _ = t.conn.CloseWrite() }

// decrypt takes raw bytes and hands on what they contain. All of b is used up: what crypto/tls cannot decrypt yet it keeps, so a
// pause of the connection finds no bytes in between.
func (c *Conn) decrypt(p *Pass, b []byte) {
	if p.plain == nil {
		p.plain = make([]byte, readBufferSize)
	}
	t := c.tls
	t.in = b
	var err error
	for err == nil {
		n := 0
		for n < len(p.plain) && err == nil {
			var m int
			m, err = t.conn.Read(p.plain[n:])
			n += m
		}
		if n > 0 {
			c.unframe(p, p.plain[:n])
		}
	}
	t.in = nil

	c.mu.Lock()
	answer := !t.sealed.empty()
	c.mu.Unlock()
	if answer {
		p.Flush(c)
	}
	switch err {
	case errStarved:
	case io.EOF:
		c.readEnded(io.EOF)
	default:
		c.closeWith(err, false) // not at once: there is an alert to send
	}
}
