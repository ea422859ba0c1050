package session

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// Outcome says what became of a delivery.
type Outcome uint8

const (
	// Sent: it was appended to the Link, which wants to be flushed.
	Sent Outcome = iota
	// Queued: it waits for the client, its window or its socket.
	Queued
	// Dropped: Env.Drop was told why.
	Dropped
	// Gone: the session has ended; another member of a group may be tried.
	Gone
	// Overflow: dropped, and the policy asks to close the connection.
	Overflow
)

// Delivery is how a message goes to one session.
type Delivery struct {
	QoS    byte
	Retain bool
	// IDs are the Subscription Identifiers; Group and Filter are those of a
	// shared subscription. They are kept as they are.
	IDs           []uint32
	Group, Filter string
}

func (d *Delivery) route() *store.Route {
	if len(d.IDs) == 0 && d.Group == "" {
		return nil
	}
	return &store.Route{IDs: d.IDs, Group: d.Group, Filter: d.Filter}
}

// Deliver sends or queues f's present message. QoS 0 does not take the session's
// lock, but for receivers with Topic Aliases.
func (s *Session) Deliver(f *Frames, d Delivery) Outcome {
	if d.QoS == 0 {
		return s.deliverQoS0(f, d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return Gone
	}
	l := s.link.Load()
	if l == nil || s.waiting() || s.flight >= l.window || l.out.OverHighWater() {
		return s.enqueue(f, d)
	}
	if !f.fits(l, d) {
		s.env.Drop(s, f.msg, d.QoS, hook.DropPacketTooLarge)
		return Dropped
	}
	sent := s.transmit(f, l, &store.Entry{Message: f.Keep(), Route: d.route(), QoS: d.QoS, Retain: d.Retain}, false)
	s.load.Store(int32(s.ring.live()))
	if !sent {
		return Queued
	}
	return Sent
}

func (s *Session) deliverQoS0(f *Frames, d Delivery) Outcome {
	l := s.link.Load()
	if l == nil {
		if !s.env.Limits.Load().QueueQoS0 {
			s.env.Drop(s, f.msg, 0, hook.DropOffline)
			return Dropped
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ended {
			return Gone
		}
		return s.enqueue(f, d)
	}
	if s.behind.Load() {
		// What waits is older than this one and may be of the same topic.
		if o, done := s.queueBehind(f, d); done {
			return o
		}
	}
	if l.out.Full() {
		s.env.Drop(s, f.msg, 0, hook.DropOutBufferFull)
		return Dropped
	}
	if l.aliases != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	if !f.send(l, 0, d.Retain, d.IDs, 0, false) {
		s.env.Drop(s, f.msg, 0, hook.DropPacketTooLarge)
		return Dropped
	}
	return Sent
}

// fits reports whether the packet is within the receiver's Maximum Packet Size.
// It is asked before an identifier is spent; with Topic Aliases the packet may
// turn out smaller than the size that is compared here.
func (f *Frames) fits(l *link, d Delivery) bool {
	if l.maxPacket == 0 {
		return true
	}
	f.fill(d.QoS, d.Retain, d.IDs)
	return uint32(f.out.Size(l.version)) <= l.maxPacket
}

// waiting reports whether something has to go out before a new message.
func (s *Session) waiting() bool {
	return s.queue != nil && !s.queue.Empty() || s.hasReplay() || s.unsent != s.ring.next || s.cold
}

func (s *Session) queued() int {
	if s.queue == nil {
		return 0
	}
	return s.queue.Len()
}

// transmit puts a message on the ring and on the link; the reference to it is
// the ring's. stored says that it comes from the queue. It returns false if the
// message does not go out before the Store has it.
func (s *Session) transmit(f *Frames, l *link, entry *store.Entry, stored bool) (sent bool) {
	e := unacked{msg: entry.Message, route: entry.Route, qos: entry.QoS, sentAt: coarse(f.now), flags: flagCounted}
	if e.qos == 2 {
		e.state = awaitPubrec
	}
	if entry.Retain {
		e.flags |= flagRetain
	}
	p := s.ring.push(e)
	s.unsent = s.ring.next
	s.flight++
	if s.record(f, entry, p, stored) {
		return false
	}
	f.send(l, e.qos, entry.Retain, routeIDs(entry.Route), idOf(p.seq), false)
	return true
}

func routeIDs(r *store.Route) []uint32 {
	if r == nil {
		return nil
	}
	return r.IDs
}

func coarse(now int64) uint32 { return uint32(now / 100) }

// enqueue puts the message at the end of the queue, within its bounds.
func (s *Session) enqueue(f *Frames, d Delivery) Outcome {
	lim := s.env.Limits.Load()
	if s.queue == nil {
		s.queue = store.NewMemorySession()
	}
	size := int64(f.msg.Size())
	if s.over(lim, 1, size) {
		s.dropExpired(f.now)
	}
	if s.over(lim, 1, size) && !s.shrink(lim, 1, size) {
		s.env.Drop(s, f.msg, d.QoS, hook.DropQueueFull)
		if lim.Policy == Disconnect && s.link.Load() != nil {
			return Overflow
		}
		return Dropped
	}
	if s.durable && d.QoS == 0 && s.env.Store.Full() {
		s.env.Drop(s, f.msg, 0, hook.DropStoreFull)
		return Dropped
	}
	e := store.Entry{Message: f.Keep(), Route: d.route(), QoS: d.QoS, Retain: d.Retain, Unscreened: s.durable && s.unknown()}
	lazy := d.QoS == 0 || d.QoS == 1 && s.link.Load() != nil && !f.together
	if d.QoS == 0 {
		s.queue.Add(e, 0, lazy, nil)
		s.queuedQoS0++
		s.behind.Store(true)
	} else {
		s.queue.Add(e, 0, lazy, f.ReceiptFor())
	}
	s.load.Store(int32(s.ring.live() + s.queued()))
	return Queued
}

// over reports whether n messages of size bytes more would exceed the queue's
// bounds.
func (s *Session) over(lim *Limits, n int, size int64) bool {
	messages, bytes := s.maxQueued(lim)
	return messages > 0 && s.queue.Len()+n > messages || bytes > 0 && s.queue.Bytes()+size > bytes
}

// shrink drops the oldest messages until there is room for n more of size bytes,
// if that is the policy; false if it is not. When the oldest have to be read from the Store
// first, there is room for the moment: Ready makes up for it.
func (s *Session) shrink(lim *Limits, n int, size int64) bool {
	if lim.Policy != DropOldest {
		return false
	}
	for s.over(lim, n, size) {
		if s.queue.Empty() {
			return false
		}
		e, ok := s.pop()
		if !ok {
			return true
		}
		s.forget(&e, hook.DropQueueFull)
	}
	return true
}

// dropExpired takes expired messages off the front of the queue [MQTT-3.3.2-5].
func (s *Session) dropExpired(now int64) {
	for {
		front, ok := s.queue.Front()
		if !ok || !front.Message.Expired(now) {
			return
		}
		e, _ := s.pop()
		s.forget(&e, hook.DropExpired)
	}
}

// Pump sends what may be sent: first, on a new connection, what the last one
// left unacknowledged, in the original order and with DUP [MQTT-4.4.0-1], then
// retained messages for new subscriptions, then the queue, as far as the window
// and the Link allow. It returns how many packets it appended to the Link, which
// then wants to be flushed. f must not have a message under way.
func (s *Session) Pump(f *Frames) (sent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		sent += s.pump(f)
		r := s.nextReplay()
		if r == nil {
			return sent
		}
		s.fill(r)
	}
}

// tell finds out whether somebody wants to be told of what is sent from now on.
func (s *Session) tell(f *Frames) {
	f.delivered = nil
	if s.env.Delivered != nil {
		f.delivered = s.env.Delivered()
	}
}

func (s *Session) pump(f *Frames) (sent int) {
	l := s.link.Load()
	defer s.settleBehind()
	if l == nil || !s.waiting() && s.held == nil {
		return 0
	}
	if !s.thaw() {
		return 0
	}
	s.tell(f)
	now := s.env.Now()
	sent = s.sendHeld(f, l, now) + s.resend(f, l, now)
	for s.unsent == s.ring.next && s.flight < l.window && !l.out.OverHighWater() {
		e, stored, ok := s.next()
		if !ok {
			break
		}
		if s.sendQueued(f, l, &e, stored, now) {
			sent++
		}
	}
	s.load.Store(int32(s.ring.live() + s.queued()))
	return sent
}

// sendQueued sends an entry that was taken from the queue (then it is stored) or
// from a Replay, or drops it for a reason.
func (s *Session) sendQueued(f *Frames, l *link, e *store.Entry, stored bool, now int64) (sent bool) {
	f.Begin(e.Message, now)
	defer f.End()
	d := Delivery{QoS: e.QoS, Retain: e.Retain, IDs: routeIDs(e.Route)}
	var reason string
	switch {
	case e.Message.Expired(now):
		reason = hook.DropExpired
	case !s.screened(e):
		reason = hook.DropNotAuthorized
	case !f.fits(l, d):
		reason = hook.DropPacketTooLarge
	case e.QoS > 0:
		if sent = s.transmit(f, l, e, stored); sent && f.delivered != nil {
			f.delivered(s, e.Message, e.QoS)
		}
		return sent
	default:
		f.send(l, 0, e.Retain, d.IDs, 0, false)
		if f.delivered != nil {
			f.delivered(s, e.Message, 0)
		}
		e.Message.Unref()
		return true
	}
	if stored {
		s.forget(e, reason)
		return false
	}
	s.env.Drop(s, e.Message, e.QoS, reason)
	e.Message.Unref()
	return false
}

// resend goes on with the messages of the ring that the present Link has not
// seen.
func (s *Session) resend(f *Frames, l *link, now int64) (sent int) {
	for s.unsent != s.ring.next {
		e := s.ring.from(s.unsent)
		if e == nil {
			s.unsent = s.ring.next
			break
		}
		if s.flight >= l.window || l.out.OverHighWater() {
			break
		}
		s.unsent = e.seq + 1
		if e.flags&flagHeld != 0 {
			s.count(e)
			continue
		}
		if e.state != settled && s.sendAgain(f, l, e, now) {
			sent++
		}
	}
	return sent
}

// next takes the next entry that waits to be sent for the first time, and
// reports whether it comes from the queue.
func (s *Session) next() (e store.Entry, stored, ok bool) {
	if x := s.replaying; x != nil && len(x.list) > 0 {
		e = x.list[0]
		x.list[0] = store.Entry{}
		x.list = x.list[1:]
		s.replayed()
		return e, false, true
	}
	if s.queue == nil || s.hasReplay() {
		return e, false, false
	}
	e, ok = s.pop()
	return e, true, ok
}

// pop takes the oldest entry of the queue.
func (s *Session) pop() (e store.Entry, ok bool) {
	if e, ok = s.queue.Pop(); ok && e.QoS == 0 && s.queuedQoS0 > 0 {
		s.queuedQoS0-- // those of before a restart were not counted
	}
	return e, ok
}

// sendAgain sends one unacknowledged message again: as PUBREL if PUBREC has
// come, else as PUBLISH with DUP [MQTT-3.3.1-1]. It returns false if the
// receiver cannot take the packet: then it is dropped and settled, as if it had
// been acknowledged [MQTT-3.1.2-25].
func (s *Session) sendAgain(f *Frames, l *link, e *unacked, now int64) bool {
	e.sentAt = coarse(now)
	if e.state == awaitPubcomp {
		s.sendPubrel(l, idOf(e.seq), packet.Success)
		return true
	}
	f.Begin(e.msg, now)
	defer f.End()
	dup := e.flags&flagFresh == 0
	if !f.send(l, e.qos, e.flags&flagRetain != 0, routeIDs(e.route), idOf(e.seq), dup) {
		s.env.Drop(s, e.msg, e.qos, hook.DropPacketTooLarge)
		s.release(e)
		return false
	}
	if !dup && f.delivered != nil {
		f.delivered(s, e.msg, e.qos)
	}
	e.flags &^= flagFresh
	s.count(e)
	return true
}

// count counts a PUBLISH against the window of the present Link.
func (s *Session) count(e *unacked) {
	if e.flags&flagCounted == 0 && e.state != awaitPubcomp {
		e.flags |= flagCounted
		s.flight++
	}
}

func (s *Session) sendPubrel(l *link, id uint16, code packet.ReasonCode) {
	var buf [8]byte
	l.out.Append(packet.AppendAck(buf[:0], packet.TypePubrel, l.version, id, code, nil))
}

// release settles an entry and gives its message back.
func (s *Session) release(e *unacked) {
	if e.flags&flagCounted != 0 {
		s.flight--
	}
	if e.msg != nil {
		e.msg.Unref()
	}
	s.settle(e.pos, e.seq)
	s.ring.settle(e)
}
