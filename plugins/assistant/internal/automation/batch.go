package automation

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/model"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// batch is an *sdk.ConsumeBatch.
type batch interface {
	Len() int
	At(i int) sdk.Delivery
	DeadLetter(i int, reason string)
	StopAt(i int, after time.Duration, reason string)
}

// item is a message that was taken.
type item struct {
	offset    uint64
	message   *sdk.Message
	client    *sdk.Client
	namespace string
	text      string // what the model is shown
}

// run is what goes into one request: messages of one namespace, in order.
type run struct {
	items []*item
	size  int // tokens, by estimate
}

// consume brings a batch as far as it can.
func (a *automation) consume(ctx context.Context, b batch) {
	a.consuming.Lock()
	defer a.consuming.Unlock()
	a.prune(b.At(0).Offset)
	now := time.Now()
	if open := a.open(b, now); open > 0 {
		b.StopAt(0, open, "the window is open")
		return
	}
	w := &work{a: a, ctx: ctx}
	w.run(a.group(a.choose(b, now)))
	a.mark(ctx, b, w.pause)
}

// prune forgets what cannot come again: the queue keeps the order.
func (a *automation) prune(first uint64) {
	past := func(offset uint64) bool { return offset < first }
	maps.DeleteFunc(a.settled, func(offset uint64, _ string) bool { return past(offset) })
	maps.DeleteFunc(a.attempts, func(offset uint64, _ int) bool { return past(offset) })
}

// open is how long the window of a batch is still open; 0 if it is not, or if nothing more
// would fit in.
func (a *automation) open(b batch, now time.Time) time.Duration {
	m := b.At(0).Message
	if a.each() || b.Len() >= most || m.ReceivedMs == 0 {
		return 0
	}
	return min(a.Window.Std()-now.Sub(time.UnixMilli(m.ReceivedMs)), a.Window.Std())
}

// choose returns what is taken of a batch. The others are settled.
func (a *automation) choose(b batch, now time.Time) (items []*item) {
	left := map[string]int{}
	for i := range b.Len() {
		d := b.At(i)
		if _, done := a.settled[d.Offset]; done {
			continue
		}
		var s template.Source
		s.Reset(&a.scope, d.Message, d.Client)
		if why := a.chooser.choose(d.Offset, &s, now); why != "" {
			a.settled[d.Offset] = ""
			left[why]++
			continue
		}
		it := &item{offset: d.Offset, message: d.Message, client: d.Client, namespace: d.Message.Namespace}
		if it.namespace == "" {
			it.namespace = d.Client.Namespace
		}
		var err error
		if it.text, err = a.show(&s); err != nil {
			a.give(it, "message: "+err.Error())
			continue
		}
		items = append(items, it)
	}
	for why, n := range left {
		a.count(why, n)
	}
	return items
}

// give gives a message up.
func (a *automation) give(it *item, why string) {
	a.settled[it.offset] = why
	a.count(dead, 1)
}

// group makes requests of messages, in order of their first ones.
func (a *automation) group(items []*item) (runs []*run) {
	room := a.room()
	last := map[string]*run{}
	for _, it := range items {
		size := model.TextTokens(it.text) + itemTokens
		key, err := a.key(it)
		if err != nil {
			a.give(it, "group: "+err.Error())
			continue
		}
		r := last[key]
		if r == nil || a.each() || len(r.items) >= a.MaxMessages || r.size+size > room {
			r = &run{}
			runs, last[key] = append(runs, r), r
		}
		r.items = append(r.items, it)
		r.size += size
	}
	return runs
}

// key is the same for what goes together.
func (a *automation) key(it *item) (string, error) {
	var s template.Source
	s.Reset(&a.scope, it.message, it.client)
	group, err := a.Group.Text(&s)
	return it.namespace + "\x00" + group, err
}

// mark tells the host what has become of a batch. What is settled behind the first message
// that is not comes again with it, and is known then.
func (a *automation) mark(ctx context.Context, b batch, pause time.Duration) {
	stop := -1
	for i := range b.Len() {
		offset := b.At(i).Offset
		why, done := a.settled[offset]
		switch {
		case !done && stop < 0:
			stop = i
		case done && why != "" && stop < 0:
			b.DeadLetter(i, why)
		}
		// If the host does not wait any more, all of it comes again.
		if done && stop < 0 && ctx.Err() == nil {
			delete(a.settled, offset)
		}
		if done {
			delete(a.attempts, offset)
		}
	}
	if stop >= 0 {
		b.StopAt(stop, max(pause, time.Millisecond), "the automation waits")
	}
}

