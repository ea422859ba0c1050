package session

import (
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// A message to many receivers is at first only noted for each of them. What has been gathered for one is then appended to its Link
// at a time: the broker goes once through the memory of each receiver for many messages, not once for each message, which is what
// most of a fan-out consists of. It is for QoS 0 alone, which changes nothing in a session.

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
	link      *link
	client    *hook.Client
	last      int32 // in notes; none: -1
	packets   int32
	bytes     uint32
	maxPacket uint32
	version   packet.Version
}

// note says that a receiver is to get a packet. Each receiver's notes are linked from the last to the first.
type note struct{ packet, before int32 }

// span is a packet in gatherer.buf.
type span struct{ start, end int32 }

// gatherer is the part of Frames that gathers.
type gatherer struct {
	id         uint64 // that sessions know it by, in the upper half of Session.gathering
	gatherings []Gathering
	notes      []note
	packets    []span
	buf        []byte
	present    [2]int32 // the packets of the present message, for MQTT 3 and 5; none: -1
	parts      [][]byte // scratch
}

var gatherers atomic.Uint64

// Gathering returns what is gathered for s; nil if nothing is, or if s has another client by now than when that began.
func (f *Frames) Gathering(s *Session) *Gathering {
	at := s.gathering.Load()
	if at == 0 || at&^(1<<32-1) != f.id {
		return nil
	}
	g := &f.gatherings[uint32(at)]
	if s.link.Load() != g.link || s.Client.Load() != g.client {
		return nil
	}
	return g
}

// StartGathering begins to gather for s, for which nothing is gathered yet, as long as client is its client. It returns nil if
// messages have to be delivered to it one by one: it is away, has Topic Aliases, older messages wait for it, its Link is full, or
// somebody else gathers for it. The result is good until the next call.
func (f *Frames) StartGathering(s *Session, client *hook.Client) *Gathering {
	l := s.link.Load()
	if l == nil || l.aliases != nil || s.behind.Load() || l.out.Full() {
		return nil
	}
	if f.id == 0 {
		f.id = gatherers.Add(1) << 32
	}
	if !s.gathering.CompareAndSwap(0, f.id|uint64(len(f.gatherings))) {
		return nil
	}
	f.gatherings = append(f.gatherings, Gathering{
		session: s, link: l, client: client, last: -1, maxPacket: l.maxPacket, version: l.version,
	})
	return &f.gatherings[len(f.gatherings)-1]
}

// Gathers reports whether the present message can be gathered for anybody: large payloads are referred to, not copied, and what
// has been gathered once is room that is kept.
func (f *Frames) Gathers() bool { return f.msg.Size() < sharedPayload }

// Gather adds the present message to g, at QoS 0 and without RETAIN. It returns false, having done nothing, if the packet is larger
// than the receiver takes. much says that g should be settled.
func (f *Frames) Gather(g *Gathering) (much, ok bool) {
	v5 := 0
	if g.version == packet.V5 {
		v5 = 1
	}
	n := f.present[v5]
	if n < 0 {
		n = f.gatherPacket(g.version)
		f.present[v5] = n
	}
	p := f.packets[n]
	size := uint32(p.end - p.start)
	if g.maxPacket != 0 && size > g.maxPacket {
		return false, false
	}
	f.notes = append(f.notes, note{n, g.last})
	g.last = int32(len(f.notes) - 1)
	g.packets++
	g.bytes += size
	return g.bytes >= maxGatheredBytes, true
}

func (f *Frames) gatherPacket(v packet.Version) int32 {
	f.fill(0, false, nil)
	start := len(f.gatherer.buf)
	f.gatherer.buf, _ = packet.AppendPublish(f.gatherer.buf, v, &f.out)
	f.packets = append(f.packets, span{int32(start), int32(len(f.gatherer.buf))})
	return int32(len(f.packets) - 1)
}

// GatheredMuch reports whether all should be settled, before another message.
func (f *Frames) GatheredMuch() bool {
	return len(f.gatherer.buf) >= maxGathered || len(f.notes) >= maxNotes || len(f.gatherings) >= maxGatherings
}

// Settle appends to s's Link what has been gathered for it. It returns the Link if there was something: that wants to be flushed.
// Whoever else appends to the Link settles first, since what has been gathered is older.
func (f *Frames) Settle(s *Session) Link {
	at := s.gathering.Load()
	if at == 0 || at&^(1<<32-1) != f.id {
		return nil
	}
	return f.settle(&f.gatherings[uint32(at)])
}

func (f *Frames) settle(g *Gathering) Link {
	g.session.gathering.Store(0)
	if n := int(g.packets); n > len(f.parts) {
		f.parts = make([][]byte, max(n, 2*len(f.parts)))
	}
	first := len(f.parts)
	var next span
	for i := g.last; i >= 0; i = f.notes[i].before {
		p := f.packets[f.notes[i].packet]
		if first < len(f.parts) && p.end == next.start {
			p.end = next.end // they lie side by side
		} else {
			first--
		}
		f.parts[first] = f.gatherer.buf[p.start:p.end]
		next = p
	}
	parts, out, bytes := f.parts[first:], g.link.out, int(g.bytes)
	*g = Gathering{}
	if len(parts) == 0 {
		return nil
	}
	out.AppendAll(parts, bytes)
	return out
}

// SettleAll settles all that is gathered, and calls flush with each Link after what was appended to it. flush must not deliver.
func (f *Frames) SettleAll(flush func(Link)) {
	for i := range f.gatherings {
		if g := &f.gatherings[i]; g.session != nil {
			if out := f.settle(g); out != nil {
				flush(out)
			}
		}
	}
	f.gatherings, f.notes, f.packets, f.gatherer.buf = f.gatherings[:0], f.notes[:0], f.packets[:0], f.gatherer.buf[:0]
	f.present = [2]int32{-1, -1}
}
