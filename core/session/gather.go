package session

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// A message to many receivers is at first only noted for each of them. What has been gathered for one is then appended to its Link
// at a time: the broker goes once through the memory of each receiver for many messages, not once for each message, which is what
// most of a fan-out consists of. At QoS 1 and 2 that is when a message enters the session: until then it is as if it had not been
// published yet, so that it is not for sessions whose messages outlive the process, which publishers wait for.

// What is gathered at most: then it has to be settled, all of it or that of one session.
const (
	maxGathered      = 1 << 20  // bytes of different packets
	maxNotes         = 1 << 18  // packets times receivers
	maxGatherings    = 1 << 16  // receivers
	maxGatheredBytes = 64 << 10 // for one receiver
)

// Gathering is what Frames has gathered for one session.
type Gathering struct {
	session   *Session
	link      *link // nil: it was settled
	client    *hook.Client
	last      int32 // in notes; none: -1
	packets   int32
	bytes     uint32
	maxPacket uint32
	slot      uint32 // in gatherer.index
	version   packet.Version
	counts    bool // some are of QoS 1 or 2
}

// Settled is what has become of that. The zero value: nothing had been gathered.
type Settled struct {
	// Link wants to be flushed, unless it is nil.
	Link Link
	// Sent is how many messages of QoS 1 and 2 were appended to it, and Payload
	// the bytes of these.
	Sent, Payload int
	// Overflow is the Link that is to be closed for Outcome Overflow.
	Overflow Link
}

// note says that a receiver is to get a packet. Each receiver's notes are linked from the last to the first.
type note struct{ packet, before int32 }

// span is a packet in gatherer.buf.
type span struct{ start, end int32 }

// counted is what has to be known of a packet of QoS 1 or 2 besides.
type counted struct {
	message  *packet.Message // with a reference; nil at QoS 0
	idOffset int32
	qos      byte
}

// gatherer is the part of Frames that gathers.
type gatherer struct {
	gatherings []Gathering
	likely     int      // where the next receiver may be: messages of one topic have theirs in the same order
	index      []uint32 // by Session.key, open addressing: 1 + the place in gatherings, 0 none; at least twice as long as these
	notes      []note
	packets    []span
	counted    []counted // of packets
	buf        []byte
	present    [6]int32 // the packets of the present message, for MQTT 3 and 5 at QoS 0 to 2; none: -1

	parts  [][]byte // scratch
	order  []int32  // scratch
	onward *Frames  // delivers what can't be sent at once; made when first needed
}

var nonePresent = [6]int32{-1, -1, -1, -1, -1, -1}

// hash spreads keys, which are numbers in a row, over the index.
func hash(key uint64) uint32 { return uint32(key * 0x9e3779b97f4a7c15 >> 32) }

// find returns what is, or was, gathered for s since the last SettleAll; nil is nothing.
func (f *gatherer) find(s *Session) *Gathering {
	if f.likely < len(f.gatherings) {
		if g := &f.gatherings[f.likely]; g.session == s {
			f.likely++
			return g
		}
	} else if len(f.gatherings) == 0 {
		return nil
	}
	for at := hash(s.key); ; at++ {
		n := f.index[at&uint32(len(f.index)-1)]
		if n == 0 {
			return nil
		}
		if g := &f.gatherings[n-1]; g.session == s {
			f.likely = int(n)
			return g
		}
	}
}

// add makes a Gathering for s, for which there is none.
func (f *gatherer) add(s *Session) *Gathering {
	f.gatherings = append(f.gatherings, Gathering{session: s})
	if 2*len(f.gatherings) > len(f.index) {
		f.index = make([]uint32, max(32, 2*len(f.index)))
		for i := range f.gatherings {
			f.enter(i)
		}
	} else {
		f.enter(len(f.gatherings) - 1)
	}
	return &f.gatherings[len(f.gatherings)-1]
}

