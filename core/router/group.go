package router

import (
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync/atomic"
)

// leastWindow is how many members the least_inflight strategy compares: all of most groups, and a stretch of a large
// one, as asking a session for its load is a cache miss.
const leastWindow = 128

// Group is one shared subscription: the sessions that subscribed to $share/group/filter. Its methods are safe for
// concurrent use.
type Group struct {
	name     groupKey
	strategy Strategy
	seats    atomic.Pointer[[]seat] // replaced at each change
	turn     atomic.Uint64          // where the next search starts
	sticky   stickySeats

	index map[Subscriber]int // place in seats; owned by the holder of Router.mu
}

// seat is a place in the group. The key is here to keep hashing out of the members' memory.
type seat struct {
	key uint64
	*member
}

// member is one session in the group; what it receives is nil after it left.
type member struct{ target atomic.Pointer[Target] }

func newGroup(name groupKey, s Strategy) *Group {
	g := &Group{name: name, strategy: s, index: map[Subscriber]int{}}
	g.seats.Store(&[]seat{})
	return g
}

// Name returns the Share Name and the Topic Filter.
func (g *Group) Name() (group, filter string) { return g.name.group, g.name.filter }

func (g *Group) size() int { return len(*g.seats.Load()) }

// join adds a member, or replaces what it receives.
func (g *Group) join(t *Target) (existed bool) {
	own := *t
	own.Group = g
	seats := *g.seats.Load()
	if i, ok := g.index[t.Sub]; ok {
		seats[i].target.Store(&own)
		return true
	}
	m := &member{}
	m.target.Store(&own)
	g.index[t.Sub] = len(seats)
	seats = append(seats, seat{mix(t.Sub.Key()), m}) // behind what readers of the old slice look at
	g.seats.Store(&seats)
	return false
}

// leave removes a member. The last one takes its place: order in a group means nothing.
func (g *Group) leave(t *Target) (existed bool) {
	i, ok := g.index[t.Sub]
	if !ok {
		return false
	}
	old := *g.seats.Load()
	seats := slices.Clone(old[:len(old)-1])
	if last := old[len(old)-1]; i < len(seats) {
		seats[i] = last
		g.index[last.target.Load().Sub] = i
	}
	delete(g.index, t.Sub)
	g.seats.Store(&seats)
	old[i].target.Store(nil)
	return true
}

// Pick chooses the member that receives one message, by the strategy: one that is online as long as there is any, else
// one that is offline, whose session queues it. Publisher is a number that stays the same for a publishing client, topic
// is the message's. Exclude, if not nil, is not chosen. The result is the member's own Target, with Sub and Group
// set; ok is false if there is no member to choose.
func (g *Group) Pick(publisher uint64, topic []byte, exclude Subscriber) (t Target, ok bool) {
	var p *Target
	switch seats := *g.seats.Load(); g.strategy {
	case Random:
		p = pickRandom(seats, exclude)
	case LeastInflight:
		p = g.pickLeast(seats, exclude)
	case Sticky:
		p = g.pickSticky(seats, publisher, exclude)
	case HashClient:
		p = pickHash(seats, mix(publisher), exclude)
	case HashTopic:
		// The same on every node and after a restart, so not a seeded hash.
		p = pickHash(seats, mix(uint64(crc32.ChecksumIEEE(topic))), exclude)
	default:
		_, p = g.pickNext(seats, exclude)
	}
	if p == nil {
		return Target{}, false
	}
	return *p, true
}

// candidate returns what the member receives, or nil if it cannot be chosen.
func (m *member) candidate(exclude Subscriber) *Target {
	t := m.target.Load()
	if t == nil || t.Sub == exclude {
		return nil
	}
	return t
}

// pickNext takes members in turn.
func (g *Group) pickNext(seats []seat, exclude Subscriber) (m *member, t *Target) {
	start, size := g.turn.Add(1)-1, uint64(len(seats))
	skipped := uint64(0)
	for k := range size {
		s := seats[(start+k)%size]
		c := s.candidate(exclude)
		if c == nil {
			continue
		}
		if c.Sub.Online() {
			m, t, skipped = s.member, c, k
			break
		}
		if t == nil {
			m, t, skipped = s.member, c, k
		}
	}
	if skipped > 0 {
		// Otherwise the member behind those that were skipped would get their share as well as its own.
		g.turn.CompareAndSwap(start+1, start+1+skipped)
	}
	return m, t
}

// pickRandom tries a few at random, and counts only if most cannot be chosen.
func pickRandom(seats []seat, exclude Subscriber) *Target {
	if len(seats) == 0 {
		return nil
	}
	for range 4 {
		if t := seats[rand.IntN(len(seats))].candidate(exclude); t != nil && t.Sub.Online() {
			return t
		}
	}
	// One pass, in which the n-th candidate replaces the one before with probability 1/n.
	var online, offline *Target
	on, off := 0, 0
	for _, s := range seats {
		switch t := s.candidate(exclude); {
		case t == nil:
		case t.Sub.Online():
			if on++; rand.IntN(on) == 0 {
				online = t
			}
		default:
			if off++; rand.IntN(off) == 0 {
				offline = t
			}
		}
	}
	if online != nil {
		return online
	}
	return offline
}

// pickLeast takes the smallest load; equal ones take turns. In a large group it looks at a stretch from a random
// place on, and goes on only if nobody there is online.
func (g *Group) pickLeast(seats []seat, exclude Subscriber) *Target {
	size := uint64(len(seats))
	start := g.turn.Load()
	if size > leastWindow {
		start = rand.Uint64N(size)
	}
	var online, offline *Target
	var onLoad, offLoad int
	var chosen uint64
	for k := range size {
		if k >= leastWindow && online != nil {
			break
		}
		t := seats[(start+k)%size].candidate(exclude)
		if t == nil {
			continue
		}
		load := t.Sub.Load()
		if t.Sub.Online() {
			if online == nil || load < onLoad {
				online, onLoad, chosen = t, load, k
			}
		} else if offline == nil || load < offLoad {
			offline, offLoad = t, load
			if online == nil {
				chosen = k
			}
		}
	}
	if size <= leastWindow {
		g.turn.CompareAndSwap(start, start+chosen+1)
	}
	if online != nil {
		return online
	}
	return offline
}

// pickHash takes the member with the highest hash of member and message (rendezvous hashing): when one comes or goes,
// only its own messages move. 2 ns per member, and few are asked whether they are online.
func pickHash(seats []seat, hash uint64, exclude Subscriber) *Target {
	var online, offline *Target
	var onRank, offRank uint64
	for _, s := range seats {
		rank := mix(s.key ^ hash)
		if online != nil && rank <= onRank {
			continue
		}
		t := s.candidate(exclude)
		if t == nil {
			continue
		}
		if t.Sub.Online() {
			online, onRank = t, rank
		} else if offline == nil || rank > offRank {
			offline, offRank = t, rank
		}
	}
	if online != nil {
		return online
	}
	return offline
}
