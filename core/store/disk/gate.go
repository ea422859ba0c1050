package disk

import (
	"sync"

	"github.com/patchbay-mq/patchbay/core/store"
)

// gate keeps Pebble from being closed while somebody outside of the store's own
// goroutines reads. Entering again from inside is fine.
type gate struct {
	mu     sync.Mutex
	idle   sync.Cond
	inside int
	closed bool
}

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return store.ErrClosed
	}
	g.inside++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	g.inside--
	if g.inside == 0 && g.closed {
		g.idle.Broadcast()
	}
	g.mu.Unlock()
}

// close lets nobody in any more, calls hurry, and waits until everybody has left.
func (g *gate) close(hurry func()) {
	g.mu.Lock()
	g.idle.L = &g.mu
	g.closed = true
	g.mu.Unlock()
	hurry()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.inside > 0 {
		g.idle.Wait()
	}
}