func (f *gatherer) enter(n int) {
	g := &f.gatherings[n]
	g.slot = hash(g.session.key) & uint32(len(f.index)-1)
	for f.index[g.slot] != 0 {
		g.slot = (g.slot + 1) & uint32(len(f.index)-1)
	}
	f.index[g.slot] = uint32(n + 1)
}

// Gathering returns what is gathered for s; nil if nothing is, or if s has another client by now than when that began.
func (f *Frames) Gathering(s *Session) *Gathering {
	g := f.find(s)
	if g == nil || g.link == nil || s.link.Load() != g.link || s.Client.Load() != g.client {
		return nil
	}
	return g
}

// StartGathering begins to gather for s, for which nothing is gathered yet, as long as client is its client. It returns nil if
// messages have to be delivered to it one by one: it is away, has Topic Aliases, older messages wait for it, or its Link is full.
// Others may gather for it, too: what they bring is of other publishers. The result is good until the next call.
func (f *Frames) StartGathering(s *Session, client *hook.Client) *Gathering {
	l := s.link.Load()
	if l == nil || l.aliases != nil || s.behind.Load() || l.out.Full() {
		return nil
	}
	g := f.find(s)
	if g == nil {
		g = f.add(s)
	}
	g.link, g.client, g.last, g.maxPacket, g.version = l, client, -1, l.maxPacket, l.version
	return g
}

// Link is the connection that g is for.
func (g *Gathering) Link() Link { return g.link.out }

// Gathers reports whether the present message can be gathered for anybody: large payloads are referred to, not copied, and what
// has been gathered once is room that is kept.
func (f *Frames) Gathers() bool { return f.msg.Size() < sharedPayload }

// Gather adds the present message to g, at the given QoS and without RETAIN. It returns false, having done nothing, if that message
// has to be delivered by itself: the packet is larger than the receiver takes, or the Store has to know of it. much says that g
// should be settled.
func (f *Frames) Gather(g *Gathering, qos byte) (much, ok bool) {
	if qos > 0 && g.link.durable {
		return false, false
	}
	layout := qos
	if g.version == packet.V5 {
		layout += 3
	}
	n := f.present[layout]
	if n < 0 {
		n = f.gatherPacket(g.version, qos)
		f.present[layout] = n
	}
	p := &f.packets[n]
	size := uint32(p.end - p.start)
	if g.maxPacket != 0 && size > g.maxPacket {
		return false, false
	}
	f.notes = append(f.notes, note{n, g.last})
	g.last = int32(len(f.notes) - 1)
	g.packets++
	g.bytes += size
	g.counts = g.counts || qos > 0
	return g.bytes >= maxGatheredBytes, true
}

func (f *Frames) gatherPacket(v packet.Version, qos byte) int32 {
	f.fill(qos, false, nil)
	start := len(f.gatherer.buf)
	b, idOffset := packet.AppendPublish(f.gatherer.buf, v, &f.out)
	f.gatherer.buf = b
	f.packets = append(f.packets, span{int32(start), int32(len(b))})
	c := counted{idOffset: int32(idOffset), qos: qos}
	if qos > 0 {
		c.message = f.Keep()
	}
	f.counted = append(f.counted, c)
	return int32(len(f.packets) - 1)
}

// GatheredMuch reports whether all should be settled, before another message.
func (f *Frames) GatheredMuch() bool {
	return len(f.gatherer.buf) >= maxGathered || len(f.notes) >= maxNotes || len(f.gatherings) >= maxGatherings
}

// Settle has s get what has been gathered for it. Whoever else delivers to s settles first, since what has been gathered is older.
func (f *Frames) Settle(s *Session) Settled {
	if g := f.find(s); g != nil {
		return f.settle(g)
	}
	return Settled{}
}

