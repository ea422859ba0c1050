package crash

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

const (
	// maxOutgoing is how many messages a publisher has under way at most, and
	// maxBurst how many it sends in one write.
	maxOutgoing = 24
	maxBurst    = 8
	// maxRest is the longest time between two bursts. Together these make a few
	// thousand messages a second: enough for several of them to be in any commit,
	// and little enough that offline queues of long runs stay small.
	maxRest = 8 * time.Millisecond
	// refusedPause is how long a publisher waits in the calm after a refusal.
	refusedPause = 30 * time.Millisecond
)

// publisher sends numbered messages and keeps them, by the book, until they are
// acknowledged.
type publisher struct {
	client
	topics []publisherTopic
	// gives up: what is not acknowledged is abandoned when the connection ends.
	// Else a clean publisher publishes its QoS 1 messages anew, and one with a
	// session sends everything again.
	givesUp bool
	// leaves: cuts its connection now and then.
	leaves bool
	// lazyRelease: PUBREL is sent some time after PUBREC.
	lazyRelease bool
	// patience, if not 0, is how long it waits for an acknowledgement before it
	// connects anew: MQTT 3 clients learn in no other way that a gate has refused.
	patience time.Duration
	// spoils: one in so many messages is poison, 0 none.
	spoils int

	outgoing []*outgoing // in the order of first sending
	releases []release   // PUBRELs to be sent, in order
	probed   bool        // the last messages of the calm have been sent
	again    time.Time   // when they may be sent, after some were refused
	// settled: all is calm, and nothing is under way.
	settled atomic.Bool
}

// publisherTopic is one of a publisher's topics.
type publisherTopic struct {
	streams []*stream // one for each QoS
	retain  bool
	clears  bool // the retained message is deleted now and then
}

// outgoing is one message under way.
type outgoing struct {
	m        *message
	id       uint16
	awaits   packet.Type // PUBACK, PUBREC or PUBCOMP
	released int         // the visit in which PUBREL was sent for the first time, 0 none
	since    time.Time   // PUBLISH was sent last
}

type release struct {
	o   *outgoing
	due time.Time
}

func (p *publisher) attend(st *stage) {
	p.probed = false
	p.settled.Store(false)
	p.client.attend(st, p.serve)
}

// serve is one connection from CONNACK to its end.
func (p *publisher) serve(st *stage) error {
	p.resume()
	var next, cutAt time.Time
	for {
		now := time.Now()
		switch {
		case st.wild.Load():
			p.probed = false
			if cutAt.IsZero() && p.leaves {
				cutAt = now.Add(p.upTo(200 * time.Millisecond))
			}
			if now.After(next) {
				p.burst()
				next = now.Add(p.upTo(maxRest))
			}
		case len(p.outgoing) == 0 && !p.probed && now.After(p.again):
			p.probe()
			p.probed = true
		}
		p.release(now)
		if err := p.flush(p.handle); err != nil {
			return err
		}
		p.settled.Store(p.probed && len(p.outgoing) == 0)
		if closed(st.leave) {
			p.c.disconnect()
			return nil
		}
		if st.wild.Load() && !cutAt.IsZero() && now.After(cutAt) || p.overdue(now) {
			return errOwn
		}
		if err := p.listen(st, now); err != nil {
			return err
		}
	}
}

// overdue reports whether an acknowledgement is longer away than the publisher
// waits.
func (p *publisher) overdue(now time.Time) bool {
	return p.patience > 0 && slices.ContainsFunc(p.outgoing, func(o *outgoing) bool {
		return o.awaits != packet.TypePubcomp && now.Sub(o.since) > p.patience
	})
}

// listen handles what comes within a moment.
func (p *publisher) listen(st *stage, now time.Time) error {
	wait := now.Add(time.Millisecond + p.upTo(2*time.Millisecond))
	for {
		h, body, err := p.read(st, wait)
		if errors.Is(err, errIdle) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.handle(h, body); err != nil {
			return err
		}
		if time.Now().After(wait) {
			return nil
		}
	}
}

// resume does with what is under way what the protocol or the publisher's nature
// demands at a new connection [MQTT-4.4.0-1], [MQTT-4.6.0-1].
func (p *publisher) resume() {
	p.releases = p.releases[:0]
	if p.clean {
		p.startAnew()
	}
	for _, o := range p.outgoing {
		if o.awaits == packet.TypePubcomp {
			p.sendPubrel(o)
		} else {
			p.send(o, !p.clean)
		}
	}
}

// startAnew drops what cannot be sent again without a session.
func (p *publisher) startAnew() {
	p.outgoing = slices.DeleteFunc(p.outgoing, func(o *outgoing) bool {
		gone := p.givesUp || o.m.stream.qos == 2
		if gone && o.m.acked == 0 {
			p.l.abandoned()
		}
		return gone
	})
}

// burst publishes some messages at once.
func (p *publisher) burst() {
	room := maxOutgoing - len(p.outgoing)
	if room <= 0 {
		return
	}
	for range 1 + p.rng.IntN(min(room, maxBurst)) {
		t := &p.topics[p.rng.IntN(len(p.topics))]
		p.publish(t, t.streams[p.rng.IntN(len(t.streams))], t.clears && p.oneIn(3))
	}
}

