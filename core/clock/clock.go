package clock

import (
	"sync"
	"sync/atomic"
	"time"
)

// Tick is the resolution of the coarse clock and of the wheel. 100 ms keeps an
// idle broker at ten wake-ups a second and is a fifteenth of the shortest
// deadline that MQTT can ask for (a Keep Alive of one second, times 1.5).
const Tick = 100 * time.Millisecond

const tickMillis = int64(Tick / time.Millisecond)

// Clock is a coarse wall clock with a timing wheel. All methods are safe for
// concurrent use.
type Clock struct {
	now   atomic.Int64 // Unix milliseconds
	wheel wheel
	stop  chan struct{}
	done  sync.WaitGroup

	// Of a running clock; base is 0 for one that is turned by hand. Deadlines
	// follow the monotonic clock, so that a step of the system's time neither
	// fires everything at once nor holds everything up.
	start time.Time
	base  int64
}

// New starts a clock that follows the system's time. Stop ends its goroutine.
func New() *Clock {
	start := time.Now()
	c := NewManual(start)
	c.start, c.base = start, start.UnixMilli()
	c.done.Add(1)
	go c.run()
	return c
}

// NewManual returns a clock that stands still until Advance is called.
func NewManual(start time.Time) *Clock {
	c := &Clock{stop: make(chan struct{})}
	c.now.Store(start.UnixMilli())
	c.wheel.init(start.UnixMilli())
	return c
}

// Now is the time in Unix milliseconds: one atomic load. It is a Tick old at the
// most, unless the machine is so busy that the clock's goroutine has to wait;
// then it is as old as the last call of Fresh.
func (c *Clock) Now() int64 { return c.now.Load() }

// Fresh reads the time (about 100 ns) and sets Now. It is called where something
// happens that deadlines are counted from: a busy machine must not make them too
// short.
func (c *Clock) Fresh() int64 {
	if c.base == 0 {
		return c.now.Load()
	}
	now := c.base + time.Since(c.start).Milliseconds()
	for {
		old := c.now.Load()
		if now <= old || c.now.CompareAndSwap(old, now) {
			return max(now, old)
		}
	}
}

// Advance moves a manual clock by d and fires what is due, in the caller's
// goroutine and in order of time.
func (c *Clock) Advance(d time.Duration) {
	now := c.now.Add(int64(d / time.Millisecond))
	c.wheel.advance(now)
}

// Stop ends the clock's goroutine and waits for it. Timers that have not fired
// never will. It must not be called from a timer's function.
func (c *Clock) Stop() {
	close(c.stop)
	c.done.Wait()
}

func (c *Clock) run() {
	defer c.done.Done()
	t := time.NewTicker(Tick)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			c.wheel.advance(c.Fresh())
		}
	}
}
