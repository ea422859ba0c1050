package disk

import (
	"errors"
	"slices"
	"sort"
	"sync"

	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// readerCount is the number of goroutines that read for sessions: enough to keep
// a disk busy, few enough not to take the machine from those who serve.
const readerCount = 4

// readers read what sessions have on disk, first come, first served.
type readers struct {
	mu     sync.Mutex
	cond   *sync.Cond
	queue  []*session
	closed bool
}

func (r *readers) start(s *Store) {
	r.cond = sync.NewCond(&r.mu)
	s.running.Add(readerCount)
	for range readerCount {
		go func() {
			defer s.running.Done()
			for c := r.next(); c != nil; c = r.next() {
				c.read()
			}
		}()
	}
}

func (r *readers) next() *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && !r.closed {
		r.cond.Wait()
	}
	if r.closed {
		return nil
	}
	c := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	return c
}

func (r *readers) push(c *session) {
	r.mu.Lock()
	r.queue = append(r.queue, c)
	r.mu.Unlock()
	r.cond.Signal()
}

func (r *readers) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cond.Broadcast()
}

// fetch asks for what is on disk next: of a restored session what is in flight,
// and the first messages that wait. The lock is held.
func (c *session) fetch() {
	w := c.hot()
	if w.reading {
		w.again = true
		return
	}
	w.reading = true
	c.store.readers.push(c)
}

func (c *session) Inflight() ([]store.Inflight, bool) {
	c.mu.Lock()
	defer c.unlock(nil)
	if c.restored {
		c.fetch()
		c.expect()
		return nil, false
	}
	if c.w == nil {
		return nil, true
	}
	list := c.w.inflight
	c.w.inflight = nil
	return list, true
}

// read serves one request of a session.
func (c *session) read() {
	c.mu.Lock()
	restored, span := c.restored, c.gap
	wanted := slices.Clone(c.w.wanted)
	c.w.wanted = c.w.wanted[:0]
	if len(wanted) > 0 && !restored && c.w.head.n >= headLow {
		span = gap{} // it is not the queue that is to be read on
	}
	c.mu.Unlock()
	again, err := c.readWanted(wanted)
	if err != nil {
		c.readFailed(err)
		return
	}
	var flown []restoredSlot
	var page []*slot
	from := span.from
	if restored {
		if flown, from, err = c.readFlight(from); err != nil {
			unrefAll(again)
			c.readFailed(err)
			return
		}
	}
	if from < span.to {
		if page, from, err = c.readPage(from, span.to, flown); err != nil {
			unrefAll(again)
			c.readFailed(err)
			return
		}
	}
	c.mu.Lock()
	w := c.w
	if c.ended {
		c.endReading()
		c.mu.Unlock()
		unrefAll(again)
		for _, s := range page {
			s.dropMessage()
		}
		for _, f := range flown {
			f.inflight.unref()
		}
		return
	}
	if restored {
		c.restored = false
		c.keepFlight(flown)
	}
	if !span.empty() {
		c.gap.from = from
		c.keepPage(page)
	}
	if len(again) > 0 {
		w.keepReread(again)
	}
	w.kept = w.head.n > 0
	owner, ready := c.owner, c.endReading()
	c.mu.Unlock()
	if ready && owner != nil {
		owner.Ready()
	}
}

// endReading ends the time in which nobody else may read, and reports whether
// the owner has to be told. The lock is held.
func (c *session) endReading() (ready bool) {
	w := c.w
	more := w.again && !c.ended && (c.restored || !c.gap.empty() && w.head.n < headLow || len(w.wanted) > 0)
	ready = w.wantReady
	w.reading, w.again, w.wantReady = false, false, false
	if more {
		c.fetch()
	}
	c.cool()
	return ready
}

// readFailed is told of an error that has nothing to do with damage: the session
// cannot go on, and others will not fare better.
func (c *session) readFailed(err error) {
	if !c.store.stopped.Load() {
		c.store.fail(err)
	}
}

// restoredSlot is a message that was in flight when the process ended.
type restoredSlot struct {
	slot     *slot
	inflight inflight
}

