package disk

import (
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/volume"
)

// Importer fills a new folder. It is used by one goroutine. Until Close has
// returned without an error nobody can open the folder as a store.
type Importer struct {
	vol    *volume.Volume
	db     *pebble.DB
	pb     *pebble.Batch
	key    []byte
	val    []byte
	failed chan error // Pebble or the disk cannot go on
	broken bool
	err    error // the first one; nothing is done after it

	sessions uint64
	filling  uint64 // the session that got a message last, and its place
	last     uint64
	shared   uint64
	seed     maphash.Seed
	known    map[bodyKey]uint64
	boot     uint64 // the highest in what was imported
}

// bodyKey tells messages apart.
type bodyKey struct{ id, hash uint64 }

const (
	importBatch = 4 << 20
	// importKnown bounds how many messages are remembered so as not to store them
	// again for the next session: about 64 MB.
	importKnown = 1 << 20
)

// Import begins to fill a folder that is empty or does not exist.
func Import(o Options) (*Importer, error) {
	o = o.withDefaults()
	vol, err := volume.Open(o.volume(false))
	if err != nil {
		return nil, err
	}
	im := &Importer{
		vol: vol, seed: maphash.MakeSeed(), known: make(map[bodyKey]uint64), boot: 1, failed: make(chan error, 1),
	}
	if err := im.open(o); err != nil {
		return nil, errors.Join(err, vol.Close())
	}
	return im, nil
}

func (im *Importer) open(o Options) error {
	dir := im.vol.Dir()
	if !im.vol.Created() {
		return &volume.Error{Dir: dir, Kind: ErrForeign, Text: "is a data folder already: import into one that is empty or does not exist"}
	}
	fatal := func(err error) {
		select {
		case im.failed <- err:
		default:
		}
	}
	g := &guard{FS: im.vol.FS(), vol: im.vol, fail: fatal, reuse: 2 * memTable}
	db, err := openPebble(im.vol, g, o, &damage{}, fatal, false)
	if err != nil {
		return err
	}
	err = setNumber(db, importingKey, 1)
	if err == nil {
		err = migrate(db, dir, format.Schema, migrations)
	}
	if err == nil {
		err = im.vol.SetSchema(format.Schema)
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	g.armed.Store(true)
	im.db, im.pb = db, db.NewBatch()
	return nil
}

// do calls fn, which waits for the disk, and may never return where that breaks.
func (im *Importer) do(fn func() error) error {
	if im.err != nil {
		return im.err
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("%v", r)
			}
		}()
		done <- fn()
	}()
	var err error
	select {
	case err = <-done:
	case err = <-im.failed:
		im.broken = true
	}
	if err != nil && im.err == nil {
		im.err = fmt.Errorf("store: import: %w", err)
	}
	return im.err
}

// importingKey is there while a folder is being filled.
var importingKey = []byte("\x00importing")

// checkImported refuses a folder whose import was cut short.
func checkImported(r pebble.Reader, dir string) error {
	n, err := getNumber(r, importingKey)
	if err == nil && n != 0 {
		err = &volume.Error{Dir: dir, Kind: ErrDamaged, Text: "was being filled by an import that did not come to its end: remove it and import again"}
	}
	return err
}

// see notes the boot of a number.
func (im *Importer) see(n uint64) error {
	im.boot = max(im.boot, n>>bootShift)
	if im.boot >= maxBoot {
		return fmt.Errorf("store: import: number %d is too high", n)
	}
	return nil
}

func (im *Importer) set() error {
	if err := im.pb.Set(im.key, im.val, nil); err != nil {
		return fmt.Errorf("store: import: %w", err)
	}
	return im.flush(importBatch)
}

func (im *Importer) flush(limit int) error {
	if im.pb.Len() < limit {
		return nil
	}
	return im.do(func() error {
		if err := im.db.Apply(im.pb, pebble.NoSync); err != nil {
			return err
		}
		err := im.pb.Close()
		im.pb = im.db.NewBatch()
		return err
	})
}

// Session stores a session and returns its number for what belongs to it.
func (im *Importer) Session(r store.Record, subs []store.Subscribed, received []uint16) (session uint64, err error) {
	im.sessions++
	session = 1<<bootShift + im.sessions
	im.key = format.AppendRecordKey(im.key[:0], session)
	im.val = format.AppendRecord(im.val[:0], im.key, &r)
	err = im.set()
	for i := 0; err == nil && i < len(subs); i++ {
		im.key = format.AppendSubscriptionKey(im.key[:0], session, subs[i].Filter)
		im.val = format.AppendSubscription(im.val[:0], im.key, subs[i].Subscription)
		err = im.set()
	}
	for i := 0; err == nil && i < len(received); i++ {
		im.key = format.AppendReceivedKey(im.key[:0], session, received[i])
		im.val = format.AppendMark(im.val[:0], im.key)
		err = im.set()
	}
	return session, err
}

