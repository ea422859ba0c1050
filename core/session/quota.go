package session

// Quota bounds one session, in place of the Limits that all have. A field that is 0
// leaves the limit in force. It is not changed once in use.
type Quota struct {
	MaxInflight, MaxQueued int
	MaxQueuedBytes         int64
}

// SetQuota changes the bounds of this session; nil leaves the Limits in force. What is
// in flight or waits stays. They hold until the next Attach, and are not stored.
func (s *Session) SetQuota(q *Quota) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quota.Store(q)
	if l := s.link.Load(); l != nil {
		l.window = s.window(l.receiveMax)
	}
}

// MaxQueued is how many messages may wait; 0 is no bound.
func (s *Session) MaxQueued() int {
	n, _ := s.maxQueued(s.env.Limits.Load())
	return n
}

func (s *Session) maxQueued(lim *Limits) (messages int, bytes int64) {
	messages, bytes = lim.MaxQueued, lim.MaxQueuedBytes
	if q := s.quota.Load(); q != nil {
		if q.MaxQueued > 0 {
			messages = q.MaxQueued
		}
		if q.MaxQueuedBytes > 0 {
			bytes = q.MaxQueuedBytes
		}
	}
	return messages, bytes
}

// window is how many messages may be in flight to a client with the given Receive
// Maximum; 0 stands for 65,535.
func (s *Session) window(receiveMax uint16) int {
	n := s.env.Limits.Load().MaxInflight
	if q := s.quota.Load(); q != nil && q.MaxInflight > 0 {
		n = min(q.MaxInflight, 65535)
	}
	if receiveMax > 0 {
		n = min(n, int(receiveMax))
	}
	return n
}
