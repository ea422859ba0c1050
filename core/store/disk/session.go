package disk

import (
	"sync"

	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// session is the state of one session. Without work it is all that a session
// costs that nobody talks to: there may be a million.
//
// Its owner calls it under a lock of its own; mu is there because the committer,
// the readers and the sweeper look at it too. It is held for moments only, and
// the store's list lock is the only one that is taken under it.
type session struct {
	store     *Store
	key       uint64 // durable
	namespace string

	mu    sync.Mutex
	owner store.Owner
	w     *work // nil: nothing is in memory, nothing is under way
	next  uint64
	// ticket is the last one that was given out.
	ticket store.Ticket
	gap    gap

	// restored: what was in flight when the process ended is still on disk only.
	restored bool
	// counted: gap says how many messages of earlier boots wait.
	counted bool
	// away: the record says that there is no connection.
	away bool
	// recorded: the record is on disk, or on its way.
	recorded bool
	ended    bool
}

// work is what a session needs while something happens to it.
type work struct {
	head, tail slotQueue // what waits before and behind the gap
	headBytes  int64     // of messages in head
	bytes      int64     // of messages in head and tail
	flight     flight

	added, changed slotList
	ops            []op
	record         []byte       // value of a record to be written
	taken, safe    store.Ticket // covered by commits under way; committed
	batches        int32        // commits under way that have something of it

	// hurry: what was added does not wait to be settled.
	hurry  bool
	listed [lists]bool
	// reading: a reader, or the sweeper, has the gap. again asks to read once more
	// after that, wantReady to tell the owner.
	reading, again, wantReady bool
	kept                      bool             // the head was asked for although the client is away
	inflight                  []store.Inflight // read and not asked for yet
	wanted                    []uint64         // places in flight to be read again
	reread                    []store.Entry    // what was, the first ones first
}

// op is a change of a session that is not about its messages, in the order of
// the calls.
type op struct {
	kind    byte   // format.KindSubscription or KindReceived
	remove  bool   // else set
	filter  string // of a subscription
	id      uint16 // received
	options store.Subscription
	receipt *store.Receipt
}

var works = sync.Pool{New: func() any { return new(work) }}

var _ store.Session = (*session)(nil)

// hot returns the session's work.
func (c *session) hot() *work {
	if c.w == nil {
		c.w = works.Get().(*work)
		c.w.safe, c.w.taken = c.ticket, c.ticket
	}
	return c.w
}

// cool gives the work back if it is not needed any more and the client is away.
func (c *session) cool() {
	w := c.w
	if w != nil && w.flight.live == 0 {
		w.wanted = w.wanted[:0]
		w.forgetReread(^uint64(0))
	}
	if w == nil || !c.away && !c.ended || w.head.n+w.tail.n+w.flight.live > 0 || w.batches > 0 || w.reading ||
		w.wantReady || w.inflight != nil || w.pending() || w.listed != [lists]bool{} {
		return
	}
	c.w = nil
	*w = work{ops: w.ops[:0], head: slotQueue{ring: w.head.ring}}
	if cap(w.ops) > 64 {
		w.ops = nil
	}
	works.Put(w)
}

func (w *work) pending() bool {
	return w.added.first != nil || w.changed.first != nil || len(w.ops) > 0 || w.record != nil
}

func (c *session) Durable() bool    { return true }
func (c *session) FirstSeq() uint64 { return c.store.first() }

// Save encodes the record at once: the Will's message is not needed later.
func (c *session) Save(r store.Record) {
	c.mu.Lock()
	defer c.unlock(nil)
	if c.ended {
		return
	}
	c.save(&r)
	if c.away {
		c.w.kept = false
		c.evict()
	}
}

func (c *session) save(r *store.Record) {
	var key [16]byte
	w := c.hot()
	w.record = format.AppendRecord(make([]byte, 0, 64), format.AppendRecordKey(key[:0], c.key), r)
	c.away = r.Detached != 0
	c.enlist(urgently)
}

func (c *session) Subscribe(filter string, sub store.Subscription) {
	c.change(op{kind: format.KindSubscription, filter: filter, options: sub})
}

func (c *session) Unsubscribe(filter string) {
	c.change(op{kind: format.KindSubscription, filter: filter, remove: true})
}

func (c *session) Received(id uint16, r *store.Receipt) {
	c.change(op{kind: format.KindReceived, id: id, receipt: r})
}

func (c *session) Released(id uint16, r *store.Receipt) {
	c.change(op{kind: format.KindReceived, id: id, remove: true, receipt: r})
}

func (c *session) change(o op) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	w := c.hot()
	o.receipt.Add()
	w.ops = append(w.ops, o)
	if o.receipt != nil {
		c.store.mustForce()
	}
	c.enlist(urgently)
	c.unlock(nil)
}

