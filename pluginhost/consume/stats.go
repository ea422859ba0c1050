package consume

import (
	"sync/atomic"
	"time"
)

// Stats describes a consumer. Counts are since New.
type Stats struct {
	// Backlog and BacklogBytes are not acknowledged yet; OldestAge is how long the first of
	// them has waited, 0 if that is not known.
	Backlog      int
	BacklogBytes int64
	OldestAge    time.Duration
	// InFlight is how many messages the plugin has now, HeadAttempts how often the
	// first message of the queue has been handed over. Abandoned is how many batches were
	// not answered in time and still are not.
	InFlight     int
	HeadAttempts uint32
	Abandoned    int

	// HandedOver counts deliveries, Retried those of them that were not the first of
	// their message. Each message ends as one of Acknowledged, DeadLetters and Expired.
	HandedOver, Retried, Acknowledged, DeadLetters, Expired int64
	// Failures counts batches that were not acknowledged as a whole without a reason for
	// each message, or with an error.
	Failures int64
	// LastError is the last failure, or why a dead letter cannot be published.
	LastError     string
	LastErrorTime time.Time
}

type counters struct {
	handedOver, retried, acknowledged, deadLetters, expired, failures atomic.Int64
}

// snapshot is what the goroutine lets others see.
type snapshot struct {
	inFlight     int
	headAttempts uint32
	lastError    string
	lastErrorAt  time.Time
}

// Stats returns the present figures.
func (r *Runner) Stats() Stats {
	info := r.queue.Info()
	r.mu.Lock()
	s := Stats{
		InFlight: r.seen.inFlight, HeadAttempts: r.seen.headAttempts, Abandoned: r.abandoned,
		LastError: r.seen.lastError, LastErrorTime: r.seen.lastErrorAt,
	}
	r.mu.Unlock()
	s.Backlog, s.BacklogBytes = info.Messages, info.Bytes
	if !info.Oldest.IsZero() {
		s.OldestAge = max(time.Since(info.Oldest), 0)
	}
	s.HandedOver, s.Retried = r.counts.handedOver.Load(), r.counts.retried.Load()
	s.Acknowledged, s.DeadLetters = r.counts.acknowledged.Load(), r.counts.deadLetters.Load()
	s.Expired, s.Failures = r.counts.expired.Load(), r.counts.failures.Load()
	return s
}

// observe brings the snapshot up to date.
func (r *Runner) observe() {
	var inFlight int
	head := r.window.head()
	if c := r.call; c != nil {
		inFlight, head = len(c.entries), c.entries[0]
	}
	var attempts uint32
	if head != nil {
		attempts = head.attempts
	}
	r.mu.Lock()
	r.seen.inFlight, r.seen.headAttempts = inFlight, attempts
	r.mu.Unlock()
}

// blame remembers and logs a failure.
func (r *Runner) blame(text string, now time.Time) {
	r.mu.Lock()
	r.seen.lastError, r.seen.lastErrorAt = text, now
	r.mu.Unlock()
	if left, ok := r.failureLog.pass(now); ok {
		r.Log.Warn("consumer failed", "error", text, "left_out", left)
	}
}

// quietFor is the pause between two log lines of a kind. A consumer may fail a thousand
// times a second.
const quietFor = 10 * time.Second

// quiet lets a log line pass now and then.
type quiet struct {
	until time.Time
	left  int
}

// pass reports whether to log now, and how many lines were left out before.
func (q *quiet) pass(now time.Time) (left int, ok bool) {
	if now.Before(q.until) {
		q.left++
		return 0, false
	}
	left = q.left
	q.until, q.left = now.Add(quietFor), 0
	return left, true
}