func (f *Frames) settle(g *Gathering) Settled {
	was := *g
	*g = Gathering{session: was.session, slot: was.slot}
	switch {
	case was.packets == 0:
		return Settled{}
	case was.counts:
		return f.settleCounted(&was)
	}
	if n := int(was.packets); n > len(f.parts) {
		f.parts = make([][]byte, max(n, 2*len(f.parts)))
	}
	first := len(f.parts)
	var next span
	for i := was.last; i >= 0; i = f.notes[i].before {
		p := f.packets[f.notes[i].packet]
		if first < len(f.parts) && p.end == next.start {
			p.end = next.end // they lie side by side
		} else {
			first--
		}
		f.parts[first] = f.gatherer.buf[p.start:p.end]
		next = p
	}
	was.link.out.AppendAll(f.parts[first:], int(was.bytes))
	return Settled{Link: was.link.out}
}

// settleCounted is settle where some messages are of QoS 1 or 2: they go on the ring, and out at once as far as the window and the
// Link allow. What is left is delivered as any other message.
func (f *Frames) settleCounted(g *Gathering) (done Settled) {
	n := int(g.packets)
	if n > len(f.order) {
		f.order = make([]int32, 2*n)
	}
	if n > len(f.parts) {
		f.parts = make([][]byte, 2*n)
	}
	order := f.order[:n]
	for i := g.last; i >= 0; i = f.notes[i].before {
		n--
		order[n] = f.notes[i].packet
	}
	s := g.session
	parts, left, size := 0, 0, 0
	s.mu.Lock()
	l := s.link.Load()
	sends := l == g.link && !s.waiting() && !l.out.OverHighWater()
	var last span
	for _, n := range order {
		p, c := f.packets[n], &f.counted[n]
		if c.qos > 0 {
			if sends = sends && s.flight < l.window; !sends {
				order[left] = n
				left++
				continue
			}
			e := unacked{msg: c.message, qos: c.qos, sentAt: coarse(f.now), flags: flagCounted}
			if e.qos == 2 {
				e.state = awaitPubrec
			}
			e.msg.Ref()
			s.flight++
			// The packet carries the identifier of the receiver that is being sent its copy.
			packet.PutPacketID(f.gatherer.buf[p.start:], int(c.idOffset), idOf(s.ring.push(e).seq))
			done.Sent++
			done.Payload += len(c.message.Payload)
		}
		size += int(p.end - p.start)
		if parts > 0 && p.start == last.end {
			p.start = last.start // they lie side by side
		} else {
			parts++
		}
		f.parts[parts-1] = f.gatherer.buf[p.start:p.end]
		last = p
	}
	if done.Sent > 0 {
		s.unsent = s.ring.next
		s.load.Store(int32(s.ring.live() + s.queued()))
	}
	if size > 0 {
		g.link.out.AppendAll(f.parts[:parts], size)
		done.Link = g.link.out
	}
	s.mu.Unlock()
	for _, n := range order[:left] {
		f.deliverCounted(s, &f.counted[n], &done)
	}
	return done
}

// deliverCounted delivers one message by itself.
func (f *Frames) deliverCounted(s *Session, c *counted, done *Settled) {
	if f.onward == nil {
		f.onward = &Frames{NextID: f.NextID}
	}
	f.onward.Begin(c.message, f.now)
	defer f.onward.End()
	switch s.Deliver(f.onward, Delivery{QoS: c.qos}) {
	case Sent:
		done.Link = s.Link()
		done.Sent++
		done.Payload += len(c.message.Payload)
	case Overflow:
		done.Overflow = s.Link()
	case Gone:
		s.env.Drop(s, c.message, c.qos, hook.DropSessionEnded)
	}
}

// SettleAll settles all that is gathered, and calls then with what has become of it for each session. then must not deliver.
func (f *Frames) SettleAll(then func(Settled)) {
	for i := range f.gatherings {
		g := &f.gatherings[i]
		if done := f.settle(g); done != (Settled{}) {
			then(done)
		}
		f.index[g.slot] = 0
	}
	for i := range f.counted {
		if m := f.counted[i].message; m != nil {
			m.Unref()
		}
	}
	clear(f.counted)
	clear(f.gatherings)
	f.gatherings, f.notes, f.packets = f.gatherings[:0], f.notes[:0], f.packets[:0]
	f.counted, f.gatherer.buf = f.counted[:0], f.gatherer.buf[:0]
	f.present = nonePresent
}
