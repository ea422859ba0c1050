package broker

import (
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// gatherFrom is how many receivers a message has whose deliveries at QoS 0 are
// gathered; for fewer it does not pay.
const gatherFrom = 4

// gather notes the message for s, which gets it with others before the pass
// writes. It returns false if it has to be delivered by itself.
func (d *delivery) gather(s *session.Session, how *session.Delivery) bool {
	if how.Retain || len(how.IDs) > 0 {
		return false
	}
	f := &d.sc.frames
	g := f.Gathering(s)
	if g == nil {
		d.sc.settle(d.p, s)
		cl := s.Client.Load()
		if cl == nil || cl.Permissions.FiltersReceive() {
			return false
		}
		if g = f.StartGathering(s, cl); g == nil {
			return false
		}
		d.p.Owe()
	}
	much, ok := f.Gather(g)
	if !ok {
		return false
	}
	d.sc.tally.sent(packet.TypePublish, 1)
	d.sc.tally.payloadOut += int64(len(d.m.Payload))
	if much {
		if c, ok := f.Settle(s).(*conn); ok {
			d.p.FlushNow(c.Conn)
		}
	}
	return true
}

// settle appends what has been gathered for s, before something else is.
func (sc *scratch) settle(p *transport.Pass, s *session.Session) {
	if c, ok := sc.frames.Settle(s).(*conn); ok {
		p.FlushLater(c.Conn)
	}
}

// settleAll is the transport.Config's Settle.
func settleAll(p *transport.Pass, now bool) {
	sc := p.Scratch.(*scratch)
	sc.frames.SettleAll(func(out session.Link) {
		c, ok := out.(*conn)
		switch {
		case !ok:
		case now:
			p.FlushNow(c.Conn)
		default:
			p.FlushLater(c.Conn)
		}
	})
}
