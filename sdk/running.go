package sdk

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/internal/order"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// mode is where an instance runs, which decides on whose goroutine methods run.
type mode uint8

const (
	// builtin: what must be quick on the caller's goroutine, the rest on others.
	builtin mode = iota
	// inProcess: everything on other goroutines, since the caller reads the stream.
	inProcess
	// inGuest: everything on the caller's, since there is no other.
	inGuest
)

// defaultWorkers is enough for handlers that wait for a database, and few enough for the
// memory of what they hold.
const defaultWorkers = 64

var _ instance.Plugin = (*running)(nil)

// running is an instance of a plugin.
type running struct {
	def     Plugin
	mode    mode
	value   any
	methods methods
	service v1host.Service
	tasks   *order.Runner
	scratch sync.Pool // of *scratch
	base    context.Context
	cancel  context.CancelFunc

	mu     sync.Mutex
	host   *Host // since Start
	calls  map[*call]struct{}
	closed bool
	held   []*pending // of a guest: to be released with the next call
}

func open(p Plugin, service v1host.Service, m mode) (*running, error) {
	if _, err := p.Manifest(); err != nil {
		return nil, err
	}
	value := p.New()
	workers := p.Workers
	if workers <= 0 {
		workers = defaultWorkers
	}
	r := &running{
		def: p, mode: m, value: value, methods: methodsOf(value), service: service,
		tasks: order.New(workers), calls: map[*call]struct{}{},
	}
	r.scratch.New = func() any { return &scratch{r: r} }
	r.base, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

var errClosed = errors.New("the plugin's instance is closed")

// call is one that goes on after the method that the host has called.
type call struct {
	r    *running
	done func(error)
}

// begin notes a call, so that Close can end it. It returns nil if it is too late.
func (r *running) begin(done func(error)) *call {
	c := &call{r, done}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.calls[c] = struct{}{}
	return c
}

// end hands the result over, unless Close was first.
func (c *call) end(commit func(), err error) (handedOver bool) {
	c.r.mu.Lock()
	_, open := c.r.calls[c]
	delete(c.r.calls, c)
	if open {
		commit()
	}
	c.r.mu.Unlock()
	if open {
		c.done(err)
	}
	return open
}

// Close ends the instance. Methods of the plugin that run are told by their contexts.
func (r *running) Close() error {
	r.mu.Lock()
	calls := r.calls
	r.calls, r.closed = map[*call]struct{}{}, true
	r.mu.Unlock()
	r.cancel()
	for c := range calls {
		c.done(errClosed)
	}
	return nil
}

// bounded is a context for a call with a deadline from now.
func (r *running) bounded(deadlineMs uint32) (context.Context, context.CancelFunc) {
	if deadlineMs == 0 || r.mode == inGuest {
		return r.base, func() {}
	}
	return context.WithTimeout(r.base, time.Duration(deadlineMs)*time.Millisecond)
}

// quick reports whether a point is dealt with on the caller's goroutine.
func (r *running) quick(p Point) bool {
	if r.mode != builtin {
		return r.mode == inGuest
	}
	switch p {
	case PointAuthorizeReceive, PointInterceptDeliver:
		return true
	case PointAuthorizePublish, PointAuthorizeSubscribe, PointInterceptPublish:
		return !r.def.hook(p).Blocking
	}
	return false
}

// observing is the key of all observations: an Observer gets them one by one. No
// connection has this number.
const observing = 0

// Process implements instance.Plugin.
func (r *running) Process(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	if r.quick(b.Point) {
		return r.processNow(b, a, done)
	}
	c := r.begin(done)
	if c == nil {
		return true, errClosed
	}
	var keys []uint64
	if b.Point.Mode() == pluginv1.Observation {
		keys = append(keys, observing)
	} else {
		keys = make([]uint64, 0, len(b.Clients))
		for i := range b.Clients {
			if n := b.Clients[i].Connection; n != 0 {
				keys = append(keys, n)
			}
		}
	}
	r.tasks.Go(keys, func() {
		ctx, cancel := r.bounded(b.DeadlineMs)
		defer cancel()
		// An answer of its own, since the host takes a back when it closes.
		var own pluginv1.Answer
		s := &scratch{r: r}
		err := s.answer(ctx, b, &own)
		if c.end(func() { a.Verdicts, a.Error = own.Verdicts, own.Error }, err) {
			release(s.held)
		}
	})
	return false, nil
}

func (r *running) processNow(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	r.releaseHeld()
	s := r.scratch.Get().(*scratch)
	err := s.answer(r.base, b, a)
	held := s.held
	s.held = nil
	r.scratch.Put(s)
	if held == nil {
		return true, err
	}
	if r.mode == inGuest {
		r.held = held
		return true, err
	}
	// The host must know of the deferral before it hears of its completion.
	c := r.begin(done)
	if c == nil {
		return true, errClosed
	}
	go func() {
		if c.end(func() {}, err) {
			release(held)
		}
	}()
	return false, nil
}

// releaseHeld is called where a call begins: with it a guest's host has seen the last
// answer, and may hear of the completion of what that deferred.
func (r *running) releaseHeld() {
	if r.mode == inGuest && r.held != nil {
		release(r.held)
		r.held = nil
	}
}

// Consume implements instance.Plugin.
func (r *running) Consume(b *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult, done func(error)) (bool, error) {
	if r.methods.consumer == nil {
		return true, errors.New("the plugin does not consume")
	}
	r.releaseHeld()
	if r.mode == inGuest {
		return true, r.consume(r.base, b, out)
	}
	c := r.begin(done)
	if c == nil {
		return true, errClosed
	}
	r.tasks.Go(nil, func() {
		ctx, cancel := r.bounded(b.DeadlineMs)
		defer cancel()
		var own pluginv1.ConsumeResult
		err := r.consume(ctx, b, &own)
		c.end(func() {
			out.AcknowledgedOffset, out.Results, out.Error = own.AcknowledgedOffset, own.Results, own.Error
		}, err)
	})
	return false, nil
}

func (r *running) consume(ctx context.Context, b *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) (err error) {
	defer r.recovered(&err)
	batch := &ConsumeBatch{Queue: b.Consumer, batch: b, marks: make([]mark, len(b.Deliveries))}
	failure := r.methods.consumer.Consume(ctx, batch)
	if failure != nil {
		out.Error = cut(failure.Error())
	} else if n := len(b.Deliveries); n > 0 {
		out.AcknowledgedOffset = b.Deliveries[n-1].Offset
	}
	for i, m := range batch.marks {
		if m.outcome == 0 || m.outcome == pluginv1.OutcomeOk && failure == nil {
			continue
		}
		out.Results = append(out.Results, pluginv1.DeliveryResult{
			Offset: b.Deliveries[i].Offset, Outcome: m.outcome, Reason: cut(m.reason), RetryAfterMs: millis(m.after),
		})
	}
	return nil
}
