package crash

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// patience bounds every wait for the broker. It only matters when something is
// wrong, and machines of CI are slow.
const patience = 20 * time.Second

// errIdle is returned by next when nothing has come in time.
var errIdle = errors.New("nothing came in time")

// conn is one connection to the broker. One goroutine owns it.
type conn struct {
	nc      net.Conn
	version packet.Version
	buf     []byte
	r, w    int // buf[r:w] is received and not yet handled
}

// connect opens a connection with a CONNECT and reads the CONNACK.
func connect(addr string, req *packet.Connect) (*conn, *packet.Connack, error) {
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, nil, err
	}
	c := newConn(nc, req.Version)
	ack, err := c.handshake(req)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return c, ack, nil
}

func newConn(nc net.Conn, v packet.Version) *conn {
	return &conn{nc: nc, version: v, buf: make([]byte, 16<<10)}
}

func (c *conn) handshake(req *packet.Connect) (*packet.Connack, error) {
	b, err := req.Append(nil, req.Version)
	if err != nil {
		return nil, err
	}
	if err := c.send(b); err != nil {
		return nil, err
	}
	h, body, err := c.next(time.Now().Add(patience))
	switch {
	case err != nil:
		return nil, fmt.Errorf("waiting for CONNACK: %w", err)
	case h.Type != packet.TypeConnack:
		return nil, fmt.Errorf("%v instead of CONNACK", h.Type)
	}
	ack := new(packet.Connack)
	if err := ack.Decode(c.version, body); err != nil {
		return nil, err
	}
	if ack.Code != packet.Success {
		return nil, fmt.Errorf("CONNECT was refused: %v", ack.Code)
	}
	return ack, nil
}

// send writes b.
func (c *conn) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	return err
}

// next returns the next packet, or errIdle if none is complete at the deadline.
// body is valid until the next call. DISCONNECT is an error.
func (c *conn) next(deadline time.Time) (packet.Header, []byte, error) {
	for {
		h, n, err := packet.ReadHeader(c.buf[c.r:c.w])
		if err != nil {
			return h, nil, err
		}
		if n > 0 && c.w-c.r >= n+h.Remaining {
			body := c.buf[c.r+n : c.r+n+h.Remaining]
			c.r += n + h.Remaining
			if h.Type == packet.TypeDisconnect {
				return h, nil, c.disconnected(body)
			}
			return h, body, nil
		}
		if err := c.fill(n+h.Remaining, deadline); err != nil {
			return h, nil, err
		}
	}
}

// fill reads once, into a buffer with room for a packet of the given size.
func (c *conn) fill(size int, deadline time.Time) error {
	c.w = copy(c.buf, c.buf[c.r:c.w])
	c.r = 0
	if size > len(c.buf) {
		c.buf = append(c.buf, make([]byte, size-len(c.buf))...)
	}
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return err
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	switch {
	case n > 0:
		return nil // an error comes again with the next read
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errIdle
	}
	return err
}

func (c *conn) disconnected(body []byte) error {
	var d packet.Disconnect
	if err := d.Decode(c.version, body); err != nil {
		return err
	}
	return fmt.Errorf("the broker sent DISCONNECT: %v %s", d.Code, d.Props.ReasonString)
}

// cut ends the connection as a failure of the network would.
func (c *conn) cut() { c.nc.Close() }

// disconnect ends the connection in the proper way. Its errors do not matter: the
// broker may have gone first.
func (c *conn) disconnect() {
	var d packet.Disconnect
	if b, err := d.Append(nil, c.version); err == nil {
		_ = c.send(b)
	}
	c.nc.Close()
}
