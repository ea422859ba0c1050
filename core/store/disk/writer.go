package disk

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// batchMax bounds a Pebble batch, which must stay below 4 GiB. A commit beyond
// that, of messages as large as MQTT allows, is several.
const batchMax = 1 << 30

// writer turns changes into a Pebble batch. It is used by one goroutine.
type writer struct {
	store *Store
	pb    *pebble.Batch
	key   []byte
	value []byte
	// same counts for how many sessions the commit stores a message, and has the
	// number that it gets if they are several.
	same map[*packet.Message]sharing
	refs map[uint64]int64 // what the commit adds to the counts of shared messages
	// freed is about how many bytes the changes will free.
	freed    int64
	unlooked int64 // bytes written since the volume was last asked to look at the disk
}

type sharing struct {
	sessions uint32
	id       uint64
}

func newWriter(s *Store) *writer {
	return &writer{store: s, same: make(map[*packet.Message]sharing), refs: make(map[uint64]int64)}
}

// write builds a batch's changes and hands them to Pebble; SyncWait of b.pb,
// which is nil if there are none, tells when they are safe.
func (s *Store) write(b *batch) (err error) {
	if len(b.parts) == 0 && len(b.loose) == 0 {
		return nil
	}
	// Pebble panics when it cannot go on with its log.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("store: commit: %v", r)
		}
	}()
	w := s.writer
	w.begin()
	written := s.written.Load()
	if err := w.batch(b); err != nil {
		return err
	}
	if w.pb.Empty() {
		return w.pb.Close()
	}
	s.commits.Add(1)
	s.bytesWritten.Add(int64(w.pb.Len()))
	s.commitCounts.handed(s.written.Load()-written, int64(w.pb.Len()))
	b.began = time.Now()
	if err := s.db.ApplyNoSyncWait(w.pb, pebble.Sync); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	s.freed.Add(w.freed)
	w.look()
	b.pb, w.pb = w.pb, nil
	return nil
}

// look has the volume look at the disk once a good part of the reserve may have
// been used up: within the second that it looks by itself a fast disk takes more
// than that, and then what is under way would have to wait for space.
func (w *writer) look() {
	if w.unlooked += int64(w.pb.Len()); w.unlooked > w.store.o.Reserve/16 {
		w.unlooked = 0
		w.store.vol.Look()
	}
}

func (w *writer) begin() {
	w.pb, w.freed = w.store.db.NewBatch(), 0
	clear(w.same)
	clear(w.refs)
}

func (w *writer) batch(b *batch) error {
	if len(b.items) > 1 {
		for i := range b.items {
			if it := &b.items[i]; it.put {
				sh := w.same[it.entry.Message]
				sh.sessions++
				w.same[it.entry.Message] = sh
			}
		}
	}
	for i := range b.parts {
		if err := w.part(b, &b.parts[i]); err != nil {
			return err
		}
	}
	for i := range b.loose {
		if err := w.loose(&b.loose[i]); err != nil {
			return err
		}
	}
	return w.count()
}

func (w *writer) part(b *batch, p *part) error {
	key := p.session.key
	if p.record != nil {
		w.key = format.AppendRecordKey(w.key[:0], key)
		if err := w.pb.Set(w.key, p.record, nil); err != nil {
			return err
		}
	}
	for i := range p.ops {
		if err := w.op(key, &p.ops[i]); err != nil {
			return err
		}
	}
	for i := p.from; i < p.to; i++ {
		if err := w.item(&b.items[i]); err != nil {
			return err
		}
	}
	if w.pb.Len() < batchMax {
		return nil
	}
	if err := w.count(); err != nil {
		return err
	}
	clear(w.refs)
	if err := w.store.db.Apply(w.pb, pebble.NoSync); err != nil {
		return err
	}
	w.pb = w.store.db.NewBatch()
	return nil
}

func (w *writer) op(session uint64, o *op) error {
	switch o.kind {
	case format.KindSubscription:
		w.key = format.AppendSubscriptionKey(w.key[:0], session, o.filter)
		w.value = format.AppendSubscription(w.value[:0], w.key, o.options)
	case format.KindReceived:
		w.key = format.AppendReceivedKey(w.key[:0], session, o.id)
		w.value = format.AppendMark(w.value[:0], w.key)
	}
	if o.remove {
		return w.pb.Delete(w.key, nil)
	}
	return w.pb.Set(w.key, w.value, nil)
}

