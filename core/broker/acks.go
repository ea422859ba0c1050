package broker

import (
	"sync"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// ackQueue holds the acknowledgements that a connection owes while something
// (a commit, a gate) is not through with their messages. They leave in the order
// in which the messages came [MQTT-4.6.0-2]. It is empty nearly always.
type ackQueue struct {
	mu      sync.Mutex
	pending []*pendingAck
	closed  bool
	refused int // PUBRECs with an error whose identifiers are not free yet
}

// pendingAck is a PUBACK, PUBREC or PUBCOMP.
type pendingAck struct {
	typ      packet.Type
	id       uint16
	code     packet.ReasonCode
	reason   string
	waits    int  // for so many answers; guarded by the queue
	withhold bool // do not send it at all
	refused  bool // its Packet Identifier has to be free before it is sent
}

// acknowledge sends PUBACK or PUBREC, at once if nothing before it is held back.
// The reason, which may be empty, goes to clients that want one.
func (c *conn) acknowledge(p *transport.Pass, typ packet.Type, id uint16, code packet.ReasonCode, reason string) {
	q := &c.publisher().acks
	q.mu.Lock()
	if len(q.pending) > 0 {
		q.pending = append(q.pending, &pendingAck{typ: typ, id: id, code: code, reason: reason})
		q.mu.Unlock()
		return
	}
	q.mu.Unlock()
	c.sendAck(p, typ, id, code, reason)
}

func (c *conn) sendAck(p *transport.Pass, typ packet.Type, id uint16, code packet.ReasonCode, reason string) {
	sc := p.Scratch.(*scratch)
	sc.buf = packet.AppendAck(sc.buf[:0], typ, c.version, id, code, nil)
	if c.explains(reason) {
		props := new(packet.Properties)
		props.SetReasonString(reason)
		bare := len(sc.buf)
		sc.buf = packet.AppendAck(sc.buf, typ, c.version, id, code, props)
		if with := sc.buf[bare:]; c.maxOut == 0 || len(with) <= int(c.maxOut) { // [MQTT-3.4.2-2], [MQTT-3.5.2-2]
			sc.buf = append(sc.buf[:0], with...)
		} else {
			sc.buf = sc.buf[:bare]
		}
	}
	c.Append(sc.buf)
	sc.tally.sent(typ, 1)
	p.Flush(c.Conn)
}

// explains reports whether the client is to be sent a Reason String [MQTT-3.1.2-29].
func (c *conn) explains(reason string) bool {
	return reason != "" && c.version == packet.V5 && !c.noProblemInfo
}

// hold queues an acknowledgement that waits for n answers.
func (c *conn) hold(typ packet.Type, id uint16, code packet.ReasonCode, n int) *pendingAck {
	a := &pendingAck{typ: typ, id: id, code: code, waits: n}
	q := &c.publisher().acks
	q.mu.Lock()
	q.pending = append(q.pending, a)
	full := len(q.pending) >= int(c.receiveMax)
	q.mu.Unlock()
	if full && c.version < packet.V5 {
		// MQTT 3 has no Receive Maximum; the socket has to do.
		c.Pause(pauseAcks)
	}
	return a
}

// answered is called, from any goroutine, with one of the answers that a waits
// for.
func (c *conn) answered(a *pendingAck, code packet.ReasonCode) {
	q := &c.out.acks // it is there since a was held
	q.mu.Lock()
	a.waits--
	if code.IsError() {
		a.code = carried(a.typ, code)
		// PUBCOMP has no code for it: the client will ask again.
		a.withhold = c.version < packet.V5 || a.typ == packet.TypePubcomp
		if a.typ == packet.TypePubrec && !a.withhold && !a.refused {
			a.refused = true
			q.refused++
		}
	}
	ready := !q.closed && q.pending[0].waits == 0
	q.mu.Unlock()
	if ready {
		c.signal(wakeAcks)
	}
}

// releaseAcks sends what is not held back any more.
func (c *conn) releaseAcks(p *transport.Pass) {
	q := &c.publisher().acks
	c.freeRefused()
	for {
		q.mu.Lock()
		if len(q.pending) == 0 || q.pending[0].waits > 0 {
			if len(q.pending) == 0 {
				q.pending = nil
			}
			room := len(q.pending) < int(c.receiveMax)
			q.mu.Unlock()
			if room {
				c.Resume(pauseAcks)
			}
			return
		}
		a := q.pending[0]
		q.pending[0] = nil
		q.pending = q.pending[1:]
		q.mu.Unlock()
		if !a.withhold {
			c.sendAck(p, a.typ, a.id, a.code, a.reason)
		}
	}
}

// freeRefused frees the Packet Identifiers of messages that are refused: with an error
// in PUBREC, what comes next with one of them is another message [MQTT-4.3.3-9]. If
// the identifier came back after a crash, that would be taken for the refused one: so
// PUBREC waits for the Store.
func (c *conn) freeRefused() {
	q := &c.publisher().acks
	q.mu.Lock()
	var free []*pendingAck
	for i := 0; q.refused > 0 && i < len(q.pending); i++ {
		if a := q.pending[i]; a.refused && a.waits == 0 {
			a.refused, a.waits = false, 1
			q.refused--
			free = append(free, a)
		}
	}
	q.mu.Unlock()
	for _, a := range free {
		freed := func(error) { c.answered(a, packet.Success) }
		var r *store.Receipt
		if c.durable {
			r = store.NewReceipt()
		}
		c.release(a.id, r)
		if r == nil {
			freed(nil)
		} else if settled, err := r.Wait(freed); settled {
			freed(err)
		}
	}
}

func (c *conn) dropAcks() {
	if c.out == nil {
		return
	}
	q := &c.out.acks
	q.mu.Lock()
	q.pending, q.closed = nil, true
	q.mu.Unlock()
}

// owed is the number of QoS 1 messages that are not acknowledged yet; with
// those of QoS 2 that are not released, they count against Receive Maximum.
func (q *ackQueue) owed() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range q.pending {
		if a.typ == packet.TypePuback {
			n++
		}
	}
	return n
}

