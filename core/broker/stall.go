package broker

import (
	"sync"

	"github.com/patchbay-mq/patchbay/core/clock"
)

// A publisher whose message has just one receiver is slowed down to that
// receiver's pace, for a short time, before anything is dropped: a bulk transfer
// then loses nothing. With several receivers nobody waits for the slowest, and
// one that made a publisher wait in vain is not waited for again for a while.

// stuckMillis is how long a receiver is not waited for after it let a publisher
// wait to the limit.
const stuckMillis = 10_000

// feeders are the publishers that wait for a connection's receiver.
type feeders struct {
	mu         sync.Mutex
	waiting    []*conn
	stuckUntil int64
}

// stall is a publisher's waiting.
type stall struct {
	timer    clock.Timer
	receiver *conn
}

// congested reports whether the receiver takes less than it is sent: its socket,
// or its acknowledgements, are behind.
func (c *conn) congested() bool {
	if c.Conn.OverHighWater() {
		return true
	}
	max := c.sess.MaxQueued()
	return max > 0 && c.sess.Load() > max/2
}

// Full is part of session.Link: not even publishers that wait could help.
func (c *conn) Full() bool { return c.Buffered() > 2*c.b.opts.OutBufferHigh }

// waitFor pauses the publisher c until the receiver r has caught up.
func (c *conn) waitFor(r *conn) {
	limit := c.b.live.Load().Limits.PublisherStall.Milliseconds()
	now := c.b.clock.Now()
	f := r.feeders()
	if limit <= 0 {
		return
	}
	if c.stall == nil {
		c.stall = new(stall)
		c.stall.timer.Fire = c.stallOver
	}
	f.mu.Lock()
	if now < f.stuckUntil || r.ended.Load() {
		f.mu.Unlock()
		return
	}
	c.stall.receiver = r
	c.Pause(pauseStall)
	f.waiting = append(f.waiting, c)
	c.b.clock.Arm(&c.stall.timer, now+limit)
	f.mu.Unlock()
	if !r.congested() {
		r.caughtUp() // in between
	}
}

// stallOver is called by the timer of a publisher that has waited long enough.
func (c *conn) stallOver(now int64) {
	f := c.stall.receiver.feeders()
	f.mu.Lock()
	f.stuckUntil = now + stuckMillis
	f.mu.Unlock()
	c.stall.receiver.caughtUp()
}

// feeders finds or makes the list; any goroutine.
func (c *conn) feeders() *feeders {
	if f := c.feed.Load(); f != nil {
		return f
	}
	c.feed.CompareAndSwap(nil, new(feeders))
	return c.feed.Load()
}

// caughtUp lets the publishers that wait for this receiver go on.
func (c *conn) caughtUp() {
	f := c.feed.Load()
	if f == nil {
		return
	}
	f.mu.Lock()
	waiting := f.waiting
	f.waiting = nil
	for _, p := range waiting {
		c.b.clock.Disarm(&p.stall.timer)
		p.Resume(pauseStall)
	}
	f.mu.Unlock()
}
