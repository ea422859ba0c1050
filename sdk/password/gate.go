package password

import (
	"context"
	"sync"
)

// load is what a calculation takes while it runs.
type load struct {
	bytes int64
	cores int
}

// smallLoad is that of a calculation whose memory is not worth counting.
var smallLoad = load{1 << 14, 1}

// gate lets in as much as there is room for, in order of arrival: else a large one
// would wait for as long as small ones come.
type gate struct {
	all load

	mu    sync.Mutex
	free  load
	queue []*waiter
}

type waiter struct {
	load
	in chan struct{} // closed when it is let in
}

// clamp makes a load fit an empty gate.
func (g *gate) clamp(l load) load {
	return load{min(l.bytes, g.all.bytes), min(l.cores, g.all.cores)}
}

// enter waits until there is room, and takes it.
func (g *gate) enter(ctx context.Context, l load) error {
	w := &waiter{g.clamp(l), make(chan struct{})}
	g.mu.Lock()
	g.queue = append(g.queue, w)
	g.admit()
	g.mu.Unlock()
	select {
	case <-w.in:
		return nil
	default:
	}
	select {
	case <-w.in:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.in: // meanwhile; the room goes to the next
		g.give(w.load)
	default:
		for i, q := range g.queue {
			if q == w {
				g.queue = append(g.queue[:i], g.queue[i+1:]...)
				break
			}
		}
		g.admit()
	}
	return ctx.Err()
}

// leave gives back what enter took.
func (g *gate) leave(l load) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.give(g.clamp(l))
}

// give is called with mu held.
func (g *gate) give(l load) {
	g.free.bytes += l.bytes
	g.free.cores += l.cores
	g.admit()
}

// admit lets in those in front. It is called with mu held.
func (g *gate) admit() {
	for len(g.queue) > 0 {
		w := g.queue[0]
		if w.bytes > g.free.bytes || w.cores > g.free.cores {
			return
		}
		g.free.bytes -= w.bytes
		g.free.cores -= w.cores
		g.queue[0] = nil
		g.queue = g.queue[1:]
		close(w.in)
	}
}