type inflight store.Inflight

func (f *inflight) unref() {
	if f.Message != nil {
		f.Message.Unref()
	}
}

// readFlight reads what was in flight. behind is the place behind the last
// message of the queue that was: what waits begins there, or at from.
func (c *session) readFlight(from uint64) (list []restoredSlot, behind uint64, err error) {
	s := c.store
	lower, upper := format.SessionSpan(format.Index, c.key)
	cur := newCursor(s.db, &s.damage, lower, upper)
	var m materializer
	m.from, m.damage = s.db, &s.damage
	for cur.next() {
		_, seq, ok := format.SplitPairKey(cur.key())
		pos, released, derr := format.DecodeIndex(cur.key(), cur.value)
		if !ok || derr != nil {
			s.damage.record(cur.key(), cur.value, derr)
			continue
		}
		r := restoredSlot{slot: newSlot()}
		r.slot.entry.Pos, r.slot.seq = pos, seq
		r.slot.index, r.slot.wantIndex = indexReleased, indexReleased
		r.inflight = inflight{Seq: seq, Released: released}
		if !released {
			found, merr := m.get(c.key, pos)
			if merr != nil {
				err = merr
				break
			}
			if !found {
				// What was sent is gone: nothing is left to be acknowledged.
				if err = s.removeKey(cur.key()); err != nil {
					break
				}
				continue
			}
			m.fill(r.slot)
			r.inflight.Entry = r.slot.entry
			r.slot.entry.Message = nil
			r.slot.index, r.slot.wantIndex = indexSent, indexSent
			if !m.content.Direct {
				from = max(from, pos+1)
			}
		}
		r.inflight.Pos = pos
		list = append(list, r)
	}
	return list, from, errors.Join(err, cur.close())
}

// readPage reads messages that wait from the places from..to, as many as a page
// has. next is where the next page begins.
func (c *session) readPage(from, to uint64, flown []restoredSlot) (page []*slot, next uint64, err error) {
	s := c.store
	sent := make(map[uint64]bool, len(flown))
	for _, f := range flown {
		sent[f.slot.entry.Pos] = true
	}
	cur := newCursor(s.db, &s.damage, format.AppendPairKey(nil, format.Contents, c.key, from),
		format.AppendPairKey(nil, format.Contents, c.key, to))
	var m materializer
	m.from, m.damage = s.db, &s.damage
	var bytes int64
	next = to
	for cur.next() {
		_, pos, ok := format.SplitPairKey(cur.key())
		if len(page) == pageMax || bytes >= pageMaxBytes {
			next = pos
			break
		}
		if !ok {
			s.damage.record(cur.key(), cur.value, errKey)
			continue
		}
		found, merr := m.read(cur.key(), cur.value, func(ct *format.Content) bool { return !ct.Direct && !sent[pos] })
		if merr != nil {
			err = merr
			break
		}
		if !found {
			continue
		}
		sl := newSlot()
		sl.entry.Pos = pos
		m.fill(sl)
		bytes += sl.size
		page = append(page, sl)
	}
	return page, next, errors.Join(err, cur.close())
}

// keepFlight takes what was in flight into memory.
func (c *session) keepFlight(list []restoredSlot) {
	w := c.w
	for _, f := range list {
		w.inflight = append(w.inflight, store.Inflight(f.inflight))
	}
	sort.Slice(list, func(i, j int) bool { return list[i].slot.entry.Pos < list[j].slot.entry.Pos })
	for _, f := range list {
		w.flight.insert(f.slot)
	}
}

// keepPage takes messages that wait into memory.
func (c *session) keepPage(page []*slot) {
	for _, s := range page {
		s.place = waiting
		c.gap.n--
		c.gap.bytes -= s.size
		c.w.bytes += s.size
		c.pushHead(s)
	}
	if c.gap.empty() && c.counted {
		c.gap.n, c.gap.bytes = 0, 0
	}
}

func (s *Store) removeKey(key []byte) error {
	b := s.db.NewBatch()
	if err := b.Delete(key, nil); err != nil {
		return err
	}
	return s.apply(b)
}
