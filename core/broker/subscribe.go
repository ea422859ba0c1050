package broker

import (
	"strings"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// handleSubscribe adds the client's subscriptions, each with a Reason Code of
// its own.
func (c *conn) handleSubscribe(p *transport.Pass, live *Live, body []byte) error {
	var pkt packet.Subscribe
	if err := pkt.Decode(c.version, body); err != nil {
		return err
	}
	if pkt.Props.Has(packet.PropSubscriptionIdentifier) && !live.MQTT.SubscriptionIdentifiers {
		return refuse(packet.SubscriptionIdentifiersNotSupported, "")
	}
	r := &hook.SubscribeRequest{
		Client: c.client, Subscriptions: pkt.Subscriptions, ID: pkt.Props.SubscriptionID,
		Codes: make([]packet.ReasonCode, len(pkt.Subscriptions)), UserProperties: pkt.Props.User,
	}
	id := pkt.PacketID // and not pkt: it is large, and can stay on the stack
	proceed := func(p *transport.Pass) {
		if r.Disconnect {
			c.disconnect(errorCode(r.DisconnectCode, packet.NotAuthorized), r.Reason)
			return
		}
		c.authorizeSubscribe(p, id, r, 0)
	}
	if !c.b.hooks.Wants(hook.InterceptSubscribe) {
		proceed(p)
		return nil
	}
	c.await(p, func(done func()) bool { return c.b.hooks.Host().Subscribe(r, done) }, proceed)
	return nil
}

// authorizeSubscribe asks the host about the filters from i on, one after the
// other, and then subscribes.
func (c *conn) authorizeSubscribe(p *transport.Pass, id uint16, r *hook.SubscribeRequest, i int) {
	for ; i < len(r.Subscriptions) && c.b.hooks.Wants(hook.AuthorizeSubscribe); i++ {
		if r.Codes[i].IsError() {
			r.Codes[i] = carried(packet.TypeUnsuback, r.Codes[i])
			continue
		}
		f, err := topic.ParseFilter(r.Subscriptions[i].Filter)
		if err != nil {
			continue // subscribe says so
		}
		what := question{point: hook.AuthorizeSubscribe, topic: f.Filter, qos: r.Subscriptions[i].QoS}
		c.authorize(p, what, func(p *transport.Pass, code packet.ReasonCode, reason string) {
			if r.Codes[i] = code; r.Reason == "" {
				r.Reason = reason // one has to do for all filters
			}
			if !c.ended.Load() {
				c.authorizeSubscribe(p, id, r, i+1)
			}
		})
		return
	}
	c.subscribe(p, id, r)
}

// subscribe does what is left to do when everyone has been asked: SUBACK, and
// the retained messages.
func (c *conn) subscribe(p *transport.Pass, id uint16, r *hook.SubscribeRequest) {
	for i := range r.Subscriptions {
		if r.Codes[i].IsError() {
			r.Codes[i] = carried(packet.TypeSuback, r.Codes[i])
			continue
		}
		r.Codes[i] = c.subscribeOne(&r.Subscriptions[i], r.ID)
	}
	c.whenSafe(p, func(p *transport.Pass) {
		ack := &p.Scratch.(*scratch).suback
		*ack = packet.Suback{PacketID: id, Codes: r.Codes}
		if c.explains(r.Reason) {
			ack.Props.SetReasonString(r.Reason)
			if _, fits := c.encode(ack); !fits {
				ack.Props = packet.Properties{} // [MQTT-3.9.2-1]
			}
		}
		if err := c.reply(p, packet.TypeSuback, ack); err != nil {
			c.fail(err)
			return
		}
		c.pump(p, c.sess)
	})
}

// subscribeOne adds one subscription and returns its Reason Code.
func (c *conn) subscribeOne(s *packet.Subscription, id uint32) packet.ReasonCode {
	live := c.b.live.Load()
	f, code := c.checkFilter(live, s.Filter)
	if code.IsError() {
		return code
	}
	if !c.perms.MaySubscribe(f.Filter, s.QoS, c.b.clock.Now()) {
		return packet.NotAuthorized
	}
	if c.durable && c.b.store.Full() {
		return packet.QuotaExceeded
	}
	granted := min(s.QoS, live.MQTT.MaxQoS)
	existed, ok := c.sess.Subscribe(s.Filter, session.Subscription{
		QoS: granted, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling, ID: id,
	}, c.maxSubscriptions(live), func() {
		c.ns.router.Subscribe(c.sess, f.Group, f.Filter, router.Options{
			QoS: granted, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling, ID: id,
		})
	})
	if !ok {
		c.b.limitReached(c.client, "session.max_subscriptions")
		return packet.QuotaExceeded
	}
	if c.b.hooks.Wants(hook.Subscribed) {
		told := *s
		told.QoS = granted
		c.b.event(hook.Event{Point: hook.Subscribed, Client: c.client, Topic: s.Filter, QoS: granted, Subscription: &told, SubscriptionID: id})
	}
	// [MQTT-3.3.1-10], [MQTT-3.3.1-11]
	if !f.Shared && s.RetainHandling != 2 && !(s.RetainHandling == 1 && existed) && c.ns.retained.MayMatch(f.Filter) {
		q := retainedQuery{b: c.b, ns: c.ns, client: c.client, filter: f.Filter, noLocal: s.NoLocal, granted: granted, id: id}
		c.sess.Replay(session.Replay{Filter: s.Filter, Messages: q.entries})
	}
	return packet.ReasonCode(granted)
}

// checkFilter checks a Topic Filter against the protocol and the limits.
func (c *conn) checkFilter(live *Live, filter string) (topic.Filter, packet.ReasonCode) {
	m := &live.MQTT
	f, err := topic.ParseFilter(filter)
	switch {
	case err != nil:
		return f, packet.TopicFilterInvalid
	case len(filter) > m.MaxTopicLength, m.MaxTopicLevels > 0 && strings.Count(f.Filter, "/") >= m.MaxTopicLevels:
		return f, packet.TopicFilterInvalid
	case f.Shared && !m.SharedSubscriptions:
		return f, packet.SharedSubscriptionsNotSupported
	case !m.WildcardSubscriptions && topic.HasWildcard(f.Filter):
		return f, packet.WildcardSubscriptionsNotSupported
	}
	return f, packet.Success
}

// retainedQuery is the search for a new subscription's retained messages.
type retainedQuery struct {
	b       *Broker
	ns      *namespace
	client  *hook.Client
	filter  string
	noLocal bool
	granted byte
	id      uint32
}

func (q retainedQuery) entries() []store.Entry {
	now, screens := q.b.clock.Now(), q.b.screens()
	msgs := q.ns.retained.Match(q.filter, now, nil)
	var route *store.Route
	if q.id != 0 {
		route = &store.Route{IDs: []uint32{q.id}}
	}
	entries := make([]store.Entry, 0, len(msgs))
	for _, m := range msgs {
		if q.noLocal && m.Publisher == q.client.ID || !q.client.Permissions.MayReceive(string(m.Topic), q.granted, true, now) {
			m.Unref()
			continue
		}
		if screens {
			if m = q.screen(m); m == nil {
				continue
			}
		}
		entries = append(entries, store.Entry{Message: m, Route: route, QoS: min(m.QoS, q.granted), Retain: true})
	}
	return entries
}

// screen asks the host about one retained message, whose reference goes along.
func (q retainedQuery) screen(m *packet.Message) *packet.Message {
	r := q.b.receive(q.client, m, min(m.QoS, q.granted))
	if r == m {
		return m
	}
	defer m.Unref()
	if r == nil {
		return nil
	}
	return r.Keep(q.b.messageID())
}

// handleUnsubscribe removes subscriptions.
func (c *conn) handleUnsubscribe(p *transport.Pass, body []byte) error {
	var pkt packet.Unsubscribe
	if err := pkt.Decode(c.version, body); err != nil {
		return err
	}
	r := &hook.UnsubscribeRequest{
		Client: c.client, Filters: pkt.Filters, Codes: make([]packet.ReasonCode, len(pkt.Filters)), UserProperties: pkt.Props.User,
	}
	if !c.b.hooks.Wants(hook.InterceptUnsubscribe) {
		c.unsubscribe(p, pkt.PacketID, r)
		return nil
	}
	c.await(p, func(done func()) bool { return c.b.hooks.Host().Unsubscribe(r, done) },
		func(p *transport.Pass) {
			if r.Disconnect {
				c.disconnect(errorCode(r.DisconnectCode, packet.NotAuthorized), r.Reason)
				return
			}
			c.unsubscribe(p, pkt.PacketID, r)
		})
	return nil
}

func (c *conn) unsubscribe(p *transport.Pass, id uint16, r *hook.UnsubscribeRequest) {
	for i, filter := range r.Filters {
		if r.Codes[i].IsError() {
			continue
		}
		f, err := topic.ParseFilter(filter)
		switch {
		case err != nil:
			r.Codes[i] = packet.TopicFilterInvalid
		case !c.sess.Unsubscribe(filter, func() { c.ns.router.Unsubscribe(c.sess, f.Group, f.Filter) }):
			r.Codes[i] = packet.NoSubscriptionExisted
		default:
			c.b.event(hook.Event{Point: hook.Unsubscribed, Client: c.client, Topic: filter})
		}
	}
	c.whenSafe(p, func(p *transport.Pass) {
		ack := packet.Unsuback{PacketID: id, Codes: r.Codes}
		if c.explains(r.Reason) {
			ack.Props.SetReasonString(r.Reason)
			if _, fits := c.encode(&ack); !fits {
				ack.Props = packet.Properties{} // [MQTT-3.11.2-1]
			}
		}
		if err := c.reply(p, packet.TypeUnsuback, &ack); err != nil {
			c.fail(err)
		}
	})
}
