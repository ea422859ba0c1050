package session

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/store"
)

// What has to outlive the process is handed to the session's state. This file
// holds what only sessions do whose state is durable.

// held is a message of the ring whose next packet may not leave before the Store
// has noted it: a QoS 2 PUBLISH before its Packet Identifier is safe would let
// the identifier come back for another message after a crash, and a PUBREL
// before PUBREC is noted would let the message come again after its identifier
// was released [MQTT-4.3.3-1].
type held struct {
	ticket store.Ticket
	seq    uint64
}

// Restore returns a session as it was stored, without a connection. One that was
// connected when the process ended counts as disconnected at now (Unix
// milliseconds); the caller calls Save then. Telling the router of the
// subscriptions is the caller's affair too.
func Restore(env *Env, saved store.Saved, key uint64, now int64) *Session {
	s := &Session{env: env, namespace: saved.Namespace, id: saved.ClientID, key: key, expiry: saved.Expiry}
	s.subs.list = saved.Subscriptions
	if len(s.subs.list) > listMax {
		s.subs.makeIndex()
	}
	s.state = saved.State
	s.will, s.willDue, s.detached = saved.Will, saved.WillDue, saved.Detached
	s.startAt(firstSeq)
	if saved.Username != "" {
		s.Client.Store(&hook.Client{ID: s.id, Namespace: s.namespace, Username: saved.Username})
	}
	if s.expiry > 0 {
		s.durable, s.cold, s.restored, s.queue = true, true, true, s.state
		s.behind.Store(true)
		s.startAt(s.state.FirstSeq())
	}
	for _, id := range saved.Received {
		s.inbound.add(id)
	}
	if s.detached == 0 {
		s.detached = now
		if s.will != nil {
			s.willDue = now + int64(min(s.will.Delay, s.expiry))*1000
		}
	}
	return s
}

// NextDue is when the owner has to look after a session without a connection
// (Due), in Unix milliseconds; 0 never.
func (s *Session) NextDue() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.link.Load() != nil {
		return 0
	}
	return max(s.nextDue(), 0)
}

// Save stores the session's record as it is now.
func (s *Session) Save() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.save()
	}
}

// Prepare has stored what a connection with p makes of the session, before
// Attach, and reports whether that has to become safe first.
func (s *Session) Prepare(p Params) (wait bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.prepare(p)
	s.prepared = true
	return s.state != nil && s.state.Durable()
}

// Withdraw undoes Prepare, for a connection that was not attached after all.
func (s *Session) Withdraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended && s.prepared {
		s.prepared = false
		s.save()
	}
}

func (s *Session) prepare(p Params) {
	r := store.Record{Namespace: s.namespace, ClientID: s.id, Username: p.Username, Expiry: p.SessionExpiry, Will: p.Will}
	switch {
	case s.state != nil:
		s.state.Save(r)
	case p.SessionExpiry == 0 && p.Will == nil:
	default:
		// A Will is to be published even if it is the process that ends.
		s.state = s.env.Store.Create(r, s)
	}
	if p.SessionExpiry > 0 && s.queue == nil {
		s.queue = s.state
		if s.durable = s.state.Durable(); s.durable {
			s.startAt(s.state.FirstSeq())
		}
	}
}

// save stores the record as it is now.
func (s *Session) save() {
	if s.state == nil {
		return
	}
	r := store.Record{
		Namespace: s.namespace, ClientID: s.id, Username: s.username(), Expiry: s.expiry, Will: s.will, WillDue: s.willDue,
	}
	if s.link.Load() == nil {
		r.Detached = s.detached
	}
	s.state.Save(r)
}

func (s *Session) username() string {
	if c := s.Client.Load(); c != nil {
		return c.Username
	}
	return ""
}

// Durable reports whether the session's messages outlive the process. It does
// not change while a connection is attached.
func (s *Session) Durable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable
}

// Ready is part of store.Owner.
func (s *Session) Ready() {
	s.mu.Lock()
	if !s.ended && s.queue != nil {
		// While the oldest messages had to be read first, newer ones were let in.
		s.shrink(s.env.Limits.Load(), 0, 0)
		s.load.Store(int32(s.ring.live() + s.queued()))
	}
	s.mu.Unlock()
	s.env.Ready(s)
}

// Expired is part of store.Owner.
func (s *Session) Expired(e store.Entry) {
	s.env.Drop(s, e.Message, e.QoS, hook.DropExpired)
	e.Message.Unref()
}

