package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// Load hands out sessions, on all cores at once, and retained messages. Messages
// of sessions are not read: what waits is counted later, in the background.
func (s *Store) Load(l store.Loader) error {
	s.loader = l
	s.snapshot = s.db.NewSnapshot()
	if err := s.load(); err != nil {
		return errors.Join(fmt.Errorf("data_dir %s: load: %w", s.o.Dir, err), s.snapshot.Close())
	}
	s.running.Add(2)
	go s.sweepLoop()
	go s.compactLoop()
	return nil
}

func (s *Store) load() error {
	chunks, err := split(s.snapshot)
	if err != nil {
		return err
	}
	var (
		work  = make(chan chunk, len(chunks))
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for _, c := range chunks {
		work <- c
	}
	close(work)
	fail := func(err error) {
		if err != nil {
			once.Do(func() { first = err })
		}
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			ld := loading{store: s, names: make(map[string]string)}
			for c := range work {
				fail(ld.sessions(c))
			}
		}()
	}
	fail(s.loadRetained())
	wg.Wait()
	fail(s.loadEnded())
	return first
}

// chunk is a range of sessions, both ends included.
type chunk struct{ first, last uint64 }

// chunksPerCore makes up for chunks that turn out larger than they look.
const chunksPerCore = 16

// split cuts the stored sessions into chunks of about the same size. Keys of one
// boot are dense, and there are gaps between boots: it halves the widest chunk,
// and narrows both halves to sessions that exist, as long as that is worth it.
func split(from pebble.Reader) ([]chunk, error) {
	lower, upper := format.Span(format.Sessions)
	it, err := from.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("store: read: %w", err)
	}
	number := func(valid bool) (uint64, bool) {
		if !valid || len(it.Key()) < 9 {
			return 0, false
		}
		return binary.BigEndian.Uint64(it.Key()[1:]), true
	}
	key := func(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{format.Sessions}, n) }
	first, ok := number(it.First())
	last, ok2 := number(it.Last())
	if !ok || !ok2 {
		// There are none, or the ends cannot be read: the cursor finds out.
		first, last = 0, 1<<64-2
	}
	chunks := []chunk{{first, last}}
	for ok && ok2 && len(chunks) < chunksPerCore*runtime.GOMAXPROCS(0) {
		widest := 0
		for i, c := range chunks {
			if c.last-c.first > chunks[widest].last-chunks[widest].first {
				widest = i
			}
		}
		c := chunks[widest]
		if c.last-c.first < 1000 {
			break
		}
		mid := c.first + (c.last-c.first)/2
		right, ok := number(it.SeekGE(key(mid)))
		left, ok2 := number(it.SeekLT(key(mid)))
		if !ok || !ok2 || right > c.last || left < c.first {
			break
		}
		chunks[widest] = chunk{c.first, left}
		chunks = append(chunks, chunk{right, c.last})
	}
	// Damage that was met here is met again by the cursors.
	_ = it.Close()
	return chunks, nil
}

// loading loads chunks of sessions.
type loading struct {
	store *Store
	names map[string]string // namespaces: few, and each session has one
	key   uint64
	saved store.Saved
	found bool // a record
	other bool // something without a record
}

func (ld *loading) sessions(c chunk) error {
	s := ld.store
	lower, _ := format.SessionSpan(format.Sessions, c.first)
	_, upper := format.SessionSpan(format.Sessions, c.last)
	cur := newCursor(s.snapshot, &s.damage, lower, upper)
	for cur.next() {
		key, kind, rest, ok := format.SplitSessionKey(cur.key())
		if !ok {
			s.damage.record(cur.key(), cur.value, errKey)
			continue
		}
		if key != ld.key {
			ld.hand()
			ld.key = key
		}
		if err := ld.take(kind, rest, cur.key(), cur.value); err != nil {
			s.damage.record(cur.key(), cur.value, err)
			ld.other = true
		}
	}
	ld.hand()
	return cur.close()
}

func (ld *loading) take(kind byte, rest, key, value []byte) error {
	switch kind {
	case format.KindRecord:
		r, err := format.DecodeRecord(key, value)
		if err != nil {
			return err
		}
		if name, ok := ld.names[r.Namespace]; ok {
			r.Namespace = name
		} else {
			ld.names[r.Namespace] = r.Namespace
		}
		ld.saved.Record, ld.found = r, true
	case format.KindSubscription:
		sub, err := format.DecodeSubscription(key, value)
		if err != nil {
			return err
		}
		ld.saved.Subscriptions = append(ld.saved.Subscriptions, store.Subscribed{Filter: string(rest), Subscription: sub})
	case format.KindReceived:
		if err := format.DecodeMark(key, value); err != nil {
			return err
		}
		ld.saved.Received = append(ld.saved.Received, binary.BigEndian.Uint16(rest))
	}
	return nil
}

// hand gives the session that was read to the owner.
func (ld *loading) hand() {
	saved, found := ld.saved, ld.found
	broken := !found && (ld.other || saved.Subscriptions != nil || saved.Received != nil)
	ld.saved, ld.found, ld.other = store.Saved{}, false, false
	s := ld.store
	if !found {
		if broken {
			s.sessionsMu.Lock()
			s.broken[ld.key] = true
			s.sessionsMu.Unlock()
		}
		return
	}
	c := &session{
		store: s, key: ld.key, namespace: saved.Namespace, next: s.first(), gap: gap{to: s.first()},
		restored: true, recorded: true, away: saved.Detached != 0,
	}
	saved.State = c
	s.sessionsMu.Lock()
	s.sessions[c.key] = c
	s.sessionsMu.Unlock()
	if s.loader.Session == nil {
		return
	}
	o := s.loader.Session(saved)
	c.mu.Lock()
	c.owner = o
	c.mu.Unlock()
}

func (s *Store) loadRetained() error {
	lower, upper := format.Span(format.Retained)
	cur := newCursor(s.snapshot, &s.damage, lower, upper)
	var memo format.Memo
	var view packet.Message
	for cur.next() {
		namespace, _, ok := format.SplitNamedKey(cur.key())
		err := errKey
		if ok {
			err = format.DecodeRetained(cur.key(), cur.value, &view, &memo)
		}
		if err != nil {
			s.damage.record(cur.key(), cur.value, err)
			continue
		}
		if s.loader.Retained != nil {
			s.loader.Retained(string(namespace), view.Keep(view.ID))
		}
	}
	return cur.close()
}

// loadEnded finds sessions that ended and were not walked over to the end.
func (s *Store) loadEnded() error {
	lower, upper := format.Span(format.Ended)
	cur := newCursor(s.snapshot, &s.damage, lower, upper)
	for cur.next() {
		key, ok := format.SplitNumberKey(cur.key())
		namespace, err := format.DecodeText(cur.key(), cur.value)
		if err == nil && !ok {
			err = errKey
		}
		if err != nil {
			s.damage.record(cur.key(), cur.value, err)
			continue
		}
		e := &ending{session: key, namespace: namespace, stored: true}
		if orphan := s.loader.Orphan; orphan != nil {
			e.orphan = func(o store.Entry) { orphan(namespace, o) }
		}
		s.sessionsMu.Lock()
		delete(s.broken, key)
		s.endedKeys[key] = true
		s.sessionsMu.Unlock()
		s.enders.push(e)
	}
	return cur.close()
}