// work is the requests of a batch under way.
type work struct {
	a   *automation
	ctx context.Context

	mu sync.Mutex
	// stopped says that nothing more is to be begun; what is not settled comes again after
	// pause.
	stopped bool
	pause   time.Duration
}

// run makes requests, as many at once as may be.
func (w *work) run(runs []*run) {
	next := make(chan *run, len(runs))
	for _, r := range runs {
		next <- r
	}
	close(next)
	var group sync.WaitGroup
	for n := range min(w.a.Concurrency, len(runs)) {
		group.Go(func() {
			for r := range next {
				w.settle(r, n)
			}
		})
	}
	group.Wait()
}

// margin is what is kept of a batch's time for publishing.
const margin = 15 * time.Second

// settle makes a request, and divides it if what is in it will not be taken.
func (w *work) settle(r *run, worker int) {
	if !w.begin() {
		return
	}
	err := w.a.do(w.ctx, r, worker)
	if w.over(r, err) {
		return
	}
	if len(r.items) == 1 || errors.As(err, new(*undeliverable)) {
		w.mu.Lock()
		defer w.mu.Unlock()
		f := fault.Of(err)
		for _, it := range r.items {
			w.a.give(it, string(f.Code)+": "+f.Message)
		}
		return
	}
	half := len(r.items) / 2
	w.settle(&run{items: r.items[:half]}, worker)
	w.settle(&run{items: r.items[half:]}, worker)
}

// begin reports whether a request may be begun.
func (w *work) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d, ok := w.ctx.Deadline(); w.ctx.Err() != nil || ok && time.Until(d) < w.a.Timeout.Std()+margin {
		w.stopped = true
	}
	return !w.stopped
}

// over notes what came of a request. It reports false if its messages are to be divided,
// or given up.
func (w *work) over(r *run, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.a
	if err == nil {
		for _, it := range r.items {
			a.settled[it.offset] = ""
		}
		a.count(answered, len(r.items))
		a.backoff.Reset()
		a.works()
		return true
	}
	switch f := fault.Of(err); blame(f.Code) {
	case theContent:
		return false
	case perhaps:
		tries := 0
		for _, it := range r.items {
			a.attempts[it.offset]++
			tries = max(tries, a.attempts[it.offset])
		}
		if tries >= a.MaxAttempts && w.ctx.Err() == nil {
			return false
		}
	}
	if !w.stopped || w.pause == 0 {
		// After max_age there is nothing left to try.
		w.pause = min(max(a.backoff.Next(), fault.Of(err).RetryAfter), lastPause, a.MaxAge.Std())
	}
	w.stopped = true
	a.waiting(err)
	return true
}

// What an error is the fault of.
type cause int

const (
	theMoment cause = iota
	theContent
	perhaps
)

func blame(c fault.Code) cause {
	switch c {
	case fault.Busy, fault.RateLimited, fault.Exhausted, fault.Unavailable, fault.UpstreamRate, fault.Stopping:
		return theMoment
	case fault.TooLarge, fault.Filtered, fault.Moderated, fault.BadRequest, fault.NoResponse:
		return theContent
	}
	return perhaps
}

// waiting tells the log that the automation waits, once.
func (a *automation) waiting(err error) {
	if a.waits || fault.Is(err, fault.Stopping) {
		return
	}
	a.waits = true
	f := fault.Of(err)
	text := f.Message
	if cause := errors.Unwrap(f); cause != nil {
		text += ": " + a.redact(cause.Error())
	}
	a.host.Logger().Warn("an automation waits: its messages stay in its queue", "automation", a.Name, "assistant", a.Assistant,
		"code", string(f.Code), "error", text)
}

// works tells the log that it does not wait any more.
func (a *automation) works() {
	if a.waits {
		a.waits = false
		a.host.Logger().Info("an automation works again", "automation", a.Name, "assistant", a.Assistant)
	}
}
