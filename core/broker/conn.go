package broker

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// States of a connection.
const (
	awaitConnect uint8 = iota // the first packet has to be CONNECT [MQTT-3.1.0-1]
	awaitAuth                 // an enhanced authentication goes on
	deciding                  // a host decides about CONNECT or AUTH; nothing is read
	connected
)

// Reasons for which reading of a connection is paused, one bit each.
const (
	pauseHook uint8 = 1 << iota
	pauseAcks
	pauseRate
	pauseMemory
	pauseStall
	pauseStore
)

// What a wake-up of a connection is for.
const (
	wakeContinue    uint32 = 1 << iota // a host has answered: run next
	wakeAcks                           // held acknowledgements have been released
	wakeRetry                          // look for messages to send again
	wakeStore                          // what the session waited for is there
	wakePermissions                    // the client is given other permissions
)

// conn is the state machine of one connection. Its fields belong to its
// executor, except where said.
type conn struct {
	*transport.Conn // its Append… methods make conn the session's Link

	b         *Broker
	lst       *Listener
	ns        *namespace
	sess      *session.Session
	client    *hook.Client
	number    uint64       // client.Connection
	quotas    *hook.Quotas // nil if the broker's limits are in force
	perms     *access.Permissions
	out       *publisher // nil until it publishes
	batch     *batch     // messages of this read that hooks want to see; nil: none
	deciding  *batch     // those that hooks decide about now
	keepAlive uint16     // as granted, seconds
	// receiveMax and aliasMax are what the client was told in CONNACK.
	receiveMax, aliasMax uint16
	version              packet.Version
	state                uint8
	maxOut               uint32 // the client's Maximum Packet Size, 0 no limit
	noProblemInfo        bool   // the client wants no Reason Strings [MQTT-3.1.2-29]
	normalEnd            bool   // it said DISCONNECT, or was sent one
	durable              bool   // the session's messages outlive the process
	asked                bool   // the host was asked about the client, and may have kept client and CONNECT

	// unreleased counts the QoS 2 messages of this connection between PUBLISH and
	// PUBREL, for Receive Maximum, which starts anew with each connection.
	unreleased int
	next       func(p *transport.Pass) // to go on with when a host has answered
	auth       *authExchange
	connecting *packet.Connect // a CONNECT that has been checked
	attaching  *attachment     // waits for the store
	rates      *rateLimit
	stall      *stall                  // c waits for a receiver
	feed       atomic.Pointer[feeders] // others wait for c
	closed     error                   // why the broker itself closed; guarded by once
	once       sync.Once

	timer  clock.Timer // until CONNECT is done its time limit, then keep-alive
	silent bool        // the Keep Alive is over; of the clock's goroutine
	retry  *clock.Timer

	signals atomic.Uint32
	given   atomic.Pointer[given] // permissions that are to be taken over
	gone    ending
	ended   atomic.Bool // no packet is handled any more
	// attached publishes sess, and what CONNECT settled, to other goroutines.
	attached atomic.Bool
	replaced atomic.Bool // another connection has its session
}

var (
	_ transport.Handler = (*conn)(nil)
	_ transport.Drainer = (*conn)(nil)
	_ session.Link      = (*conn)(nil)
)

// accept makes the state machine of a new connection; nil refuses it.
func (b *Broker) accept(t *transport.Conn, l *Listener) transport.Handler {
	b.stats.Accepted.Add(1)
	if b.stopping.Load() {
		return nil
	}
	live := b.live.Load()
	c := &conn{Conn: t, b: b, lst: l}
	n := b.stats.Connected.Add(1)
	for top := b.stats.MaxConnected.Load(); n > top && !b.stats.MaxConnected.CompareAndSwap(top, n); {
		top = b.stats.MaxConnected.Load()
	}
	c.timer.Fire = c.timeout
	b.clock.Arm(&c.timer, b.clock.Fresh()+live.MQTT.ConnectTimeout.Milliseconds())
	return c
}

// AppendShared is part of session.Link.
func (c *conn) AppendShared(head []byte, idOffset int, id uint16, payload []byte, owner interface{ Unref() }) {
	c.Conn.AppendShared(head, idOffset, id, payload, owner)
}

