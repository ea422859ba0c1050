package disk

import (
	"errors"
	"sync"

	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// A session ends in two steps. Its End takes away the record and notes the
// session as ended, in one commit. Then a goroutine walks over its messages,
// hands out those of shared subscriptions, and removes everything, page by page;
// after a crash Load goes on with that.

// ending is a session that has ended.
type ending struct {
	session   uint64
	namespace string
	orphan    func(store.Entry) // nil: nobody wants them
	// entries are orphans that never came to the disk, and receipts what waits
	// for them, and for what else was pending: until the orphans are safe
	// somewhere else.
	entries  []store.Entry
	receipts []*store.Receipt
	stored   bool // there is something on disk
}

func (e *ending) done(err error) {
	for _, r := range e.receipts {
		r.Done(err)
	}
	e.receipts = nil
}

// isOrphan reports whether another member of a shared group should get a message
// that waited.
func isOrphan(e *store.Entry) bool { return e.QoS > 0 && e.Route != nil && e.Route.Group != "" }

// End hands orphans out from a goroutine of the store. An orphan that is added to
// another session before the call returns is added there and removed here in one
// commit.
func (c *session) End(orphan func(store.Entry)) {
	s := c.store
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	e := &ending{session: c.key, namespace: c.namespace, orphan: orphan, stored: c.recorded}
	if c.w != nil {
		c.drain(e)
	}
	c.gap = gap{}
	c.cool()
	if c.w != nil && c.w.pending() {
		c.enlist(urgently)
	}
	c.mu.Unlock()
	s.sessionsMu.Lock()
	delete(s.sessions, c.key)
	if s.endedKeys != nil {
		s.endedKeys[c.key] = true
	}
	s.sessionsMu.Unlock()
	if !e.stored {
		s.enders.push(e)
		return
	}
	s.add(loose{ending: e, done: func(err error) {
		if err != nil {
			e.done(err)
			return
		}
		s.enders.push(e)
	}})
}

// drain takes everything out of memory. Removals and what is in flight still have
// to be written, with the end or before it, or the walk would take a message that
// was acknowledged for one that waits.
func (c *session) drain(e *ending) {
	w := c.w
	lists := []*slotList{&w.added}
	if !e.stored {
		lists = append(lists, &w.changed)
		for _, o := range w.ops {
			if o.receipt != nil {
				e.receipts = append(e.receipts, o.receipt)
			}
		}
		w.ops = w.ops[:0]
	}
	for _, l := range lists {
		for s := l.first; s != nil; s = l.first {
			l.remove(s)
			s.pending = clean
			if s.receipt != nil {
				e.receipts = append(e.receipts, s.receipt)
				s.receipt = nil
			}
			if s.place == waiting && isOrphan(&s.entry) {
				e.entries = append(e.entries, s.entry)
				s.entry.Message = nil
			}
			if s.place == nowhere {
				s.free()
			}
		}
	}
	drop := func(s *slot) {
		s.place = nowhere
		s.dropMessage()
		s.free()
	}
	for _, q := range []*slotQueue{&w.head, &w.tail} {
		for q.n > 0 {
			drop(q.popFront())
		}
	}
	for _, it := range w.flight.items {
		if it.slot != nil {
			drop(it.slot)
		}
	}
	w.flight = flight{}
	for i := range w.inflight {
		(*inflight)(&w.inflight[i]).unref()
	}
	w.inflight, w.record = nil, nil
	w.wanted = w.wanted[:0]
	w.forgetReread(^uint64(0))
	w.headBytes, w.bytes, w.wantReady, w.again = 0, 0, false, false
}

// enders walk over ended sessions, one after the other.
type enders struct {
	mu     sync.Mutex
	cond   *sync.Cond
	queue  []*ending
	closed bool
}

func (q *enders) start(s *Store) {
	q.cond = sync.NewCond(&q.mu)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		w := newWriter(s)
		for e := q.next(); e != nil; e = q.next() {
			if err := s.walk(e, w); err != nil {
				e.done(err)
				if !errors.Is(err, store.ErrClosed) && !s.stopped.Load() {
					s.fail(err)
				}
			}
		}
	}()
}

func (q *enders) push(e *ending) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		e.done(store.ErrClosed)
		return
	}
	q.queue = append(q.queue, e)
	q.mu.Unlock()
	q.cond.Signal()
}

func (q *enders) next() *ending {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) == 0 && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return nil
	}
	e := q.queue[0]
	q.queue[0] = nil
	q.queue = q.queue[1:]
	return e
}