func (c *session) Add(e store.Entry, seq uint64, lazy bool, r *store.Receipt) (pos uint64, t store.Ticket) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		if seq == 0 {
			e.Message.Unref()
		}
		return 0, 0
	}
	w := c.hot()
	s := newSlot()
	c.ticket++
	e.Pos = c.next
	c.next++
	s.entry, s.seq, s.ticket = e, seq, c.ticket
	s.size = int64(e.Message.Size())
	s.tick = c.store.tick.Load()
	s.wantContent = true
	if r != nil {
		r.Add()
		s.receipt = r
	}
	if e.Message.Expires != 0 {
		c.store.mortal.Store(true)
	}
	if seq != 0 {
		e.Message.Ref()
		s.wantIndex = indexSent
		w.flight.insert(s)
	} else {
		c.enqueue(s)
	}
	s.pending = added
	w.added.push(s)
	if lazy {
		c.enlist(lazily)
	} else {
		w.hurry = true
		c.store.mustForce()
		c.enlist(urgently)
	}
	t = c.ticket
	c.unlock(nil)
	return e.Pos, t
}

func (c *session) Sent(e store.Entry, seq uint64) store.Ticket {
	c.mu.Lock()
	w := c.hot()
	c.ticket++
	t := c.ticket
	if s := w.flight.get(e.Pos); s != nil {
		s.seq, s.wantIndex = seq, indexSent
		c.changed(s)
		c.enlist(whenever)
	}
	c.unlock(nil)
	return t
}

func (c *session) PubrecReceived(pos, seq uint64) store.Ticket {
	c.mu.Lock()
	w := c.hot()
	c.ticket++
	t := c.ticket
	if s := w.flight.get(pos); s != nil {
		s.seq, s.wantIndex, s.wantContent = seq, indexReleased, false
		s.dropMessage()
		if s.pending == added {
			w.added.remove(s)
			s.pending = clean
		}
		c.changed(s)
		c.enlist(urgently)
	}
	c.unlock(nil)
	return t
}

func (c *session) Settle(pos, seq uint64) {
	c.mu.Lock()
	if c.w == nil {
		c.mu.Unlock()
		return
	}
	s := c.w.flight.take(pos)
	if s == nil {
		c.mu.Unlock()
		return
	}
	s.dropMessage()
	c.unlock(c.forget(s))
}

// changed notes that what is on disk of a slot is not what has to be there.
func (c *session) changed(s *slot) {
	if s.pending == clean {
		s.pending = changed
		c.w.changed.push(s)
	}
}

// forget removes what is on disk of a slot that is not in memory any more. What
// has not been taken by a commit yet is skipped; its Receipt comes back, to be
// completed without the lock.
func (c *session) forget(s *slot) *store.Receipt {
	s.wantContent, s.wantIndex = false, indexNone
	if !s.settled() {
		c.changed(s)
		c.enlist(whenever)
		return nil
	}
	r := s.receipt
	s.receipt = nil
	switch s.pending {
	case added:
		c.w.added.remove(s)
	case changed:
		c.w.changed.remove(s)
	}
	c.store.skipped.Add(1)
	s.pending = clean
	s.free()
	return r
}

func (c *session) Safe(t store.Ticket) bool {
	c.mu.Lock()
	defer c.unlock(nil)
	w := c.w
	if w == nil || t <= w.safe {
		return true
	}
	if c.store.stopped.Load() {
		return false
	}
	if w.batches == 0 && !w.pending() {
		return true
	}
	w.wantReady = true
	if t <= w.taken {
		return false
	}
	if w.added.first != nil && w.added.first.ticket <= t {
		w.hurry = true
		c.store.mustForce()
	}
	c.enlist(urgently)
	return false
}

// unlock ends a call: without the lock it completes the Receipt of what was
// skipped.
func (c *session) unlock(r *store.Receipt) {
	var dead []*store.Receipt
	if c.w != nil && c.store.stopped.Load() && c.w.pending() {
		dead = c.abandon()
	}
	c.mu.Unlock()
	if r != nil {
		r.Done(nil)
	}
	for _, r := range dead {
		r.Done(c.store.reason())
	}
}

// abandon takes all Receipts of a session, since nothing will be written any
// more.
func (c *session) abandon() (receipts []*store.Receipt) {
	w := c.w
	collect := func(r *store.Receipt) {
		if r != nil {
			receipts = append(receipts, r)
		}
	}
	for _, l := range []*slotList{&w.added, &w.changed} {
		for s := l.first; s != nil; s = l.first {
			l.remove(s)
			collect(s.receipt)
			s.receipt, s.pending = nil, clean
			s.free()
		}
	}
	for _, o := range w.ops {
		collect(o.receipt)
	}
	w.ops, w.record = w.ops[:0], nil
	return receipts
}
