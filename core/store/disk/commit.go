package disk

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/store"
)

// batch is one group commit.
type batch struct {
	items []item
	parts []part
	loose []loose
	syncs []func(error)
	pb    *pebble.Batch
	began time.Time // when pb was handed to Pebble
	// taken is set, under the lists' lock, when it holds all it will: from then on
	// others than the committer may complete it.
	taken bool
	// finished is set, under the lists' lock, by whoever completes it.
	finished bool
}

// part is what a batch has of one session.
type part struct {
	session  *session
	from, to int // its items
	ops      []op
	record   []byte
	ticket   store.Ticket // what is safe with it, and all before
}

// item is what has to be written of one slot.
type item struct {
	slot        *slot
	session     uint64
	entry       store.Entry // with a reference of its own if put
	seq         uint64
	receipt     *store.Receipt
	put, remove bool // content
	index       indexState
	putIndex    bool
	removeIndex bool
}

// commitLoop is the committer: it takes what is pending and hands it to Pebble,
// which syncs it. The next batch gathers meanwhile: finishLoop waits for the
// sync of the last one, and one more may wait for the next sync.
func (s *Store) commitLoop() {
	defer s.running.Done()
	defer close(s.applied)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	ticking := false
	for {
		ticked, closing := false, false
		select {
		case <-s.wake:
		case <-timer.C:
			ticking, ticked = false, true
		case <-s.closing:
			closing = true
		}
		if closing {
			// What comes meanwhile is taken too, within reason.
			for tries := 0; !s.stop(tries == closeTries); tries++ {
				s.commit(s.take(false, true))
			}
			s.abandonPending(s.reason())
			return
		}
		s.commit(s.take(ticked, false))
		if !ticking && s.waiting() {
			timer.Reset(s.o.tune.tick)
			ticking = true
		}
	}
}

// closeTries is how often the last commit is followed by another one.
const closeTries = 10

// commit hands a batch, which may be nil, to Pebble.
func (s *Store) commit(b *batch) {
	if b == nil {
		return
	}
	if err := s.write(b); err != nil {
		s.fail(err)
		s.finish(b, err)
		return
	}
	s.applied <- b
}

// stop lets nothing be handed over any more, if nothing is pending, or in any
// case.
func (s *Store) stop(anyway bool) bool {
	l := &s.lists
	l.mu.Lock()
	defer l.mu.Unlock()
	if !anyway && (!l.idle() || len(l.urgent) > 0 || len(l.loose) > 0 || len(l.syncs) > 0) {
		return false
	}
	l.stopped = true
	s.stopped.Store(true)
	return true
}

// finishLoop completes batches when they are synced.
func (s *Store) finishLoop() {
	defer s.running.Done()
	for b := range s.applied {
		var err error
		if b.pb != nil {
			if err = b.pb.SyncWait(); err == nil {
				s.commitCounts.safe(time.Since(b.began))
				err = b.pb.Close()
			}
			b.pb = nil
		}
		if err != nil {
			err = fmt.Errorf("store: commit: %w", err)
			s.fail(err)
		}
		s.finish(b, err)
	}
}

// waiting reports that something waits for its time.
func (s *Store) waiting() bool {
	s.lists.mu.Lock()
	defer s.lists.mu.Unlock()
	return !s.lists.idle()
}

// take collects what is to be committed now: everything if something forces it,
// else what is urgent and what is due. With nothing to do it returns nil.
func (s *Store) take(ticked, everything bool) *batch {
	s.taking.Lock()
	defer s.taking.Unlock()
	s.enclosed.Lock()
	defer s.enclosed.Unlock()
	now := s.tick.Load()
	if ticked {
		now = s.tick.Add(1)
		s.laterFor++
	}
	l := &s.lists
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return nil
	}
	b := new(batch)
	if n := len(l.spare); n > 0 {
		b, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	all := s.force.Swap(false) || everything
	urgent := l.urgent
	l.urgent = nil
	b.loose, l.loose = append(b.loose, l.loose...), l.loose[:0]
	b.syncs, l.syncs = append(b.syncs, l.syncs...), nil
	due := s.due[:0]
	for i := range l.lazy {
		if all || ticked && uint32(i) == (now-lazyTicks)%uint32(len(l.lazy)) {
			due = append(due, l.lazy[i]...)
			clear(l.lazy[i])
			l.lazy[i] = l.lazy[i][:0]
		}
	}
	var later []*session
	if all || len(b.syncs) > 0 || s.laterFor >= deleteTicks {
		later, l.later, s.laterFor = l.later, nil, 0
	}
	l.opened = append(l.opened, b)
	l.mu.Unlock()

	for _, c := range urgent {
		c.give(b, urgently, all, 0)
	}
	for _, c := range due {
		c.give(b, lazily, all, now-lazyTicks)
	}
	clear(due)
	s.due = due
	for _, c := range later {
		c.give(b, whenever, all, 0)
	}
	if len(b.parts) == 0 && len(b.loose) == 0 && len(b.syncs) == 0 {
		s.finish(b, nil)
		return nil
	}
	l.mu.Lock()
	b.taken = true
	l.mu.Unlock()
	// If the store has failed meanwhile, abandon may have passed it over.
	if s.failure.Load() != nil {
		s.finish(b, s.reason())
		return nil
	}
	return b
}