// probe publishes one message to each stream: where these arrive, the
// subscriptions are there, and what was due before has arrived or is lost.
func (p *publisher) probe() {
	for i := range p.topics {
		for _, s := range p.topics[i].streams {
			p.publish(&p.topics[i], s, false)
		}
	}
}

func (p *publisher) publish(t *publisherTopic, s *stream, clear bool) {
	size := p.rng.IntN(200)
	if p.oneIn(20) {
		size = p.rng.IntN(8000)
	}
	var forward []byte
	var expiry uint32
	if p.version == packet.V5 && !p.oneIn(3) {
		forward = properties(p.rng.IntN(1000))
		if p.oneIn(2) {
			expiry = 3600 + p.rng.Uint32N(3600)
		}
	}
	o := &outgoing{m: p.l.publish(s, t.retain, clear, size, forward, expiry)}
	if p.spoils > 0 && p.oneIn(p.spoils) {
		p.l.spoil(o.m, spoilt[p.rng.IntN(len(spoilt))])
	}
	p.outgoing = append(p.outgoing, o)
	p.send(o, false)
}

// properties are some that a server passes on, in wire form.
func properties(n int) []byte {
	text := func(b []byte, s string) []byte { return append(append(b, 0, byte(len(s))), s...) }
	b := text([]byte{byte(packet.PropContentType)}, fmt.Sprint("type/", n))
	return text(text(append(b, byte(packet.PropUserProperty)), "number"), fmt.Sprint(n))
}

// send puts a PUBLISH into the buffer: for the first time, again in its session
// (dup), or anew in another session.
func (p *publisher) send(o *outgoing, dup bool) {
	m := o.m
	if !dup {
		o.id = p.freeID()
	}
	o.awaits, o.since = packet.TypePuback, time.Now()
	if m.stream.qos == 2 {
		o.awaits = packet.TypePubrec
	}
	p.l.note(p.who, m, true, packet.TypePublish, o.id, dup)
	if dup && p.version == packet.V5 {
		p.l.sentAgain(m)
	}
	p.out, _ = packet.AppendPublish(p.out, p.version, &packet.PublishOut{
		Topic: []byte(m.stream.topic), Payload: m.payload, Forward: m.forward, MessageExpiry: m.expiry, HasExpiry: m.expiry > 0,
		PacketID: o.id, QoS: m.stream.qos, Dup: dup, Retain: m.retain,
	})
}

// freeID returns the lowest Packet Identifier that is not in use, so that they are
// used again as soon as the protocol allows: a broker that forgets to forget one
// takes the next message for the last.
func (p *publisher) freeID() uint16 {
	for id := uint16(1); ; id++ {
		if !slices.ContainsFunc(p.outgoing, func(o *outgoing) bool { return o.id == id }) {
			return id
		}
	}
}

// release sends the PUBRELs that are due.
func (p *publisher) release(now time.Time) {
	for len(p.releases) > 0 && !p.releases[0].due.After(now) {
		p.sendPubrel(p.releases[0].o)
		p.releases = p.releases[1:]
	}
}

func (p *publisher) sendPubrel(o *outgoing) {
	p.l.note(p.who, o.m, true, packet.TypePubrel, o.id, o.released != 0)
	if o.released == 0 {
		o.released = p.visits
	}
	p.out = packet.AppendAck(p.out, packet.TypePubrel, p.version, o.id, packet.Success, nil)
}

// handle takes one packet from the broker.
func (p *publisher) handle(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.TypePuback, packet.TypePubrec, packet.TypePubcomp:
	default:
		return fmt.Errorf("the broker sent %v to a publisher", h.Type)
	}
	var a packet.Ack
	if err := packet.DecodeAck(&a, h.Type, p.version, body); err != nil {
		return err
	}
	i := slices.IndexFunc(p.outgoing, func(o *outgoing) bool { return o.id == a.PacketID })
	if i < 0 || p.outgoing[i].awaits != h.Type {
		return fmt.Errorf("%v for identifier %d, where it is not awaited", h.Type, a.PacketID)
	}
	o := p.outgoing[i]
	p.l.note(p.who, o.m, false, h.Type, o.id, false)
	if h.Type != packet.TypePubcomp {
		p.l.acknowledged(o.m, a.Code)
	}
	if a.Code.IsError() && p.l.refuses {
		p.probed, p.again = false, time.Now().Add(refusedPause)
	}
	switch {
	case h.Type == packet.TypePubrec && !a.Code.IsError():
		p.received(o)
		return nil
	case h.Type == packet.TypePubcomp && a.Code != packet.Success && o.released == p.visits:
		p.l.faultOf(p.who, o.m, fmt.Sprintf("PUBCOMP has %v for the first PUBREL", a.Code))
	}
	p.outgoing = slices.Delete(p.outgoing, i, i+1)
	return nil
}

// received is what follows PUBREC.
func (p *publisher) received(o *outgoing) {
	o.awaits = packet.TypePubcomp
	if !p.lazyRelease {
		p.sendPubrel(o)
		return
	}
	due := time.Now().Add(p.upTo(15 * time.Millisecond))
	if n := len(p.releases); n > 0 && p.releases[n-1].due.After(due) {
		due = p.releases[n-1].due // [MQTT-4.6.0-4]: in the order of the PUBRECs
	}
	p.releases = append(p.releases, release{o, due})
}
