package wasm

import (
	"context"
	"sync"
	"sync/atomic"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// maxQueue bounds the calls that wait for the worker. Authentications wait with their connections paused, observations
// are limited by pluginhost; so this is for faults.
const maxQueue = 8192

// worker is the instance that may wait, its goroutine, and the queue of calls for it.
type worker struct {
	slot  slot
	p     *Plugin
	retry retry

	pending atomic.Int64 // calls that are in the queue, or whose end has not been told yet

	mu     sync.Mutex
	queue  []*job
	closed bool
	wake   chan struct{} // 1 deep
}

// job is a call for the worker.
type job struct {
	ctx       context.Context
	op        pluginv1.PluginOp
	request   request
	abandoned atomic.Bool // nobody waits for it any more
	// finish gets the answer, which is its to keep, once. It runs on any goroutine.
	finish func(answer []byte, err error)
}

// submit queues a call. The error means that finish will not be called.
func (w *worker) submit(j *job) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if len(w.queue) >= maxQueue {
		return ErrBusy
	}
	w.pending.Add(1)
	w.queue = append(w.queue, j)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

// next waits for a call; nil at the end.
func (w *worker) next() *job {
	for {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return nil
		}
		if len(w.queue) > 0 {
			j := w.queue[0]
			w.queue[0] = nil
			w.queue = w.queue[1:]
			w.mu.Unlock()
			return j
		}
		w.queue = nil
		w.mu.Unlock()
		<-w.wake
	}
}

// loop is the goroutine.
func (w *worker) loop() {
	for j := w.next(); j != nil; j = w.next() {
		answer, err := w.run(j)
		if err != nil && w.isClosed() {
			err = ErrClosed
		}
		j.finish(answer, err)
		w.pending.Add(-1)
		if !w.slot.live.Load() {
			w.slot.mu.Lock()
			_ = w.revive() // so that the next call need not wait for it; that call is told the error
			w.slot.mu.Unlock()
		}
	}
	w.slot.mu.Lock()
	w.slot.drop()
	w.slot.mu.Unlock()
	w.p.release()
}

func (w *worker) run(j *job) ([]byte, error) {
	if j.abandoned.Load() {
		return nil, context.Canceled
	}
	ctx := j.ctx
	if w.p.preemptible.Load() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.p.module.o.Deadline)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.slot.mu.Lock()
	defer w.slot.mu.Unlock()
	if err := w.revive(); err != nil {
		return nil, err
	}
	return w.slot.call(ctx, w.p.terms(j.op, true), j.request)
}

// inline answers a batch on the caller's goroutine if the worker has nothing to do; else it returns false.
func (w *worker) inline(b *pluginv1.Batch, a *pluginv1.Answer) (bool, error) {
	if w.pending.Load() > 0 || !w.slot.mu.TryLock() {
		return false, nil
	}
	if w.slot.guest == nil {
		w.slot.mu.Unlock()
		return false, nil
	}
	answer, err := w.slot.call(w.p.ctx, w.p.inlineTerms(b), request{message: b})
	w.slot.mu.Unlock()
	if err != nil || len(answer) == 0 {
		return true, err
	}
	return true, w.p.module.decode(pluginv1.PluginOpProcess, answer, a)
}

func (w *worker) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// revive makes a new instance if the last one is gone. Call with slot.mu held.
func (w *worker) revive() error {
	if w.slot.guest != nil {
		return nil
	}
	if err := w.retry.blocked(); err != nil {
		return err
	}
	g, number, err := w.p.make(w.p.ctx, true)
	if w.retry.result(err); err != nil {
		return err
	}
	w.slot.put(g, number)
	return nil
}

// close ends the goroutine after the call that it is at, and what waits at once.
func (w *worker) close() {
	w.mu.Lock()
	jobs := w.queue
	w.queue, w.closed = nil, true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	for _, j := range jobs {
		j.finish(nil, ErrClosed)
		w.pending.Add(-1)
	}
}
