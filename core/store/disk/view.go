package disk

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/volume"
)

// View shows what is stored, all as of one moment. What cannot be read is left
// out, and counted. Its methods may be called from several goroutines; once it is
// closed they return store.ErrClosed.
type View struct {
	db     *pebble.DB
	from   pebble.Reader
	gate   *gate // of the store, or of the view's own
	damage damage
	stop   atomic.Bool
	close  func() error
	once   sync.Once
	err    error
}

// errInterrupted is what a View's methods return after Interrupt.
var errInterrupted = errors.New("store: interrupted")

// Interrupt ends what is under way, and what comes later, with an error.
func (v *View) Interrupt() { v.stop.Store(true) }

// Unreadable is the number of records, and of damaged blocks, that the methods
// so far have left out.
func (v *View) Unreadable() int64 { return v.damage.count.Load() }

// View shows what is committed now. As long as it is open no space is given
// back. The store's Close interrupts and closes it.
func (s *Store) View() *View {
	v := &View{db: s.db, gate: &s.gate, close: func() error { return nil }}
	if s.gate.enter() != nil {
		return v
	}
	defer s.gate.leave()
	snapshot := s.db.NewSnapshot()
	v.from = snapshot
	v.close = func() error {
		s.viewsMu.Lock()
		delete(s.views, v)
		s.viewsMu.Unlock()
		return snapshot.Close()
	}
	s.viewsMu.Lock()
	s.views[v] = true
	s.viewsMu.Unlock()
	return v
}

func (s *Store) openViews() []*View {
	s.viewsMu.Lock()
	defer s.viewsMu.Unlock()
	return slices.Collect(maps.Keys(s.views))
}

// OpenReadOnly shows a folder that no broker has open, and writes nothing to it.
func OpenReadOnly(o Options) (*View, error) {
	o = o.withDefaults()
	vol, err := volume.Open(o.volume(true))
	if err != nil {
		return nil, err
	}
	if n := vol.Schema(); n > format.Schema {
		return nil, errors.Join(newerError(vol.Dir(), uint64(n)), vol.Close())
	}
	fatal := func(error) {} // only writing is ever fatal
	db, err := openPebble(vol, vol.FS(), o, &damage{}, fatal, true)
	if err != nil {
		return nil, errors.Join(err, vol.Close())
	}
	closeAll := func() error { return errors.Join(db.Close(), vol.Close()) }
	n, err := getNumber(db, format.SchemaKey)
	if err == nil {
		err = checkImported(db, vol.Dir())
	}
	if err == nil && n != format.Schema {
		err = newerError(vol.Dir(), n)
		if n < format.Schema {
			err = fmt.Errorf("data_dir %s was written by an older Patchbay (schema %d; this one knows %d): start the broker on it once", vol.Dir(), n, format.Schema)
		}
	}
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	own := new(gate)
	return &View{db: db, from: db, gate: own, close: func() error {
		own.close(func() {})
		return closeAll()
	}}, nil
}

// Close ends the view. It waits for what is under way only in a folder that
// OpenReadOnly opened.
func (v *View) Close() error {
	v.once.Do(func() { v.err = v.close() })
	return v.err
}

// cursor returns a cursor for a span; each use of one is between enter and leave
// of the gate.
func (v *View) cursor(d *damage, lower, upper []byte) *cursor {
	c := newCursor(v.from, d, lower, upper)
	c.stop = &v.stop
	return c
}

// SessionView is a stored session. Its messages come one at a time, and are valid
// during the call only, unless a reference is taken.
type SessionView struct {
	store.Record
	Subscriptions []store.Subscribed
	Received      []uint16

	view *View
	key  uint64
}

