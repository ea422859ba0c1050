package disk

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// damage deals with what cannot be read: a record is moved to the quarantine,
// everything is counted, and logged once.
type damage struct {
	// store is where records are moved to the quarantine; nil: they stay.
	store  *Store
	logger *slog.Logger
	report func(Problem) // of Check; may be nil
	count  atomic.Int64
	// blocks is the number of spans of keys that were skipped.
	blocks atomic.Int64

	mu    sync.Mutex
	seen  map[string]bool
	quiet time.Time // until when errors in the background are not logged
}

// seenMax bounds what is remembered of what was logged.
const seenMax = 10_000

func (d *damage) first(what string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen[what] || len(d.seen) >= seenMax {
		return false
	}
	if d.seen == nil {
		d.seen = make(map[string]bool)
	}
	d.seen[what] = true
	return true
}

func (d *damage) warn(text string, args ...any) {
	if d.logger != nil {
		d.logger.Error(text, args...)
	}
}

// record is told of a record that does not decode. key and value are copied.
func (d *damage) record(key, value []byte, why error) {
	if !d.first(string(key)) {
		return
	}
	d.count.Add(1)
	if d.report != nil {
		d.report(Problem{Record: describe(key), What: why.Error()})
	}
	d.warn("a record cannot be read; it is kept in the quarantine, and the rest is served", "record", describe(key), "error", why)
	s := d.store
	if s == nil || s.stopped.Load() {
		return
	}
	b := s.db.NewBatch()
	q := format.AppendQuarantineKey(nil, s.o.Now(), uint32(s.newNumber()), key)
	err := b.Set(q, format.AppendQuarantined(nil, q, why.Error(), value), nil)
	if err == nil {
		err = b.Delete(key, nil)
	}
	if err == nil {
		// It is found again, should it not be safe.
		err = s.apply(b)
	}
	if err != nil {
		d.warn("the record could not be moved to the quarantine", "record", describe(key), "error", err)
	}
}

// span is told of keys that are skipped because a block cannot be read.
func (d *damage) span(from, to []byte, why error) {
	if !d.first(string(from)) {
		return
	}
	d.count.Add(1)
	d.blocks.Add(1)
	if d.report != nil {
		d.report(Problem{Record: describe(from), What: "from here to " + describe(to) + " a block cannot be read: " + why.Error()})
	}
	d.warn("a block of a table cannot be read; its records are skipped, and the rest is served",
		"from", describe(from), "to", describe(to), "error", why)
}

// file is told of a damaged file.
func (d *damage) file(path string) {
	if d.first("file " + path) {
		d.warn("a file is damaged", "path", path)
	}
}

// background is told of a compaction or flush that failed and is tried again.
func (d *damage) background(err error) {
	d.mu.Lock()
	now := time.Now()
	quiet := now.Before(d.quiet)
	if !quiet {
		d.quiet = now.Add(time.Minute)
	}
	d.mu.Unlock()
	if !quiet {
		d.warn("a compaction failed; it is tried again", "error", err)
	}
}

// apply hands a batch to Pebble that need not be safe before the next commit is.
func (s *Store) apply(b *pebble.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("store: commit: %v", r)
			s.fail(err)
		}
	}()
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	return b.Close()
}

// describe names a record for people.
func describe(key []byte) string {
	if len(key) == 0 {
		return "none"
	}
	switch key[0] {
	case format.Meta:
		return "meta " + fmt.Sprintf("%q", key[1:])
	case format.Sessions:
		session, kind, rest, ok := format.SplitSessionKey(key)
		switch {
		case !ok:
		case kind == format.KindRecord:
			return fmt.Sprintf("session %x", session)
		case kind == format.KindSubscription:
			return fmt.Sprintf("subscription of session %x to %q", session, rest)
		case kind == format.KindReceived:
			return fmt.Sprintf("packet identifier %x received by session %x", rest, session)
		}
	case format.Contents, format.Index:
		if session, n, ok := format.SplitPairKey(key); ok {
			return fmt.Sprintf("message %x of session %x (%c)", n, session, key[0])
		}
	case format.Shared, format.Ended:
		if n, ok := format.SplitNumberKey(key); ok {
			return fmt.Sprintf("%s %x", map[byte]string{format.Shared: "shared message", format.Ended: "ended session"}[key[0]], n)
		}
	case format.Retained, format.Values:
		if scope, name, ok := format.SplitNamedKey(key); ok {
			return fmt.Sprintf("%s %q in %q", map[byte]string{format.Retained: "retained message", format.Values: "value"}[key[0]], name, scope)
		}
	}
	return fmt.Sprintf("key %q", key)
}
