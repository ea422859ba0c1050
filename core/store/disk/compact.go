package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// compactLoop gives space back. Pebble removes what was deleted when it comes
// past, which may take long where nothing new is written.
func (s *Store) compactLoop() {
	defer s.running.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.closing:
		case <-s.failedCh:
		}
		cancel()
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.o.tune.compactPause):
		}
		freed := s.freed.Load()
		if freed < s.o.tune.compactBytes || freed < int64(s.db.Metrics().Table.Local.LiveSize)/4 {
			continue
		}
		s.sweeping.Lock()
		freed = s.freed.Load()
		err := s.compact(ctx)
		s.sweeping.Unlock()
		if err != nil {
			if ctx.Err() == nil {
				s.damage.background(err)
			}
			continue
		}
		s.freed.Add(-freed)
		s.vol.Look() // there may be space now
	}
}

// oldLogsMax is more than Pebble keeps.
const oldLogsMax = 8

// freePage is how many shared messages are removed at once.
const freePage = 1024

// freeShared removes what is left of shared messages without references.
func (s *Store) freeShared() error {
	lower, upper := format.Span(format.Shared)
	cur := newCursor(s.db, &s.damage, lower, upper)
	w := newWriter(s)
	p := new(page)
	for cur.next() && !s.enders.isClosed() {
		if format.SharedFree(cur.key(), cur.value) {
			p.keys = append(p.keys, bytes.Clone(cur.key()))
		}
		if len(p.keys) == freePage {
			if err := s.remove(p, w); err != nil {
				return errors.Join(err, cur.close())
			}
			p.keys = p.keys[:0]
		}
	}
	if err := cur.close(); err != nil {
		return err
	}
	return s.remove(p, w)
}

// compact rewrites the keyspaces that messages come and go in, and makes the old
// logs that Pebble keeps new and empty ones: each flush takes the oldest of them
// for the next log.
func (s *Store) compact(ctx context.Context) error {
	failed := s.freeShared()
	for _, space := range []byte{format.Contents, format.Index, format.Shared} {
		lower, upper := format.Span(space)
		if err := s.db.Compact(ctx, lower, upper, false); err != nil {
			failed = errors.Join(failed, fmt.Errorf("store: compact: %w", err))
		}
	}
	s.guard.shrink.Store(true)
	defer s.guard.shrink.Store(false)
	for range oldLogsMax {
		// A log that was flushed becomes an old one a moment later.
		m := s.db.Metrics()
		if ctx.Err() != nil || failed != nil || m.WAL.PhysicalSize+m.WAL.ObsoletePhysicalSize < 1<<20 {
			break
		}
		failed = s.db.Flush()
	}
	return failed
}