// give adds to a batch what is pending of a session: removals and whatever is
// not a message in any case, messages if they are due. Those that are left stay
// in the list of lazy ones.
func (c *session) give(b *batch, list int, all bool, due uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.w
	if w == nil {
		return
	}
	w.listed[list] = false
	p := part{session: c, from: len(b.items)}
	for s := w.added.first; s != nil; s = w.added.first {
		if !all && (list != lazily || int32(due-s.tick) < 0) {
			break
		}
		w.added.remove(s)
		b.add(c.key, s)
	}
	for s := w.changed.first; s != nil; s = w.changed.first {
		w.changed.remove(s)
		b.add(c.key, s)
	}
	p.to = len(b.items)
	if len(w.ops) > 0 {
		p.ops, w.ops = w.ops, nil
	}
	p.record, w.record = w.record, nil
	c.recorded = c.recorded || p.record != nil
	w.taken = c.ticket
	if w.added.first != nil {
		w.taken = w.added.first.ticket - 1
		c.enlist(lazily)
		if w.hurry {
			// It came while this commit was being taken.
			c.store.mustForce()
			c.enlist(urgently)
		}
	} else {
		w.hurry = false
	}
	if p.from == p.to && p.ops == nil && p.record == nil && !w.wantReady {
		c.cool()
		return
	}
	p.ticket = w.taken
	w.batches++
	b.parts = append(b.parts, p)
}

// add makes an item of a slot and notes what will be on disk.
func (b *batch) add(session uint64, s *slot) {
	it := item{slot: s, session: session, entry: s.entry, seq: s.seq, receipt: s.receipt, index: s.wantIndex}
	it.put, it.remove = s.wantContent && !s.content, s.content && !s.wantContent
	if s.index != s.wantIndex {
		it.putIndex, it.removeIndex = s.wantIndex != indexNone, s.wantIndex == indexNone
	}
	switch {
	case !it.put:
		it.entry.Message = nil
	case s.place == waiting:
		it.entry.Message.Ref()
	default:
		s.entry.Message = nil // the slot's reference goes along
	}
	s.content, s.index, s.pending, s.receipt = s.wantContent, s.wantIndex, clean, nil
	s.batches++
	b.items = append(b.items, it)
}

// finish completes a batch: err is why it never will be safe, else nil.
func (s *Store) finish(b *batch, err error) {
	l := &s.lists
	l.mu.Lock()
	if b.finished {
		l.mu.Unlock()
		return
	}
	b.finished = true
	for i, o := range l.opened {
		if o == b {
			l.opened = append(l.opened[:i], l.opened[i+1:]...)
			break
		}
	}
	l.mu.Unlock()
	if err == nil {
		s.settle(b)
	}
	for i := range b.items {
		if r := b.items[i].receipt; r != nil {
			r.Done(err)
		}
	}
	for i := range b.parts {
		for j := range b.parts[i].ops {
			b.parts[i].ops[j].receipt.Done(err)
		}
	}
	for i := range b.loose {
		if err != nil {
			// The committer may be reading it still.
			b.loose[i].message = nil
		}
		b.loose[i].finish(err)
	}
	for _, done := range b.syncs {
		done(err)
	}
	if err == nil {
		l.keep(b)
	}
}

// keep keeps a batch's memory for the next ones, unless it is very large.
func (l *pendingLists) keep(b *batch) {
	if cap(b.items) > 1<<15 || cap(b.loose) > 1<<15 {
		return
	}
	clear(b.items)
	clear(b.parts)
	clear(b.loose)
	*b = batch{items: b.items[:0], parts: b.parts[:0], loose: b.loose[:0]}
	l.mu.Lock()
	l.spare = append(l.spare, b)
	l.mu.Unlock()
}

// settle tells the sessions of a batch that it is safe.
func (s *Store) settle(b *batch) {
	var ready []store.Owner
	for i := range b.parts {
		p := &b.parts[i]
		c := p.session
		c.mu.Lock()
		w := c.w
		w.batches--
		w.safe = p.ticket
		for j := p.from; j < p.to; j++ {
			it := &b.items[j]
			it.slot.batches--
			it.slot.free()
			if it.put {
				it.entry.Message.Unref()
			}
		}
		c.recede()
		if w.wantReady && !w.reading {
			w.wantReady = false
			ready = append(ready, c.owner)
		}
		c.cool()
		c.mu.Unlock()
	}
	for _, o := range ready {
		if o != nil {
			o.Ready()
		}
	}
}
