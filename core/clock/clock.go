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
}

// New starts a clock that follows the system's time. Stop ends its goroutine.
func New() *Clock {
	c := NewManual(time.Now())
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

// Now is the time in Unix milliseconds, at most one Tick old.
func (c *Clock) Now() int64 { return c.now.Load() }

// Advance moves a manual clock by d and fires what is due, in the caller's
// goroutine and in order of time.
func (c *Clock) Advance(d time.Duration) {
	c.set(c.now.Load() + int64(d/time.Millisecond))
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
	// Deadlines follow the monotonic clock, so that a step of the system's time
	// neither fires everything at once nor holds everything up.
	start, base := time.Now(), c.now.Load()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			c.set(base + time.Since(start).Milliseconds())
		}
	}
}

func (c *Clock) set(now int64) {
	c.now.Store(now)
	c.wheel.advance(now)
}
