package broker

import (
	"context"
	"sync"

	"github.com/patchbay-mq/patchbay/core/transport"
)

// errands are what plugins ask for. They are done in order, on passes of their own:
// whoever asks may be called from one, and may hold it still.
type errands struct {
	mu      sync.Mutex
	list    []func(p *transport.Pass)
	running bool
	closed  bool
	idle    chan struct{} // closed when nothing is left to do after close
}

// errandsMax is how many errands share a pass: its output is written at the end.
const errandsMax = 64

// errand has fn done soon, after those before it. It never waits.
func (b *Broker) errand(fn func(p *transport.Pass)) {
	e := &b.errands
	e.mu.Lock()
	e.list = append(e.list, fn)
	start := !e.running
	e.running = true
	e.mu.Unlock()
	if start {
		go b.runErrands()
	}
}

func (b *Broker) runErrands() {
	for list := b.errands.take(); list != nil; list = b.errands.take() {
		b.engine.Do(func(p *transport.Pass) {
			for _, fn := range list {
				fn(p)
			}
			p.Scratch.(*scratch).tally.fold(&b.stats)
		})
	}
}

func (e *errands) take() []func(p *transport.Pass) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list
	switch n := len(list); {
	case n == 0:
		e.running = false
		if e.idle != nil {
			close(e.idle)
			e.idle = nil
		}
		return nil
	case n > errandsMax:
		e.list = list[errandsMax:]
		return list[:errandsMax:errandsMax]
	}
	e.list = nil
	return list
}

// over reports whether the store is about to be closed.
func (e *errands) over() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// close has what comes from now on refused, and waits for what came before, at the
// latest until ctx ends.
func (e *errands) close(ctx context.Context) {
	e.mu.Lock()
	e.closed = true
	idle := make(chan struct{})
	if e.running {
		e.idle = idle
	} else {
		close(idle)
	}
	e.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
