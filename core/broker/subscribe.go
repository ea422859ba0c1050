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
		Codes: make([]packet.ReasonCode, len(pkt.Subscriptions)),
	}
	proceed := func(p *transport.Pass) { c.authorizeSubscribe(p, pkt.PacketID, r, 0) }
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
			continue
		}
		f, err := topic.ParseFilter(r.Subscriptions[i].Filter)
		if err != nil {
			continue // subscribe says so
		}
		what := question{point: hook.AuthorizeSubscribe, topic: f.Filter, qos: r.Subscriptions[i].QoS}
		c.authorize(p, what, func(p *transport.Pass, code packet.ReasonCode) {
			r.Codes[i] = code
			c.authorizeSubscribe(p, id, r, i+1)
		})
		return
	}
	c.subscribe(p, id, r)
}

// subscribe does what is left to do when everyone has been asked: SUBACK, and
// the retained messages.
func (c *conn) subscribe(p *transport.Pass, id uint16, r *hook.SubscribeRequest) {
	var replay []store.Entry
	for i := range r.Subscriptions {
		if r.Codes[i].IsError() {
			continue
		}
		var more []store.Entry
		r.Codes[i], more = c.subscribeOne(&r.Subscriptions[i], r.ID)
		replay = append(replay, more...)
	}
	ack := packet.Suback{PacketID: id, Codes: r.Codes}
	if err := c.reply(p, packet.TypeSuback, &ack); err != nil {
		c.fail(err)
		return
	}
	if len(replay) > 0 {
		c.sess.Replay(replay)
		c.pump(p, c.sess)
	}
}

// subscribeOne adds one subscription and returns its Reason Code and the retained
// messages that it brings.
func (c *conn) subscribeOne(s *packet.Subscription, id uint32) (packet.ReasonCode, []store.Entry) {
	live := c.b.live.Load()
	f, code := c.checkFilter(live, s.Filter)
	if code.IsError() {
		return code, nil
	}
	if !c.perms.MaySubscribe(f.Filter, s.QoS, c.b.clock.Now()) {
		return packet.NotAuthorized, nil
	}
	granted := min(s.QoS, live.MQTT.MaxQoS)
	existed, ok := c.sess.Subscribe(s.Filter, session.Subscription{
		QoS: granted, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling, ID: id,
	}, live.Session.MaxSubscriptions, func() {
		c.ns.router.Subscribe(c.sess, f.Group, f.Filter, router.Options{
			QoS: granted, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling, ID: id,
		})
	})
	if !ok {
		c.b.event(&hook.Event{Point: hook.LimitReached, Client: c.client, Reason: "session.max_subscriptions"})
		return packet.QuotaExceeded, nil
	}
	c.b.event(&hook.Event{Point: hook.Subscribed, Client: c.client, Topic: s.Filter, QoS: granted})
	if f.Shared || s.RetainHandling == 2 || s.RetainHandling == 1 && existed {
		return packet.ReasonCode(granted), nil // [MQTT-3.3.1-10], [MQTT-3.3.1-11]
	}
	return packet.ReasonCode(granted), c.retainedFor(f.Filter, s, granted, id)
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

// retainedFor collects the retained messages for a new subscription.
func (c *conn) retainedFor(filter string, s *packet.Subscription, granted byte, id uint32) []store.Entry {
	now := c.b.clock.Now()
	msgs := c.ns.retained.Match(filter, now, nil)
	if len(msgs) == 0 {
		return nil
	}
	var route *store.Route
	if id != 0 {
		route = &store.Route{IDs: []uint32{id}}
	}
	entries := make([]store.Entry, 0, len(msgs))
	for _, m := range msgs {
		if s.NoLocal && m.Publisher == c.client.ID || !c.perms.MayReceive(string(m.Topic), granted, true, now) {
			m.Unref()
			continue
		}
		entries = append(entries, store.Entry{Message: m, Route: route, QoS: min(m.QoS, granted), Retain: true})
	}
	return entries
}

// handleUnsubscribe removes subscriptions.
func (c *conn) handleUnsubscribe(p *transport.Pass, body []byte) error {
	var pkt packet.Unsubscribe
	if err := pkt.Decode(c.version, body); err != nil {
		return err
	}
	r := &hook.UnsubscribeRequest{Client: c.client, Filters: pkt.Filters, Codes: make([]packet.ReasonCode, len(pkt.Filters))}
	if !c.b.hooks.Wants(hook.InterceptUnsubscribe) {
		c.unsubscribe(p, pkt.PacketID, r)
		return nil
	}
	c.await(p, func(done func()) bool { return c.b.hooks.Host().Unsubscribe(r, done) },
		func(p *transport.Pass) { c.unsubscribe(p, pkt.PacketID, r) })
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
			c.b.event(&hook.Event{Point: hook.Unsubscribed, Client: c.client, Topic: filter})
		}
	}
	ack := packet.Unsuback{PacketID: id, Codes: r.Codes}
	if err := c.reply(p, packet.TypeUnsuback, &ack); err != nil {
		c.fail(err)
	}
}
