package broker

import (
	"fmt"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
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
	full := pub.QoS > 0 && c.version == packet.V5 && c.unreleased+c.acks.owed() >= int(c.receiveMax)
	if full && pub.QoS == 1 {
		return errReceiveMaximum
	}
	if pub.QoS == 2 {
		first, ok := c.sess.Receive(c, pub.PacketID)
		if !ok {
			return refuse(packet.SessionTakenOver, "")
		}
		if !first {
			c.acknowledge(p, packet.TypePubrec, pub.PacketID, packet.Success)
			return nil
		}
		c.unreleased++
		if full {
			// It goes no further: the session must not take it for received.
			c.release(pub.PacketID)
			return errReceiveMaximum
		}
	}
	m := c.view(sc, live, pub)
	if c.b.hooks.Wants(hook.AuthorizePublish) || c.b.hooks.Wants(hook.InterceptPublish) || c.b.hooks.Wants(hook.GatePublish) {
		c.collect(m, pub.PacketID)
		return nil
	}
	c.finishPublish(p, sc, m, pub.PacketID)
	return nil
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
	if c.aliases == nil {
		c.aliases = make([][]byte, c.aliasMax)
	}
	known := c.aliases[a-1]
	switch {
	case len(pub.Topic) > 0:
		if string(known) != string(pub.Topic) {
			c.aliases[a-1] = append([]byte(nil), pub.Topic...)
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
		c.refusePublish(p, m, id, packet.NotAuthorized)
		return
	}
	n := c.b.route(p, sc, c.ns, m, c)
	c.acknowledgeSafe(p, m.QoS, id, acceptedCode(n))
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

// acknowledgeSafe acknowledges once the store has what was handed to it.
func (c *conn) acknowledgeSafe(p *transport.Pass, qos byte, id uint16, code packet.ReasonCode) {
	if qos == 0 {
		return
	}
	if c.b.syncsAtOnce {
		c.acknowledge(p, ackType(qos), id, code)
		return
	}
	held := c.hold(ackType(qos), id, code, 1)
	c.awaitStore(held)
	c.releaseAcks(p)
}

// awaitStore gives held one answer, when everything so far is safe. A message
// that never will be is refused; MQTT 3 clients, who cannot be told, lose their
// connection and send it again [MQTT-4.8.0-2].
func (c *conn) awaitStore(held *pendingAck) {
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
	if c.b.opts.Store.Sync(done) {
		done(nil)
	}
}

// refusePublish drops a message that its publisher may not send. MQTT 5 clients
// are told; to others it looks accepted [MQTT-3.3.5-2].
func (c *conn) refusePublish(p *transport.Pass, m *packet.Message, id uint16, code packet.ReasonCode) {
	c.b.dropped(c.client, m, m.QoS, hook.DropNotAuthorized)
	c.denyPublish(p, m.QoS, id, code)
}

func (c *conn) denyPublish(p *transport.Pass, qos byte, id uint16, code packet.ReasonCode) {
	if qos == 0 {
		return
	}
	if c.version < packet.V5 {
		code = packet.Success
	}
	if qos == 2 && code.IsError() {
		c.release(id) // with an error the identifier is free again [MQTT-4.3.3-9]
	}
	c.acknowledge(p, ackType(qos), id, code)
}

// release forgets the Packet Identifier of a QoS 2 message from the client.
func (c *conn) release(id uint16) (known bool) {
	c.unreleased = max(c.unreleased-1, 0)
	return c.sess.Release(id)
}
