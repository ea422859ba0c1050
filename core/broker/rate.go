package broker

import (
	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// rateLimit holds a client's token buckets.
type rateLimit struct {
	messages, bytes access.Bucket
	timer           clock.Timer
}

// limitRate charges a PUBLISH of size bytes and pauses, or ends, a client above
// its rate.
func (c *conn) limitRate(l *Limits, size int) error {
	if l.PublishRate <= 0 && l.PublishBytesRate <= 0 {
		return nil
	}
	if c.rates == nil {
		c.rates = &rateLimit{}
		c.rates.timer.Fire = func(int64) { c.Resume(pauseRate) }
	}
	r, now := c.rates, c.b.clock.Now()
	r.messages.Rate, r.messages.Burst = l.PublishRate, l.PublishBurst
	r.bytes.Rate, r.bytes.Burst = l.PublishBytesRate, l.PublishBytesBurst
	wait := max(r.messages.Take(1, now), r.bytes.Take(float64(size), now))
	if wait == 0 {
		return nil
	}
	if l.DisconnectOnRate {
		return refuse(packet.MessageRateTooHigh, "")
	}
	c.Pause(pauseRate)
	c.b.clock.Arm(&r.timer, now+wait)
	return nil
}
