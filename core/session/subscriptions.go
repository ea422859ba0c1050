package session

import "github.com/patchbay-mq/patchbay/core/store"

// Subscription is what a session remembers of one of its Topic Filters.
type Subscription = store.Subscription

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
	_, existed = s.subs[filter]
	if !existed && max > 0 && len(s.subs) >= max {
		return false, false
	}
	if s.subs == nil {
		s.subs = make(map[string]Subscription)
	}
	if s.durable {
		s.state.Subscribe(filter, sub)
	}
	s.subs[filter] = sub
	apply()
	return existed, true
}

// Unsubscribe forgets a subscription and reports whether there was one; if so it
// calls apply, under the rules of Subscribe.
func (s *Session) Unsubscribe(filter string, apply func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.subs[filter]; !ok {
		return false
	}
	if s.durable {
		s.state.Unsubscribe(filter)
	}
	if delete(s.subs, filter); len(s.subs) == 0 {
		s.subs = nil
	}
	apply()
	return true
}

// Subscriptions returns a copy of all subscriptions by Topic Filter.
func (s *Session) Subscriptions() map[string]Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := make(map[string]Subscription, len(s.subs))
	for f, sub := range s.subs {
		m[f] = sub
	}
	return m
}