// Data is called with what was read.
func (c *conn) Data(p *transport.Pass, b []byte) (used, need int) {
	sc := p.Scratch.(*scratch)
	defer sc.tally.fold(&c.b.stats)
	live := c.b.live.Load()
	for !c.ended.Load() && !c.Paused() {
		rest := b[used:]
		if c.state == awaitConnect && len(rest) > 0 && packet.Type(rest[0]>>4) != packet.TypeConnect {
			// Nothing that follows could make it one [MQTT-3.1.0-1].
			c.fail(refuse(packet.ProtocolError, "the first packet is not CONNECT"))
			break
		}
		h, n, err := c.readHeader(rest)
		if err != nil {
			c.fail(err)
			break
		}
		if n == 0 {
			break
		}
		size := n + h.Remaining
		if size > live.MQTT.maxPacket(c.state == connected) {
			c.fail(refuse(packet.PacketTooLarge, ""))
			break
		}
		if len(rest) < size {
			if need = size; size > largePartial && c.b.memory.above.Load() {
				c.b.memory.hold(c, true)
			}
			break
		}
		if c.batch != nil && (h.Type != packet.TypePublish || c.batchIsFull()) {
			c.runBatch(p)
			continue
		}
		if h.Type == packet.TypePublish && c.version < packet.V5 && c.b.store.Full() && c.heldBack(sc, h, rest[n:size]) {
			break
		}
		sc.tally.received(h.Type, size)
		err = c.handle(p, sc, live, h, rest[n:size])
		if pkt := c.connecting; pkt != nil && err == nil {
			c.connecting = nil
			err = c.authenticate(p, pkt)
		}
		if err != nil {
			c.fail(err)
		}
		used += size
	}
	if c.batch != nil && !c.ended.Load() {
		c.runBatch(p)
	}
	acked := sc.acked
	sc.acked = false
	if c.ended.Load() {
		return len(b), 0
	}
	if acked {
		c.pump(p, c.sess)
	}
	return used, need
}

// largePartial is the size from which a packet that is not complete yet is not
// read on while memory is short.
const largePartial = 64 << 10

func (c *conn) readHeader(b []byte) (packet.Header, int, error) {
	if c.version == packet.V31 {
		return packet.ReadHeaderV31(b)
	}
	return packet.ReadHeader(b)
}

// handle acts on one packet. An error ends the connection.
func (c *conn) handle(p *transport.Pass, sc *scratch, live *Live, h packet.Header, body []byte) error {
	if c.state != connected {
		return c.handleUnconnected(p, live, h, body)
	}
	switch h.Type {
	case packet.TypePublish, packet.TypePuback, packet.TypePubrec, packet.TypePubrel, packet.TypePubcomp:
	default:
		sc.settle(p, c.sess)
	}
	switch h.Type {
	case packet.TypePublish:
		return c.handlePublish(p, sc, live, h, body)
	case packet.TypePuback, packet.TypePubrec, packet.TypePubrel, packet.TypePubcomp:
		return c.handleAck(p, sc, h.Type, body)
	case packet.TypePingreq:
		if len(body) != 0 {
			return refuse(packet.MalformedPacket, "PINGREQ has a body")
		}
		c.Append(packet.Pingresp)
		sc.tally.sent(packet.TypePingresp, 1)
		p.Flush(c.Conn)
		return nil
	case packet.TypeSubscribe:
		return c.handleSubscribe(p, live, body)
	case packet.TypeUnsubscribe:
		return c.handleUnsubscribe(p, body)
	case packet.TypeDisconnect:
		return c.handleDisconnect(body)
	case packet.TypeAuth:
		return c.handleReauth(p, body)
	case packet.TypeConnect:
		return refuse(packet.ProtocolError, "a second CONNECT [MQTT-3.1.0-2]")
	}
	return refuse(packet.ProtocolError, h.Type.String()+" is not for a server")
}

// handleUnconnected takes the packets that may come before CONNACK.
func (c *conn) handleUnconnected(p *transport.Pass, live *Live, h packet.Header, body []byte) error {
	switch {
	case h.Type == packet.TypeConnect && c.state == awaitConnect:
		return c.handleConnect(live, h, body)
	case h.Type == packet.TypeAuth && c.state == awaitAuth:
		return c.handleAuth(p, body)
	case h.Type == packet.TypeDisconnect && c.state == awaitAuth:
		c.shut(io.EOF)
		return nil
	}
	return refuse(packet.ProtocolError, "expected CONNECT, got "+h.Type.String())
}

