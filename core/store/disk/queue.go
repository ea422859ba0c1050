package disk

import "github.com/patchbay-mq/patchbay/core/store"

// What waits for a session is, from the oldest to the newest: the head, in
// memory; the gap, on disk only; the tail, which is in memory because it has not
// been committed yet. Each may be empty.

// gap are the places from which messages that wait are on disk only: from
// included, to not. Messages that were in flight from the first may have places
// in it too; they are marked on disk, and skipped.
type gap struct {
	from, to uint64
	n        int   // of messages; those of earlier boots once they are counted
	bytes    int64 // of them
}

func (g *gap) empty() bool { return g.from >= g.to }

const (
	// The head takes live messages up to these bounds, and is read on when less
	// than headLow are left of it.
	headMax      = 64
	headMaxBytes = 256 << 10
	headLow      = 32
	// A page is what is read at once.
	pageMax      = 128
	pageMaxBytes = 256 << 10
)

func (w *work) headRoom() bool { return w.head.n < headMax && w.headBytes < headMaxBytes }

// enqueue puts a new message behind all that wait.
func (c *session) enqueue(s *slot) {
	w := c.w
	s.place = waiting
	w.bytes += s.size
	if c.gap.empty() && w.tail.n == 0 && w.headRoom() {
		c.pushHead(s)
	} else {
		w.tail.pushBack(s)
	}
}

func (c *session) pushHead(s *slot) {
	c.w.head.pushBack(s)
	c.w.headBytes += s.size
}

// leave puts a committed slot that is in no queue any more on disk only.
func (c *session) leave(s *slot) {
	c.gap.n++
	c.gap.bytes += s.size
	c.w.bytes -= s.size
	s.place = nowhere
	s.dropMessage()
	s.free()
}

// recede lets what has been committed of the tail go on into the head or the
// gap.
func (c *session) recede() {
	w := c.w
	for w.tail.n > 0 && w.tail.at(0).committed() {
		s := w.tail.popFront()
		if c.gap.empty() {
			if !c.away && w.headRoom() {
				c.pushHead(s)
				continue
			}
			c.gap.from = s.entry.Pos
		}
		c.gap.to = s.entry.Pos + 1
		c.leave(s)
	}
	if c.away {
		c.evict()
	}
}

// committed reports that a slot that waits is on disk.
func (s *slot) committed() bool { return s.content && s.batches == 0 && s.pending == clean }

// evict puts the head into the gap, for a client that is away: a million of them
// must not need memory for their messages. Some are kept once the head was asked
// for: Front's is in use, and whoever drops the oldest for each new message
// should not read each time.
func (c *session) evict() {
	w := c.w
	if w == nil || w.reading {
		return
	}
	keep := 0
	if w.kept {
		keep = headLow
	}
	for w.head.n > keep && w.head.at(w.head.n-1).committed() {
		s := w.head.popBack()
		w.headBytes -= s.size
		if c.gap.empty() {
			c.gap.to = s.entry.Pos + 1
		}
		c.gap.from = s.entry.Pos
		c.leave(s)
	}
}

// fill makes sure that the head begins with the oldest message that waits, and
// asks for more where that is on disk. ok is false if there is none in memory.
func (c *session) fill() (ok bool) {
	c.settleCount()
	w := c.w
	if c.restored && !c.ended {
		// What was in flight tells where the queue begins.
		c.fetch()
		return false
	}
	if !c.gap.empty() {
		if w == nil || w.head.n < headLow && w.headBytes < headMaxBytes {
			c.fetch()
		}
	} else if w != nil {
		for w.tail.n > 0 && w.headRoom() {
			c.pushHead(w.tail.popFront())
		}
	}
	return c.w != nil && c.w.head.n > 0
}

func (c *session) Front() (*store.Entry, bool) {
	c.mu.Lock()
	defer c.unlock(nil)
	if !c.fill() {
		c.expect()
		return nil, false
	}
	c.w.kept = true
	return &c.w.head.at(0).entry, true
}

// expect has the owner told when a reader is through.
func (c *session) expect() {
	if c.w != nil && c.w.reading {
		c.w.wantReady = true
	}
}

func (c *session) Pop() (e store.Entry, ok bool) {
	c.mu.Lock()
	if !c.fill() {
		c.expect()
		c.unlock(nil)
		return e, false
	}
	w := c.w
	s := w.head.popFront()
	w.headBytes -= s.size
	w.bytes -= s.size
	w.kept = w.head.n > 0
	e = s.entry
	if e.QoS == 0 {
		s.place, s.entry.Message = nowhere, nil
		r := c.forget(s)
		c.fill()
		c.unlock(r)
		return e, true
	}
	if s.pending == added {
		e.Message.Ref() // it has to be written yet
	} else {
		s.entry.Message = nil
	}
	w.flight.insert(s)
	c.fill()
	c.unlock(nil)
	return e, true
}

func (c *session) Empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleCount()
	return c.gap.empty() && (c.w == nil || c.w.head.n+c.w.tail.n == 0)
}

func (c *session) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := max(c.gap.n, 0)
	if c.w != nil {
		n += c.w.head.n + c.w.tail.n
	}
	return n
}

func (c *session) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := max(c.gap.bytes, 0)
	if c.w != nil {
		n += c.w.bytes
	}
	return n
}
