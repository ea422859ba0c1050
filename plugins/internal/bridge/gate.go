package bridge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// remembered is how many messages a route remembers to have settled, for gates that ask
	// afterwards: as many as may wait in front of a gate.
	remembered = 1 << 16
	// look is how often a gate that waits looks whether its messages have been missed.
	look = 500 * time.Millisecond
	// missed is how long after the queue has nothing more to give a message is held not to
	// be in it. It is longer than a disk that is busy keeps the host from handing over.
	missed = 5 * time.Second
)

// waiting are the messages of a route that a gate waits for, and those that it will ask for.
type waiting struct {
	mu      sync.Mutex
	waiters map[uint64][]*waiter // by message id
	settled map[uint64]error     // by message id; nil: the other side has it
	ring    []uint64             // of settled, oldest at next
	next    int

	busy    bool      // a batch is under way, or has to come again
	rest    time.Time // when the last batch was through, while not busy
	drained bool      // the last batch was all that the queue had
	newest  int64     // ReceivedMs of the newest message of batches that are settled
	enabled bool      // a gate will ask
}

// waiter is one message of a GateBatch that waits for one route.
type waiter struct {
	call   *gateCall
	index  int // in the GateBatch
	route  *route
	direct bool // the gate has it sent by itself
	over   bool
}

// gateCall is one call of Gate. Its fields are guarded by mu.
type gateCall struct {
	mu      sync.Mutex
	left    int
	refused map[int]error
	done    chan struct{}
}

func (w *waiting) enable(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enabled = on
}

// settle notes what has become of a message, and tells the gate that waits for it.
func (w *waiting) settle(m *sdk.Message, reason error) {
	if m.QoS == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.enabled {
		return
	}
	if _, is := w.settled[m.ID]; !is {
		if len(w.ring) < remembered {
			w.ring = append(w.ring, m.ID)
		} else {
			delete(w.settled, w.ring[w.next])
			w.ring[w.next] = m.ID
			w.next = (w.next + 1) % remembered
		}
	}
	w.settled[m.ID] = reason
	for _, x := range w.waiters[m.ID] {
		x.end(reason)
	}
	delete(w.waiters, m.ID)
}

