package disk

import (
	"sync"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// What is pending lies with the sessions; the store has lists of the sessions
// that have something. A session may be in several lists, and may have nothing
// any more when its turn comes.
const (
	urgently = iota // written at once
	lazily          // written when it is lazyTicks old: it may well be settled before
	whenever        // removals, which can wait longest
	lists
)

// pendingLists are these lists, and what is pending that belongs to no session.
type pendingLists struct {
	mu sync.Mutex
	// stopped: nothing is taken any more.
	stopped bool
	urgent  []*session
	// lazy are by the tick of the oldest message of the session, modulo their
	// number.
	lazy   [lazyTicks + 1][]*session
	later  []*session // whenever
	loose  []loose
	syncs  []func(error)
	opened []*batch // commits under way
	spare  []*batch // for the next ones: there are never more than three
}

// mustForce says that the next commit has to take everything that is pending.
// What is enclosed in Begin and End becomes safe together. That is trivial for
// what is written at once, and for lazy messages of the same tick, but a
// publication may have both: a message that is not lazy, or a change with a
// Receipt, takes all that is lazy with it.
func (s *Store) mustForce() { s.force.Store(true) }

// loose is a change that belongs to no session: of a retained message, a value,
// or of a session that has ended.
type loose struct {
	space   byte
	scope   string // namespace or bucket
	name    string
	message *packet.Message // retained, with a reference
	remove  bool
	value   []byte
	version uint64
	expires int64
	// page is what is removed of an ended session, ending a session that ends.
	page    *page
	ending  *ending
	receipt *store.Receipt
	done    func(error)
}

// enlist puts a session into one of the lists; its lock is held.
func (c *session) enlist(list int) {
	w := c.w
	if w.listed[list] {
		return
	}
	l, wake := &c.store.lists, list == urgently
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return
	}
	w.listed[list] = true
	switch list {
	case urgently:
		l.urgent = append(l.urgent, c)
	case lazily:
		wake = l.idle()
		// The tick of the slot that is listed first: a younger one may come to an
		// older list, and is left there (take).
		i := w.added.first.tick % uint32(len(l.lazy))
		l.lazy[i] = append(l.lazy[i], c)
	case whenever:
		wake = l.idle()
		l.later = append(l.later, c)
	}
	l.mu.Unlock()
	if wake {
		c.store.wakeUp()
	}
}

// idle reports that nothing waits for its time; the committer has to be told
// when that changes.
func (l *pendingLists) idle() bool {
	for i := range l.lazy {
		if len(l.lazy[i]) > 0 {
			return false
		}
	}
	return len(l.later) == 0
}

// add hands over a change that belongs to no session. It returns false if the
// store takes none any more.
func (s *Store) add(o loose) bool {
	o.receipt.Add()
	l := &s.lists
	l.mu.Lock()
	stopped := l.stopped
	if !stopped {
		l.loose = append(l.loose, o)
		if o.receipt != nil || o.page != nil {
			s.force.Store(true)
		}
	}
	l.mu.Unlock()
	if stopped {
		o.finish(s.reason())
		return false
	}
	s.wakeUp()
	return true
}

func (o *loose) finish(err error) {
	if o.message != nil {
		o.message.Unref()
	}
	o.receipt.Done(err)
	if o.done != nil {
		o.done(err)
	}
}

func (s *Store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