// Entry stores a message that waits. Those of one session come in one go, with
// places that increase; one without a place comes behind the one before.
func (im *Importer) Entry(session uint64, e store.Entry) error {
	if session != im.filling {
		im.filling, im.last = session, 0
	}
	if e.Pos == 0 {
		e.Pos = max(im.last+1, 1<<bootShift)
	}
	if e.Pos <= im.last {
		return fmt.Errorf("store: import: message at %d behind one at %d", e.Pos, im.last)
	}
	im.last = e.Pos
	return im.content(session, &e, false)
}

// Inflight stores a message that was sent.
func (im *Importer) Inflight(session uint64, in store.Inflight) error {
	if err := im.see(in.Seq); err != nil {
		return err
	}
	if in.Pos == 0 {
		return errors.New("store: import: message in flight without a place")
	}
	if !in.Released {
		if err := im.content(session, &in.Entry, true); err != nil {
			return err
		}
	}
	im.key = format.AppendPairKey(im.key[:0], format.Index, session, in.Seq)
	im.val = format.AppendIndex(im.val[:0], im.key, in.Pos, in.Released)
	return im.set()
}

func (im *Importer) content(session uint64, e *store.Entry, direct bool) error {
	if err := im.see(e.Pos); err != nil {
		return err
	}
	m := e.Message
	c := format.Content{
		QoS: e.QoS, Retain: e.Retain, Unscreened: e.Unscreened, Direct: direct,
		Expires: m.Expires, Size: m.Size(), Route: e.Route, Fan: 1,
	}
	var err error
	if c.Shared, err = im.share(m); err != nil {
		return err
	}
	im.key = format.AppendPairKey(im.key[:0], format.Contents, session, e.Pos)
	im.val = format.AppendContent(im.val[:0], im.key, &c, m)
	return im.set()
}

// share stores a message unless that was done for another session.
func (im *Importer) share(m *packet.Message) (id uint64, err error) {
	im.val = format.AppendMessage(im.val[:0], m)
	k := bodyKey{m.ID, maphash.Bytes(im.seed, im.val)}
	id, found := im.known[k]
	body := m
	if found {
		body = nil
	} else {
		if len(im.known) >= importKnown {
			clear(im.known)
		}
		im.shared++
		id = 1<<bootShift + im.shared
		im.known[k] = id
	}
	im.key = format.AppendNumberKey(im.key[:0], format.Shared, id)
	im.val = format.AppendShared(im.val[:0], im.key, 1, body)
	if err := im.pb.Merge(im.key, im.val, nil); err != nil {
		return 0, fmt.Errorf("store: import: %w", err)
	}
	return id, nil
}

// Retained stores a retained message, which may be a view.
func (im *Importer) Retained(namespace string, m *packet.Message) error {
	im.key = format.AppendNamedKey(im.key[:0], format.Retained, namespace, m.Topic)
	im.val = format.AppendRetained(im.val[:0], im.key, m)
	return im.set()
}

// Value stores a value; expires is in Unix milliseconds, 0 never.
func (im *Importer) Value(bucket, key string, value []byte, version uint64, expires int64) error {
	if err := im.see(version); err != nil {
		return err
	}
	im.key = format.AppendNamedKey(im.key[:0], format.Values, bucket, key)
	im.val = format.AppendValue(im.val[:0], im.key, value, version, expires)
	return im.set()
}

// Close makes everything safe: from then on the folder can be opened.
func (im *Importer) Close() error {
	err := im.flush(0)
	if err == nil {
		err = im.do(func() error {
			if err := setNumber(im.db, format.BootKey, im.boot); err != nil {
				return err
			}
			return im.db.Delete(importingKey, pebble.Sync)
		})
	}
	return im.close(err)
}

// Abort leaves the folder unusable, and gives up all resources.
func (im *Importer) Abort() error { return im.close(nil) }

// close leaves Pebble as it is once it is broken: parts of it stand still.
func (im *Importer) close(err error) error {
	if im.broken {
		return err
	}
	im.err = nil
	return errors.Join(err, im.do(im.db.Close), im.vol.Close())
}
