package broker

import (
	"fmt"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// handlePublish takes one PUBLISH on its whole way: checks, permissions, hooks,
// routing, acknowledgement. With no hook in the way nothing of the packet is
// copied but into the out-buffers of its receivers.
func (c *conn) handlePublish(p *transport.Pass, sc *scratch, live *Live, h packet.Header, body []byte) error {
	pub := &sc.pub
	if err := packet.DecodePublish(pub, c.version, h, body, false); err != nil {
		return err
	}
	sc.tally.payloadIn += int64(len(pub.Payload))
	if err := c.limitRate(&live.Limits, len(body)); err != nil {
		return err
	}
	if err := c.checkPublish(&live.MQTT, pub); err != nil {
		return err
	}
	if c.b.memory.above.Load() {
		c.b.memory.hold(c, false)
	}
	full := pub.QoS > 0 && c.version == packet.V5 && c.unreleased+c.publisher().acks.owed() >= int(c.receiveMax)
	if full && pub.QoS == 1 {
		return errReceiveMaximum
	}
	if pub.QoS == 2 {
		first, ok := c.sess.Receive(c, pub.PacketID)
		if !ok {
			return refuse(packet.SessionTakenOver, "")
		}
		if !first {
			c.receivedAgain(p, sc, live, pub)
			return nil
		}
		c.unreleased++
		if full {
			// It goes no further: the session must not take it for received.
			c.release(pub.PacketID, nil)
			return errReceiveMaximum
		}
	}
	m := c.view(sc, live, pub)
	if pub.QoS > 0 && c.version == packet.V5 && c.b.store.Full() && c.wouldStore(sc, pub) {
		c.refuseFull(p, m, pub.PacketID)
		return nil
	}
	if c.b.hooks.Wants(hook.AuthorizePublish) || c.b.hooks.Wants(hook.InterceptPublish) || c.b.hooks.Wants(hook.GatePublish) {
		c.collect(sc, m, pub.PacketID, false)
		return nil
	}
	c.finishPublish(p, sc, m, pub.PacketID)
	return nil
}

// receivedAgain takes a QoS 2 PUBLISH that came before. It is not routed again
// [MQTT-4.3.3-10], but what a gate has said of it may have been lost with the
// connection or the process: it is asked again.
func (c *conn) receivedAgain(p *transport.Pass, sc *scratch, live *Live, pub *packet.Publish) {
	if c.batch != nil || c.b.hooks.Wants(hook.GatePublish) {
		// Its PUBREC must not leave before those of the batch [MQTT-4.6.0-3].
		c.collect(sc, c.view(sc, live, pub), pub.PacketID, true)
		return
	}
	// What came before may still be on its way into the store.
	c.answer(p, packet.TypePubrec, pub.PacketID, packet.Success, c.noted(pub.PacketID))
}

var errReceiveMaximum = refuse(packet.ReceiveMaximumExceeded, "[MQTT-3.3.4-7]")

// checkPublish checks what the codec cannot know, and resolves the Topic Alias.
func (c *conn) checkPublish(m *MQTT, pub *packet.Publish) error {
	switch {
	case pub.QoS > m.MaxQoS:
		return refuse(packet.QoSNotSupported, "[MQTT-3.2.2-11]")
	case pub.Retain && !m.RetainAvailable:
		return refuse(packet.RetainNotSupported, "[MQTT-3.2.2-14]")
	}
	if pub.Props.Set != 0 {
		if pub.Props.Set.Has(packet.PropTopicAlias) {
			if err := c.resolveAlias(pub); err != nil {
				return err
			}
		}
		if pub.Props.PayloadFormat == 1 && m.CheckPayloadFormat && !packet.ValidPayloadFormat(pub.Payload) {
			return refuse(packet.PayloadFormatInvalid, "the payload is not UTF-8")
		}
	}
	if len(pub.Topic) > m.MaxTopicLength || m.MaxTopicLevels > 0 && tooManyLevels(pub.Topic, m.MaxTopicLevels) {
		return refuse(packet.TopicNameInvalid, "mqtt.max_topic_length or mqtt.max_topic_levels is exceeded")
	}
	return nil
}

func tooManyLevels(topic []byte, limit int) bool {
	if len(topic) < limit {
		return false
	}
	n := 1
	for _, b := range topic {
		if b == '/' {
			n++
		}
	}
	return n > limit
}

// resolveAlias sets or uses a Topic Alias (MQTT 5 §3.3.2.3.4).
func (c *conn) resolveAlias(pub *packet.Publish) error {
	a := int(pub.Props.TopicAlias)
	if a > int(c.aliasMax) {
		return refuse(packet.TopicAliasInvalid, "[MQTT-3.3.2-9]")
	}
	o := c.publisher()
	if o.aliases == nil {
		o.aliases = make([][]byte, c.aliasMax)
	}
	known := o.aliases[a-1]
	switch {
	case len(pub.Topic) > 0:
		if string(known) != string(pub.Topic) {
			o.aliases[a-1] = append([]byte(nil), pub.Topic...)
		}
	case known == nil:
		return refuse(packet.ProtocolError, "the Topic Alias has not been set")
	default:
		pub.Topic = known
	}
	return nil
}

// view describes the PUBLISH as a message, without copying.
func (c *conn) view(sc *scratch, live *Live, pub *packet.Publish) *packet.Message {
	m := &sc.msg
	m.Topic, m.Payload, m.Props = pub.Topic, pub.Payload, nil
	m.Publisher, m.QoS, m.Retain = c.client.ID, pub.QoS, pub.Retain
	m.Received, m.Expires = c.b.clock.Now(), packet.NoExpiry
	if pub.Props.Set != 0 {
		m.Props = pub.Props.Forward(sc.fwd[:0])
		if len(m.Props) > cap(sc.fwd) {
			sc.fwd = make([]byte, 0, 2*len(m.Props))
		}
		if pub.Props.Set.Has(packet.PropMessageExpiryInterval) {
			m.Expires = m.Received + int64(pub.Props.MessageExpiry)*1000
			if m.Expires == m.Received {
				m.Expires++ // an interval of 0 expires as soon as there is a wait
			}
		}
	}
	return m
}

// reserved tells the topics that only the server publishes to.
func reserved[T ~string | ~[]byte](topic T) bool {
	return len(topic) >= 4 && topic[0] == '$' && string(topic[:4]) == "$SYS" && (len(topic) == 4 || topic[4] == '/')
}

// finishPublish routes a message that no hook wanted to see and acknowledges it.
func (c *conn) finishPublish(p *transport.Pass, sc *scratch, m *packet.Message, id uint16) {
	if !c.permitted(m) {
		c.refusePublish(p, m, id, packet.NotAuthorized, "")
		return
	}
	n, r := c.routeSafe(p, sc, m, nil, m.QoS, id)
	if m.QoS > 0 {
		c.answer(p, ackType(m.QoS), id, acceptedCode(n), r)
	}
}

// routeSafe routes a message, and what interceptors added to it, and returns how
// many subscriptions matched and what its acknowledgement has to wait for. qos
// and id are those of the PUBLISH.
func (c *conn) routeSafe(p *transport.Pass, sc *scratch, m *packet.Message, extra []*packet.Message, qos byte, id uint16) (n int, r *store.Receipt) {
	// A Packet Identifier of QoS 2 that outlives a crash must do so if and only if
	// the message does [MQTT-4.3.3-10].
	together := qos == 2 && c.durable
	if qos > 0 {
		sc.frames.Await(together)
	}
	if together {
		c.b.store.Begin()
		c.sess.Received(id, sc.frames.ReceiptFor())
	}
	from := c.source()
	n = c.b.route(p, sc, c.ns, m, from)
	for _, e := range extra {
		n += c.b.route(p, sc, c.ns, e, from)
	}
	if together {
		c.b.store.End()
	}
	return n, sc.frames.Receipt()
}

func acceptedCode(receivers int) packet.ReasonCode {
	if receivers == 0 {
		return packet.NoMatchingSubscribers
	}
	return packet.Success
}

func ackType(qos byte) packet.Type {
	if qos == 2 {
		return packet.TypePubrec
	}
	return packet.TypePuback
}

// answer sends PUBACK, PUBREC or PUBCOMP once r is settled; at once if there is
// nothing to wait for.
func (c *conn) answer(p *transport.Pass, typ packet.Type, id uint16, code packet.ReasonCode, r *store.Receipt) {
	if r == nil {
		c.acknowledge(p, typ, id, code, "")
		return
	}
	c.awaitStore(c.hold(typ, id, code, 1), r)
	c.releaseAcks(p)
}

// awaitStore gives held one answer, when r is settled. A message that never will
// be safe is refused; MQTT 3 clients, who cannot be told, lose their connection
// and send it again [MQTT-4.8.0-2].
func (c *conn) awaitStore(held *pendingAck, r *store.Receipt) {
	if r == nil || ackBeforeCommit {
		c.answered(held, packet.Success)
		return
	}
	id := c.client.ID
	done := func(err error) {
		if err == nil {
			c.answered(held, packet.Success)
			return
		}
		c.b.log.Error("a message could not be stored and is not acknowledged", "client", id, "error", err)
		if c.version < packet.V5 {
			c.shut(fmt.Errorf("a message could not be stored: %w", err))
		}
		c.answered(held, packet.UnspecifiedError)
	}
	if settled, err := r.Wait(done); settled {
		done(err)
	}
}

// refusePublish drops a message that its publisher may not send. MQTT 5 clients
// are told; to others it looks accepted [MQTT-3.3.5-2].
func (c *conn) refusePublish(p *transport.Pass, m *packet.Message, id uint16, code packet.ReasonCode, reason string) {
	c.b.dropped(c.ns.name, c.client, m, m.QoS, hook.DropNotAuthorized)
	c.denyPublish(p, m.QoS, id, code, reason)
}

func (c *conn) denyPublish(p *transport.Pass, qos byte, id uint16, code packet.ReasonCode, reason string) {
	if qos == 0 {
		return
	}
	if code = carried(ackType(qos), code); c.version < packet.V5 {
		code, reason = packet.Success, ""
	}
	if qos == 2 && code.IsError() {
		c.release(id, nil) // with an error the identifier is free again [MQTT-4.3.3-9]
	}
	c.acknowledge(p, ackType(qos), id, code, reason)
}

// release forgets the Packet Identifier of a QoS 2 message from the client; r may
// be nil.
func (c *conn) release(id uint16, r *store.Receipt) (known bool) {
	c.unreleased = max(c.unreleased-1, 0)
	return c.sess.Release(id, r)
}
