package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// maxQueue bounds the batches that wait to be sent. Clients wait with their connections paused, observations are limited by
// pluginhost; so this is for faults.
const maxQueue = 8192

// lane is what keeps batches apart in the queue.
type lane uint8

const (
	// ordinary batches are sent first.
	ordinary lane = iota
	// background ones are sent when nothing ordinary waits, and never take all of the window.
	background
	lanes
)

// spared is how much of the window background batches leave to ordinary ones.
const spared = 2

// kind is what a pipe must know of its messages.
type kind[In, Out any] struct {
	op     pluginv1.PluginOp
	method string
	number func(in *In, seq uint64)
	proto  func(in *In) pluginv1.Proto
	seq    func(out *Out) uint64
	// give hands over what came; its error is that of the batch.
	give func(to, from *Out) error
}

// call is one batch.
type call[In, Out any] struct {
	in   *In
	out  *Out
	done func(error)
	lane lane
}

// pipe asks batches over a stream, which it opens when there is something to ask, and again after it has broken.
type pipe[In, Out any] struct {
	kind   *kind[In, Out]
	plugin *Plugin
	window int

	mu   sync.Mutex
	link *link[In, Out] // nil: none is open
}

// ask takes a batch. The error means that done will not be called.
func (p *pipe[In, Out]) ask(c call[In, Out]) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A link that is made after this is seen by Close, which ends all links.
	if err := p.plugin.over(p.kind.op); err != nil {
		return err
	}
	if p.link == nil {
		p.link = newLink(p)
		go p.link.send()
	}
	return p.link.add(c)
}

// close ends what is under way.
func (p *pipe[In, Out]) close() {
	p.mu.Lock()
	l := p.link
	p.mu.Unlock()
	if l != nil {
		l.fail(ErrClosed)
	}
}

// count returns how many batches wait to be sent, and how many for their answer.
func (p *pipe[In, Out]) count() (queued, unanswered int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == nil {
		return 0, 0
	}
	return p.link.queued(), p.link.unanswered
}

// link is one stream of a pipe, until it breaks. What follows cancel is guarded by pipe.mu.
type link[In, Out any] struct {
	pipe   *pipe[In, Out]
	wake   chan struct{} // 1 deep: there may be something to send
	ctx    context.Context
	cancel context.CancelFunc

	queue      [lanes]fifo[call[In, Out]]
	sent       map[uint64]call[In, Out]
	unanswered int // sent, and the one that is about to be
	observing  int // of these: background
	broken     error
}

