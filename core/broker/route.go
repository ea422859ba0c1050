package broker

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/retained"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// source is who published a message, as far as there is somebody.
type source struct {
	// conn is the connection on whose executor all this happens; nil if there is none.
	conn *conn
	// client is nil for messages of the broker itself and of plugins.
	client *hook.Client
	// session is nil for Wills too: No Local is about what a connection publishes.
	session *session.Session
}

// route retains the message if it says so and delivers it to all subscribers. It
// returns how many subscriptions matched.
func (b *Broker) route(p *transport.Pass, sc *scratch, n *namespace, m *packet.Message, from source) int {
	if b.hooks.Wants(hook.Published) {
		b.event(hook.Event{Point: hook.Published, Client: from.client, Message: m, QoS: m.QoS, Publisher: m.Publisher, Namespace: n.name})
	}
	d := delivery{b: b, p: p, sc: sc, n: n, m: m, from: from}
	if m.Retain {
		// Before the receivers are looked up: who subscribes at this moment gets it as
		// retained or as it comes, or as both, but never not at all.
		sc.frames.Begin(m, b.clock.Now())
		d.retain()
	}
	var targets router.Targets
	if from.conn != nil {
		targets = from.conn.publisher().last.Lookup(n.router, sc.cache, m.Topic)
	} else {
		targets = sc.cache.Lookup(n.router, m.Topic)
	}
	if len(targets) == 0 && !m.Retain {
		sc.tally.noSubscriber++
		if b.hooks.Wants(hook.Dropped) {
			b.event(hook.Event{
				Point: hook.Dropped, Client: from.client, Message: m, QoS: m.QoS, Reason: hook.DropNoSubscriber,
				Publisher: m.Publisher, Namespace: n.name,
			})
		}
		return 0
	}
	if !m.Retain {
		sc.frames.Begin(m, b.clock.Now())
	}
	d.byHook = b.screens()
	// Plugins, and the program itself, are told what became of a message before the pass ends; connections are not.
	d.gathers = len(targets) >= gatherFrom && from.conn != nil && !d.byHook && sc.frames.Gathers() && !b.hooks.Wants(hook.Delivered)
	for i := range targets {
		d.deliver(&targets[i])
	}
	sc.frames.End()
	if sc.frames.GatheredMuch() {
		b.settleAll(p)
	}
	if d.unwanted == len(targets) && d.unwanted > 0 && !m.Retain {
		b.dropped(n.name, from.client, m, m.QoS, hook.DropNoSubscriber)
	}
	if len(targets)-d.queues == 1 && from.conn != nil && d.receiver != nil && d.receiver.congested() {
		from.conn.waitFor(d.receiver)
	}
	return len(targets) - d.unwanted
}

func (c *conn) source() source { return source{c, c.client, c.sess} }

// delivery is one message on its way to its receivers.
type delivery struct {
	b      *Broker
	p      *transport.Pass
	sc     *scratch
	n      *namespace
	m      *packet.Message
	from   source
	byHook bool
	// gathers says that deliveries may be gathered.
	gathers bool
	// queues counts the queues among the receivers, unwanted those that did not take
	// the message.
	queues, unwanted int
	// receiver is the last connection that the message went to, or is to go to.
	receiver *conn
}

// deliver gives the message to one target.
func (d *delivery) deliver(t *router.Target) {
	if t.Group != nil {
		d.share(t.Group, nil)
		return
	}
	switch s := t.Sub.(type) {
	case *session.Session:
		if t.NoLocal && d.from.session == s {
			return // [MQTT-3.8.3-3]
		}
		d.send(s, session.Delivery{QoS: min(t.QoS, d.m.QoS), Retain: d.m.Retain && t.RetainAsPublished, IDs: t.IDs})
	case *queue:
		d.queues++
		if !s.put(&d.sc.frames, d.n, &d.from) {
			d.unwanted++
		}
	case *localSubscriber:
		s.receive(d.m)
	}
}

// share gives the message to one member of a group, and to another should that
// one's session end meanwhile.
func (d *delivery) share(g *router.Group, exclude router.Subscriber) session.Outcome {
	var publisher uint64
	if d.from.session != nil {
		publisher = d.from.session.Key()
	}
	for range 4 {
		t, ok := g.Pick(publisher, d.m.Topic, exclude)
		if !ok {
			break
		}
		s, ok := t.Sub.(*session.Session)
		if !ok {
			break
		}
		group, filter := g.Name()
		o := d.send(s, session.Delivery{
			QoS: min(t.QoS, d.m.QoS), Retain: d.m.Retain && t.RetainAsPublished, IDs: t.IDs, Group: group, Filter: filter,
		})
		if o != session.Gone {
			return o
		}
		exclude = s
	}
	d.b.dropped(d.n.name, d.from.client, d.m, d.m.QoS, hook.DropNoSubscriber)
	return session.Gone
}

