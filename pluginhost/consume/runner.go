package consume

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
)

// Runner drives one consumer. Its methods are safe for concurrent use.
type Runner struct {
	settings
	queue hook.Queue
	// ready is set when the queue may have what Read had not.
	ready atomic.Bool
	// signal wakes the goroutine.
	signal chan struct{}
	ended  chan struct{}

	mu     sync.Mutex
	pin    Pin
	paused bool
	// closing is set by Close, forced when its context has ended.
	closing, forced bool
	published       []publication
	abandoned       int
	seen            snapshot

	counts counters

	// All that follows belongs to the goroutine.

	window window
	call   *call // under way, or nil
	spare  *call // to be used again
	// limit is how many messages the next batch may have: what batches have been cut to.
	limit int
	// publishing are dead letters that the broker has not answered for, unpublished those
	// that it has refused: they wait for another attempt.
	publishing  map[*entry]struct{}
	unpublished []*entry
	acks        []uint64
	failureLog  quiet
	deathLog    quiet
}

// New opens the consumer's queue, or makes it, and starts its goroutine. Messages are
// handed over once Use has been called. The error says what is wrong with the
// consumer, or wraps that of Broker.OpenQueue.
func New(o Options) (*Runner, error) {
	s, err := o.settings()
	if err != nil {
		return nil, fmt.Errorf("consumer %q of plugin %q: %w", o.Spec.Name, o.Plugin, err)
	}
	spec, err := s.queue()
	if err != nil {
		return nil, fmt.Errorf("consumer %q of plugin %q: %w", o.Spec.Name, o.Plugin, err)
	}
	r := newRunner(s)
	r.queue, err = o.Broker.OpenQueue(spec, func() {
		r.ready.Store(true)
		r.wake()
	})
	if err != nil {
		return nil, fmt.Errorf("consumer %q of plugin %q: open its queue: %w", o.Spec.Name, o.Plugin, err)
	}
	go r.run()
	return r, nil
}

func newRunner(s settings) *Runner {
	r := &Runner{
		settings: s, signal: make(chan struct{}, 1), ended: make(chan struct{}), limit: s.batch,
		publishing: map[*entry]struct{}{},
	}
	r.window.init(&r.settings)
	r.ready.Store(true)
	return r
}

// Use says how to get at the plugin's present instance, from the next batch on. The batch
// under way finishes where it is; what it does not acknowledge comes again to the new one.
func (r *Runner) Use(pin Pin) {
	r.mu.Lock()
	r.pin = pin
	r.mu.Unlock()
	r.wake()
}

// Pause keeps further batches back; the one under way goes on.
func (r *Runner) Pause() { r.pause(true) }

// Resume ends Pause, and has Pin asked again.
func (r *Runner) Resume() { r.pause(false) }

func (r *Runner) pause(on bool) {
	r.mu.Lock()
	r.paused = on
	r.mu.Unlock()
	r.wake()
}

// Close ends the Runner: it hands over nothing more, waits for the batch and for the dead
// letters under way until ctx ends, and closes the queue, which stays. The error is that of
// ctx if they were not waited for; then they come again when the consumer is opened again.
func (r *Runner) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	r.wake()
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.forced = true
	r.mu.Unlock()
	r.wake()
	<-r.ended
	return fmt.Errorf("consumer %q of plugin %q: closed with a batch under way: %w", r.Spec.Name, r.Plugin, ctx.Err())
}

func (r *Runner) wake() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// run is the goroutine.
func (r *Runner) run() {
	defer close(r.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		r.collect(now)
		if r.over() {
			r.finish()
			return
		}
		again, at := r.step(now)
		if again {
			continue
		}
		// A timer that fires for nothing once an hour costs less than one that has to be
		// drained.
		wait := time.Hour
		if !at.IsZero() {
			wait = max(at.Sub(now), 0)
		}
		timer.Reset(wait)
		select {
		case <-r.signal:
		case <-timer.C:
		}
	}
}

// step does what can be done now; see handOver.
func (r *Runner) step(now time.Time) (again bool, at time.Time) {
	r.read()
	again, at = r.handOver(now)
	r.read() // ahead, while the plugin is busy
	r.observe()
	return again, at
}

// over reports whether Close has nothing left to wait for.
func (r *Runner) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.forced || r.closing && r.call == nil && len(r.publishing) == 0
}

// finish gives everything up; what the runtime still has, it has references of its own to.
func (r *Runner) finish() {
	list := r.unpublished
	for e := range r.publishing {
		list = append(list, e)
	}
	if c := r.call; c != nil {
		if !r.abandon() {
			c.release()
		}
		r.call = nil
		r.told(c, fmt.Errorf("%w: the consumer is closed", ErrLate), time.Now())
		list = append(list, c.entries...)
	}
	r.queue.Close()
	for _, e := range list {
		r.window.free(e)
	}
	r.unpublished, r.publishing = nil, nil
	r.window.clear()
	r.observe()
}

// read fills the window from the queue.
func (r *Runner) read() {
	for {
		n, bytes := r.window.room(len(r.unpublished) + len(r.publishing))
		if n <= 0 || bytes <= 0 {
			return
		}
		if r.ready.Swap(false) {
			r.window.more = true
		}
		if !r.window.more {
			return
		}
		// Only an empty answer promises that ready is called, so what more says is not asked.
		list, _ := r.queue.Read(r.window.last, n, bytes)
		r.window.more = len(list) > 0
		r.window.add(list)
	}
}

// sooner returns the earlier one of two times, of which the zero time is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
