package consume

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// settle acts on the answer to a call and takes the call's memory back.
func (r *Runner) settle(c *call, err error, now time.Time) {
	if err == nil {
		err = c.check()
	}
	if err != nil {
		r.fail(c, err, now)
	} else {
		r.act(c, now)
		r.told(c, nil, now)
	}
	c.release()
	c.answered, c.err, c.release = false, nil, nil
	// Its slices may be the runtime's own, and are not to be written to.
	c.result = pluginv1.ConsumeResult{}
	c.entries = c.entries[:0]
	r.spare = c
}

// check finds the verdicts about each entry, or what is wrong with the result.
func (c *call) check() error {
	n := len(c.entries)
	c.verdicts = slices.Grow(c.verdicts[:0], n)[:n]
	clear(c.verdicts)
	// An offset between those of the batch is as clear as one of them, and what
	// "the one before" comes to for a plugin that subtracts 1.
	if last := c.entries[n-1].Offset; c.result.AcknowledgedOffset > last {
		return fmt.Errorf("%w: acknowledged_offset is %d, the batch ends with %d", ErrNonsense, c.result.AcknowledgedOffset, last)
	}
	for i := range c.result.Results {
		v := &c.result.Results[i]
		j, found := slices.BinarySearchFunc(c.entries, v.Offset, func(e *entry, offset uint64) int {
			return byOffset(e, &entry{Queued: hook.Queued{Offset: offset}})
		})
		switch {
		case !found:
			return fmt.Errorf("%w: it speaks of offset %d, which is not in the batch", ErrNonsense, v.Offset)
		case c.verdicts[j] != nil:
			return fmt.Errorf("%w: it speaks of offset %d twice", ErrNonsense, v.Offset)
		case v.Outcome < pluginv1.OutcomeOk || v.Outcome > pluginv1.OutcomeDeadLetter:
			return fmt.Errorf("%w: the outcome of offset %d is %v", ErrNonsense, v.Offset, v.Outcome)
		}
		c.verdicts[j] = v
	}
	return nil
}

// outcome is what the result says of the i-th entry; OutcomeUnspecified if nothing.
func (c *call) outcome(i int) pluginv1.Outcome {
	switch v := c.verdicts[i]; {
	case v != nil:
		return v.Outcome
	case c.entries[i].Offset <= c.result.AcknowledgedOffset:
		return pluginv1.OutcomeOk
	}
	return pluginv1.OutcomeUnspecified
}

// fail has all of a batch come again: the plugin has crashed, was late or has answered
// nonsense.
func (r *Runner) fail(c *call, err error, now time.Time) {
	r.counts.failures.Add(1)
	r.blame(err.Error(), now)
	r.cut(c)
	r.comeAgain(c.entries, err.Error(), now)
	r.told(c, err, now)
}

// act does what a valid result says.
func (r *Runner) act(c *call, now time.Time) {
	lastOK, silent, spoken := -1, 0, 0
	for i := range c.entries {
		switch c.outcome(i) {
		case pluginv1.OutcomeOk:
			lastOK = i
		case pluginv1.OutcomeUnspecified:
			silent++
		default:
			spoken++
		}
	}
	reason := cutText(c.result.Error)
	if reason == "" && silent > 0 {
		reason = fmt.Sprintf("%d of %d messages are not acknowledged", silent, len(c.entries))
	}
	if reason != "" {
		r.counts.failures.Add(1)
		r.blame(reason, now)
	}
	switch {
	case lastOK >= 0 && silent == 0:
		// A quarter, so that a plugin that is too slow for more finds its size.
		r.limit = min(r.limit+r.limit/4+1, r.batch)
	case lastOK < 0 && spoken == 0:
		r.cut(c)
	}
	r.acks = r.acks[:0]
	back := make([]*entry, 0, silent+spoken)
	due := now.Add(r.backoff(c.entries[0].attempts))
	for i, e := range c.entries {
		v := c.verdicts[i]
		outcome := c.outcome(i)
		e.wanted = outcome == pluginv1.OutcomeRetry
		switch {
		case outcome == pluginv1.OutcomeOk:
			r.acks = append(r.acks, e.Offset)
			r.window.free(e)
		case outcome == pluginv1.OutcomeDeadLetter:
			r.giveUp(e, v.Reason, now)
		case r.window.exhausted(e):
			r.giveUp(e, reasonOf(v, reason), now)
		case outcome == pluginv1.OutcomeRetry:
			e.due = due
			if v.RetryAfterMs != 0 {
				e.due = now.Add(millis(v.RetryAfterMs))
			}
			if i < lastOK {
				r.window.putLater(e)
			} else {
				back = append(back, e)
			}
		default:
			e.due = due
			back = append(back, e)
		}
	}
	r.counts.acknowledged.Add(int64(len(r.acks)))
	if len(r.acks) > 0 {
		r.queue.Ack(r.acks...)
	}
	r.window.putBack(back)
}

func reasonOf(v *pluginv1.DeliveryResult, otherwise string) string {
	if v != nil && v.Reason != "" {
		return v.Reason
	}
	return otherwise
}

// comeAgain puts a batch back where it was.
func (r *Runner) comeAgain(list []*entry, reason string, now time.Time) {
	due := now.Add(r.backoff(list[0].attempts))
	back := make([]*entry, 0, len(list))
	for _, e := range list {
		if r.window.exhausted(e) {
			r.giveUp(e, reason, now)
			continue
		}
		e.due, e.wanted = due, false
		back = append(back, e)
	}
	r.window.putBack(back)
}

// cut makes the next batches smaller after one that has failed as a whole, unless it was
// for the first time: most failures are of the moment, and no message's fault.
func (r *Runner) cut(c *call) {
	if c.entries[0].attempts > 1 {
		r.limit = max(min(r.limit, len(c.entries))/2, 1)
	}
}

// backoff is how long something waits that was tried n times, with up to a fifth
// of jitter, added as far as there is room below the limit.
func (r *Runner) backoff(n uint32) time.Duration {
	d := r.retryAfter
	for ; n > 1 && d < maxRetryAfter; n-- {
		d *= 2
	}
	limit := max(maxRetryAfter, r.retryAfter)
	d = min(d, limit)
	jitter := rand.N(d/5 + 1)
	if d+jitter > limit {
		return d - jitter
	}
	return d + jitter
}

// expire drops what has waited too long.
func (r *Runner) expire(list []*entry, now time.Time) {
	if len(list) == 0 {
		return
	}
	r.acks = r.acks[:0]
	for _, e := range list {
		ev := r.event(hook.Dropped, e, now)
		ev.Reason = hook.DropExpired
		r.Broker.Emit(ev)
		r.acks = append(r.acks, e.Offset)
		r.window.free(e)
	}
	r.counts.expired.Add(int64(len(list)))
	r.queue.Ack(r.acks...)
}

// told reports a call that is over.
func (r *Runner) told(c *call, err error, now time.Time) {
	if r.Called != nil {
		r.Called(now.Sub(c.began), len(c.entries), err)
	}
}
