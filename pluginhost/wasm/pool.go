package wasm

import (
	"sync"
	"sync/atomic"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// pool has the instances that answer decisions and gates on the caller's goroutine.
//
// A call takes any slot that is free; sync.Pool remembers which one this P had last, so that P's seldom meet. If all
// are busy the batch is queued, more instances are made if there may be more, and whoever frees a slot has
// a goroutine take the next batch. As long as batches are pending, later ones queue up behind them, and they
// are answered in order: so the batches of one client are.
type pool struct {
	p     *Plugin
	slots []*slot // places; some may be empty
	hints sync.Pool
	given atomic.Uint32 // hints

	pending  atomic.Int64 // batches that are queued or whose answer has not been told
	unserved atomic.Int64 // batches that no goroutine has taken yet
	making   atomic.Int32 // instances
	retry    retry

	mu         sync.Mutex
	queue      []*waiting // in the order in which they are answered
	taken      int        // of queue
	delivering bool
}

// waiting is a batch in the queue.
type waiting struct {
	batch    *pluginv1.Batch
	answer   *pluginv1.Answer
	done     func(error)
	finished bool
	err      error
}

type hint struct{ slot uint32 }

func newPool(p *Plugin) *pool {
	l := &pool{p: p}
	for range 2 * p.module.o.Inline {
		l.slots = append(l.slots, new(slot))
	}
	l.hints.New = func() any { return &hint{l.given.Add(1) - 1} }
	return l
}

// take returns a slot with an instance, locked; nil if there is none free.
func (l *pool) take() *slot {
	h := l.hints.Get().(*hint)
	defer l.hints.Put(h)
	n := uint32(len(l.slots))
	for i := range n {
		at := (h.slot + i) % n
		s := l.slots[at]
		if !s.live.Load() || !s.mu.TryLock() {
			continue
		}
		if s.guest != nil {
			h.slot = at
			return s
		}
		s.mu.Unlock()
	}
	return nil
}

// free gives a slot back, and has the queue go on.
func (l *pool) free(s *slot) {
	empty := s.guest == nil
	s.mu.Unlock()
	if empty {
		l.grow()
	}
	if l.unserved.Load() > 0 {
		l.pump()
	}
}

func (l *pool) process(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	if l.pending.Load() == 0 {
		if s := l.take(); s != nil {
			err := l.run(s, b, a)
			l.free(s)
			return true, err
		}
	}
	return l.enqueue(b, a, done)
}

func (l *pool) run(s *slot, b *pluginv1.Batch, a *pluginv1.Answer) error {
	if l.p.state.Load() != serving {
		return l.p.unavailable()
	}
	answer, err := s.call(l.p.ctx, l.p.inlineTerms(b), request{message: b})
	if err != nil || len(answer) == 0 {
		return err
	}
	return l.p.module.decode(pluginv1.PluginOpProcess, answer, a)
}

func (l *pool) enqueue(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	if l.alive() == 0 && l.making.Load() == 0 {
		if err := l.retry.blocked(); err != nil {
			return true, err
		}
	}
	if l.pending.Load() >= maxQueue {
		return true, ErrBusy
	}
	l.mu.Lock()
	l.queue = append(l.queue, &waiting{batch: b, answer: a, done: done})
	l.pending.Add(1)
	l.unserved.Add(1)
	l.mu.Unlock()
	l.pump()
	l.grow()
	switch { // those who could have ended it may not have seen it
	case l.p.state.Load() != serving:
		go l.fail(l.p.unavailable())
	case l.alive() == 0 && l.making.Load() == 0:
		go l.fail(l.retry.last())
	}
	return false, nil
}

func (l *pool) alive() (n int) {
	for _, s := range l.slots {
		if s.live.Load() {
			n++
		}
	}
	return n
}

// pump sets goroutines to work, one for each batch and free slot.
func (l *pool) pump() {
	for l.unserved.Load() > 0 {
		s := l.take()
		if s == nil {
			return // who frees one comes back here
		}
		if w := l.next(); w != nil {
			go l.serve(w, s)
		} else {
			s.mu.Unlock()
		}
	}
}

func (l *pool) next() *waiting {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken == len(l.queue) {
		return nil
	}
	l.taken++
	l.unserved.Add(-1)
	return l.queue[l.taken-1]
}

func (l *pool) serve(w *waiting, s *slot) {
	err := l.run(s, w.batch, w.answer)
	l.free(s)
	l.finish(err, w)
}

// finish takes down how batches ended, and tells those whose turn it is.
func (l *pool) finish(err error, ended ...*waiting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range ended {
		w.finished, w.err = true, err
	}
	if l.delivering {
		return
	}
	l.delivering = true
	for len(l.queue) > 0 && l.queue[0].finished {
		w := l.queue[0]
		l.queue[0] = nil
		l.queue = l.queue[1:]
		l.taken--
		l.mu.Unlock()
		w.done(w.err)
		l.mu.Lock()
		l.pending.Add(-1)
	}
	l.delivering = false
	if len(l.queue) == 0 {
		l.queue = nil
	}
}

// fail ends all batches that no goroutine has taken.
func (l *pool) fail(err error) {
	l.mu.Lock()
	rest := append([]*waiting(nil), l.queue[l.taken:]...)
	l.taken = len(l.queue)
	l.unserved.Add(-int64(len(rest)))
	l.mu.Unlock()
	l.finish(err, rest...)
}

// grow makes one more instance in the background, if one is missing and it is not too early.
func (l *pool) grow() {
	if l.retry.blocked() != nil || l.p.state.Load() != serving {
		return
	}
	alive := l.alive()
	wanted := min(max(l.p.module.o.Inline, alive+int(l.unserved.Load())), len(l.slots))
	if alive+int(l.making.Load()) >= wanted {
		return
	}
	l.making.Add(1)
	go func() {
		err := l.add()
		if l.making.Add(-1); err != nil && l.making.Load() == 0 && l.alive() == 0 {
			l.fail(err)
		}
		l.pump()
	}()
}

// add makes an instance for an empty slot; nil also if there is none.
func (l *pool) add() error {
	l.p.life.Lock()
	defer l.p.life.Unlock()
	return l.addLocked()
}

// addLocked is add with life held: Configure must not come between Start and the slot.
func (l *pool) addLocked() error {
	if l.p.state.Load() != serving && l.p.state.Load() != starting {
		return l.p.unavailable()
	}
	g, number, err := l.p.make(l.p.ctx, false)
	if l.retry.result(err); err != nil {
		return err
	}
	for _, s := range l.slots {
		if s.live.Load() {
			continue
		}
		s.mu.Lock()
		if s.guest == nil && !l.p.closed.Load() {
			s.put(g, number)
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
	}
	g.close()
	return nil
}

// close gives all instances up: those that are busy when their call has ended.
func (l *pool) close() {
	l.fail(ErrClosed)
	for _, s := range l.slots {
		if s.mu.TryLock() {
			s.drop()
			s.mu.Unlock()
			continue
		}
		go func() {
			s.mu.Lock()
			s.drop()
			s.mu.Unlock()
		}()
	}
}