// Sessions calls fn for each session, until it returns an error, which is
// returned. The reference of the Will's message is fn's.
func (v *View) Sessions(fn func(SessionView) error) error {
	if err := v.gate.enter(); err != nil {
		return err
	}
	defer v.gate.leave()
	lower, upper := format.Span(format.Sessions)
	cur := v.cursor(&v.damage, lower, upper)
	at, found := SessionView{view: v}, false
	hand := func() error {
		sv, ok := at, found
		at, found = SessionView{view: v}, false
		if !ok {
			return nil
		}
		return fn(sv)
	}
	var err error
	for err == nil && cur.next() {
		key, kind, rest, ok := format.SplitSessionKey(cur.key())
		if !ok {
			v.damage.record(cur.key(), cur.value, errKey)
			continue
		}
		if key != at.key {
			err = hand()
			at.key = key
		}
		var derr error
		switch kind {
		case format.KindRecord:
			var r store.Record
			if r, derr = format.DecodeRecord(cur.key(), cur.value); derr == nil {
				at.Record, found = r, true
			}
		case format.KindSubscription:
			var sub store.Subscription
			if sub, derr = format.DecodeSubscription(cur.key(), cur.value); derr == nil {
				at.Subscriptions = append(at.Subscriptions, store.Subscribed{Filter: string(rest), Subscription: sub})
			}
		case format.KindReceived:
			if derr = format.DecodeMark(cur.key(), cur.value); derr == nil {
				at.Received = append(at.Received, binary.BigEndian.Uint16(rest))
			}
		}
		if derr != nil {
			v.damage.record(cur.key(), cur.value, derr)
		}
	}
	if err == nil {
		err = hand()
	}
	return errors.Join(err, cur.close())
}

// Inflight calls fn for what was sent and is not settled, in the order of
// sending.
func (sv *SessionView) Inflight(fn func(store.Inflight) error) error {
	if err := sv.view.gate.enter(); err != nil {
		return err
	}
	defer sv.view.gate.leave()
	lower, upper := format.SessionSpan(format.Index, sv.key)
	cur := sv.view.cursor(&sv.view.damage, lower, upper)
	m := materializer{from: sv.view.from, damage: &sv.view.damage}
	var err error
	for err == nil && cur.next() {
		_, seq, ok := format.SplitPairKey(cur.key())
		pos, released, derr := format.DecodeIndex(cur.key(), cur.value)
		if !ok || derr != nil {
			sv.view.damage.record(cur.key(), cur.value, cmp.Or(derr, errKey))
			continue
		}
		in := store.Inflight{Seq: seq, Released: released}
		in.Pos = pos
		if !released {
			found, merr := m.get(sv.key, pos)
			if err = merr; !found {
				continue
			}
			in.Entry = m.entry()
			in.Pos = pos
		}
		err = fn(in)
		if in.Message != nil {
			in.Message.Unref()
		}
	}
	return errors.Join(err, cur.close())
}

// Waiting calls fn for what waits, the oldest first.
func (sv *SessionView) Waiting(fn func(store.Entry) error) error {
	if err := sv.view.gate.enter(); err != nil {
		return err
	}
	defer sv.view.gate.leave()
	sent := make(map[uint64]bool)
	lower, upper := format.SessionSpan(format.Index, sv.key)
	index := sv.view.cursor(&sv.view.damage, lower, upper)
	for index.next() {
		if pos, released, err := format.DecodeIndex(index.key(), index.value); err == nil && !released {
			sent[pos] = true
		}
	}
	if err := index.close(); err != nil {
		return err
	}
	lower, upper = format.SessionSpan(format.Contents, sv.key)
	cur := sv.view.cursor(&sv.view.damage, lower, upper)
	m := materializer{from: sv.view.from, damage: &sv.view.damage}
	var err error
	for err == nil && cur.next() {
		_, pos, ok := format.SplitPairKey(cur.key())
		if !ok {
			sv.view.damage.record(cur.key(), cur.value, errKey)
			continue
		}
		found, merr := m.read(cur.key(), cur.value, func(c *format.Content) bool { return !c.Direct && !sent[pos] })
		if err = merr; !found {
			continue
		}
		e := m.entry()
		e.Pos = pos
		err = fn(e)
		e.Message.Unref()
	}
	return errors.Join(err, cur.close())
}

