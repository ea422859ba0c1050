package mqtt

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readBuffer = 64 << 10
	// sendBuffer is how much may wait to be written: more gains nothing, and is to be sent
	// again if the connection is lost.
	sendBuffer = 128 << 10
	// goodbye is how long a connection may take to send what waits when it is closed.
	goodbye = time.Second
)

// Packet Identifiers of SUBSCRIBE and UNSUBSCRIBE, of which there is one at a time.
// Publications have those up to Options.MaxInflight.
const (
	idSubscribe   = 65535
	idUnsubscribe = 65534
)

// connection is one connection, from CONNACK on.
type connection struct {
	link    *Link
	server  *Server
	nc      net.Conn
	r       *bufio.Reader
	version Version
	bridge  bool
	ack     connack

	lastRead atomic.Int64 // in Unix nanoseconds

	mu     sync.Mutex
	write  sync.Cond
	buf    []byte // to be written
	busy   bool   // something is being written
	closed bool
	err    error // why
}

func newConnection(l *Link, s *Server, nc net.Conn, v Version, bridge bool) *connection {
	c := &connection{link: l, server: s, nc: nc, version: v, bridge: bridge}
	c.r = bufio.NewReaderSize(heard{c}, readBuffer)
	c.write.L = &c.mu
	c.lastRead.Store(time.Now().UnixNano())
	return c
}

// heard reads from a connection, and notes when: also in the middle of a packet, which may
// take longer than the Keep Alive on a slow way.
type heard struct{ c *connection }

func (h heard) Read(b []byte) (int, error) {
	n, err := h.c.nc.Read(b)
	if n > 0 {
		h.c.lastRead.Store(time.Now().UnixNano())
	}
	return n, err
}

// echoes reports whether the server sends back what it gets: MQTT 5 has No Local, and
// bridges of 3.1.1 have their bit.
func (c *connection) echoes() bool { return c.version == V311 && !c.bridge }

// append has fn append to what is to be written.
func (c *connection) append(fn func(b []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.buf = fn(c.buf)
		c.write.Signal()
	}
}

// room reports whether more should be appended now.
func (c *connection) room() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.buf) < sendBuffer
}

// end closes the connection because of err.
func (c *connection) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed, c.err = true, err
	c.write.Signal()
	c.nc.Close()
}

// writer writes until the connection ends.
func (c *connection) writer() {
	var spare []byte
	for {
		c.mu.Lock()
		for len(c.buf) == 0 && !c.closed {
			c.write.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		b := c.buf
		c.buf, c.busy = spare[:0], true
		c.mu.Unlock()
		_, err := c.nc.Write(b)
		c.mu.Lock()
		c.busy = false
		c.mu.Unlock()
		if err != nil {
			c.end(err)
			return
		}
		if spare = b; cap(spare) > 4*sendBuffer {
			spare = nil
		}
		c.link.mu.Lock()
		c.link.pump()
		c.link.mu.Unlock()
	}
}

// serve works with a connection until it ends, and says why it has.
func (l *Link) serve(ctx context.Context, c *connection, server int) error {
	var wg sync.WaitGroup
	wg.Go(c.writer)
	stop := context.AfterFunc(ctx, func() { l.leave(c) })
	defer stop()
	l.begin(c)
	watched := make(chan struct{})
	wg.Go(func() { l.watch(c, server, watched) })
	err := c.read()
	c.end(err)
	close(watched)
	wg.Wait()
	l.mu.Lock()
	l.conn = nil
	l.out.disconnected()
	l.mu.Unlock()
	return c.err
}

// begin greets a server that has let the client in.
func (l *Link) begin(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.ever
	l.ever, l.conn = true, c
	resumed := c.ack.sessionPresent
	subscribes := len(l.o.Subscribe) > 0 && (first || !resumed)
	if !resumed {
		l.in.forget()
	}
	c.append(func(b []byte) []byte {
		if first && resumed && len(l.o.Unsubscribe) > 0 {
			b = appendUnsubscribe(b, c.version, idUnsubscribe, l.o.Unsubscribe)
		}
		if subscribes {
			b = appendSubscribe(b, c.version, idSubscribe, l.subscriptions(c))
		}
		return b
	})
	l.out.connected(l, c, first && resumed && l.o.QoS2)
	if l.o.Birth != nil {
		l.out.list = append(l.out.list, &Outgoing{Message: *l.o.Birth, Done: func(byte, string) {}})
	}
	if !subscribes {
		l.ready(c)
	}
	l.pump()
}

// ready says that a connection works: with all subscriptions, if there are any to make. It
// is called with mu held.
func (l *Link) ready(c *connection) {
	if l.conn == c {
		l.set(State{Connected: true, Server: c.server.String(), Version: c.version, Bridge: c.bridge, Resumed: c.ack.sessionPresent})
	}
}

// subscriptions are those that a server understands.
func (l *Link) subscriptions(c *connection) []Subscription {
	out := append([]Subscription(nil), l.o.Subscribe...)
	for i := range out {
		out[i].QoS = min(out[i].QoS, c.ack.maximumQoS)
	}
	return out
}

// leave says goodbye. Where there is a Will, it is to be published: the other side
// should know that nobody is here.
func (l *Link) leave(c *connection) {
	code := byte(0)
	if l.o.Will != nil {
		code = 0x04 // Disconnect with Will Message
	}
	if c.version == V5 || code == 0 {
		_ = c.nc.SetWriteDeadline(time.Now().Add(goodbye))
		c.append(func(b []byte) []byte { return appendDisconnect(b, c.version, code) })
		until := time.Now().Add(goodbye)
		for time.Now().Before(until) && !c.written() {
			time.Sleep(5 * time.Millisecond)
		}
	}
	c.end(context.Canceled)
}

func (c *connection) written() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.buf) == 0 && !c.busy || c.closed
}

