package sdk

import (
	"context"
	"sync"
)

// outbox hands things to the host: at once, or where the host is another process by a
// goroutine, so that nobody waits for it. That goroutine is there only while there is
// something to send.
type outbox[T any] struct {
	async bool
	// send is called with up to maxOut things, one call after the other if async.
	send func([]T) error

	mu      sync.Mutex
	waiting []T
	idle    chan struct{} // not nil while the goroutine runs; closed at its end
}

const (
	// maxOut is the contract's limit for a request.
	maxOut = 1024
	// maxWaiting bounds memory if the host does not keep up.
	maxWaiting = 8 * maxOut
)

// put hands x over, and reports whether it was taken: it is not if too much waits.
func (o *outbox[T]) put(x T) bool {
	if !o.async {
		return o.send([]T{x}) == nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) >= maxWaiting {
		return false
	}
	o.waiting = append(o.waiting, x)
	if o.idle == nil {
		o.idle = make(chan struct{})
		go o.run()
	}
	return true
}

func (o *outbox[T]) run() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.waiting) > 0 {
		list := o.waiting[:min(len(o.waiting), maxOut)]
		o.waiting = o.waiting[len(list):]
		o.mu.Unlock()
		// What the host refuses is lost; it has said so in its own log.
		_ = o.send(list)
		o.mu.Lock()
	}
	o.waiting = nil
	close(o.idle)
	o.idle = nil
}

// flush waits until what was put before has been sent.
func (o *outbox[T]) flush(ctx context.Context) {
	o.mu.Lock()
	idle := o.idle
	o.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
