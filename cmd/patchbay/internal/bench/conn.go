package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

const (
	// firstBuf is a connection's read buffer at first: little, as an idle
	// connection reads only PINGRESP.
	firstBuf = 512
	// maxBuf is what it grows to, doubling whenever a read fills it.
	maxBuf = 64 << 10
	// maxPacket is the largest packet taken from a broker: the largest payload that
	// --size allows, with room for what goes around it.
	maxPacket = maxSize + 64<<10
	// filtersPerPacket bounds a SUBSCRIBE, so that no broker finds it too large.
	filtersPerPacket = 64
)

// clock is the time of a run: nanoseconds since its base, monotonic.
type clock struct{ base time.Time }

func (c clock) now() int64 { return int64(time.Since(c.base)) }

// connSpec says what a connection is to be.
type connSpec struct {
	clientID   string
	persistent bool     // keeps its session when it goes: Clean Start 0, Session Expiry Interval
	filters    []string // to subscribe to
}

// handler is what a connection is for: it gets what the broker sends.
type handler interface {
	// handle takes one packet; body is valid during the call only. now is the run's
	// time of the read that brought it.
	handle(h packet.Header, body []byte, now int64) error
	// flush is called when all that one read brought has been handled.
	flush(now int64) error
}

// conn is one MQTT connection. One goroutine reads (connect, then loop); send, post
// and close may be called from any.
type conn struct {
	nc        net.Conn
	num       int // unique in the run
	version   packet.Version
	clock     clock
	connack   packet.Connack
	keepAlive time.Duration // 0 for none
	onPing    func()        // called before a keep-alive PINGREQ is sent; may be nil

	buf  []byte
	r, w int // buf[r:w] is received and not yet handled

	wmu       sync.Mutex // held while writing
	lastWrite atomic.Int64

	pmu     sync.Mutex
	pending []byte // to be written by whoever holds wmu next
	spare   []byte // guarded by wmu
}

func newConn(nc net.Conn, num int, v packet.Version, c clock) *conn {
	return &conn{nc: nc, num: num, version: v, clock: c, buf: make([]byte, firstBuf)}
}

// send writes b and waits until the socket has taken it. n is how much it took.
func (c *conn) send(b []byte) (n int, err error) {
	c.wmu.Lock()
	n, err = c.nc.Write(b)
	c.lastWrite.Store(c.clock.now())
	c.wmu.Unlock()
	if err != nil {
		return n, err
	}
	return n, c.flushPending()
}

// post writes b, but leaves it to the present writer if there is one: a read loop
// must not wait for a publisher that the broker holds back, or neither could go on.
// It may still wait for the socket when it is the writer itself. What can be pending
// is bounded by the Receive Maximum (4 bytes for each message in flight), far less
// than the socket buffers of both sides.
func (c *conn) post(b []byte) error {
	c.pmu.Lock()
	c.pending = append(c.pending, b...)
	c.pmu.Unlock()
	return c.flushPending()
}

// flushPending writes what is pending unless somebody else is writing, who then does
// it: every holder of wmu looks at pending after it has let go of the lock.
func (c *conn) flushPending() error {
	for {
		c.pmu.Lock()
		idle := len(c.pending) == 0
		c.pmu.Unlock()
		if idle || !c.wmu.TryLock() {
			return nil
		}
		c.pmu.Lock()
		b := c.pending
		c.pending = c.spare[:0]
		c.pmu.Unlock()
		_, err := c.nc.Write(b)
		c.lastWrite.Store(c.clock.now())
		c.spare = b
		c.wmu.Unlock()
		if err != nil {
			return err
		}
	}
}

// ping sends a PINGREQ if nothing was sent for half the Keep Alive [MQTT-3.1.2-20].
func (c *conn) ping(now int64) {
	if c.keepAlive == 0 || now-c.lastWrite.Load() < int64(c.keepAlive/2) {
		return
	}
	if c.onPing != nil {
		c.onPing()
	}
	// A failed write shows up in the read loop, which reports it.
	_ = c.post(packet.Pingreq)
}

// frame takes the next packet out of the buffer; ok is false if none is complete.
func (c *conn) frame() (h packet.Header, body []byte, ok bool, err error) {
	h, n, err := packet.ReadHeader(c.buf[c.r:c.w])
	if err != nil || n == 0 || c.w-c.r < n+h.Remaining {
		return h, nil, false, err
	}
	body = c.buf[c.r+n : c.r+n+h.Remaining]
	c.r += n + h.Remaining
	return h, body, true, nil
}

