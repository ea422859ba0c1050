package disk

import (
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// The sweep stands back for sweepRest after each sweepRun, so that it never
// takes more than half a core from those who serve.
const (
	sweepRun  = 4 * time.Millisecond
	sweepRest = 4 * time.Millisecond
)

// sweepLoop goes over all stored messages: once after Load, to count what waits
// and to find what belongs to nobody, and then again and again if anything can
// expire.
func (s *Store) sweepLoop() {
	defer s.running.Done()
	s.sweeping.Lock()
	err := s.sweep(s.snapshot, true)
	_ = s.snapshot.Close()
	s.sweeping.Unlock()
	for err == nil {
		select {
		case <-s.closing:
			return
		case <-s.failedCh:
			return
		case <-time.After(s.o.tune.sweepEvery):
		}
		if s.mortal.Load() {
			s.sweeping.Lock()
			snapshot := s.db.NewSnapshot()
			err = s.sweep(snapshot, false)
			_ = snapshot.Close()
			s.sweeping.Unlock()
		}
	}
	if !s.stopped.Load() {
		s.fail(err)
	}
}

// sweep makes one pass over a snapshot; the first one is as of Load.
func (s *Store) sweep(from *pebble.Snapshot, first bool) error {
	lower, upper := format.Span(format.Index)
	index := newCursor(from, &s.damage, lower, upper)
	w := &sweeper{
		store: s, first: first, now: s.o.Now(), index: index, more: index.next(),
		writer: newWriter(s), began: time.Now(), sent: make(map[uint64]bool),
		m: materializer{from: from, damage: &s.damage},
	}
	lower, upper = format.Span(format.Contents)
	cur := newCursor(from, &s.damage, lower, upper)
	through, err := w.run(cur)
	for _, c := range []*cursor{cur, index} {
		if cerr := c.close(); err == nil {
			err = cerr
		}
	}
	if err != nil || !through {
		return err
	}
	if first {
		s.sessionsMu.Lock()
		s.endedKeys = nil
		s.sessionsMu.Unlock()
		s.counted.Store(true)
	}
	return s.values.sweep(from, w.now)
}

// sweeper is one pass.
type sweeper struct {
	store  *Store
	first  bool
	now    int64
	index  *cursor
	more   bool // index stands at a record
	m      materializer
	writer *writer
	began  time.Time
	n      int

	// Of the session that it is at:
	key     uint64
	session *session
	strange bool            // it is nobody's
	sent    map[uint64]bool // places of what is in flight
	waiting int
	bytes   int64
	// page is what is to be removed: what expired, with its entries, or what is
	// nobody's.
	page    page
	entries []store.Entry
}

// run returns whether it came to the end; else the store is closing.
func (w *sweeper) run(cur *cursor) (through bool, err error) {
	for cur.next() {
		if !w.pause() {
			return false, nil
		}
		session, pos, ok := format.SplitPairKey(cur.key())
		if !ok {
			w.store.damage.record(cur.key(), cur.value, errKey)
			continue
		}
		if session != w.key {
			if err := w.leave(); err != nil {
				return false, err
			}
			w.enter(session)
		}
		if err := w.look(pos, cur); err != nil {
			return false, err
		}
		if len(w.page.contents) == pageMax {
			if err := w.flush(); err != nil {
				return false, err
			}
		}
	}
	return true, w.leave()
}

// pause stands back now and then; false says that the store is closing.
func (w *sweeper) pause() bool {
	if w.n++; w.n%64 != 0 || time.Since(w.began) < sweepRun {
		return true
	}
	select {
	case <-w.store.closing:
		return false
	case <-w.store.failedCh:
		return false
	case <-time.After(sweepRest):
	}
	w.began = time.Now()
	return true
}

// enter begins with a session.
func (w *sweeper) enter(key uint64) {
	s := w.store
	s.sessionsMu.Lock()
	w.key, w.session = key, s.sessions[key]
	// Later ones may have ended since the snapshot was taken, and after damage
	// nobody knows which sessions there are.
	w.strange = w.session == nil && w.first && !s.endedKeys[key] && !s.broken[key] && s.damage.blocks.Load() == 0
	s.sessionsMu.Unlock()
	w.waiting, w.bytes = 0, 0
	w.page = page{session: key}
	clear(w.sent)
	for ; w.more; w.more = w.index.next() {
		session, _, _ := format.SplitPairKey(w.index.key())
		if session > key {
			break
		}
		if session < key {
			continue
		}
		if pos, released, err := format.DecodeIndex(w.index.key(), w.index.value); err == nil && !released {
			w.sent[pos] = true
		}
		if w.strange {
			w.page.keys = append(w.page.keys, append([]byte(nil), w.index.key()...))
		}
	}
}

// look looks at one content.
func (w *sweeper) look(pos uint64, cur *cursor) error {
	if w.session == nil && !w.strange {
		return nil
	}
	known := false
	expired, err := w.m.read(cur.key(), cur.value, func(c *format.Content) bool {
		known = true
		if w.strange || c.Direct || w.sent[pos] {
			return false
		}
		w.waiting++
		w.bytes += int64(c.Size)
		if c.Expires == 0 {
			return false
		}
		w.store.mortal.Store(true)
		return c.Expires <= w.now
	})
	if err != nil || !expired && !(w.strange && known) {
		return err
	}
	c := &w.m.content
	w.page.contents = append(w.page.contents, contentRef{pos, uint32(len(cur.value)), c.Shared, c.Fan, int64(c.Size)})
	if expired {
		e := w.m.entry()
		e.Pos = pos
		w.entries = append(w.entries, e)
	}
	return nil
}

// leave ends with a session.
func (w *sweeper) leave() error {
	if err := w.flush(); err != nil || w.session == nil || !w.first {
		return err
	}
	c := w.session
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.counted {
		return nil
	}
	c.counted = true
	c.gap.n += w.waiting
	c.gap.bytes += w.bytes
	if w.waiting == 0 {
		c.nothingOlder()
	}
	if c.gap.empty() {
		c.gap.n, c.gap.bytes = 0, 0
	}
	return nil
}

// flush removes the page.
func (w *sweeper) flush() error {
	if len(w.page.contents) == 0 && len(w.page.keys) == 0 {
		return nil
	}
	defer func() { w.page, w.entries = page{session: w.key}, w.entries[:0] }()
	if w.session == nil {
		return w.store.remove(&w.page, w.writer)
	}
	return w.session.expire(&w.page, w.entries, w.writer)
}

// expire removes messages whose time is over, as far as they still wait on disk
// only: what is in memory is the session's own affair.
func (c *session) expire(p *page, entries []store.Entry, w *writer) error {
	gone, owner, ready, err := c.removeExpired(p, entries, w)
	if err != nil || owner == nil {
		unrefAll(gone)
		return err
	}
	for _, e := range gone {
		owner.Expired(e)
	}
	if ready {
		owner.Ready()
	}
	return nil
}

// removeExpired returns what was removed, of entries.
func (c *session) removeExpired(p *page, entries []store.Entry, w *writer) (gone []store.Entry, owner store.Owner, ready bool, err error) {
	s := c.store
	s.removing.Lock() // see walk
	defer s.removing.Unlock()
	c.mu.Lock()
	if c.ended || c.w != nil && c.w.reading {
		// Not now: the next pass finds them again.
		c.mu.Unlock()
		unrefAll(entries)
		return nil, nil, false, nil
	}
	k := 0
	var bytes int64
	for i, ref := range p.contents {
		if ref.pos >= c.gap.from && ref.pos < c.gap.to {
			p.contents[k], entries[k] = ref, entries[i]
			bytes += ref.size
			k++
		} else {
			entries[i].Message.Unref()
		}
	}
	p.contents, gone = p.contents[:k], entries[:k]
	c.hot().reading = true // nobody reads them meanwhile
	c.mu.Unlock()

	err = s.remove(p, w)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && !c.ended {
		c.gap.n -= k
		c.gap.bytes -= bytes
	}
	return gone, c.owner, c.endReading(), err
}

func unrefAll(entries []store.Entry) {
	for _, e := range entries {
		if e.Message != nil {
			e.Message.Unref()
		}
	}
}

// nothingOlder notes that nothing of earlier boots waits.
func (c *session) nothingOlder() { c.gap.from = max(c.gap.from, min(c.gap.to, c.store.first())) }

// settleCount notes that nothing waits in a session that the first sweep did not
// come across. The lock is held.
func (c *session) settleCount() {
	if !c.counted && c.store.counted.Load() {
		c.counted = true
		c.nothingOlder()
	}
}
