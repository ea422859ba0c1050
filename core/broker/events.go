package broker

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/session"
)

// event tells the host what happened, if it wants to know; nothing is allocated if not.
func (b *Broker) event(e hook.Event) {
	if !b.hooks.Wants(e.Point) {
		return
	}
	told := e
	told.Time = b.clock.Now()
	b.hooks.Host().Observe(&told)
}

// clientOf describes a session's client; of one that has not connected since a
// restart that is little.
func clientOf(s *session.Session) *hook.Client {
	if cl := s.Client.Load(); cl != nil {
		return cl
	}
	return &hook.Client{ID: s.ID(), Namespace: s.Namespace()}
}

// dropped counts a dropped message of a namespace and tells of it; c is who should
// have received it, or the publisher, and may be nil.
func (b *Broker) dropped(namespace string, c *hook.Client, m *packet.Message, qos byte, reason string) {
	b.stats.dropped[dropIndex(reason)].Add(1)
	if b.hooks.Wants(hook.Dropped) {
		b.event(hook.Event{
			Point: hook.Dropped, Client: c, Message: m, QoS: qos, Reason: reason, Publisher: m.Publisher, Namespace: namespace,
		})
	}
}

func (b *Broker) sessionDropped(s *session.Session, m *packet.Message, qos byte, reason string) {
	if !b.hooks.Wants(hook.Dropped) {
		b.stats.dropped[dropIndex(reason)].Add(1)
		return
	}
	b.dropped(s.Namespace(), clientOf(s), m, qos, reason)
}

func (b *Broker) sessionGaveUp(s *session.Session, m *packet.Message) {
	b.stats.GivenUp.Add(1)
	if b.hooks.Wants(hook.DeadLettered) {
		b.event(hook.Event{
			Point: hook.DeadLettered, Client: clientOf(s), Message: m, Reason: "not acknowledged after session.retry_max attempts",
			Publisher: m.Publisher, Namespace: s.Namespace(),
		})
	}
}

// delivered tells of a message that was sent.
func (b *Broker) delivered(s *session.Session, m *packet.Message, qos byte) {
	b.event(hook.Event{
		Point: hook.Delivered, Client: clientOf(s), Message: m, QoS: qos, Publisher: m.Publisher, Namespace: s.Namespace(),
	})
}

// limitReached tells that something ran into a limit: key is that of the
// configuration. c is nil if it concerns the broker.
func (b *Broker) limitReached(c *hook.Client, key string) {
	b.event(hook.Event{Point: hook.LimitReached, Client: c, Reason: key})
}
