package broker

import (
	"runtime/metrics"
	"sync"
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// memoryGuard pushes back on publishers' sockets while the process uses more
// memory than limits.memory allows. Publishers that send meanwhile are not read
// from until it has fallen below nine tenths of the watermark.
type memoryGuard struct {
	above atomic.Bool
	timer clock.Timer
	since int64 // Unix milliseconds; of the clock's goroutine

	mu sync.Mutex
	// paused are the publishers that are held back; true for those in the middle
	// of a large packet.
	paused map[*conn]bool
}

// partialMillis is how long those may keep what has arrived of their packets
// while memory is short: it may be just that which fills it.
const partialMillis = 10_000

// look returns the memory in use, in bytes: what the Go runtime has from the
// system and neither given back nor lying idle.
func (g *memoryGuard) look() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64() - s[2].Value.Uint64())
}

// check is called with each tick of the clock: a publisher can send hundreds of
// megabytes in a second.
func (g *memoryGuard) check(b *Broker) {
	limit := b.live.Load().Limits.Memory
	if limit <= 0 && !g.above.Load() {
		return
	}
	used := g.look()
	switch {
	case limit > 0 && used > limit:
		now := b.clock.Now()
		if g.above.Load() {
			if now-g.since >= partialMillis {
				g.dropPartial()
			}
			return
		}
		g.since = now
		g.above.Store(true)
		b.limitReached(nil, "limits.memory")
		b.log.Warn("memory watermark reached: publishers are held back", "used", used, "limit", limit)
	case limit <= 0 || used < limit/10*9:
		if g.above.Swap(false) {
			b.log.Info("memory is below the watermark again", "used", used, "limit", limit)
		}
		g.resumeAll()
	}
}

// hold pauses a publisher; partial says that it is in the middle of a packet.
func (g *memoryGuard) hold(c *conn, partial bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.above.Load() {
		return
	}
	if g.paused == nil {
		g.paused = make(map[*conn]bool)
	}
	g.paused[c] = partial
	c.Pause(pauseMemory)
}

// dropPartial ends the connections that hold a part of a large packet.
func (g *memoryGuard) dropPartial() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c, partial := range g.paused {
		if partial {
			c.disconnect(packet.QuotaExceeded, "limits.memory is reached")
		}
	}
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
