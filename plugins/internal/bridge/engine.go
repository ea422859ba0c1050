package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Options say what a bridge is.
type Options struct {
	Host *sdk.Host
	// Kind is the plugin's registered name, as "bridge-kafka".
	Kind string
	// Routes to the other side, checked.
	Routes []*Route
	// Send brings a batch to the other side and returns when what is to be known of it is
	// known, at the latest when ctx ends. What it does not speak of is done if it returns
	// nil. With an error the other side is held to be out of reach: what is unsaid
	// comes again after a pause. It is called by one goroutine at a time for each route.
	Send func(ctx context.Context, b *Batch) error
	// Fields are those of messages that Send needs beside the payload.
	Fields sdk.Field
	// Sources are the names of routes from the other side, for the status.
	Sources []string
	// Remotes describes the connections to the other side, for status and health. It may
	// be nil.
	Remotes func() []Remote
}

// Engine is what a bridge's plugin embeds. It is safe for concurrent use.
type Engine struct {
	mu      sync.RWMutex
	o       Options
	routes  map[string]*route
	order   []*route
	sources map[string]*figures
	host    *sdk.Host
	figures *meters
	ctx     context.Context
	stop    context.CancelFunc
}

// route is one route at work.
type route struct {
	*Route
	*progress
	scope template.Scope
}

// progress is what a route knows beside its config, and keeps when that changes.
type progress struct {
	figures
	waiting waiting

	sending sync.Mutex // held while Send is called

	mu       sync.Mutex
	backoff  Backoff
	ahead    map[uint64]error  // offsets that are settled out of turn; not nil: a dead letter, and why
	attempts map[uint64]uint32 // failures, by offset
}

func newProgress() *progress {
	p := &progress{ahead: map[uint64]error{}, attempts: map[uint64]uint32{}}
	p.waiting.waiters, p.waiting.settled = map[uint64][]*waiter{}, map[uint64]error{}
	return p
}

// Setup begins to work as o says, in place of what was before. It is called by Start and
// Configure, when the config is known to be right.
func (e *Engine) Setup(o Options) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.routes
	if e.ctx == nil {
		e.ctx, e.stop = context.WithCancel(context.Background())
		e.host, e.figures = o.Host, newMeters(o.Host)
	}
	e.o, e.routes, e.order = o, map[string]*route{}, nil
	for _, r := range o.Routes {
		n := &route{Route: r, scope: template.Scope{
			Plugin: o.Host.Name(), Route: r.Name, Node: o.Host.Info().Node, Codec: r.Codec,
		}}
		if old := before[r.Name]; old != nil {
			n.progress = old.progress
		} else {
			n.progress = newProgress()
		}
		n.mu.Lock()
		n.backoff = Backoff{Min: r.RetryMin.Std(), Max: r.RetryMax.Std()}
		n.mu.Unlock()
		n.waiting.enable(r.Ack == AfterRemote)
		e.routes[r.Name] = n
		e.order = append(e.order, n)
	}
	sources := map[string]*figures{}
	for _, name := range o.Sources {
		if sources[name] = e.sources[name]; sources[name] == nil {
			sources[name] = new(figures)
		}
	}
	e.sources = sources
}

// Queues are those of a bridge's Plugin: the config makes them.
func Queues(fields sdk.Field) []sdk.Queue {
	return []sdk.Queue{{Name: "*", TopicFilters: []string{"#", "$SYS/#"}, Fields: fields | sdk.FieldPayload}}
}

// Hooks are those of a bridge's Plugin: the gate of ack: after_remote.
func Hooks() []sdk.Hook {
	return []sdk.Hook{{Point: sdk.PointGatePublish, Fields: sdk.FieldPayload | sdk.FieldUserProperties | sdk.FieldProperties, MaxBatch: 1024, Deadline: time.Minute}}
}

// Narrow implements sdk.Narrower: a queue for each route, a gate if a route needs it.
func (e *Engine) Narrow() *sdk.Narrowed {
	e.mu.RLock()
	defer e.mu.RUnlock()
	n := &sdk.Narrowed{}
	var filters []string
	min, all := uint32(2), false
	for _, r := range e.order {
		n.Queues = append(n.Queues, r.queue(e.o.Fields))
		if r.Ack == AfterRemote {
			filters, all = append(filters, r.Filters...), true
			min = minOf(min, r.MinQoS)
		}
	}
	if all {
		h := Hooks()[0]
		h.TopicFilters, h.MinQoS = filters, min
		n.Hooks = append(n.Hooks, h)
	}
	return n
}

func minOf(a, b uint32) uint32 {
	if a < b {
		return a
	}
	return b
}

// Stop implements sdk.Stopper for bridges without more to do: it ends what waits.
func (e *Engine) Stop(context.Context, sdk.StopReason) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.stop != nil {
		e.stop()
	}
	return nil
}

