package broker

import (
	"sync"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// detach parts the connection from its session, which goes on without it or
// ends.
func (c *conn) detach(p *transport.Pass) {
	if c.normalEnd {
		// A DISCONNECT with Disconnect with Will Message left the Will in place.
		c.b.clock.Disarm(&c.timer)
	}
	var at int64
	var ok bool
	c.b.together(p, func() {
		var will *session.Will
		if will, at, ok = c.sess.Detach(c); will != nil {
			c.b.publishWill(p, c.ns, will, c.client)
		}
	})
	if !ok {
		return // another connection has taken the session over
	}
	if c.sess.Expiry() == 0 {
		c.b.forget(c.ns, c.sess)
		c.b.endSession(p, c.ns, c.sess, sessionEnded)
		return
	}
	if at != 0 {
		c.b.armSession(c.ns, c.sess, at)
	}
}

// sessionDue is called by the session's timer, in the clock's goroutine, when
// its Will is due or it expires.
func (b *Broker) sessionDue(n *namespace, s *session.Session, now int64) {
	if b.stopping.Load() {
		return
	}
	b.engine.Do(func(p *transport.Pass) {
		var expired bool
		var at int64
		b.together(p, func() {
			var will *session.Will
			if will, expired, at = s.Due(now); will != nil {
				b.publishWill(p, n, will, clientOf(s))
			}
		})
		if !expired {
			if at != 0 {
				b.armSession(n, s, at)
			}
			return
		}
		if b.expire(n, s, now) {
			b.stats.SessionsExpired.Add(1)
			b.endSession(p, n, s, sessionExpired)
		}
	})
}

// expire takes an expired session out of the table, unless a client has just
// come back for it.
func (b *Broker) expire(n *namespace, s *session.Session, now int64) bool {
	sh := n.shardOf(s.ID())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.sessions[s.ID()] != s || s.Resumable(now) {
		return false
	}
	delete(sh.sessions, s.ID())
	b.stats.Sessions.Add(-1)
	return true
}

// Why a session ends.
const (
	sessionEnded    = "ended with its connection"
	sessionExpired  = "expired"
	sessionReplaced = "replaced by a clean start"
	sessionRemoved  = "removed by an administrator"
)

// endSession ends a session that is in the table no more: its connection is
// taken over, its Will published, its subscriptions removed, and what it owed to
// shared groups goes to other members (MQTT 5 §4.8.2).
func (b *Broker) endSession(p *transport.Pass, n *namespace, s *session.Session, why string) {
	b.clock.Disarm(&s.Timer)
	client := clientOf(s)
	var link session.Link
	var subs []store.Subscribed
	var ok bool
	b.together(p, func() { link, subs, ok = b.handOver(p, n, s) })
	if !ok {
		return
	}
	if c, isConn := link.(*conn); isConn {
		if why == sessionRemoved {
			c.disconnect(packet.AdministrativeAction, why)
		} else {
			b.replaced(c, client)
		}
	}
	for _, sub := range subs {
		if f, err := topic.ParseFilter(sub.Filter); err == nil {
			n.router.Unsubscribe(s, f.Group, f.Filter)
		}
	}
	b.event(hook.Event{Point: hook.SessionExpired, Client: client, Reason: why})
}

// handOver ends s and passes on what it leaves: its Will, and messages of shared
// subscriptions. The rest of those comes later, if it has to be read first.
func (b *Broker) handOver(p *transport.Pass, n *namespace, s *session.Session) (link session.Link, subs []store.Subscribed, ok bool) {
	var mu sync.Mutex
	var waiting []store.Entry
	atOnce := true
	link, will, subs, orphans, ok := s.End(func(e store.Entry) {
		mu.Lock()
		defer mu.Unlock()
		if atOnce {
			waiting = append(waiting, e)
			return
		}
		b.engine.Do(func(p *transport.Pass) { b.redispatch(p, n, s, e) })
	})
	mu.Lock()
	atOnce = false
	mu.Unlock()
	if will != nil {
		b.publishWill(p, n, will, clientOf(s))
	}
	for _, e := range append(orphans, waiting...) {
		b.redispatch(p, n, s, e)
	}
	return link, subs, ok
}

// redispatch gives a message that a member of a shared group left behind to
// another member. left is nil for one that ended before a restart.
func (b *Broker) redispatch(p *transport.Pass, n *namespace, left *session.Session, o store.Entry) {
	defer o.Message.Unref()
	sc := p.Scratch.(*scratch)
	g := n.router.Group(o.Route.Group, o.Route.Filter)
	if g == nil || o.Message.Expired(b.clock.Now()) {
		var client *hook.Client
		if left != nil {
			client = clientOf(left)
		}
		b.dropped(n.name, client, o.Message, o.Message.QoS, hook.DropSessionEnded)
		return
	}
	sc.frames.Begin(o.Message, b.clock.Now())
	d := delivery{b: b, p: p, sc: sc, n: n, m: o.Message, byHook: b.screens()}
	if left != nil {
		d.share(g, left)
	} else {
		d.share(g, nil)
	}
	sc.frames.End()
	sc.tally.fold(&b.stats)
}

// publishWill publishes a Will Message [MQTT-3.1.2-8]; its reference goes along.
func (b *Broker) publishWill(p *transport.Pass, n *namespace, w *session.Will, client *hook.Client) {
	// Its times count from its publication, so that a copy is made now.
	now := b.clock.Now()
	m := packet.Message{
		Topic: w.Message.Topic, Payload: w.Message.Payload, Props: w.Message.Props, Publisher: w.Message.Publisher,
		QoS: w.Message.QoS, Retain: w.Message.Retain, Received: now,
	}
	if w.HasExpiry {
		m.Expires = now + max(int64(w.Expiry)*1000, 1)
	}
	publish := func(p *transport.Pass, m *packet.Message) {
		sc := p.Scratch.(*scratch)
		b.route(p, sc, n, m, source{client: client})
		sc.tally.fold(&b.stats)
		b.event(hook.Event{Point: hook.WillPublished, Client: client, Message: m, Publisher: m.Publisher, Namespace: n.name})
		w.Message.Unref()
	}
	if !b.hooks.Wants(hook.InterceptWill) {
		publish(p, &m)
		return
	}
	r := &hook.PublishRequest{Client: client, Message: m.Keep(b.messageID())}
	kept := r.Message
	decided := func(p *transport.Pass) {
		if r.Verdict == hook.Continue {
			publish(p, r.Message)
		} else {
			b.dropped(n.name, client, kept, kept.QoS, hook.DropByPlugin)
			w.Message.Unref()
		}
		kept.Unref()
	}
	if b.hooks.Host().Will(r, func() { b.engine.Do(decided) }) {
		decided(p)
	}
}
