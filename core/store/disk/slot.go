package disk

import (
	"sync"

	"github.com/patchbay-mq/patchbay/core/store"
)

// slot is a message of a session that is in memory: one that waits at the front
// of the queue or has not been committed yet, or one that was popped or sent and
// is not settled. The lock of its session guards it, but for what is said to
// belong to the committer.
type slot struct {
	entry   store.Entry
	seq     uint64       // under which it was sent, 0 not
	ticket  store.Ticket // of its Add
	receipt *store.Receipt
	size    int64 // of its message

	// shared, fan and stored belong to the committer from the Add on: the number
	// of its shared message, 0 if its content has it inline, for how many sessions
	// that was stored, and the bytes that the content takes on disk.
	shared uint64
	fan    uint32
	stored uint32

	tick    uint32 // of its Add
	batches int32  // commits under way that refer to it

	// content and index say what the last commit that took it will have left on
	// disk; wantContent and wantIndex what has to be there.
	content, wantContent bool
	index, wantIndex     indexState

	place      place
	pending    pending
	prev, next *slot // in the list of pending ones
}

type indexState uint8

const (
	indexNone indexState = iota
	indexSent
	indexReleased
)

// place is where a session keeps a slot.
type place uint8

const (
	nowhere place = iota // it lives until no commit refers to it
	waiting
	inFlight
)

// pending says in which list of its session's a slot is.
type pending uint8

const (
	clean   pending = iota
	added           // its content is not on disk
	changed         // its content, or that it has none, is on disk, and something else has to be
)

// settled reports that nothing has to be written of it any more.
func (s *slot) settled() bool { return s.content == s.wantContent && s.index == s.wantIndex }

var slots = sync.Pool{New: func() any { return new(slot) }}

func newSlot() *slot { return slots.Get().(*slot) }

// free gives the slot back if nobody refers to it any more.
func (s *slot) free() {
	if s.place == nowhere && s.pending == clean && s.batches == 0 {
		*s = slot{}
		slots.Put(s)
	}
}

// dropMessage gives the slot's reference back.
func (s *slot) dropMessage() {
	if s.entry.Message != nil {
		s.entry.Message.Unref()
		s.entry.Message = nil
	}
}

// slotList is a list of slots in the order in which they came.
type slotList struct{ first, last *slot }

func (l *slotList) push(s *slot) {
	s.prev, s.next = l.last, nil
	if l.last != nil {
		l.last.next = s
	} else {
		l.first = s
	}
	l.last = s
}

func (l *slotList) remove(s *slot) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.last = s.prev
	}
	s.prev, s.next = nil, nil
}

// slotQueue is a double-ended queue.
type slotQueue struct {
	ring  []*slot // length a power of two, or 0
	first int
	n     int
}

func (q *slotQueue) at(i int) *slot { return q.ring[(q.first+i)&(len(q.ring)-1)] }

func (q *slotQueue) pushBack(s *slot) {
	if q.n == len(q.ring) {
		ring := make([]*slot, max(8, 2*q.n))
		for i := range q.n {
			ring[i] = q.at(i)
		}
		q.ring, q.first = ring, 0
	}
	q.ring[(q.first+q.n)&(len(q.ring)-1)] = s
	q.n++
}

func (q *slotQueue) popFront() *slot {
	s := q.ring[q.first]
	q.ring[q.first] = nil
	q.first = (q.first + 1) & (len(q.ring) - 1)
	q.n--
	q.trim()
	return s
}

func (q *slotQueue) popBack() *slot {
	i := (q.first + q.n - 1) & (len(q.ring) - 1)
	s := q.ring[i]
	q.ring[i] = nil
	q.n--
	q.trim()
	return s
}

// trim gives the ring of an empty queue back once it was large: a session that
// was behind for a moment should not pay for it for ever.
func (q *slotQueue) trim() {
	if q.n == 0 && len(q.ring) > 64 {
		*q = slotQueue{}
	}
}

// flight are the slots in flight by their pos. They come and go nearly in that
// order, so that finding one is arithmetic.
type flight struct {
	items []flown // sorted by pos; items[:gone] have left
	gone  int
	live  int
}

type flown struct {
	pos  uint64
	slot *slot // nil: it has left
}

func (f *flight) insert(s *slot) {
	s.place = inFlight
	f.live++
	pos := s.entry.Pos
	if len(f.items) == cap(f.items) && f.live*2 < len(f.items) {
		f.compact()
	}
	n := len(f.items)
	if n == 0 || f.items[n-1].pos < pos {
		f.items = append(f.items, flown{pos, s})
		return
	}
	// A retained message was sent, and has a later place, before this one that
	// waited.
	f.compact()
	i := f.search(pos)
	f.items = append(f.items, flown{})
	copy(f.items[i+1:], f.items[i:])
	f.items[i] = flown{pos, s}
}

// compact takes out what has left.
func (f *flight) compact() {
	k := 0
	for _, it := range f.items[f.gone:] {
		if it.slot != nil {
			f.items[k] = it
			k++
		}
	}
	clear(f.items[k:])
	f.items, f.gone = f.items[:k], 0
}

// search returns the index of the first item that is not below pos.
func (f *flight) search(pos uint64) int {
	lo, hi := f.gone, len(f.items)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); f.items[mid].pos < pos {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// find returns the index of a slot, -1 if it is not in flight.
func (f *flight) find(pos uint64) int {
	if f.live == 0 {
		return -1
	}
	// Without gaps, the usual case, the distance is the index.
	i := f.gone
	if d := pos - f.items[i].pos; d < uint64(len(f.items)-i) && f.items[i+int(d)].pos == pos {
		i += int(d)
	} else if i = f.search(pos); i == len(f.items) || f.items[i].pos != pos {
		return -1
	}
	if f.items[i].slot == nil {
		return -1
	}
	return i
}

func (f *flight) get(pos uint64) *slot {
	if i := f.find(pos); i >= 0 {
		return f.items[i].slot
	}
	return nil
}

// take removes a slot; nil if it is not in flight.
func (f *flight) take(pos uint64) *slot {
	i := f.find(pos)
	if i < 0 {
		return nil
	}
	s := f.items[i].slot
	f.items[i].slot = nil
	s.place = nowhere
	f.live--
	if f.live == 0 {
		f.items, f.gone = f.items[:0], 0
		if cap(f.items) > 128 {
			f.items = nil
		}
		return s
	}
	for f.items[f.gone].slot == nil {
		f.gone++
	}
	return s
}
