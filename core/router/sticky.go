package router

import "sync"

// stickyPublishers is how many publishers a group remembers at least; at most twice as many. 1.3 MB in the worst case.
const stickyPublishers = 16384

// stickySeats remembers which member a publisher has. Nothing tells when a publisher goes away, so there are two
// generations: a full one becomes the old one, and publishers that are not seen again by the next change are forgotten.
type stickySeats struct {
	mu       sync.Mutex
	now, old map[uint64]*member
}

func (s *stickySeats) get(publisher uint64) *member {
	if m := s.now[publisher]; m != nil {
		return m
	}
	m := s.old[publisher]
	if m != nil {
		s.put(publisher, m)
	}
	return m
}

func (s *stickySeats) put(publisher uint64, m *member) {
	if s.now == nil || len(s.now) >= stickyPublishers {
		s.now, s.old = map[uint64]*member{}, s.now
	}
	s.now[publisher] = m
}

// pickSticky keeps to the publisher's member while that is online, or if nobody is.
func (g *Group) pickSticky(seats []seat, publisher uint64, exclude Subscriber) *Target {
	s := &g.sticky
	s.mu.Lock()
	defer s.mu.Unlock()
	var has *Target
	if m := s.get(publisher); m != nil {
		has = m.target.Load()
	}
	if has != nil && has.Sub != exclude && has.Sub.Online() {
		return has
	}
	m, t := g.pickNext(seats, exclude)
	switch {
	case t == nil:
		return nil
	case has == nil:
		s.put(publisher, m)
		return t
	case has.Sub == exclude:
		return t // for this message only
	case !t.Sub.Online():
		return has
	}
	s.put(publisher, m)
	return t
}
