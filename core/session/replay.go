package session

import "github.com/patchbay-mq/patchbay/core/store"

// Replay is a set of messages that a session should get before anything else:
// the retained messages of a new subscription.
//
// They do not count against the bounds of the queue, since they are kept
// elsewhere anyway, but a wildcard may match very many, and a client may
// subscribe again and again. So only one set at a time exists as a list; the
// others wait as the function that makes it.
type Replay struct {
	// Filter is the Topic Filter of the subscription. A Replay takes the place of
	// one of the same filter that has not begun.
	Filter string
	// Messages makes the list; the references of its entries go to the session.
	// It is called without any lock held, and must not block.
	Messages func() []store.Entry
}

// replaying is the state of a session's Replays.
type replaying struct {
	list    []store.Entry // what is left of the present one
	next    []Replay      // the next ones
	filling bool          // the list is being made
}

// Replay adds a set. Pump sends it as fast as the client takes it; live messages
// wait behind it, so that an old value never comes after a new one.
func (s *Session) Replay(r Replay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.behind.Store(true)
	if s.replaying == nil {
		s.replaying = new(replaying)
	}
	x := s.replaying
	for i := range x.next {
		if x.next[i].Filter == r.Filter {
			x.next[i] = r
			return
		}
	}
	x.next = append(x.next, r)
}

// hasReplay reports whether anything of a Replay has yet to be sent.
func (s *Session) hasReplay() bool { return s.replaying != nil }

// nextReplay takes the next set if the one before is through.
func (s *Session) nextReplay() *Replay {
	x := s.replaying
	if x == nil || len(x.list) > 0 || x.filling || s.link.Load() == nil {
		return nil
	}
	r := x.next[0]
	x.next = x.next[1:]
	return &r
}

// fill makes the list of r, with the lock released meanwhile: nobody who has
// something to deliver waits for it.
func (s *Session) fill(r *Replay) {
	s.replaying.filling = true
	s.mu.Unlock()
	entries := r.Messages()
	s.mu.Lock()
	if s.ended {
		for _, e := range entries {
			e.Message.Unref()
		}
		return
	}
	s.replaying.list, s.replaying.filling = entries, false
	s.replayed()
}

// replayed forgets the state when there is nothing left.
func (s *Session) replayed() {
	if x := s.replaying; len(x.list) == 0 && len(x.next) == 0 {
		s.replaying = nil
	}
}

// queueBehind queues a QoS 0 message behind a Replay or other QoS 0 messages;
// done is false if there is nothing to wait for any more.
func (s *Session) queueBehind(f *Frames, d Delivery) (o Outcome, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return Gone, true
	}
	if !s.behind.Load() {
		return 0, false
	}
	return s.enqueue(f, d), true
}

// settleBehind lets QoS 0 messages take the short way again when nothing of
// their kind waits.
func (s *Session) settleBehind() {
	if s.restored && s.queue.Empty() && !s.cold {
		s.restored = false
	}
	if !s.hasReplay() && s.queuedQoS0 == 0 && !s.restored {
		s.behind.Store(false)
	}
}
