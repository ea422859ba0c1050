package broker

import (
	"fmt"
	"sync"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// proxy publishes what plugins publish as one client: in order, a batch at a time
// through the hooks, like what comes from the client itself (batch.go), but with no
// connection to pause and a result in place of an acknowledgement. It exists while
// there is something to publish, and is used by errands only.
type proxy struct {
	b       *Broker
	n       *namespace
	s       *session.Session
	client  *hook.Client
	waiting []*proxied
	batch   []*proxied
}

// proxied is a message on its way.
type proxied struct {
	hook.PublishRequest
	kept    *packet.Message
	refused packet.ReasonCode
	reason  string
	done    func(hook.PublishResult)
}

func (pl plugins) PublishAs(name, clientID string, m *packet.Message, done func(hook.PublishResult)) {
	b := pl.b
	kept := b.take(m, clientID)
	b.errand(func(p *transport.Pass) {
		code, reason := b.checkMessage(kept)
		if !code.IsError() {
			code, reason = b.checkAs(kept)
		}
		var n *namespace
		var s *session.Session
		if !code.IsError() {
			n, s, code, reason = b.actor(name, clientID)
		}
		if code.IsError() {
			kept.Unref()
			done(hook.PublishResult{Code: code, Reason: reason})
			return
		}
		x := b.proxies[s]
		if x == nil {
			x = &proxy{b: b, n: n, s: s}
			if b.proxies == nil {
				b.proxies = make(map[*session.Session]*proxy)
			}
			b.proxies[s] = x
		}
		x.waiting = append(x.waiting, &proxied{kept: kept, done: done})
		if x.batch == nil {
			x.next(p)
		}
	})
}

// actor finds the client for which a plugin wants to do something.
func (b *Broker) actor(name, clientID string) (*namespace, *session.Session, packet.ReasonCode, string) {
	n := b.findNamespace(name)
	var s *session.Session
	if n != nil {
		s = n.lookup(clientID)
	}
	switch {
	case s == nil:
		return nil, nil, packet.NotAuthorized, fmt.Sprintf("client %q has no session", clientID)
	case clientOf(s).ConnectedAt == 0 && b.hooks.Wants(hook.Authenticate):
		return nil, nil, packet.NotAuthorized, fmt.Sprintf("client %q has not connected since the start: its permissions are not known", clientID)
	}
	return n, s, packet.Success, ""
}

// checkAs checks what clients may not do.
func (b *Broker) checkAs(m *packet.Message) (packet.ReasonCode, string) {
	o := &b.live.Load().MQTT
	switch {
	case m.QoS > o.MaxQoS:
		return packet.QoSNotSupported, "mqtt.max_qos"
	case m.Retain && !o.RetainAvailable:
		return packet.RetainNotSupported, "mqtt.retain_available"
	case len(m.Topic) > o.MaxTopicLength || o.MaxTopicLevels > 0 && tooManyLevels(m.Topic, o.MaxTopicLevels):
		return packet.TopicNameInvalid, "mqtt.max_topic_length or mqtt.max_topic_levels is exceeded"
	case m.Size() > o.maxPacket(true):
		return packet.PacketTooLarge, "mqtt.max_packet_size is exceeded"
	}
	if len(m.Props) == 0 || !o.CheckPayloadFormat {
		return packet.Success, ""
	}
	var props packet.PublishProps
	if err := props.Decode(m.Props, false); err != nil {
		return packet.ProtocolError, err.Error()
	}
	if props.PayloadFormat == 1 && !packet.ValidPayloadFormat(m.Payload) {
		return packet.PayloadFormatInvalid, "the payload is not UTF-8"
	}
	return packet.Success, ""
}

// next begins with the next batch, until none is left.
func (x *proxy) next(p *transport.Pass) {
	if len(x.waiting) == 0 {
		delete(x.b.proxies, x.s)
		return
	}
	k := min(len(x.waiting), batchMessages)
	x.batch, x.waiting = x.waiting[:k:k], x.waiting[k:]
	x.client = clientOf(x.s)
	for _, h := range x.batch {
		h.Client, h.Message = x.client, h.kept
		if !x.client.Permissions.MayPublish(string(h.kept.Topic), h.kept.QoS, h.kept.Retain, x.b.clock.Now()) {
			h.refused, h.reason = packet.NotAuthorized, "the client may not publish this"
		}
	}
	x.authorize(p, 0)
}

// authorize asks about the messages from i on, one after the other.
func (x *proxy) authorize(p *transport.Pass, i int) {
	for ; i < len(x.batch) && x.b.hooks.Wants(hook.AuthorizePublish); i++ {
		h := x.batch[i]
		if h.refused != packet.Success {
			continue
		}
		r := &hook.AuthorizeRequest{
			Client: x.client, Point: hook.AuthorizePublish, Topic: string(h.kept.Topic), QoS: h.kept.QoS, Retain: h.kept.Retain,
		}
		answered := func() {
			if r.Allow {
				return
			}
			h.refused, h.reason = errorCode(r.Code, packet.NotAuthorized), r.Reason
			if r.Disconnect {
				x.disconnect(h.refused, r.Reason)
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
	x.intercept(p)
}

func (x *proxy) intercept(p *transport.Pass) {
	var requests []*hook.PublishRequest
	for _, h := range x.batch {
		if h.refused == packet.Success {
			requests = append(requests, &h.PublishRequest)
		}
	}
	if len(requests) == 0 || !x.b.hooks.Wants(hook.InterceptPublish) ||
		x.b.hooks.Host().Publish(requests, func() { x.b.errand(x.finish) }) {
		x.finish(p)
	}
}

// finish does what was decided, in order.
func (x *proxy) finish(p *transport.Pass) {
	for _, h := range x.batch {
		if h.refused != packet.Success {
			x.b.dropped(x.n.name, x.client, h.kept, h.kept.QoS, hook.DropNotAuthorized)
			h.done(hook.PublishResult{Code: h.refused, Reason: h.reason})
		} else {
			x.publish(p, h)
		}
		h.kept.Unref()
	}
	x.batch = nil
	x.next(p)
}

// publish acts on the interceptors' verdict.
func (x *proxy) publish(p *transport.Pass, h *proxied) {
	qos := h.kept.QoS
	if h.Verdict != hook.Continue {
		x.b.dropped(x.n.name, x.client, h.Message, qos, hook.DropByPlugin)
	}
	switch h.Verdict {
	case hook.Drop:
		h.done(hook.PublishResult{Reason: h.Reason})
		return
	case hook.Deny:
		h.done(hook.PublishResult{Code: errorCode(h.Code, packet.NotAuthorized), Reason: h.Reason})
		return
	case hook.Disconnect:
		code := errorCode(h.Code, packet.AdministrativeAction)
		x.disconnect(code, h.Reason)
		h.done(hook.PublishResult{Code: code, Reason: h.Reason})
		return
	}
	sc := p.Scratch.(*scratch)
	if x.b.full(sc, x.n, h.Message) {
		x.b.dropped(x.n.name, x.client, h.Message, qos, hook.DropStoreFull)
		h.done(hook.PublishResult{Code: packet.QuotaExceeded, Reason: reasonFull})
		return
	}
	if qos > 0 {
		if !h.Message.Kept() {
			h.Message = h.Message.Keep(x.b.messageID()) // one id for queues and gates
			defer h.Message.Unref()
		}
		sc.frames.Await(false)
	}
	from := source{client: x.client, session: x.s}
	receivers := x.b.route(p, sc, x.n, h.Message, from)
	for _, e := range h.Extra {
		receivers += x.b.route(p, sc, x.n, e, from)
	}
	r := sc.frames.Receipt()
	result := hook.PublishResult{Code: acceptedCode(receivers), Receivers: receivers, ID: h.Message.ID}
	if qos == 0 || !x.b.hooks.Wants(hook.GatePublish) {
		x.b.settle(r, result, h.done)
		return
	}
	x.gate(h, result, func(done func(hook.PublishResult)) { x.b.settle(r, result, done) })
}

// gate answers when both the gate and the store have answered.
func (x *proxy) gate(h *proxied, result hook.PublishResult, settled func(func(hook.PublishResult))) {
	var mu sync.Mutex
	waits, done := 2, h.done
	answer := func(r hook.PublishResult) {
		mu.Lock()
		if r.Code.IsError() {
			result.Code, result.Reason = r.Code, r.Reason
		}
		waits--
		last, final := waits == 0, result
		mu.Unlock()
		if last {
			done(final)
		}
	}
	g := &hook.GateRequest{Client: x.client, Message: h.Message.Keep(x.b.messageID())}
	opened := func() {
		g.Message.Unref()
		answer(hook.PublishResult{Code: g.Code, Reason: "refused by a gate"})
	}
	if x.b.hooks.Host().Gate(g, opened) {
		opened()
	}
	settled(answer)
}

// disconnect closes the connection that the client has, if it still is the one that
// was asked about.
func (x *proxy) disconnect(code packet.ReasonCode, reason string) {
	if c, ok := x.s.Link().(*conn); ok && c.number == x.client.Connection {
		c.disconnect(code, reason)
	}
}