// end tells the call of a waiter. It is called with the route's waiting.mu held.
func (x *waiter) end(reason error) {
	if x.over {
		return
	}
	x.over = true
	c := x.call
	c.mu.Lock()
	defer c.mu.Unlock()
	if reason != nil {
		c.refused[x.index] = reason
	}
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

// Gate implements sdk.PublishGate: it returns when the other side has all messages of
// the batch, and refuses those that have become dead letters or are not there in time.
func (e *Engine) Gate(ctx context.Context, b *sdk.GateBatch) error {
	c := &gateCall{refused: map[int]error{}, done: make(chan struct{}), left: 1}
	var list []*waiter
	timeout := time.Duration(0)
	for i := range b.Len() {
		for _, r := range e.gates(b.Message(i), b.Client(i)) {
			x := &waiter{call: c, index: i, route: r}
			timeout = max(timeout, r.AckTimeout.Std())
			if !r.waiting.add(b.Message(i).ID, x) {
				list = append(list, x)
			}
		}
	}
	c.mu.Lock()
	if c.left--; c.left == 0 {
		close(c.done)
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e.await(ctx, b, c, list)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, why := range c.refused {
		b.Decide(i, sdk.Deny(sdk.ImplementationError, cut("the other side has not got it: "+why.Error())))
	}
	return nil
}

// errInTime is why a publisher is refused whose message is still on its way.
var errInTime = errors.New("not in time")

// await waits until c is done, or ctx ends: then what is left is refused.
func (e *Engine) await(ctx context.Context, b *sdk.GateBatch, c *gateCall, list []*waiter) {
	t := time.NewTicker(look)
	defer t.Stop()
	// Direct sendings read the batch, which is gone when Gate returns. They are made one
	// after the other, so that they are in order too.
	var direct sync.WaitGroup
	var sending atomic.Bool
	defer direct.Wait()
	for {
		select {
		case <-c.done:
			return
		case <-ctx.Done():
			for _, x := range list {
				x.route.waiting.giveUp(b.Message(x.index).ID, x)
			}
			return
		case now := <-t.C:
			if sending.Load() {
				continue
			}
			var gone []*waiter
			for _, x := range list {
				if x.route.waiting.misses(b.Message(x.index), x, now) {
					gone = append(gone, x)
				}
			}
			if len(gone) == 0 {
				continue
			}
			sending.Store(true)
			direct.Go(func() {
				defer sending.Store(false)
				for _, x := range gone {
					e.direct(ctx, b, x)
				}
			})
		}
	}
}

// gates are the routes with ack: after_remote that are about a message.
func (e *Engine) gates(m *sdk.Message, c *sdk.Client) (list []*route) {
	namespace := m.Namespace
	if namespace == "" {
		namespace = c.Namespace
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, r := range e.order {
		if r.Ack == AfterRemote && r.wants(m, namespace) {
			list = append(list, r)
		}
	}
	return list
}

// add has x told of a message, and reports whether it is settled already.
func (w *waiting) add(id uint64, x *waiter) (settled bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x.call.mu.Lock()
	defer x.call.mu.Unlock()
	if reason, is := w.settled[id]; is && id != 0 {
		if reason != nil {
			x.call.refused[x.index] = reason
		}
		return true
	}
	x.call.left++
	w.waiters[id] = append(w.waiters[id], x)
	return false
}

func (w *waiting) isOver(x *waiter) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return x.over
}

// giveUp ends a waiter that has waited for too long.
func (w *waiting) giveUp(id uint64, x *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x.end(errInTime)
	w.remove(id, x)
}

// remove is called with mu held.
func (w *waiting) remove(id uint64, x *waiter) {
	list := w.waiters[id]
	for i, y := range list {
		if y == x {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(w.waiters, id)
	} else {
		w.waiters[id] = list
	}
}

// misses reports whether the queue will not bring the message of x: a message of QoS 2
// that its client has sent again after a crash is not routed again, nor does one that
// another plugin has changed keep its id. What was received later is settled, or for a
// while there was nothing to hand over; and the other side answers. A message of the batch
// that is under way is not missed, however slow that is.
func (w *waiting) misses(m *sdk.Message, x *waiter, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.over || x.direct || now.Sub(time.UnixMilli(m.ReceivedMs)) < missed {
		return false
	}
	passed := w.newest > m.ReceivedMs+missed.Milliseconds()
	idle := !w.busy && w.drained && now.Sub(w.rest) >= missed
	x.direct = passed || idle
	return x.direct
}

// direct sends one message past the queue, unless that has brought it meanwhile.
func (e *Engine) direct(ctx context.Context, b *sdk.GateBatch, x *waiter) {
	m := b.Message(x.index)
	if x.route.waiting.isOver(x) || ctx.Err() != nil {
		return
	}
	batch := newBatch(x.route, []Message{{Message: m, Client: b.Client(x.index), Attempt: 1}})
	err := e.send(ctx, x.route, batch)
	if reason := batch.reasons[0]; reason != nil {
		err = reason
	}
	e.count(x.route, batch, 0, err)
	w := &x.route.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if batch.outcomes[0] == unsaid {
		x.direct = false // again, as long as there is time
		return
	}
	x.end(err)
	w.remove(m.ID, x)
}

// began notes that a batch is under way.
func (r *route) began(b *Batch) {
	r.figures.inHand(b)
	w := &r.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = true
}

// ended notes that a batch of the queue is through; clean says that all of it is settled.
func (w *waiting) ended(b *Batch, clean bool, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = !clean
	w.rest = now
	size := 0
	for i := range b.Messages {
		size += len(b.Messages[i].Payload)
		if clean {
			w.newest = max(w.newest, b.Messages[i].ReceivedMs)
		}
	}
	// A batch ends with the message that would make it too large.
	w.drained = clean && len(b.Messages) < int(b.Route.BatchMessages) && size < int(b.Route.BatchBytes)/2
}
