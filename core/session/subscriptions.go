package session

import "github.com/patchbay-mq/patchbay/core/store"

// Subscription is what a session remembers of one of its Topic Filters.
type Subscription = store.Subscription

// subscriptions are the Topic Filters of one session. Most have a few: a list
// takes a quarter of the memory of a map, and a million sessions have one each.
type subscriptions struct {
	list  []store.Subscribed
	index map[string]int // place in list; nil while that is short
}

// listMax is the length up to which the list is searched from the front.
const listMax = 16

func (s *subscriptions) find(filter string) int {
	if s.index != nil {
		if i, ok := s.index[filter]; ok {
			return i
		}
		return -1
	}
	for i := range s.list {
		if s.list[i].Filter == filter {
			return i
		}
	}
	return -1
}

func (s *subscriptions) set(filter string, sub Subscription) {
	if i := s.find(filter); i >= 0 {
		s.list[i].Subscription = sub
		return
	}
	s.list = append(s.list, store.Subscribed{Filter: filter, Subscription: sub})
	switch {
	case s.index != nil:
		s.index[filter] = len(s.list) - 1
	case len(s.list) > listMax:
		s.makeIndex()
	}
}

func (s *subscriptions) makeIndex() {
	s.index = make(map[string]int, len(s.list))
	for i := range s.list {
		s.index[s.list[i].Filter] = i
	}
}

func (s *subscriptions) remove(filter string) bool {
	i := s.find(filter)
	if i < 0 {
		return false
	}
	last := len(s.list) - 1
	moved := s.list[last]
	s.list[i], s.list[last] = moved, store.Subscribed{}
	s.list = s.list[:last]
	if s.index != nil {
		s.index[moved.Filter] = i
		delete(s.index, filter)
	}
	if last == 0 {
		*s = subscriptions{}
	}
	return true
}

// Subscribe remembers a subscription under its whole Topic Filter (with
// `$share`) and reports whether there was one before. max bounds their number
// (0 no bound); ok is false if a new one would exceed it, or if the session has
// ended. apply, which tells the router, is called with the session's lock held,
// so that neither the session's end nor another connection comes in between; it
// must not call the session.
func (s *Session) Subscribe(filter string, sub Subscription, max int, apply func()) (existed, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false, false
	}
	existed = s.subs.find(filter) >= 0
	if !existed && max > 0 && len(s.subs.list) >= max {
		return false, false
	}
	if s.durable {
		s.state.Subscribe(filter, sub)
	}
	s.subs.set(filter, sub)
	apply()
	return existed, true
}

// Unsubscribe forgets a subscription and reports whether there was one; if so it
// calls apply, under the rules of Subscribe.
func (s *Session) Unsubscribe(filter string, apply func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.subs.remove(filter) {
		return false
	}
	if s.durable {
		s.state.Unsubscribe(filter)
	}
	apply()
	return true
}

// Subscriptions returns a copy of all subscriptions, in no order.
func (s *Session) Subscriptions() []store.Subscribed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]store.Subscribed(nil), s.subs.list...)
}
