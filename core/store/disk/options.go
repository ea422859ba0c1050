package disk

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/store/disk/internal/volume"
)

// SyncMode says what an acknowledgement waits for. In every mode a killed
// process loses nothing that was acknowledged; they differ in what a power loss
// or a crash of the system takes.
type SyncMode int

const (
	// SyncAlways waits until the disk has it: a power loss takes nothing.
	SyncAlways SyncMode = iota
	// SyncInterval waits until the system has it, and syncs once per
	// Options.Interval: a power loss takes what came since the last time.
	SyncInterval
	// SyncNever waits until the system has it, which writes it out when it likes,
	// after half a minute or so: a power loss takes what came since.
	SyncNever
)

// Options of Open. Only Dir is required.
type Options struct {
	// Dir is the data folder, created if it is missing.
	Dir string
	// FS is nil for the real file system.
	FS vfs.FS
	// Sync is the mode; Interval belongs to SyncInterval, 100 ms if 0.
	Sync     SyncMode
	Interval time.Duration
	// Reserve is how many bytes have to be free on the disk; with less, Full is
	// true. 64 MiB if 0.
	Reserve int64
	// CacheBytes is the size of the cache of blocks read, 16 MiB if 0.
	CacheBytes int64
	// Now is the time in Unix milliseconds, the system's if nil.
	Now func() int64
	// Logger may be nil.
	Logger *slog.Logger
	// OnFull is told when Full changes, from a goroutine of the store.
	OnFull func(full bool)
	// OnFailed is told, once, that the store cannot go on: every Receipt, Ticket
	// and Sync that is open then, or comes later, answers with the error. The
	// owner has to stop the process. It runs on a goroutine of its own.
	OnFailed func(error)

	tune tuning
}

// tuning are constants that tests change.
type tuning struct {
	// tick is the unit in which what may wait is counted.
	tick time.Duration
	// sweepEvery is the pause between two looks for expired messages.
	sweepEvery time.Duration
	// compactBytes is how much has to be deleted before it is worth to compact,
	// and compactPause how long to wait at least before doing it again.
	compactBytes int64
	compactPause time.Duration
}

const (
	// lazyTicks is the age at which a message that was likely to be settled soon
	// is written all the same: between 5 and 7.5 ms, since the present tick has
	// begun at any time.
	lazyTicks = 3
	// deleteTicks is the age at which deletions are written: 100 ms.
	deleteTicks = 40
)

func (o Options) withDefaults() Options {
	o.Interval = cmp.Or(max(o.Interval, 0), volume.DefaultInterval)
	o.Reserve = cmp.Or(max(o.Reserve, 0), 64<<20)
	o.CacheBytes = cmp.Or(max(o.CacheBytes, 0), 16<<20)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixMilli() }
	}
	if o.OnFull == nil {
		o.OnFull = func(bool) {}
	}
	if o.OnFailed == nil {
		o.OnFailed = func(error) {}
	}
	o.tune.tick = cmp.Or(o.tune.tick, 2500*time.Microsecond)
	o.tune.sweepEvery = cmp.Or(o.tune.sweepEvery, 10*time.Minute)
	o.tune.compactBytes = cmp.Or(o.tune.compactBytes, 32<<20)
	o.tune.compactPause = cmp.Or(o.tune.compactPause, time.Minute)
	return o
}

func (o *Options) volume(readOnly bool) volume.Options {
	mode := volume.Always
	switch o.Sync {
	case SyncInterval:
		mode = volume.Interval
	case SyncNever:
		mode = volume.Never
	}
	return volume.Options{
		Dir: o.Dir, FS: o.FS, ReadOnly: readOnly, Sync: mode, Interval: o.Interval,
		Reserve: o.Reserve, OnFull: o.OnFull, Logger: o.Logger,
	}
}