func (w *writer) item(it *item) error {
	if it.put {
		if err := w.put(it); err != nil {
			return err
		}
	}
	if it.remove {
		s := it.slot
		if err := w.removeContent(it.session, it.entry.Pos, s.stored, s.shared, s.size, s.fan); err != nil {
			return err
		}
	}
	if !it.putIndex && !it.removeIndex {
		return nil
	}
	w.key = format.AppendPairKey(w.key[:0], format.Index, it.session, it.seq)
	if it.removeIndex {
		return w.pb.Delete(w.key, nil)
	}
	w.value = format.AppendIndex(w.value[:0], w.key, it.entry.Pos, it.index == indexReleased)
	return w.pb.Set(w.key, w.value, nil)
}

// put stores a content, and its message with the first of several.
func (w *writer) put(it *item) error {
	s, e := it.slot, &it.entry
	c := format.Content{
		QoS: e.QoS, Retain: e.Retain, Unscreened: e.Unscreened, Direct: it.putIndex,
		Expires: e.Message.Expires, Size: int(s.size), Route: e.Route,
	}
	if sh := w.same[e.Message]; sh.sessions > 1 {
		if sh.id == 0 {
			sh.id = w.store.newNumber()
			w.same[e.Message] = sh
			w.store.sharedStored.Add(1)
			w.key = format.AppendNumberKey(w.key[:0], format.Shared, sh.id)
			w.value = format.AppendShared(w.value[:0], w.key, int64(sh.sessions), e.Message)
			if err := w.pb.Merge(w.key, w.value, nil); err != nil {
				return err
			}
		}
		c.Shared, c.Fan = sh.id, sh.sessions
	}
	w.key = format.AppendPairKey(w.key[:0], format.Contents, it.session, e.Pos)
	w.value = format.AppendContent(w.value[:0], w.key, &c, e.Message)
	s.shared, s.fan, s.stored = c.Shared, c.Fan, uint32(len(w.value))
	w.store.written.Add(1)
	return w.pb.Set(w.key, w.value, nil)
}

// removeContent removes a content that takes stored bytes, and its reference.
func (w *writer) removeContent(session, pos uint64, stored uint32, shared uint64, size int64, fan uint32) error {
	w.freed += int64(stored)
	if shared != 0 {
		w.refs[shared]--
		w.freed += size / int64(max(fan, 1))
	}
	w.key = format.AppendPairKey(w.key[:0], format.Contents, session, pos)
	return w.pb.DeleteSized(w.key, stored, nil)
}

// count writes what the changes so far did to the counts of shared messages.
func (w *writer) count() error {
	for id, n := range w.refs {
		w.key = format.AppendNumberKey(w.key[:0], format.Shared, id)
		w.value = format.AppendShared(w.value[:0], w.key, n, nil)
		if err := w.pb.Merge(w.key, w.value, nil); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) loose(o *loose) error {
	switch {
	case o.page != nil:
		return w.page(o.page)
	case o.ending != nil:
		return w.end(o.ending)
	}
	w.key = format.AppendNamedKey(w.key[:0], o.space, o.scope, o.name)
	switch {
	case o.remove:
		return w.pb.Delete(w.key, nil)
	case o.space == format.Retained:
		w.value = format.AppendRetained(w.value[:0], w.key, o.message)
	default:
		w.value = format.AppendValue(w.value[:0], w.key, o.value, o.version, o.expires)
	}
	return w.pb.Set(w.key, w.value, nil)
}

// end notes that a session has ended; what it has is walked over later.
func (w *writer) end(e *ending) error {
	w.key = format.AppendRecordKey(w.key[:0], e.session)
	if err := w.pb.Delete(w.key, nil); err != nil {
		return err
	}
	w.key = format.AppendNumberKey(w.key[:0], format.Ended, e.session)
	w.value = format.AppendText(w.value[:0], w.key, e.namespace)
	return w.pb.Set(w.key, w.value, nil)
}

// page removes records of a session that has ended.
func (w *writer) page(p *page) error {
	for _, c := range p.contents {
		if err := w.removeContent(p.session, c.pos, c.stored, c.shared, c.size, c.fan); err != nil {
			return err
		}
	}
	for _, key := range p.keys {
		if err := w.pb.Delete(key, nil); err != nil {
			return err
		}
	}
	return nil
}