// Route finds a route that is at work; nil if there is none.
func (e *Engine) route(name string) *route {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.routes[name]
}

// margin is how long before the host's deadline Send is called back.
const margin = 2 * time.Second

// Consume implements sdk.Consumer.
func (e *Engine) Consume(ctx context.Context, b *sdk.ConsumeBatch) error {
	r := e.route(b.Queue)
	if r == nil { // its config has just gone
		b.StopAt(0, time.Second, "there is no such route now")
		return nil
	}
	batch := r.collect(b)
	began := time.Now()
	var err error
	if len(batch.Messages) > 0 {
		r.began(batch)
		err = e.send(ctx, r, batch)
	}
	return e.conclude(r, b, batch, time.Since(began), err)
}

// send calls Send within the deadline of ctx, less what is needed to answer.
func (e *Engine) send(ctx context.Context, r *route, b *Batch) error {
	if d, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, d.Add(-margin))
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.mu.RLock()
	send, life := e.o.Send, e.ctx
	e.mu.RUnlock()
	defer context.AfterFunc(life, cancel)()
	r.sending.Lock()
	defer r.sending.Unlock()
	err := send(ctx, b)
	b.settle(err)
	return err
}

// collect takes the messages out of a batch that are not settled already.
func (r *route) collect(b *sdk.ConsumeBatch) *Batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Message, 0, b.Len())
	for i := range b.Len() {
		d := b.At(i)
		if _, is := r.ahead[d.Offset]; is {
			continue
		}
		list = append(list, Message{Message: d.Message, Client: d.Client, Offset: d.Offset, Attempt: r.attempts[d.Offset] + 1, place: i})
	}
	return newBatch(r, list)
}

// conclude tells the host what has become of a batch: all that is settled up to the
// first message that is not, and that the rest has to come again, in order. What is
// settled behind that message is remembered, since saying so would let it be overtaken.
func (e *Engine) conclude(r *route, b *sdk.ConsumeBatch, batch *Batch, took time.Duration, err error) error {
	r.mu.Lock()
	for i := range batch.Messages {
		r.note(batch, i)
	}
	first := b.Len()
	for i := range b.Len() {
		offset := b.At(i).Offset
		reason, settled := r.ahead[offset]
		if !settled {
			first = i
			break
		}
		delete(r.ahead, offset)
		delete(r.attempts, offset)
		if reason != nil {
			b.DeadLetter(i, cut(reason.Error()))
		} else {
			b.Ack(i)
		}
	}
	if first == b.Len() {
		r.backoff.Reset()
		r.mu.Unlock()
		r.waiting.ended(batch, true, time.Now())
		e.count(r, batch, took, nil)
		return nil
	}
	why := batch.reason(first, err)
	after := r.backoff.Next()
	r.mu.Unlock()
	var h *held
	if errors.As(why, &h) {
		after = max(h.after, time.Millisecond) // 0 would be the queue's own pause, which doubles
	}
	r.waiting.ended(batch, false, time.Now())
	e.count(r, batch, took, why)
	for i := first; i < b.Len(); i++ {
		b.Retry(i, after, cut(why.Error()))
	}
	if h != nil || errors.Is(why, context.Canceled) {
		return nil // known already, or the plugin ends: nothing for the log
	}
	return why
}

// note takes over what was said of the i-th message of a batch. It is called with mu held.
func (r *route) note(batch *Batch, i int) {
	m := &batch.Messages[i]
	reason := batch.reasons[i]
	switch batch.outcomes[i] {
	case failed:
		r.attempts[m.Offset]++
		n := r.attempts[m.Offset]
		if r.MaxAttempts == 0 || n < r.MaxAttempts {
			return
		}
		reason = fmt.Errorf("given up after %d attempts: %w", n, reason)
		batch.outcomes[i], batch.reasons[i] = refused, reason
	case done:
		reason = nil
	case unsaid:
		return
	}
	r.ahead[m.Offset] = reason
	r.waiting.settle(m.Message, reason)
}

// reason is why the message at a place of the ConsumeBatch is not settled.
func (b *Batch) reason(place int, err error) error {
	for i := range b.Messages {
		if b.Messages[i].place == place && b.reasons[i] != nil {
			return b.reasons[i]
		}
	}
	if err == nil {
		return errNotSaid
	}
	return err
}

// held is an error after which the host shall not wait for long.
type held struct {
	error
	after time.Duration
}

func (h *held) Unwrap() error { return h.error }

// Hold makes an error of Send for bridges that know when their connection is back, and
// have waited for it: the messages come again after the given pause, 0 for at once, and the
// log is told nothing that it does not know of Health.
func Hold(err error, after time.Duration) error { return &held{err, after} }

// cut keeps reasons to the contract's size.
func cut(s string) string {
	if len(s) > 1000 {
		return s[:1000]
	}
	return s
}
