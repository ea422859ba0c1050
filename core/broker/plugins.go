package broker

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// Plugins is what a Host may ask of the broker.
func (b *Broker) Plugins() hook.Broker { return plugins{b} }

// plugins is a Broker as plugins see it.
type plugins struct{ b *Broker }

var _ hook.Broker = plugins{}

func (pl plugins) Publish(namespace string, m *packet.Message, done func(hook.PublishResult)) {
	b := pl.b
	kept := b.take(m, m.Publisher)
	b.errand(func(p *transport.Pass) {
		defer kept.Unref()
		sc := p.Scratch.(*scratch)
		n := b.namespace(namespace)
		if code, reason := b.checkMessage(kept); code.IsError() {
			done(hook.PublishResult{Code: code, Reason: reason})
			return
		}
		if b.full(sc, n, kept) {
			b.dropped(namespace, nil, kept, kept.QoS, hook.DropStoreFull)
			done(hook.PublishResult{Code: packet.QuotaExceeded, Reason: reasonFull})
			return
		}
		if kept.QoS > 0 {
			sc.frames.Await(false)
		}
		receivers := b.route(p, sc, n, kept, source{})
		b.settle(sc.frames.Receipt(), hook.PublishResult{Code: acceptedCode(receivers), Receivers: receivers, ID: kept.ID}, done)
	})
}

const reasonFull = "the store is full"

// settle says result to done when r, which may be nil, is settled.
func (b *Broker) settle(r *store.Receipt, result hook.PublishResult, done func(hook.PublishResult)) {
	if r == nil {
		done(result)
		return
	}
	answer := func(err error) {
		if err != nil {
			result.Code, result.Reason = packet.UnspecifiedError, err.Error()
		}
		done(result)
	}
	// Whoever settles it may hold a lock, and done is somebody else's.
	later := func(err error) { b.errand(func(*transport.Pass) { answer(err) }) }
	if settled, err := r.Wait(later); settled {
		answer(err)
	}
}

// take keeps a message that a plugin publishes, received now.
func (b *Broker) take(m *packet.Message, publisher string) *packet.Message {
	view := packet.Message{
		Topic: m.Topic, Payload: m.Payload, Props: m.Props, Publisher: publisher, Origin: m.Origin,
		Received: b.clock.Now(), Expires: m.Expires, QoS: m.QoS, Retain: m.Retain,
	}
	return view.Keep(b.messageID())
}

// checkMessage checks what a plugin publishes, whoever it is said to come from.
func (b *Broker) checkMessage(m *packet.Message) (packet.ReasonCode, string) {
	switch err := topic.ValidName(m.Topic); {
	case err != nil:
		return packet.TopicNameInvalid, err.Error()
	case reserved(m.Topic):
		return packet.NotAuthorized, "topics below $SYS are the server's own"
	case m.QoS > 2:
		return packet.QoSNotSupported, "there is no such QoS"
	case b.errands.over():
		return packet.ServerShuttingDown, ""
	case b.memory.above.Load():
		return packet.QuotaExceeded, "limits.memory is reached"
	}
	return packet.Success, ""
}

// full reports whether there is no room for a message.
func (b *Broker) full(sc *scratch, n *namespace, m *packet.Message) bool {
	return m.QoS > 0 && b.store.Full() && (m.Retain || wouldStore(sc.cache.Lookup(n.router, m.Topic), m.QoS))
}

func (pl plugins) Disconnect(r hook.DisconnectRequest) bool {
	b := pl.b
	n := b.findNamespace(r.Namespace)
	if n == nil {
		return false
	}
	s := n.lookup(r.ClientID)
	if s == nil {
		return false
	}
	c, online := s.Link().(*conn)
	if r.Connection != 0 && !(online && c.number == r.Connection) {
		return false
	}
	if online {
		c.disconnect(r.Code, r.Reason)
	}
	if !r.EndSession {
		return online
	}
	b.forget(n, s)
	b.errand(func(p *transport.Pass) { b.endSession(p, n, s, sessionRemoved) })
	return true
}

func (pl plugins) Sessions(name string, all bool, fn func(hook.SessionInfo) bool) {
	more := true
	walk := func(n *namespace) {
		if more {
			n.eachSession(func(s *session.Session) {
				if more {
					more = fn(sessionInfo(s, false))
				}
			})
		}
	}
	if all {
		pl.b.eachNamespace(walk)
	} else if n := pl.b.findNamespace(name); n != nil {
		walk(n)
	}
}

func (pl plugins) Session(namespace, clientID string) (hook.SessionInfo, bool) {
	n := pl.b.findNamespace(namespace)
	if n == nil {
		return hook.SessionInfo{}, false
	}
	s := n.lookup(clientID)
	if s == nil {
		return hook.SessionInfo{}, false
	}
	return sessionInfo(s, true), true
}

func sessionInfo(s *session.Session, subscriptions bool) hook.SessionInfo {
	st := s.Stats()
	info := hook.SessionInfo{
		Client: clientOf(s), Connected: s.Online(), SessionExpiry: st.Expiry, SubscriptionCount: st.Subscriptions,
		Inflight: st.Inflight, Queued: st.Queued, QueuedBytes: st.QueuedBytes,
	}
	if !info.Connected {
		info.Disconnected = st.Detached
	}
	if !subscriptions {
		return info
	}
	for _, sub := range s.Subscriptions() {
		info.Subscriptions = append(info.Subscriptions, packet.Subscription{
			Filter: sub.Filter, QoS: sub.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished, RetainHandling: sub.RetainHandling,
		})
		info.Identifiers = append(info.Identifiers, sub.ID)
	}
	return info
}

func (pl plugins) Retained(namespace, filter string, fn func(*packet.Message) bool) {
	n := pl.b.findNamespace(namespace)
	if n == nil {
		return
	}
	more := true
	for _, m := range n.retained.Match(filter, pl.b.clock.Now(), nil) {
		if more {
			more = fn(m)
		}
		m.Unref()
	}
}

func (pl plugins) ForgetAnswers() { pl.b.answers.Add(1) }

func (pl plugins) Emit(e *hook.Event) {
	if !pl.b.hooks.Wants(e.Point) {
		return
	}
	if e.Time == 0 {
		e.Time = pl.b.clock.Now()
	}
	pl.b.hooks.Host().Observe(e)
}