// Retained calls fn for each retained message, whose slices are valid during the
// call only.
func (v *View) Retained(fn func(namespace string, m *packet.Message) error) error {
	if err := v.gate.enter(); err != nil {
		return err
	}
	defer v.gate.leave()
	lower, upper := format.Span(format.Retained)
	cur := v.cursor(&v.damage, lower, upper)
	var err error
	var view packet.Message
	for err == nil && cur.next() {
		namespace, _, ok := format.SplitNamedKey(cur.key())
		derr := errKey
		if ok {
			derr = format.DecodeRetained(cur.key(), cur.value, &view, nil)
		}
		if derr != nil {
			v.damage.record(cur.key(), cur.value, derr)
			continue
		}
		err = fn(string(namespace), &view)
	}
	return errors.Join(err, cur.close())
}

// Values calls fn for each value that has not been removed, expired or not;
// expires is in Unix milliseconds, 0 never. value is valid during the call only.
func (v *View) Values(fn func(bucket, key string, value []byte, version uint64, expires int64) error) error {
	if err := v.gate.enter(); err != nil {
		return err
	}
	defer v.gate.leave()
	lower, upper := format.Span(format.Values)
	cur := v.cursor(&v.damage, lower, upper)
	var err error
	for err == nil && cur.next() {
		bucket, key, ok := format.SplitNamedKey(cur.key())
		value, version, expires, derr := format.DecodeValue(cur.key(), cur.value)
		if !ok || derr != nil {
			v.damage.record(cur.key(), cur.value, cmp.Or(derr, errKey))
			continue
		}
		err = fn(string(bucket), string(key), value, version, expires)
	}
	return errors.Join(err, cur.close())
}

// ViewStats are figures about a folder.
type ViewStats struct {
	Schema, Boots uint64
	// Records is the number of records, and Bytes what they take on disk, about,
	// by what they are: sessions (with subscriptions and received Packet
	// Identifiers, which Records also has for themselves), contents, index, shared,
	// retained, values, ended, quarantine.
	Records, Bytes map[string]int64
	// DiskBytes is the size of the folder's tables and logs.
	DiskBytes int64
}

var spaceNames = []struct {
	space byte
	name  string
}{
	{format.Sessions, "sessions"}, {format.Contents, "contents"}, {format.Index, "index"}, {format.Shared, "shared"},
	{format.Retained, "retained"}, {format.Values, "values"}, {format.Ended, "ended"}, {format.Quarantine, "quarantine"},
}

// Stats counts what there is: it goes over all keys.
func (v *View) Stats() (st ViewStats, err error) {
	st = ViewStats{Records: make(map[string]int64), Bytes: make(map[string]int64)}
	if err := v.gate.enter(); err != nil {
		return st, err
	}
	defer v.gate.leave()
	if st.Schema, err = getNumber(v.from, format.SchemaKey); err != nil {
		return st, err
	}
	if st.Boots, err = getNumber(v.from, format.BootKey); err != nil {
		return st, err
	}
	for _, s := range spaceNames {
		lower, upper := format.Span(s.space)
		cur := v.cursor(&v.damage, lower, upper)
		for cur.next() {
			st.Records[s.name]++
			if s.space != format.Sessions {
				continue
			}
			switch _, kind, _, _ := format.SplitSessionKey(cur.key()); kind {
			case format.KindSubscription:
				st.Records["subscriptions"]++
			case format.KindReceived:
				st.Records["received"]++
			}
		}
		if err := cur.close(); err != nil {
			return st, err
		}
		n, err := v.db.EstimateDiskUsage(lower, upper)
		if err != nil {
			return st, fmt.Errorf("store: estimate disk usage: %w", err)
		}
		st.Bytes[s.name] = int64(n)
	}
	st.DiskBytes = int64(v.db.Metrics().DiskSpaceUsage())
	return st, nil
}
