package broker

import (
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// gatherFrom is how many receivers a message has whose deliveries are gathered;
// for fewer it does not pay.
const gatherFrom = 4

// gather notes the message for s, which gets it with others before the pass
// writes. It returns false if it has to be delivered by itself.
func (d *delivery) gather(s *session.Session, how *session.Delivery) bool {
	if how.Retain || len(how.IDs) > 0 || how.Group != "" {
		return false
	}
	f := &d.sc.frames
	g := f.Gathering(s)
	if g == nil {
		d.settle(s)
		cl := s.Client.Load()
		if cl == nil || cl.Permissions.FiltersReceive() {
			return false
		}
		if g = f.StartGathering(s, cl); g == nil {
			return false
		}
		if d.p.Owe() {
			d.p.FlushLater(g.Link().(*conn).Conn)
		}
	}
	much, ok := f.Gather(g, how.QoS)
	if !ok {
		return false
	}
	if how.QoS == 0 { // others may have to wait for the client
		d.sc.tally.sent(packet.TypePublish, 1)
		d.sc.tally.payloadOut += int64(len(d.m.Payload))
	}
	if much {
		done := f.Settle(s)
		if c := d.sc.settled(&done); c != nil {
			d.p.FlushNow(c.Conn)
		}
	}
	return true
}

func (d *delivery) settle(s *session.Session) { d.sc.settle(d.p, s) }

// settle delivers what has been gathered for s, before something else is.
func (sc *scratch) settle(p *transport.Pass, s *session.Session) {
	done := sc.frames.Settle(s)
	if c := sc.settled(&done); c != nil {
		p.FlushLater(c.Conn)
	}
}

// settled acts on what has become of that, and returns the connection that has
// something to write.
func (sc *scratch) settled(done *session.Settled) *conn {
	if done.Sent > 0 {
		sc.tally.sent(packet.TypePublish, done.Sent)
		sc.tally.payloadOut += int64(done.Payload)
	}
	if c, ok := done.Overflow.(*conn); ok {
		c.overflow()
	}
	c, _ := done.Link.(*conn)
	return c
}

// settleAll is the transport.Config's Settle.
func (b *Broker) settleAll(p *transport.Pass) {
	sc := p.Scratch.(*scratch)
	defer sc.tally.fold(&b.stats)
	sc.frames.SettleAll(func(done session.Settled) {
		if c := sc.settled(&done); c != nil {
			p.Bring(c.Conn)
		}
	})
}
