package broker

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// screening finds out what a client would be shown of messages, as SUBSCRIBE to each of
// their topics and the deliveries after it would (subscribe.go), but with no connection
// to pause and no consequences: a plugin that wants the client disconnected refuses.
type screening struct {
	b       *Broker
	client  *hook.Client
	list    []*packet.Message
	results []hook.Screened
	done    func([]hook.Screened)
}

func (pl plugins) Screen(namespace, clientID string, list []*packet.Message, done func([]hook.Screened)) {
	x := &screening{b: pl.b, results: make([]hook.Screened, len(list)), done: done}
	for _, m := range list {
		x.list = append(x.list, pl.b.take(m, m.Publisher))
	}
	pl.b.errand(func(p *transport.Pass) {
		_, s, code, reason := x.b.actor(namespace, clientID)
		if code.IsError() {
			x.refuseAll(code, reason)
			x.finish()
			return
		}
		x.client = clientOf(s)
		x.permissions()
		x.intercept(p)
	})
}

func (x *screening) refuseAll(code packet.ReasonCode, reason string) {
	for i := range x.results {
		x.refuse(i, code, reason)
	}
}

func (x *screening) refuse(i int, code packet.ReasonCode, reason string) {
	if r := &x.results[i]; !r.Code.IsError() {
		r.Code, r.Reason = errorCode(code, packet.NotAuthorized), reason
	}
}

// permissions asks the client's own.
func (x *screening) permissions() {
	now := x.b.clock.Now()
	for i, m := range x.list {
		if code, reason := x.b.checkScreened(m); code.IsError() {
			x.refuse(i, code, reason)
		} else if !x.client.Permissions.MaySubscribe(string(m.Topic), m.QoS, now) {
			x.refuse(i, packet.NotAuthorized, "the client may not subscribe to this")
		} else if !x.client.Permissions.MayReceive(string(m.Topic), m.QoS, m.Retain, now) {
			x.refuse(i, packet.NotAuthorized, "the client may not receive this")
		}
	}
}

func (b *Broker) checkScreened(m *packet.Message) (packet.ReasonCode, string) {
	switch err := topic.ValidName(m.Topic); {
	case err != nil:
		return packet.TopicNameInvalid, err.Error()
	case m.QoS > 2:
		return packet.QoSNotSupported, "there is no such QoS"
	}
	return packet.Success, ""
}

// intercept asks those that may refuse or change a subscription. One that would give the
// client other topics than these refuses.
func (x *screening) intercept(p *transport.Pass) {
	r := &hook.SubscribeRequest{Client: x.client}
	var of []int // the message of each subscription
	for i, m := range x.list {
		if x.results[i].Code == packet.Success {
			r.Subscriptions = append(r.Subscriptions, packet.Subscription{Filter: string(m.Topic), QoS: m.QoS})
			of = append(of, i)
		}
	}
	r.Codes = make([]packet.ReasonCode, len(of))
	answered := func() {
		for k, i := range of {
			switch {
			case r.Disconnect:
				x.refuse(i, r.DisconnectCode, r.Reason)
			case k >= len(r.Codes) || k >= len(r.Subscriptions) || r.Codes[k].IsError():
				x.refuse(i, packet.NotAuthorized, r.Reason)
			case r.Subscriptions[k].Filter != string(x.list[i].Topic):
				x.refuse(i, packet.NotAuthorized, "the client would get another topic")
			}
		}
	}
	if len(of) == 0 || !x.b.hooks.Wants(hook.InterceptSubscribe) {
		x.authorize(p, 0)
		return
	}
	later := func() {
		x.b.errand(func(p *transport.Pass) {
			answered()
			x.authorize(p, 0)
		})
	}
	if x.b.hooks.Host().Subscribe(r, later) {
		answered()
		x.authorize(p, 0)
	}
}

// authorize asks about the topics from i on, one after the other.
func (x *screening) authorize(p *transport.Pass, i int) {
	for ; i < len(x.list) && x.b.hooks.Wants(hook.AuthorizeSubscribe); i++ {
		if x.results[i].Code != packet.Success {
			continue
		}
		m := x.list[i]
		r := &hook.AuthorizeRequest{Client: x.client, Point: hook.AuthorizeSubscribe, Topic: string(m.Topic), QoS: m.QoS}
		answered := func() {
			if !r.Allow {
				x.refuse(i, r.Code, r.Reason)
			}
		}
		later := func() {
			x.b.errand(func(p *transport.Pass) {
				answered()
				x.authorize(p, i+1)
			})
		}
		if !x.b.hooks.Host().Authorize(r, later) {
			return
		}
		answered()
	}
	x.receive()
}

// receive asks those that decide about deliveries.
func (x *screening) receive() {
	screens := x.b.screens()
	for i, m := range x.list {
		s := &x.results[i]
		if s.Code.IsError() {
			continue
		}
		s.Message = m
		if !screens {
			continue
		}
		r := hook.ReceiveRequest{Client: x.client, Message: m}
		x.b.hooks.Host().Receive(&r)
		if r.Drop {
			s.Message = nil
			x.refuse(i, packet.NotAuthorized, "a plugin does not let the client receive this")
			continue
		}
		s.Message, s.Changed = r.Message, r.Message != m
	}
	x.finish()
}

func (x *screening) finish() {
	x.done(x.results)
	for _, m := range x.list {
		m.Unref()
	}
}