func newLink[In, Out any](p *pipe[In, Out]) *link[In, Out] {
	l := &link[In, Out]{pipe: p, wake: make(chan struct{}, 1), sent: map[uint64]call[In, Out]{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// add is called with pipe.mu held.
func (l *link[In, Out]) add(c call[In, Out]) error {
	if l.queued() >= maxQueue {
		return ErrBusy
	}
	l.queue[c.lane].push(c)
	l.stir()
	return nil
}

func (l *link[In, Out]) queued() int { return l.queue[ordinary].len() + l.queue[background].len() }

func (l *link[In, Out]) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// send is the goroutine that sends.
func (l *link[In, Out]) send() {
	stream, err := l.pipe.plugin.conn.stream(l.ctx, l.pipe.kind.method)
	if err != nil {
		l.fail(err)
		return
	}
	go l.receive(stream)
	in := new(In)
	for seq := uint64(1); ; {
		c, ok := l.next()
		if !ok {
			return
		}
		*in = *c.in
		l.pipe.kind.number(in, seq)
		f, err := encode(l.pipe.kind.proto(in))
		*in = *new(In)
		if err != nil {
			l.drop(c, err)
			continue
		}
		if err := l.register(seq, c); err != nil {
			f.data.Free()
			c.done(err)
			return
		}
		seq++
		if err := stream.SendMsg(&f); err != nil {
			if !errors.Is(err, io.EOF) { // else receive gets the reason
				l.fail(err)
			}
			return
		}
	}
}

// next waits for a batch that may be sent, false at the end.
func (l *link[In, Out]) next() (call[In, Out], bool) {
	for {
		l.pipe.mu.Lock()
		if c, ok := l.take(); ok {
			l.pipe.mu.Unlock()
			return c, true
		}
		l.pipe.mu.Unlock()
		select {
		case <-l.wake:
		case <-l.ctx.Done():
			return call[In, Out]{}, false
		}
	}
}

// take is called with pipe.mu held.
func (l *link[In, Out]) take() (c call[In, Out], ok bool) {
	switch window := l.pipe.window; {
	case l.unanswered >= window:
		return c, false
	case l.queue[ordinary].len() > 0:
		c = l.queue[ordinary].pop()
	case l.queue[background].len() > 0 && l.observing < max(window-spared, 1):
		c = l.queue[background].pop()
		l.observing++
	default:
		return c, false
	}
	l.unanswered++
	return c, true
}

// register notes that a batch is about to be sent. From now on it may be answered, or failed.
func (l *link[In, Out]) register(seq uint64, c call[In, Out]) error {
	l.pipe.mu.Lock()
	defer l.pipe.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	l.sent[seq] = c
	return nil
}

// drop ends a batch that cannot be sent.
func (l *link[In, Out]) drop(c call[In, Out], err error) {
	l.pipe.mu.Lock()
	l.settle(c)
	l.pipe.mu.Unlock()
	c.done(err)
}

// settle gives the place in the window back. Call with pipe.mu held.
func (l *link[In, Out]) settle(c call[In, Out]) {
	l.unanswered--
	if c.lane == background {
		l.observing--
	}
	if l.queued() > 0 {
		l.stir()
	}
}

// receive is the goroutine that receives, and calls done.
func (l *link[In, Out]) receive(stream interface{ RecvMsg(any) error }) {
	got := new(Out)
	for {
		if err := stream.RecvMsg(got); err != nil {
			if errors.Is(err, io.EOF) {
				err = &Error{Op: l.pipe.kind.op, Cause: Broken, Reason: "the plugin has ended the stream"}
			}
			l.fail(err)
			return
		}
		seq := l.pipe.kind.seq(got)
		c, ok := l.answered(seq)
		if !ok {
			l.fail(&Error{Op: l.pipe.kind.op, Cause: BadAnswer, Reason: fmt.Sprintf("it has answered batch %d, which is not under way", seq)})
			return
		}
		c.done(l.pipe.kind.give(c.out, got))
		*got = *new(Out)
	}
}

func (l *link[In, Out]) answered(seq uint64) (call[In, Out], bool) {
	l.pipe.mu.Lock()
	defer l.pipe.mu.Unlock()
	c, ok := l.sent[seq]
	if ok {
		delete(l.sent, seq)
		l.settle(c)
	}
	return c, ok
}

// fail ends the link and everything that is under way, in order. Only the first call has an effect.
func (l *link[In, Out]) fail(err error) {
	if !errors.Is(err, ErrClosed) {
		err = l.pipe.plugin.failure(l.pipe.kind.op, err)
	}
	l.pipe.mu.Lock()
	if l.broken != nil {
		l.pipe.mu.Unlock()
		return
	}
	l.broken = err
	if l.pipe.link == l {
		l.pipe.link = nil
	}
	var calls []call[In, Out]
	seqs := make([]uint64, 0, len(l.sent))
	for seq := range l.sent {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	for _, seq := range seqs {
		calls = append(calls, l.sent[seq])
	}
	for i := range l.queue {
		for l.queue[i].len() > 0 {
			calls = append(calls, l.queue[i].pop())
		}
	}
	clear(l.sent)
	l.pipe.mu.Unlock()
	l.cancel()
	for _, c := range calls {
		c.done(err)
	}
}

// fifo is a queue that keeps its memory while it is used.
type fifo[T any] struct {
	items []T
	first int
}

func (f *fifo[T]) len() int { return len(f.items) - f.first }

func (f *fifo[T]) push(x T) {
	if f.first > 0 && len(f.items) == cap(f.items) {
		n := copy(f.items, f.items[f.first:])
		clear(f.items[n:])
		f.items, f.first = f.items[:n], 0
	}
	f.items = append(f.items, x)
}

func (f *fifo[T]) pop() T {
	x := f.items[f.first]
	f.items[f.first] = *new(T)
	f.first++
	if f.first == len(f.items) {
		f.items, f.first = f.items[:0], 0
	}
	return x
}