// thaw takes over what was in flight before a restart; false while it has to be
// read first.
func (s *Session) thaw() bool {
	if !s.cold {
		return true
	}
	list, ok := s.queue.Inflight()
	if !ok {
		return false
	}
	s.cold = false
	for _, in := range list {
		e := unacked{msg: in.Message, route: in.Route, pos: in.Pos, seq: in.Seq, qos: in.QoS}
		switch {
		case in.Released:
			e.state, e.qos = awaitPubcomp, 2
		case in.QoS == 2:
			e.state = awaitPubrec
		}
		if in.Retain {
			e.flags |= flagRetain
		}
		s.ring.restore(e)
	}
	if len(list) > 0 {
		s.unsent = list[0].Seq
	}
	return true
}

// record stores a message that goes out at once, or if it was stored already
// (taken from the queue) its Packet Identifier, and reports whether the message
// has to wait for that.
func (s *Session) record(f *Frames, entry *store.Entry, e *unacked, stored bool) (wait bool) {
	if !s.durable {
		return false
	}
	var t store.Ticket
	if stored {
		t = s.queue.Sent(*entry, e.seq)
	} else {
		entry.Pos, t = s.queue.Add(*entry, e.seq, e.qos == 1 && !f.together, f.ReceiptFor())
	}
	e.pos = entry.Pos
	if s.hold(e, t) {
		e.flags |= flagFresh
		return true
	}
	return false
}

// hold keeps a QoS 2 message's next packet back until t is safe, and until all
// have gone that were held before it: these may be safe by now and not sent yet,
// and it must not overtake them [MQTT-4.6.0-5].
func (s *Session) hold(e *unacked, t store.Ticket) bool {
	if e.qos < 2 {
		return false
	}
	if safe := s.queue.Safe(t); safe && s.held == nil {
		return false
	}
	e.flags |= flagHeld
	if s.held == nil {
		s.held = new([]held)
	}
	*s.held = append(*s.held, held{t, e.seq})
	return true
}

// sendHeld sends what the Store has noted meanwhile.
func (s *Session) sendHeld(f *Frames, l *link, now int64) (sent int) {
	for s.held != nil && s.queue.Safe((*s.held)[0].ticket) {
		e := s.ring.bySeq((*s.held)[0].seq)
		if *s.held = (*s.held)[1:]; len(*s.held) == 0 {
			s.held = nil
		}
		if e == nil || e.flags&flagHeld == 0 {
			continue
		}
		e.flags &^= flagHeld
		if e.seq < s.unsent && s.sendAgain(f, l, e, now) {
			sent++
		}
	}
	return sent
}

// unknown reports whether the session was restored and nobody has connected to
// it since, so that its client's permissions are not known.
func (s *Session) unknown() bool {
	c := s.Client.Load()
	return c == nil || c.ConnectedAt == 0
}

// screened asks whether the receiver may have a message that was queued before
// anybody knew its permissions.
func (s *Session) screened(e *store.Entry) bool {
	return !e.Unscreened || s.env.MayReceive == nil || s.env.MayReceive(s, e.Message, e.QoS, e.Retain)
}

// Received notes that a QoS 2 message of the client has been accepted, together
// with its routing (store.Store.Begin): after a crash its Packet Identifier is
// known if and only if the message is.
func (s *Session) Received(id uint16, r *store.Receipt) {
	s.mu.Lock()
	if s.durable && !s.ended {
		s.state.Received(id, r)
	}
	s.mu.Unlock()
}

// settle tells the Store that a message which was taken from the queue, or sent,
// is done with.
func (s *Session) settle(pos, seq uint64) {
	if s.durable {
		s.queue.Settle(pos, seq)
	}
}

// forget gives back a message that was taken from the queue and is not sent.
func (s *Session) forget(e *store.Entry, reason string) {
	s.env.Drop(s, e.Message, e.QoS, reason)
	if e.QoS > 0 {
		s.settle(e.Pos, 0)
	}
	e.Message.Unref()
}

// pubrecReceived notes a PUBREC and reports whether PUBREL has to wait for that.
func (s *Session) pubrecReceived(e *unacked) (wait bool) {
	return s.durable && s.hold(e, s.queue.PubrecReceived(e.pos, e.seq))
}

var _ store.Owner = (*Session)(nil)