// fill reads once. It makes room for at least the packet that has begun.
func (c *conn) fill() error {
	need := len(c.buf)
	if h, n, err := packet.ReadHeader(c.buf[c.r:c.w]); err == nil && n > 0 {
		if need = max(need, n+h.Remaining); need > maxPacket {
			return fmt.Errorf("%v of %d bytes is more than this client takes (%d)", h.Type, n+h.Remaining, maxPacket)
		}
	}
	if need > len(c.buf) {
		grown := make([]byte, need)
		c.w = copy(grown, c.buf[c.r:c.w])
		c.buf, c.r = grown, 0
	} else if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if c.w == len(c.buf) && len(c.buf) < maxBuf {
		grown := make([]byte, 2*len(c.buf))
		copy(grown, c.buf[:c.w])
		c.buf = grown
	}
	if n > 0 {
		return nil // an error comes again with the next read
	}
	return err
}

// await reads the next packet, which must be of type t; body is valid until the next
// read.
func (c *conn) await(t packet.Type) (body []byte, err error) {
	for {
		h, body, ok, err := c.frame()
		switch {
		case err != nil:
			return nil, err
		case !ok:
			if err := c.fill(); err != nil {
				return nil, fmt.Errorf("waiting for %v: %w", t, err)
			}
		case h.Type != t:
			return nil, c.unexpected(h, body)
		default:
			return body, nil
		}
	}
}

// unexpected is the error for a packet that no one waits for. DISCONNECT is the
// usual one: then it is the broker's reason.
func (c *conn) unexpected(h packet.Header, body []byte) error {
	if h.Type != packet.TypeDisconnect {
		return fmt.Errorf("unexpected %v", h.Type)
	}
	var d packet.Disconnect
	if err := d.Decode(c.version, body); err != nil {
		return err
	}
	return fmt.Errorf("the broker sent DISCONNECT: %v", d.Code)
}

// connect does the handshake, CONNECT to the last SUBACK, until ctx ends.
func (c *conn) connect(ctx context.Context, req *packet.Connect, filters []string, qos byte) error {
	stop := context.AfterFunc(ctx, func() { c.nc.SetDeadline(time.Unix(1, 0)) })
	err := c.handshake(req, filters, qos)
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}

func (c *conn) handshake(req *packet.Connect, filters []string, qos byte) error {
	b, err := req.Append(nil, c.version)
	if err != nil {
		return fmt.Errorf("CONNECT: %w", err)
	}
	if _, err := c.send(b); err != nil {
		return fmt.Errorf("CONNECT: %w", err)
	}
	body, err := c.await(packet.TypeConnack)
	if err != nil {
		return err
	}
	if err := c.connack.Decode(c.version, body); err != nil {
		return err
	}
	if c.connack.Code != packet.Success {
		return fmt.Errorf("the broker refuses the connection: %v", c.connack.Code)
	}
	keep := req.KeepAlive
	if props := &c.connack.Props; props.Has(packet.PropServerKeepAlive) {
		keep = props.ServerKeepAlive // [MQTT-3.1.2-21]
	}
	c.keepAlive = time.Duration(keep) * time.Second
	return c.subscribe(filters, qos)
}

func (c *conn) subscribe(filters []string, qos byte) error {
	for id := uint16(1); len(filters) > 0; id++ {
		n := min(len(filters), filtersPerPacket)
		req := packet.Subscribe{PacketID: id}
		for _, f := range filters[:n] {
			req.Subscriptions = append(req.Subscriptions, packet.Subscription{Filter: f, QoS: qos})
		}
		b, err := req.Append(nil, c.version)
		if err != nil {
			return fmt.Errorf("SUBSCRIBE: %w", err)
		}
		if _, err := c.send(b); err != nil {
			return fmt.Errorf("SUBSCRIBE: %w", err)
		}
		body, err := c.await(packet.TypeSuback)
		if err != nil {
			return err
		}
		var ack packet.Suback
		if err := ack.Decode(c.version, body); err != nil {
			return err
		}
		if ack.PacketID != id || len(ack.Codes) != n {
			return errors.New("SUBACK does not fit the SUBSCRIBE [MQTT-3.8.4-2]")
		}
		for i, code := range ack.Codes {
			if code != packet.ReasonCode(qos) {
				return fmt.Errorf("the broker answers the subscription to %q at QoS %d with: %v", filters[i], qos, code)
			}
		}
		filters = filters[n:]
	}
	return nil
}

// loop hands all packets to h until the connection ends; the error is never nil.
func (c *conn) loop(h handler) error {
	for {
		now := c.clock.now()
		for {
			hd, body, ok, err := c.frame()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := h.handle(hd, body, now); err != nil {
				return err
			}
		}
		if err := h.flush(now); err != nil {
			return err
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// disconnect says goodbye, as far as the socket takes it at once.
func (c *conn) disconnect() {
	if b, err := (&packet.Disconnect{}).Append(nil, c.version); err == nil {
		// Bounds both this write and one that is stuck already.
		c.nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_ = c.post(b) // who does not take a goodbye is gone already
	}
}
