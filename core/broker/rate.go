package broker

import (
	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/session"
)

// rateLimit holds a client's token buckets.
type rateLimit struct {
	messages, bytes access.Bucket
	timer           clock.Timer
	told            int64 // when it was last told of, in Unix milliseconds
}

// toldMillis is how long nothing more is told of a client that stays above its rate.
const toldMillis = 10_000

// setQuotas notes what authentication has granted; nil leaves the broker's limits in
// force.
func (c *conn) setQuotas(q *hook.Quotas) {
	c.quotas = nil
	if q != nil {
		own := *q // the request is the host's
		c.quotas = &own
	}
}

// sessionQuota is the part of the quotas that the session sees to.
func (c *conn) sessionQuota() *session.Quota {
	if c.quotas == nil {
		return nil
	}
	return &session.Quota{MaxInflight: c.quotas.MaxInflight, MaxQueued: c.quotas.MaxQueued, MaxQueuedBytes: c.quotas.MaxQueuedBytes}
}

// maxSubscriptions of the client's session; 0 no limit.
func (c *conn) maxSubscriptions(live *Live) int {
	if q := c.quotas; q != nil && q.MaxSubscriptions > 0 {
		return q.MaxSubscriptions
	}
	return live.Session.MaxSubscriptions
}

// limitRate charges a PUBLISH of size bytes and pauses, or ends, a client above
// its rate.
func (c *conn) limitRate(l *Limits, size int) error {
	q := c.quotas
	if l.PublishRate <= 0 && l.PublishBytesRate <= 0 && q == nil {
		return nil
	}
	if c.rates == nil {
		c.rates = &rateLimit{}
		c.rates.timer.Fire = func(int64) { c.Resume(pauseRate) }
	}
	r, now := c.rates, c.b.clock.Now()
	r.messages.Rate, r.messages.Burst = l.PublishRate, l.PublishBurst
	r.bytes.Rate, r.bytes.Burst = l.PublishBytesRate, l.PublishBytesBurst
	if q != nil && q.PublishRate > 0 {
		r.messages.Rate, r.messages.Burst = q.PublishRate, 0
	}
	if q != nil && q.PublishBytesRate > 0 {
		r.bytes.Rate, r.bytes.Burst = q.PublishBytesRate, 0
	}
	wait := max(r.messages.Take(1, now), r.bytes.Take(float64(size), now))
	if wait == 0 {
		return nil
	}
	if now >= r.told+toldMillis {
		r.told = now
		c.b.limitReached(c.client, "limits.publish_rate")
	}
	if l.DisconnectOnRate {
		return refuse(packet.MessageRateTooHigh, "")
	}
	c.Pause(pauseRate)
	c.b.clock.Arm(&r.timer, now+wait)
	return nil
}
