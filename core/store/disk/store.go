package disk

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/volume"
)

// What Open and OpenReadOnly refuse, for errors.Is; the text of the error says
// which folder, why, and what to do.
var (
	ErrForeign    = volume.ErrForeign
	ErrNotFolder  = volume.ErrNotFolder
	ErrPermission = volume.ErrPermission
	ErrReadOnly   = volume.ErrReadOnly
	ErrNoSpace    = volume.ErrNoSpace
	ErrInUse      = volume.ErrInUse
	ErrDamaged    = volume.ErrDamaged
	ErrNewer      = volume.ErrNewer
	ErrNotFound   = volume.ErrNotFound
)

// Store is a store.Store on Pebble.
//
// Locks are taken in this order: taking, enclosed, a session's, the lists'. None
// of them is held while the disk is waited for, but for enclosed's read side,
// which is the caller's between Begin and End.
type Store struct {
	o      Options
	logger *slog.Logger
	vol    *volume.Volume
	guard  *guard
	db     *pebble.DB
	boot   uint64

	sessionCount, numberCount atomic.Uint64

	enclosed sync.RWMutex // its read side is Begin and End
	taking   sync.Mutex   // held by the committer while it takes, and by whoever must not be cut in two
	lists    pendingLists
	force    atomic.Bool // see mustForce
	stopped  atomic.Bool // lists.stopped
	tick     atomic.Uint32
	laterFor int        // ticks since the list of removals was taken; the committer's
	due      []*session // scratch space of the committer
	writer   *writer    // the committer's
	wake     chan struct{}
	applied  chan *batch

	gate      gate
	viewsMu   sync.Mutex
	views     map[*View]bool // open ones
	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error
	running   sync.WaitGroup

	failure  atomic.Pointer[error]
	failedCh chan struct{} // closed with failure

	sessionsMu sync.Mutex
	sessions   map[uint64]*session
	// endedKeys are the sessions that ended until the first sweep is through,
	// broken those without a record that can be read: the sweep leaves both alone.
	endedKeys, broken map[uint64]bool

	// sweeping is held as long as a sweep has a snapshot: meanwhile a compaction
	// would give nothing back.
	sweeping sync.Mutex
	// removing is held by the sweep and by walks while they remove messages.
	removing sync.Mutex
	loader   store.Loader
	snapshot *pebble.Snapshot // as of Load; the first sweep closes it
	readers  readers
	enders   enders
	values   values
	damage   damage
	// mortal is set once something that expires was stored; counted when the first
	// sweep is through.
	mortal, counted atomic.Bool

	commits, written, skipped, bytesWritten, sharedStored atomic.Int64
	commitCounts                                          commitCounts
	freed                                                 atomic.Int64 // bytes, since the last compaction
}

var _ store.Store = (*Store)(nil)

// first is the first number of this boot.
func (s *Store) first() uint64 { return s.boot << bootShift }

// newNumber returns a number for a shared message or a value's version.
func (s *Store) newNumber() uint64 { return s.first() + s.numberCount.Add(1) }

func (s *Store) Create(r store.Record, o store.Owner) store.Session {
	c := &session{
		store: s, key: s.first() + s.sessionCount.Add(1), namespace: r.Namespace,
		owner: o, next: s.first(), counted: true,
	}
	s.sessionsMu.Lock()
	s.sessions[c.key] = c
	s.sessionsMu.Unlock()
	c.mu.Lock()
	c.save(&r)
	c.unlock(nil)
	return c
}

func (s *Store) Retain(namespace string, m *packet.Message, r *store.Receipt) {
	m.Ref()
	s.add(loose{space: format.Retained, scope: namespace, name: string(m.Topic), message: m, receipt: r})
}

func (s *Store) Unretain(namespace, topic string, r *store.Receipt) {
	s.add(loose{space: format.Retained, scope: namespace, name: topic, remove: true, receipt: r})
}

func (s *Store) Values() store.Values { return &s.values }

// Begin must not be called with a lock held that somebody may wait for between
// Begin and End.
func (s *Store) Begin() { s.enclosed.RLock() }

func (s *Store) End() { s.enclosed.RUnlock() }

// Sync covers removals too, which otherwise may wait for their commit.
func (s *Store) Sync(done func(error)) bool {
	l := &s.lists
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		go done(s.reason())
		return false
	}
	if len(l.opened) == 0 && len(l.urgent) == 0 && len(l.later) == 0 && len(l.loose) == 0 {
		l.mu.Unlock()
		return true
	}
	l.syncs = append(l.syncs, done)
	l.mu.Unlock()
	s.wakeUp()
	return false
}

func (s *Store) Full() bool { return s.vol.Full() }

func (s *Store) Stats() store.Stats {
	st := store.Stats{
		Commits: s.commits.Load(), Written: s.written.Load(), Skipped: s.skipped.Load(),
		BytesWritten: s.bytesWritten.Load(), Shared: s.sharedStored.Load(),
		Quarantined: s.damage.count.Load(), Full: s.vol.Full(),
	}
	_, st.FreeBytes = s.vol.Usage()
	if s.failure.Load() == nil && !s.stopped.Load() {
		st.DiskBytes = int64(s.db.Metrics().DiskSpaceUsage())
	}
	return st
}

// closePatience is how long Close waits for space on a full disk.
const closePatience = 5 * time.Second

// Close commits what is pending. Once the store has failed it only says why:
// Pebble is left as it is, since parts of it may stand still, and the folder
// stays locked until the process ends.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.enders.close()
		s.readers.close()
		close(s.closing)
		patience := time.AfterFunc(closePatience, s.vol.StopWaiting)
		defer patience.Stop()
		finished := make(chan struct{})
		go func() {
			s.running.Wait()
			close(finished)
		}()
		select {
		case <-finished:
		case <-s.failed():
		}
		if p := s.failure.Load(); p != nil {
			s.closeErr = *p
			return
		}
		s.gate.close(func() {
			for _, v := range s.openViews() {
				v.Interrupt()
			}
		})
		for _, v := range s.openViews() {
			_ = v.Close()
		}
		if err := s.db.Close(); err != nil && s.closeErr == nil {
			s.closeErr = fmt.Errorf("store: close: %w", err)
		}
		if err := s.vol.Close(); err != nil && s.closeErr == nil {
			s.closeErr = fmt.Errorf("store: close: %w", err)
		}
	})
	return s.closeErr
}
