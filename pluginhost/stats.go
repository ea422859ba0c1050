package pluginhost

import (
	"math/bits"
	"sync/atomic"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// hookStats counts what happens at one hook of a plugin; it outlives reloads.
type hookStats struct {
	calls, events atomic.Int64
	failures      atomic.Int64 // of calls
	timeouts      atomic.Int64 // of calls, also counted as failures
	policy        atomic.Int64 // events that the failure policy has answered
	verdicts      [actions]atomic.Int64
	latency       histogram
	lost          atomic.Int64 // observations
}

const actions = int(pluginv1.ActionChallenge) + 1

// histogram counts durations in powers of two from 1 µs to about 8 s.
type histogram struct {
	buckets [histogramBuckets]atomic.Int64
	sum     atomic.Int64 // nanoseconds
}

const histogramBuckets = 24

func (h *histogram) observe(d time.Duration) {
	h.buckets[min(bits.Len64(uint64(max(d, 0)/time.Microsecond)), histogramBuckets-1)].Add(1)
	h.sum.Add(int64(d))
}

// bound is the upper bound of bucket i; the last one has none.
func bound(i int) time.Duration { return time.Microsecond << i }

// quantile returns an upper bound for the time that a share of calls stayed below.
func (h *histogram) quantile(share float64) time.Duration {
	var counts [histogramBuckets]int64
	var total int64
	for i := range h.buckets {
		counts[i] = h.buckets[i].Load()
		total += counts[i]
	}
	if total == 0 {
		return 0
	}
	rank := int64(share * float64(total))
	for i, n := range counts {
		if rank -= n; rank < 0 {
			return bound(i)
		}
	}
	return bound(histogramBuckets - 1)
}

// breaker stops asking a plugin that fails again and again: after breakAfter
// failures within breakWindow the failure policy answers for breakPause, then one
// call is let through to see.
type breaker struct {
	until atomic.Int64 // nanoseconds of clock; 0: closed
	trial atomic.Bool  // the one call is under way
	next  atomic.Int32
	when  [breakAfter - 1]atomic.Int64
}

const (
	breakAfter  = 5
	breakWindow = 10 * time.Second
	breakPause  = 5 * time.Second
)

// allows reports whether a call may be made at now.
func (b *breaker) allows(now int64) bool {
	until := b.until.Load()
	if until == 0 {
		return true
	}
	return now >= until && b.trial.CompareAndSwap(false, true)
}

// failed notes a failure, and reports whether it has opened the breaker.
func (b *breaker) failed(now int64) (opened bool) {
	if b.until.Load() != 0 {
		b.until.Store(now + int64(breakPause))
		b.trial.Store(false)
		return false
	}
	i := uint32(b.next.Add(1)) % uint32(len(b.when))
	oldest := b.when[i].Swap(now)
	if oldest == 0 || now-oldest > int64(breakWindow) {
		return false
	}
	return b.until.CompareAndSwap(0, now+int64(breakPause))
}

// worked notes a success, and reports whether it has closed the breaker.
func (b *breaker) worked() (closed bool) {
	if b.until.Load() == 0 || !b.trial.Load() {
		return false
	}
	for i := range b.when {
		b.when[i].Store(0)
	}
	b.until.Store(0)
	b.trial.Store(false)
	return true
}

// open reports whether calls are held back.
func (b *breaker) open() bool { return b.until.Load() != 0 }

// reset forgets everything: another instance serves.
func (b *breaker) reset() {
	for i := range b.when {
		b.when[i].Store(0)
	}
	b.until.Store(0)
	b.trial.Store(false)
}