func (q *enders) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// close stops the walking between two pages. What is left is on disk.
func (q *enders) close() {
	q.mu.Lock()
	q.closed = true
	rest := q.queue
	q.queue = nil
	q.mu.Unlock()
	for _, e := range rest {
		e.done(store.ErrClosed)
	}
	q.cond.Broadcast()
}

// page is a number of records to remove.
type page struct {
	session  uint64
	contents []contentRef
	keys     [][]byte
}

// contentRef is what has to be known of a content to remove it.
type contentRef struct {
	pos    uint64
	stored uint32
	shared uint64
	fan    uint32
	size   int64
}

// walk removes everything of an ended session.
func (s *Store) walk(e *ending, w *writer) error {
	// The sweep may have been about to remove something of this session: what is
	// removed twice counts twice where it refers to a shared message.
	s.removing.Lock()
	defer s.removing.Unlock()
	if len(e.entries) > 0 {
		if err := s.handOut(e, e.entries, &page{}, w); err != nil {
			return err
		}
	}
	e.done(nil)
	if !e.stored {
		return nil
	}
	sent, last, err := s.sentBy(e.session)
	if err != nil {
		return err
	}
	lower, upper := format.SessionSpan(format.Contents, e.session)
	cur := newCursor(s.db, &s.damage, lower, upper)
	m := materializer{from: s.db, damage: &s.damage}
	more := cur.next()
	for more && err == nil {
		if s.enders.isClosed() {
			return errors.Join(store.ErrClosed, cur.close())
		}
		p := &page{session: e.session}
		var orphans []store.Entry
		for ; more && len(p.contents) < pageMax; more = cur.next() {
			_, pos, _ := format.SplitPairKey(cur.key())
			wanted := func(c *format.Content) bool {
				return e.orphan != nil && !c.Direct && !sent[pos] && isOrphan(&store.Entry{QoS: c.QoS, Route: c.Route})
			}
			m.content = format.Content{}
			found, rerr := m.read(cur.key(), cur.value, wanted)
			if err = rerr; err != nil {
				break
			}
			if found {
				o := m.entry()
				o.Pos = pos
				orphans = append(orphans, o)
			}
			c := &m.content
			p.contents = append(p.contents, contentRef{pos, uint32(len(cur.value)), c.Shared, c.Fan, int64(c.Size)})
		}
		if err == nil {
			err = s.handOut(e, orphans, p, w)
		}
	}
	if err = errors.Join(err, cur.close()); err != nil {
		return err
	}
	return s.remove(last, w)
}

// sentBy returns the places of what was in flight, and the rest of what there is
// of a session but its messages.
func (s *Store) sentBy(session uint64) (sent map[uint64]bool, last *page, err error) {
	sent, last = make(map[uint64]bool), &page{session: session}
	lower, upper := format.SessionSpan(format.Index, session)
	cur := newCursor(s.db, &s.damage, lower, upper)
	for cur.next() {
		if pos, released, err := format.DecodeIndex(cur.key(), cur.value); err == nil && !released {
			sent[pos] = true
		}
		last.keys = append(last.keys, append([]byte(nil), cur.key()...))
	}
	if err := cur.close(); err != nil {
		return nil, nil, err
	}
	lower, upper = format.SessionSpan(format.Sessions, session)
	cur = newCursor(s.db, &s.damage, lower, upper)
	for cur.next() {
		last.keys = append(last.keys, append([]byte(nil), cur.key()...))
	}
	last.keys = append(last.keys, format.AppendNumberKey(nil, format.Ended, session))
	return sent, last, cur.close()
}

// handOut gives orphans away and removes the page that they were on.
func (s *Store) handOut(e *ending, orphans []store.Entry, p *page, w *writer) error {
	if len(orphans) == 0 {
		return s.remove(p, w)
	}
	done := make(chan error, 1)
	s.taking.Lock() // no commit comes in between
	for _, o := range orphans {
		if e.orphan != nil {
			e.orphan(o)
		} else {
			o.Message.Unref()
		}
	}
	s.add(loose{page: p, done: func(err error) { done <- err }})
	s.taking.Unlock()
	return <-done
}

// remove removes a page that nobody waits for.
func (s *Store) remove(p *page, w *writer) error {
	w.begin()
	if err := w.page(p); err != nil {
		return err
	}
	if err := w.count(); err != nil {
		return err
	}
	s.freed.Add(w.freed)
	return s.apply(w.pb)
}