// await pauses reading until a host has answered: start gets the function that
// the host calls, and returns true if it has answered at once. Then next runs at
// once, else later, on the connection's executor. What start hands to the host
// must not refer to the read buffer if it may return false.
func (c *conn) await(p *transport.Pass, start func(done func()) bool, next func(p *transport.Pass)) {
	c.next = next
	c.Pause(pauseHook)
	if start(func() { c.signal(wakeContinue) }) {
		c.next = nil
		c.Resume(pauseHook)
		next(p)
	}
}

// signal wakes the connection's executor; any goroutine may call it.
func (c *conn) signal(why uint32) {
	c.signals.Or(why)
	c.Wake()
}

// Woken does what the connection was woken for.
func (c *conn) Woken(p *transport.Pass) {
	sc := p.Scratch.(*scratch)
	defer sc.tally.fold(&c.b.stats)
	why := c.signals.Swap(0)
	if c.ended.Load() {
		return
	}
	if why&wakePermissions != 0 {
		c.takePermissions()
	}
	if why&wakeContinue != 0 && c.next != nil {
		next := c.next
		c.next = nil
		c.Resume(pauseHook)
		next(p)
	}
	if why&wakeAcks != 0 {
		c.releaseAcks(p)
	}
	if why&wakeStore != 0 && c.sess != nil {
		c.pump(p, c.sess)
	}
	if why&wakeRetry != 0 && c.sess != nil {
		sc.settle(p, c.sess)
		if n := c.sess.Retry(&sc.frames); n > 0 {
			c.b.stats.Retransmitted.Add(int64(n))
			p.Flush(c.Conn)
		}
	}
}

// Drained goes on with what waited for the socket.
func (c *conn) Drained(p *transport.Pass) {
	if s := c.session(); s != nil {
		c.pump(p, s)
	}
	if !c.OverHighWater() {
		c.caughtUp()
	}
}

// session returns the session while it is this connection's; any goroutine.
func (c *conn) session() *session.Session {
	if !c.attached.Load() {
		return nil
	}
	return c.sess
}

func (c *conn) pump(p *transport.Pass, s *session.Session) {
	sc := p.Scratch.(*scratch)
	// What waits in the session is older than what is gathered for it.
	if n := s.Pump(&sc.frames); n > 0 {
		sc.tally.sent(packet.TypePublish, n)
		sc.tally.fold(&c.b.stats)
		p.FlushLater(c.Conn)
	}
	if c.feed.Load() != nil && !c.congested() {
		c.caughtUp()
	}
}

// timeout is the function of the connection's timer, in the clock's goroutine:
// it ends a connection that has not got through CONNECT in time, or that has
// been silent for one and a half times its Keep Alive [MQTT-3.1.2-22].
func (c *conn) timeout(now int64) {
	if !c.attached.Load() {
		c.shut(errConnectTimeout)
		return
	}
	c.sess.Trim()
	if c.keepAlive == 0 {
		return
	}
	due := c.LastRead() + int64(c.keepAlive)*1500
	if c.Paused() {
		// It is we who do not read.
		due = now + int64(c.keepAlive)*1500
	}
	switch {
	case now < due:
		c.silent = false
	case !c.silent:
		// On a busy machine its last packet may lie unread in the socket.
		c.silent = true
		due = now + clock.Tick.Milliseconds()
	default:
		c.disconnect(packet.KeepAliveTimeout, "")
		return
	}
	c.b.clock.Arm(&c.timer, due)
}

var errConnectTimeout = errors.New("no complete CONNECT within mqtt.connect_timeout")

// retryDue is called by the retry timer, in the clock's goroutine.
func (c *conn) retryDue(now int64) {
	interval := c.b.env.Limits.Load().RetryInterval
	if interval <= 0 || c.ended.Load() {
		return
	}
	c.signal(wakeRetry)
	// Half the interval keeps a resend at most that much late.
	c.b.clock.Arm(c.retry, now+max(interval/2, 100))
}
