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
	refused packet.ReasonCode // by the permissions or the authorization
}

// collect adds a message to the batch.
func (c *conn) collect(view *packet.Message, id uint16) {
	h := &hooked{kept: view.Keep(c.b.messageID()), id: id, qos: view.QoS}
	h.Client, h.Message = c.client, h.kept
	if !c.permitted(view) {
		h.refused = packet.NotAuthorized
	}
	c.batch = append(c.batch, h)
	c.batchSize += h.kept.Size()
}

// batchIsFull reports whether the batch has to go through the hooks before more
// is read.
func (c *conn) batchIsFull() bool { return len(c.batch) >= batchMessages || c.batchSize >= batchBytes }

// runBatch takes the batch through the hooks. If one of them answers later, the
// connection is paused when it returns.
func (c *conn) runBatch(p *transport.Pass) {
	batch := c.batch
	c.batch, c.batchSize = nil, 0
	c.authorizeBatch(p, batch, 0)
}

// authorizeBatch asks about the messages from i on, one after the other.
func (c *conn) authorizeBatch(p *transport.Pass, batch []*hooked, i int) {
	for ; i < len(batch) && c.b.hooks.Wants(hook.AuthorizePublish); i++ {
		h := batch[i]
		if h.refused != packet.Success {
			continue
		}
		what := question{point: hook.AuthorizePublish, topic: string(h.kept.Topic), qos: h.qos, retain: h.kept.Retain}
		c.authorize(p, what, func(p *transport.Pass, code packet.ReasonCode) {
			h.refused = code
			c.authorizeBatch(p, batch, i+1)
		})
		return
	}
	c.interceptBatch(p, batch)
}

func (c *conn) interceptBatch(p *transport.Pass, batch []*hooked) {
	requests := make([]*hook.PublishRequest, 0, len(batch))
	for _, h := range batch {
		if h.refused == packet.Success {
			requests = append(requests, &h.PublishRequest)
		}
	}
	if len(requests) == 0 || !c.b.hooks.Wants(hook.InterceptPublish) {
		c.finishBatch(p, batch)
		return
	}
	c.await(p, func(done func()) bool { return c.b.hooks.Host().Publish(requests, done) },
		func(p *transport.Pass) { c.finishBatch(p, batch) })
}

// finishBatch does what was decided, in the order in which the messages came.
func (c *conn) finishBatch(p *transport.Pass, batch []*hooked) {
	for _, h := range batch {
		switch {
		case c.ended.Load():
		case h.refused != packet.Success:
			c.refusePublish(p, h.kept, h.id, h.refused)
		default:
			c.publishHooked(p, h)
		}
		h.kept.Unref()
	}
}

// publishHooked acts on the interceptors' verdict.
func (c *conn) publishHooked(p *transport.Pass, h *hooked) {
	sc := p.Scratch.(*scratch)
	if h.Verdict != hook.Continue {
		c.b.dropped(c.client, h.Message, h.qos, hook.DropByPlugin)
	}
	switch h.Verdict {
	case hook.Drop:
		if h.qos > 0 {
			c.acknowledge(p, ackType(h.qos), h.id, packet.Success)
		}
		return
	case hook.Deny:
		c.denyPublish(p, h.qos, h.id, errorCode(h.Code, packet.NotAuthorized))
		return
	case hook.Disconnect:
		c.disconnect(errorCode(h.Code, packet.AdministrativeAction), h.Reason)
		return
	}
	n, r := c.routeSafe(p, sc, h.Message, h.Extra, h.qos, h.id)
	switch {
	case h.qos == 0:
	case c.b.hooks.Wants(hook.GatePublish):
		c.gate(p, h, acceptedCode(n), r)
	default:
		c.answer(p, ackType(h.qos), h.id, acceptedCode(n), r)
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
	if c.b.hooks.Host().Gate(g, answer) {
		answer()
	}
	c.awaitStore(held, r)
	c.releaseAcks(p)
}