// send delivers to one session.
func (d *delivery) send(s *session.Session, how session.Delivery) session.Outcome {
	if d.gathers && d.gather(s, &how) {
		return session.Sent
	}
	d.settle(s)
	frames, m := &d.sc.frames, d.m
	if cl := s.Client.Load(); d.byHook || cl != nil && cl.Permissions.FiltersReceive() {
		if m = d.screen(clientOf(s), how); m == nil {
			return session.Dropped
		}
		if m != d.m {
			// A copy of its own, by an encoder of its own: the others get the
			// message as it was.
			frames = &session.Frames{NextID: d.b.messageID}
			frames.Begin(m, d.b.clock.Now())
			defer frames.End()
		}
	}
	o := s.Deliver(frames, how)
	switch o {
	case session.Queued:
		d.receiver, _ = s.Link().(*conn)
	case session.Sent:
		d.sc.tally.sent(packet.TypePublish, 1)
		d.sc.tally.payloadOut += int64(len(d.m.Payload))
		if c, ok := s.Link().(*conn); ok {
			d.p.FlushLater(c.Conn)
			d.receiver = c
		}
		if d.b.hooks.Wants(hook.Delivered) {
			d.b.delivered(s, m, how.QoS)
		}
	case session.Overflow:
		if c, ok := s.Link().(*conn); ok {
			c.overflow()
		}
	}
	return o
}

// overflow ends the connection of a client that takes less than it is sent.
func (c *conn) overflow() {
	c.disconnect(packet.QuotaExceeded, "session.max_queued_messages or session.max_queued_bytes is reached")
}

// screen asks the receiver's permissions and the host about one delivery; nil
// drops it.
func (d *delivery) screen(cl *hook.Client, how session.Delivery) *packet.Message {
	if !cl.Permissions.MayReceive(string(d.m.Topic), how.QoS, how.Retain, d.b.clock.Now()) {
		d.b.dropped(d.n.name, cl, d.m, how.QoS, hook.DropNotAuthorized)
		return nil
	}
	if !d.byHook {
		return d.m
	}
	return d.b.receive(cl, d.m, how.QoS)
}

// receive asks the host about one delivery to a client; nil drops it.
func (b *Broker) receive(cl *hook.Client, m *packet.Message, qos byte) *packet.Message {
	r := hook.ReceiveRequest{Client: cl, Message: m}
	b.hooks.Host().Receive(&r)
	if r.Drop {
		b.dropped(cl.Namespace, cl, m, qos, hook.DropByPlugin)
		return nil
	}
	return r.Message
}

// screens reports whether the host wants to decide about deliveries.
func (b *Broker) screens() bool {
	return b.hooks.Wants(hook.AuthorizeReceive) || b.hooks.Wants(hook.InterceptDeliver)
}

// retain keeps the message as its topic's, or clears that [MQTT-3.3.1-5..7].
func (d *delivery) retain() {
	b, m, opts := d.b, d.m, &d.b.live.Load().Retained
	if !opts.Enabled {
		return
	}
	if len(m.Payload) == 0 {
		if d.n.retained.Clear(string(m.Topic), d.sc.frames.ReceiptFor()) {
			b.event(hook.Event{Point: hook.RetainedCleared, Client: d.from.client, Topic: string(m.Topic), Namespace: d.n.name})
		}
		return
	}
	if m.QoS == 0 && b.store.Full() {
		b.dropped(d.n.name, d.from.client, m, 0, hook.DropStoreFull)
		return
	}
	var kept *packet.Message
	if age := opts.MaxAge.Milliseconds(); age > 0 && (m.Expires == packet.NoExpiry || m.Expires > m.Received+age) {
		mortal := packet.Message{
			Topic: m.Topic, Payload: m.Payload, Props: m.Props, Publisher: m.Publisher, Received: m.Received,
			Expires: m.Received + age, Origin: m.Origin, QoS: m.QoS, Retain: true,
		}
		kept = mortal.Keep(b.messageID())
	} else {
		kept = d.sc.frames.Keep()
	}
	if why, cleared := d.n.retained.Set(kept, d.sc.frames.ReceiptFor()); why != retained.Accepted {
		b.event(hook.Event{Point: hook.LimitReached, Client: d.from.client, Message: m, Reason: string(why), Namespace: d.n.name})
		if cleared {
			b.event(hook.Event{Point: hook.RetainedCleared, Client: d.from.client, Topic: string(m.Topic), Namespace: d.n.name})
		}
		b.dropped(d.n.name, d.from.client, m, m.QoS, hook.DropQuota)
		return
	}
	b.event(hook.Event{Point: hook.RetainedSet, Client: d.from.client, Message: m, Namespace: d.n.name})
}