// watch sends PINGREQ where nothing comes, gives a silent peer up, and looks for the first
// server.
func (l *Link) watch(c *connection, server int, done <-chan struct{}) {
	keep := l.o.KeepAlive
	if c.ack.hasKeepAlive {
		keep = time.Duration(c.ack.keepAlive) * time.Second
	}
	var back <-chan time.Time
	if server > 0 && l.o.Failback > 0 {
		t := time.NewTicker(l.o.Failback)
		defer t.Stop()
		back = t.C
	}
	t := time.NewTicker(max(min(keep/4, time.Second), 50*time.Millisecond))
	defer t.Stop()
	// A packet has to go out within the Keep Alive, and one come in.
	pinged := time.Now()
	for {
		select {
		case <-done:
			return
		case <-back:
			if l.reachable(l.o.Servers[0]) {
				c.end(errFailback)
			}
		case now := <-t.C:
			l.recovered(now)
			idle := now.Sub(time.Unix(0, c.lastRead.Load()))
			switch {
			case keep == 0:
			case idle > keep*3/2:
				c.end(fmt.Errorf("nothing was heard for %s", idle.Round(time.Second)))
				return
			case now.Sub(pinged) >= keep/2:
				pinged = now
				c.append(func(b []byte) []byte { return append(b, typePingreq<<4, 0) })
			}
		}
	}
}

func (l *Link) reachable(s *Server) bool {
	ctx, cancel := context.WithTimeout(context.Background(), l.o.ConnectTimeout)
	defer cancel()
	nc, err := s.dial(ctx, l.o.TLS, l.o.Header)
	if err != nil {
		return false
	}
	nc.Close()
	return true
}

// body reads the rest of a packet.
func (c *connection) body(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, eof(err)
	}
	return b, nil
}

// read reads packets until the connection ends.
func (c *connection) read() error {
	for {
		h, err := readHeader(c.r)
		if err != nil {
			return err
		}
		if h.kind == typePublish {
			err = c.publish(h)
		} else {
			err = c.packet(h)
		}
		if err != nil {
			return err
		}
	}
}

// maxSmall is how long other packets than PUBLISH may be.
const maxSmall = 1 << 20

func (c *connection) packet(h header) error {
	if h.remaining > maxSmall {
		return fmt.Errorf("%w: packet type %d of %d bytes", errMalformed, h.kind, h.remaining)
	}
	b, err := c.body(h.remaining)
	if err != nil {
		return err
	}
	switch h.kind {
	case typePuback, typePubrec, typePubrel, typePubcomp:
		a, err := parseAck(b, c.version)
		if err != nil {
			return err
		}
		if h.kind == typePubrel {
			c.link.in.released(c, a.id)
			return nil
		}
		c.link.acknowledged(c, h.kind, a)
	case typeSuback:
		_, codes, err := parseSuback(b, c.version)
		if err != nil {
			return err
		}
		c.link.subscribed(c, codes)
	case typeUnsuback, typePingresp:
	case typeDisconnect:
		code, reason, err := parseDisconnect(b)
		switch {
		case err != nil:
			return err
		case code == 0x8E:
			return errTakenOver
		}
		return fmt.Errorf("the server has closed the connection: %s", reasonText(V5, code, reason))
	default:
		return fmt.Errorf("%w: packet type %d", errMalformed, h.kind)
	}
	return nil
}

// subscribed looks at the answer to SUBSCRIBE.
func (l *Link) subscribed(c *connection, codes []byte) {
	l.mu.Lock()
	l.ready(c)
	l.mu.Unlock()
	for i, code := range codes {
		if code >= 0x80 && i < len(l.o.Subscribe) && l.o.Refused != nil {
			l.o.Refused(l.o.Subscribe[i].Filter, code)
		}
	}
}
