package broker

import (
	"runtime/metrics"
	"sync"
	"sync/atomic"
)

// memoryGuard pushes back on publishers' sockets while the process uses more
// memory than limits.memory allows. Publishers that send meanwhile are not read
// from until it has fallen below nine tenths of the watermark.
type memoryGuard struct {
	above atomic.Bool

	mu     sync.Mutex
	paused map[*conn]struct{}
}

// look returns the memory in use, in bytes: what the Go runtime has from the
// system and neither given back nor lying idle.
func (g *memoryGuard) look() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64() - s[2].Value.Uint64())
}

// check is called every second.
func (g *memoryGuard) check(b *Broker) {
	limit := b.live.Load().Limits.Memory
	used := g.look()
	switch {
	case limit > 0 && used > limit:
		if !g.above.Swap(true) {
			b.log.Warn("memory watermark reached: publishers are held back", "used", used, "limit", limit)
		}
	case limit <= 0 || used < limit/10*9:
		if g.above.Swap(false) {
			b.log.Info("memory is below the watermark again", "used", used, "limit", limit)
		}
		g.resumeAll()
	}
}

// hold pauses a publisher.
func (g *memoryGuard) hold(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.above.Load() {
		return
	}
	if g.paused == nil {
		g.paused = make(map[*conn]struct{})
	}
	g.paused[c] = struct{}{}
	c.Pause(pauseMemory)
}

func (g *memoryGuard) resumeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.paused {
		c.Resume(pauseMemory)
	}
	g.paused = nil
}

func (g *memoryGuard) forget(c *conn) {
	g.mu.Lock()
	delete(g.paused, c)
	g.mu.Unlock()
}
