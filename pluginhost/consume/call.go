package consume

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/convert"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Failures of a plugin that the Runner finds, wrapped for Options.Called.
var (
	// ErrLate says that a batch was not answered within its deadline.
	ErrLate = errors.New("no result within the deadline")
	// ErrNonsense says that a result contradicts the contract.
	ErrNonsense = errors.New("an invalid result")
)

const (
	// grace is what a result may be late. A plugin that stops at its deadline and says how
	// far it has come is to be heard.
	grace = 100 * time.Millisecond
	// askAgain is when Pin is asked again that had no instance, if nobody says before
	// that there is one.
	askAgain = time.Second
	// maxAbandoned is how many batches the runtime may owe an answer to. A consumer that
	// hangs on one message gets the others all the same, but takes no more memory than this.
	maxAbandoned = 4
)

// call is one batch, and the memory for it. From Consume until done it belongs to the
// runtime, but for entries.
type call struct {
	batch    pluginv1.ConsumeBatch
	result   pluginv1.ConsumeResult
	messages []pluginv1.Message
	clients  map[*hook.Client]uint32
	done     func(error)
	release  func()

	entries []*entry
	// verdicts are what result says of each entry by itself, or nil.
	verdicts []*pluginv1.DeliveryResult
	began    time.Time
	until    time.Time

	// Guarded by Runner.mu.
	answered, abandoned bool
	err                 error
	// kept are the references of an abandoned call.
	kept []*packet.Message
}

func (r *Runner) newCall() *call {
	c := &call{clients: map[*hook.Client]uint32{}}
	c.batch.Consumer = r.Spec.Name
	c.batch.DeadlineMs = uint32(r.deadline.Milliseconds())
	c.done = func(err error) { r.answer(c, err) }
	return c
}

// handOver gives the plugin a batch, if there is one and nothing keeps it back. It
// reports whether there is more to do at once, and when there will be.
func (r *Runner) handOver(now time.Time) (again bool, at time.Time) {
	r.mu.Lock()
	pin, closing, held := r.pin, r.closing, r.paused || r.abandoned >= maxAbandoned
	r.mu.Unlock()
	if !closing {
		at = r.republish(now)
	}
	if r.call != nil {
		return false, sooner(at, r.call.until)
	}
	if closing || held || pin == nil || r.window.empty() {
		return false, at
	}
	c := r.spare
	if c == nil {
		c = r.newCall()
		r.spare = c
	}
	var expired []*entry
	var next time.Time
	c.entries, expired, next = r.window.next(now, r.limit, c.entries[:0], nil)
	r.expire(expired, now)
	if len(c.entries) == 0 {
		return len(expired) > 0, sooner(at, next)
	}
	inst, release, ok := pin()
	if !ok {
		r.window.putBack(c.entries)
		return false, sooner(at, now.Add(askAgain))
	}
	r.spare, c.release = nil, release
	c.began, c.until = now, now.Add(r.deadline+grace)
	r.fill(c, now)
	r.call = c
	answered, err := inst.Consume(&c.batch, &c.result, c.done)
	if answered {
		r.call = nil
		r.settle(c, err, time.Now())
		return true, time.Time{}
	}
	return false, sooner(at, c.until)
}

// fill writes the batch of a call from its entries.
func (r *Runner) fill(c *call, now time.Time) {
	b := &c.batch
	b.Seq = 0
	b.Clients, b.Deliveries = b.Clients[:0], b.Deliveries[:0]
	// Deliveries point into messages, so it must not move while they are written.
	c.messages = slices.Grow(c.messages[:0], len(c.entries))[:len(c.entries)]
	clear(c.clients)
	retried := 0
	for i, e := range c.entries {
		if e.attempts++; e.attempts > 1 {
			retried++
		}
		m := &c.messages[i]
		convert.Message(m, e.Message, r.fields, now.UnixMilli())
		m.Namespace = e.Namespace
		d := pluginv1.Delivery{Offset: e.Offset, Attempt: e.attempts, Message: m}
		if e.Client != nil {
			d.Client = c.client(e.Client, r.fields)
			if e.Client.Namespace == e.Namespace {
				m.Namespace = ""
			}
			if e.Client.ID == m.Publisher {
				m.Publisher = ""
			}
		}
		b.Deliveries = append(b.Deliveries, d)
	}
	r.counts.handedOver.Add(int64(len(c.entries)))
	r.counts.retried.Add(int64(retried))
}

// client returns the number of a client in the batch, from 1, and adds it if need be.
func (c *call) client(client *hook.Client, fields pluginv1.Field) uint32 {
	if n, known := c.clients[client]; known {
		return n
	}
	b := &c.batch
	n := len(b.Clients)
	b.Clients = slices.Grow(b.Clients, 1)[:n+1]
	convert.Client(&b.Clients[n], client, fields)
	c.clients[client] = uint32(n + 1)
	return uint32(n + 1)
}

// answer is told by the runtime that it is done with a call.
func (r *Runner) answer(c *call, err error) {
	r.mu.Lock()
	c.answered, c.err = true, err
	kept, abandoned := c.kept, c.abandoned
	c.kept = nil
	if abandoned {
		r.abandoned--
	}
	r.mu.Unlock()
	for _, m := range kept {
		m.Unref()
	}
	if abandoned {
		c.release()
	}
	r.wake()
}

// collect acts on what has happened since: the result of the call, or its deadline, and
// what has become of dead letters.
func (r *Runner) collect(now time.Time) {
	if c := r.call; c != nil {
		r.mu.Lock()
		answered, err := c.answered, c.err
		r.mu.Unlock()
		late := !answered && !now.Before(c.until)
		switch {
		case answered, late && !r.abandon():
			if late {
				err = c.err
			}
			r.call = nil
			r.settle(c, err, now)
		case late:
			r.fail(c, fmt.Errorf("%w of %v", ErrLate, r.deadline), now)
		}
	}
	r.mu.Lock()
	published := r.published
	r.published = nil
	r.mu.Unlock()
	for _, p := range published {
		r.afterPublication(p, now)
	}
}

// abandon leaves the call to the runtime, with references of its own to the messages.
// It reports false if the runtime was quicker.
func (r *Runner) abandon() bool {
	c := r.call
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.answered {
		return false
	}
	for _, e := range c.entries {
		e.Message.Ref()
		c.kept = append(c.kept, e.Message)
	}
	c.abandoned = true
	r.abandoned++
	r.call = nil
	return true
}