// handleAck takes PUBACK, PUBREC, PUBREL and PUBCOMP. What has become possible is
// done when all has been handled that was read.
func (c *conn) handleAck(p *transport.Pass, sc *scratch, typ packet.Type, body []byte) error {
	var a packet.Ack
	if err := packet.DecodeAck(&a, typ, c.version, body); err != nil {
		return err
	}
	switch typ {
	case packet.TypePuback:
		c.settled(c.sess.Puback(a.PacketID), a.Code)
	case packet.TypePubrec:
		c.settled(c.sess.Pubrec(a.PacketID, a.Code), a.Code)
		if !a.Code.IsError() {
			sc.tally.sent(packet.TypePubrel, 1)
			p.FlushLater(c.Conn)
		}
	case packet.TypePubcomp:
		c.sess.Pubcomp(a.PacketID)
	case packet.TypePubrel:
		var r *store.Receipt
		if c.durable {
			r = store.NewReceipt()
		}
		code := packet.Success
		if !c.release(a.PacketID, r) {
			code = packet.PacketIdentifierNotFound
		}
		if r == nil {
			c.sendAck(p, packet.TypePubcomp, a.PacketID, code, "")
			return nil
		}
		// If the identifier came back after a crash, the next message that has it
		// would be taken for this one.
		c.answer(p, packet.TypePubcomp, a.PacketID, code, r)
		return nil
	}
	sc.acked = true
	return nil
}

// settled tells of a message that its receiver has acknowledged.
func (c *conn) settled(m *packet.Message, code packet.ReasonCode) {
	if m == nil {
		return
	}
	if code.IsError() {
		c.b.dropped(c.ns.name, c.client, m, m.QoS, hook.DropRefusedByClient)
	}
	if c.b.hooks.Wants(hook.Acknowledged) {
		c.b.event(hook.Event{
			Point: hook.Acknowledged, Client: c.client, Message: m, Code: code, Publisher: m.Publisher, Namespace: c.ns.name,
		})
	}
	m.Unref()
}
