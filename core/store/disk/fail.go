package disk

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/store"
)

// fail ends the store's work: everything that is open, or comes later, is
// answered with err.
func (s *Store) fail(err error) {
	if !s.failure.CompareAndSwap(nil, &err) {
		return
	}
	close(s.failedCh)
	s.logger.Error("the store cannot go on", "data_dir", s.o.Dir, "error", err)
	go s.o.OnFailed(err)
	go s.abandon(err)
}

func (s *Store) failed() <-chan struct{} { return s.failedCh }

// reason is why nothing is taken any more.
func (s *Store) reason() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return store.ErrClosed
}

// abandon answers all that is under way and pending. It runs on a goroutine of
// its own: the committer may be inside of Pebble for good.
func (s *Store) abandon(err error) {
	s.stop(true)
	l := &s.lists
	l.mu.Lock()
	var open []*batch
	for _, b := range l.opened {
		if b.taken {
			open = append(open, b)
		}
	}
	l.mu.Unlock()
	for _, b := range open {
		s.finish(b, err)
	}
	s.abandonPending(err)
}

// abandonPending answers all that has been handed over and was not taken, once
// the store is stopped.
func (s *Store) abandonPending(err error) {
	l := &s.lists
	l.mu.Lock()
	sessions := append(l.urgent, l.later...)
	for i := range l.lazy {
		sessions = append(sessions, l.lazy[i]...)
		l.lazy[i] = nil
	}
	rest, syncs := l.loose, l.syncs
	l.urgent, l.later, l.loose, l.syncs = nil, nil, nil, nil
	l.mu.Unlock()
	for _, c := range sessions {
		c.mu.Lock()
		var receipts []*store.Receipt
		if c.w != nil {
			receipts = c.abandon()
		}
		c.mu.Unlock()
		for _, r := range receipts {
			r.Done(err)
		}
	}
	for i := range rest {
		rest[i].finish(err)
	}
	for _, done := range syncs {
		done(err)
	}
}

// pebbleLogger is what Pebble logs to.
type pebbleLogger struct {
	logger *slog.Logger
	fatal  func(error)
}

var _ pebble.Logger = (*pebbleLogger)(nil)

// Infof says nothing: Pebble tells of each file.
func (*pebbleLogger) Infof(string, ...any) {}

func (l *pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Warn("store: " + fmt.Sprintf(format, args...))
}

// Fatalf does not return, as Pebble expects, but neither ends the process, which
// may want to say goodbye to its clients: the goroutine stays here for good.
func (l *pebbleLogger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Errorf("store: "+format, args...))
	select {}
}
