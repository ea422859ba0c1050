package disk

import (
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/volume"
)

// Numbers that must not come twice begin with the number of the boot, so that
// nothing has to be read to know where to go on: 24 bits of it, and 40 to count.
const (
	bootShift = 40
	maxBoot   = 1<<24 - 1
)

// pebbleFormat is one below FormatWALSyncChunks. From that on the log says how
// much of it is synced, and Pebble refuses to open a folder whose log lacks some
// of that. With SyncInterval and SyncNever that is not so, since a sync that
// Pebble asks for is put off, and after a power loss such a folder has to open.
const pebbleFormat = pebble.FormatFlushableIngestExcises

// memTable is the size of a memtable, and about that of a log. What is settled
// before its memtable is full never comes to a table.
const memTable = 16 << 20

// Open opens a data folder, or makes one. Load comes next.
func Open(o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{
		o: o, logger: o.Logger, failedCh: make(chan struct{}), closing: make(chan struct{}),
		wake: make(chan struct{}, 1), applied: make(chan *batch),
		sessions: make(map[uint64]*session), endedKeys: make(map[uint64]bool), broken: make(map[uint64]bool), views: make(map[*View]bool),
	}
	s.values.seed = maphash.MakeSeed()
	s.values.store, s.damage.store, s.damage.logger = s, s, o.Logger
	vo := o.volume(false)
	vo.OnFailed = func(err error) { s.fail(fmt.Errorf("store: %w", err)) }
	vol, err := volume.Open(vo)
	if err != nil {
		return nil, err
	}
	s.vol = vol
	if err := s.openFolder(); err != nil {
		vol.StopWaiting()
		return nil, errors.Join(err, vol.Close())
	}
	s.guard.armed.Store(true)
	s.writer = newWriter(s)
	s.readers.start(s)
	s.enders.start(s)
	s.running.Add(2)
	go s.commitLoop()
	go s.finishLoop()
	return s, nil
}

func (s *Store) openFolder() error {
	if n := s.vol.Schema(); n > format.Schema {
		return newerError(s.vol.Dir(), uint64(n))
	}
	s.guard = &guard{FS: s.vol.FS(), vol: s.vol, fail: s.fail, reuse: 2 * memTable}
	db, err := openPebble(s.vol, s.guard, s.o, &s.damage, s.fail, false)
	if err != nil {
		return err
	}
	s.db = db
	if err = checkImported(db, s.vol.Dir()); err == nil {
		err = migrate(db, s.vol.Dir(), format.Schema, migrations)
	}
	if err == nil && s.vol.Schema() != format.Schema {
		err = s.vol.SetSchema(format.Schema)
	}
	if err == nil {
		err = s.nextBoot()
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	return nil
}

// nextBoot counts this opening of the folder, before any number is given out.
func (s *Store) nextBoot() error {
	boot, err := getNumber(s.db, format.BootKey)
	if err != nil {
		return fmt.Errorf("data_dir %s: boot number: %w", s.vol.Dir(), err)
	}
	if s.boot = boot + 1; s.boot > maxBoot {
		return fmt.Errorf("data_dir %s: opened %d times: export it and import it into a new folder", s.vol.Dir(), boot)
	}
	return setNumber(s.db, format.BootKey, s.boot)
}

// openPebble opens the folder of a volume.
func openPebble(vol *volume.Volume, fs vfs.FS, o Options, d *damage, fatal func(error), readOnly bool) (*pebble.DB, error) {
	logger := &pebbleLogger{logger: o.Logger, fatal: fatal}
	po := &pebble.Options{
		FS:                 fs,
		ReadOnly:           readOnly,
		FormatMajorVersion: pebbleFormat,
		Merger:             format.Merger(),
		CacheSize:          o.CacheBytes,
		Logger:             logger,
		EventListener: &pebble.EventListener{
			// A damaged block is met again with each look at it.
			DataCorruption:  func(i pebble.DataCorruptionInfo) { d.file(i.Path) },
			BackgroundError: func(err error) { d.background(err) },
		},
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       32,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                500,
		// Two at a time where one does not keep up.
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
	}
	po.Experimental.FileCacheShards = 2
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(vol.Dir(), po)
	if err != nil {
		if pebble.IsCorruptionError(err) {
			return nil, fmt.Errorf("data_dir %s is damaged where all depends on it; bring it back from a backup: %w", vol.Dir(), err)
		}
		return nil, fmt.Errorf("data_dir %s: open: %w", vol.Dir(), err)
	}
	return db, nil
}

// getNumber reads a number of Meta, 0 if it is not there.
func getNumber(r pebble.Reader, key []byte) (uint64, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	return format.DecodeNumber(key, value)
}

func setNumber(db *pebble.DB, key []byte, n uint64) error {
	return db.Set(key, format.AppendNumber(nil, key, n), pebble.Sync)
}

// migrations bring a folder from the schema that is their key to the next one.
// There are none yet.
var migrations = map[uint64]migration{}

type migration func(*pebble.DB) error

// migrate brings a folder to the schema known: newer ones are refused, a new
// folder is given the number.
func migrate(db *pebble.DB, dir string, known uint64, steps map[uint64]migration) error {
	n, err := getNumber(db, format.SchemaKey)
	if err != nil {
		return fmt.Errorf("data_dir %s: schema number: %w", dir, err)
	}
	if n > known {
		return newerError(dir, n)
	}
	if n == 0 {
		return setNumber(db, format.SchemaKey, known)
	}
	for ; n < known; n++ {
		step := steps[n]
		if step == nil {
			return fmt.Errorf("data_dir %s was written by an older Patchbay (schema %d; this one knows %d, and no way from there): "+
				"export it with that version and import it into a new folder", dir, n, known)
		}
		if err := step(db); err != nil {
			return fmt.Errorf("data_dir %s: migrate from schema %d: %w", dir, n, err)
		}
		if err := setNumber(db, format.SchemaKey, n+1); err != nil {
			return fmt.Errorf("data_dir %s: migrate from schema %d: %w", dir, n, err)
		}
	}
	return nil
}

func newerError(dir string, n uint64) error {
	return &volume.Error{Dir: dir, Kind: ErrNewer, Text: fmt.Sprintf(
		"was written by a newer Patchbay (schema %d; this one knows up to %d): use that version, or choose another folder", n, format.Schema)}
}
