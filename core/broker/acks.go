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
}

// pendingAck is a PUBACK, PUBREC or PUBCOMP.
type pendingAck struct {
	typ      packet.Type
	id       uint16
	code     packet.ReasonCode
	waits    int  // for so many answers; guarded by the queue
	withhold bool // do not send it at all
}

// acknowledge sends PUBACK or PUBREC, at once if nothing before it is held back.
func (c *conn) acknowledge(p *transport.Pass, typ packet.Type, id uint16, code packet.ReasonCode) {
	q := &c.acks
	q.mu.Lock()
	if len(q.pending) > 0 {
		q.pending = append(q.pending, &pendingAck{typ: typ, id: id, code: code})
		q.mu.Unlock()
		return
	}
	q.mu.Unlock()
	c.sendAck(p, typ, id, code)
}

func (c *conn) sendAck(p *transport.Pass, typ packet.Type, id uint16, code packet.ReasonCode) {
	sc := p.Scratch.(*scratch)
	sc.buf = packet.AppendAck(sc.buf[:0], typ, c.version, id, code, nil)
	c.Append(sc.buf)
	sc.tally.sent(typ, 1)
	p.Flush(c.Conn)
}

// hold queues an acknowledgement that waits for n answers.
func (c *conn) hold(typ packet.Type, id uint16, code packet.ReasonCode, n int) *pendingAck {
	a := &pendingAck{typ: typ, id: id, code: code, waits: n}
	c.acks.mu.Lock()
	c.acks.pending = append(c.acks.pending, a)
	full := len(c.acks.pending) >= int(c.receiveMax)
	c.acks.mu.Unlock()
	if full && c.version < packet.V5 {
		// MQTT 3 has no Receive Maximum; the socket has to do.
		c.Pause(pauseAcks)
	}
	return a
}

// answered is called, from any goroutine, with one of the answers that a waits
// for.
func (c *conn) answered(a *pendingAck, code packet.ReasonCode) {
	c.acks.mu.Lock()
	a.waits--
	if code.IsError() {
		a.code = code
		// PUBCOMP has no code for it: the client will ask again.
		a.withhold = c.version < packet.V5 || a.typ == packet.TypePubcomp
	}
	ready := !c.acks.closed && c.acks.pending[0].waits == 0
	c.acks.mu.Unlock()
	if ready {
		c.signal(wakeAcks)
	}
}

// releaseAcks sends what is not held back any more.
func (c *conn) releaseAcks(p *transport.Pass) {
	q := &c.acks
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
		if a.typ == packet.TypePubrec && (a.code.IsError() || a.withhold) {
			c.release(a.id, nil)
		}
		if !a.withhold {
			c.sendAck(p, a.typ, a.id, a.code)
		}
	}
}

func (c *conn) dropAcks() {
	c.acks.mu.Lock()
	c.acks.pending, c.acks.closed = nil, true
	c.acks.mu.Unlock()
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

// handleAck takes PUBACK, PUBREC, PUBREL and PUBCOMP.
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
			p.Flush(c.Conn)
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
			c.sendAck(p, packet.TypePubcomp, a.PacketID, code)
			return nil
		}
		// If the identifier came back after a crash, the next message that has it
		// would be taken for this one.
		c.answer(p, packet.TypePubcomp, a.PacketID, code, r)
		return nil
	}
	c.pump(p, c.sess)
	return nil
}

// settled tells of a message that its receiver has acknowledged.
func (c *conn) settled(m *packet.Message, code packet.ReasonCode) {
	if m == nil {
		return
	}
	if code.IsError() {
		c.b.dropped(c.client, m, m.QoS, hook.DropRefusedByClient)
	} else if c.b.hooks.Wants(hook.Acknowledged) {
		c.b.event(&hook.Event{Point: hook.Acknowledged, Client: c.client, Message: m, Code: code, Publisher: m.Publisher})
	}
	m.Unref()
}
