package broker

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// The messages that one read brings go through the hooks together: a host that
// is another process, or a sandbox, costs by the call.
const (
	batchMessages = 64
	batchBytes    = 64 << 10
)

// hooked is a message on its way through AuthorizePublish, InterceptPublish and
// GatePublish. The host may answer later, so that it is kept.
type hooked struct {
	hook.PublishRequest
	kept    *packet.Message
	id      uint16
	qos     byte              // of publication: decides how it is acknowledged
	again   bool              // it was routed before, and only gates are asked
	refused packet.ReasonCode // by the permissions or the authorization
	why     string
}

// batch is what one read has brought for hooks. When it has been decided about it serves
// again, for any connection of the same pass: hosts keep nothing of it.
type batch struct {
	items    []hooked
	requests []*hook.PublishRequest
	bytes    int
}

// newBatch returns an empty one.
func (sc *scratch) newBatch() *batch {
	if b := sc.batch; b != nil {
		sc.batch = nil
		return b
	}
	return new(batch)
}

// reuse takes a batch back whose messages have been released.
func (sc *scratch) reuse(b *batch) {
	clear(b.items)
	clear(b.requests[:cap(b.requests)])
	b.items, b.requests, b.bytes = b.items[:0], b.requests[:0], 0
	sc.batch = b
}

// collect adds a message to the batch. With again it was routed before.
func (c *conn) collect(sc *scratch, view *packet.Message, id uint16, again bool) {
	if c.batch == nil {
		c.batch = sc.newBatch()
	}
	c.batch.items = append(c.batch.items, hooked{})
	h := &c.batch.items[len(c.batch.items)-1]
	h.kept, h.id, h.qos, h.again = view.Keep(c.b.messageID()), id, view.QoS, again
	h.Client, h.Message = c.client, h.kept
	if !again && !c.permitted(view) {
		h.refused = packet.NotAuthorized
	}
	c.batch.bytes += h.kept.Size()
}

// batchIsFull reports whether the batch has to go through the hooks before more
// is read.
func (c *conn) batchIsFull() bool {
	return len(c.batch.items) >= batchMessages || c.batch.bytes >= batchBytes
}

// runBatch takes the batch through the hooks. If one of them answers later, the
// connection is paused when it returns.
func (c *conn) runBatch(p *transport.Pass) {
	b := c.batch
	c.batch, c.deciding = nil, b
	c.authorizeBatch(p, b, 0)
}

// abandon has a message that goes no further be taken for a new one when it comes
// again: else it would be acknowledged and never routed.
func (c *conn) abandon(h *hooked) {
	if h.qos == 2 && !h.again {
		c.release(h.id, nil)
	}
}

// authorizeBatch asks about the messages from i on, one after the other.
func (c *conn) authorizeBatch(p *transport.Pass, b *batch, i int) {
	for ; i < len(b.items) && !c.ended.Load() && c.b.hooks.Wants(hook.AuthorizePublish); i++ {
		h := &b.items[i]
		if h.refused != packet.Success || h.again {
			continue
		}
		what := question{point: hook.AuthorizePublish, topic: string(h.kept.Topic), qos: h.qos, retain: h.kept.Retain}
		c.authorize(p, what, func(p *transport.Pass, code packet.ReasonCode, reason string) {
			h.refused, h.why = code, reason
			c.authorizeBatch(p, b, i+1)
		})
		return
	}
	c.interceptBatch(p, b)
}

func (c *conn) interceptBatch(p *transport.Pass, b *batch) {
	for i := range b.items {
		h := &b.items[i]
		// A gate sees what interceptors have made of a message, each time.
		if h.refused == packet.Success && (!h.again || c.b.hooks.Wants(hook.GatePublish)) {
			b.requests = append(b.requests, &h.PublishRequest)
		}
	}
	if len(b.requests) == 0 || c.ended.Load() || !c.b.hooks.Wants(hook.InterceptPublish) {
		c.finishBatch(p, b)
		return
	}
	c.await(p, func(done func()) bool { return c.b.hooks.Host().Publish(b.requests, done) },
		func(p *transport.Pass) { c.finishBatch(p, b) })
}

// finishBatch does what was decided, in the order in which the messages came.
func (c *conn) finishBatch(p *transport.Pass, b *batch) {
	c.deciding = nil
	for i := range b.items {
		h := &b.items[i]
		switch {
		case c.ended.Load():
			c.abandon(h)
			if h.refused != packet.Success {
				c.b.dropped(c.ns.name, c.client, h.kept, h.qos, hook.DropNotAuthorized)
			}
		case h.refused != packet.Success:
			c.refusePublish(p, h.kept, h.id, h.refused, h.why)
		default:
			c.publishHooked(p, h)
		}
		h.kept.Unref()
	}
	p.Scratch.(*scratch).reuse(b)
}

// publishHooked acts on the interceptors' verdict.
func (c *conn) publishHooked(p *transport.Pass, h *hooked) {
	sc := p.Scratch.(*scratch)
	if h.Verdict != hook.Continue {
		c.b.dropped(c.ns.name, c.client, h.Message, h.qos, hook.DropByPlugin)
	}
	switch h.Verdict {
	case hook.Drop:
		if h.qos > 0 {
			c.acknowledge(p, ackType(h.qos), h.id, packet.Success, "")
		}
		return
	case hook.Deny:
		if h.again && c.version == packet.V5 {
			c.answered(c.hold(packet.TypePubrec, h.id, packet.Success, 1), errorCode(h.Code, packet.NotAuthorized))
			c.releaseAcks(p)
			return
		}
		c.denyPublish(p, h.qos, h.id, errorCode(h.Code, packet.NotAuthorized), h.Reason)
		return
	case hook.Disconnect:
		c.abandon(h)
		c.disconnect(errorCode(h.Code, packet.AdministrativeAction), h.Reason)
		return
	}
	if h.qos > 0 && !h.Message.Kept() && c.b.hooks.Wants(hook.GatePublish) {
		// An interceptor has made it. Queues and gates have to know it by the same id.
		h.Message = h.Message.Keep(c.b.messageID())
		defer h.Message.Unref()
	}
	code := packet.Success
	var r *store.Receipt
	if h.again {
		r = c.noted(h.id)
	} else {
		var n int
		n, r = c.routeSafe(p, sc, h.Message, h.Extra, h.qos, h.id)
		code = acceptedCode(n)
	}
	switch {
	case h.qos == 0:
	case c.b.hooks.Wants(hook.GatePublish):
		c.gate(p, h, code, r)
	default:
		c.answer(p, ackType(h.qos), h.id, code, r)
	}
}

// gate holds the acknowledgement until the gate and the store have answered.
func (c *conn) gate(p *transport.Pass, h *hooked, code packet.ReasonCode, r *store.Receipt) {
	held := c.hold(ackType(h.qos), h.id, code, 2)
	g := &hook.GateRequest{Client: c.client, Message: h.Message.Keep(c.b.messageID())}
	answer := func() {
		g.Message.Unref()
		c.answered(held, g.Code)
	}
	if ackBeforeGate {
		c.answered(held, packet.Success)
		answer = g.Message.Unref
	}
	if c.b.hooks.Host().Gate(g, answer) {
		answer()
	}
	c.awaitStore(held, r)
	c.releaseAcks(p)
}
