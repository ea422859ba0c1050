package volume

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Mode says when what was written to the write-ahead log is on the disk. Tables,
// manifests, markers and folders are synced for real in every mode. In all of
// them a killed process loses nothing that Pebble has written: that is in the
// kernel's hands. They differ in what a power loss takes.
type Mode int

const (
	// Always syncs whenever Pebble asks: a power loss takes nothing.
	Always Mode = iota
	// Interval syncs the log once per Options.Interval: a power loss takes what
	// was written since the last time.
	Interval
	// Never leaves the log to the kernel, which writes it out after half a
	// minute or so; it is synced when the next one begins, and at the end.
	Never
)

// DefaultInterval is the Options.Interval of those who name none.
const DefaultInterval = 100 * time.Millisecond

// Options of Open. Only Dir is required.
type Options struct {
	Dir      string // data folder; created, with its parents, if missing (0700)
	FS       vfs.FS // nil: vfs.Default
	ReadOnly bool   // nothing is written, nothing is created

	Sync     Mode
	Interval time.Duration // of Mode Interval; 0: DefaultInterval

	// Reserve is the number of bytes that must be free on the disk; below it the
	// volume is full. The ballast is as large, but at most 64 MiB and a hundredth
	// of the disk, and at least 1 MiB.
	Reserve int64

	// OnFull is told when Full changes, also if the volume is full from the
	// start. Calls come one at a time from a goroutine of the volume, which
	// Close waits for.
	OnFull func(full bool)
	// OnFailed is told, once, that the disk is broken: a write or a sync failed
	// for another reason than space. It runs on a goroutine of its own. From then
	// on everything that writes fails; the owner should stop the process.
	OnFailed func(error)
	Logger   *slog.Logger // nil: none
}

// Volume is an open data folder. Its methods are safe for concurrent use.
type Volume struct {
	o       Options
	dir     string // as the file system spells it
	prefix  string // of the names of files in dir
	inner   vfs.FS
	logger  *slog.Logger
	created bool
	lock    io.Closer // nil: read-only, and no broker was ever here

	markerMu sync.Mutex
	marker   marker

	space space
	wals  wals

	failure  atomic.Pointer[error]
	failOnce sync.Once
	broken   chan struct{} // closed with failure

	giveUp    chan struct{} // closed: nothing waits for space any more
	giveOnce  sync.Once
	stop      chan struct{} // closed: the goroutines end
	closeOnce sync.Once
	closeErr  error
	running   sync.WaitGroup
}

// Open checks the folder, locks it, and creates what is missing. What it refuses
// is an *Error, which says what is wrong and what to do about it, and matches one
// of ErrForeign, ErrNotFolder, ErrPermission, ErrReadOnly, ErrNoSpace, ErrInUse,
// ErrDamaged, ErrNewer, ErrNotFound.
func Open(o Options) (*Volume, error) {
	if o.Dir == "" {
		return nil, errors.New("data_dir is not set")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	o.Interval = cmp.Or(max(o.Interval, 0), DefaultInterval)
	o.Reserve = max(o.Reserve, 0)
	v := &Volume{
		o:      o,
		dir:    o.FS.PathJoin(o.Dir),
		inner:  o.FS,
		logger: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		broken: make(chan struct{}),
		giveUp: make(chan struct{}),
		stop:   make(chan struct{}),
	}
	v.prefix = folderPrefix(o.FS, v.dir)
	if err := v.prepare(); err != nil {
		if v.lock != nil {
			v.lock.Close()
		}
		return nil, err
	}
	if o.ReadOnly {
		v.measure() // nobody else does yet
		return v, nil
	}
	v.look(true)
	v.running.Add(1)
	go v.watch()
	if o.Sync == Interval {
		v.running.Add(1)
		go v.flushEach(o.Interval)
	}
	return v, nil
}

// FS is the file system to give to Pebble. Files outside the folder are none of
// its business and go straight to the one below.
func (v *Volume) FS() vfs.FS { return volumeFS{v} }

// Dir is the folder, as Options.FS spells it.
func (v *Volume) Dir() string { return v.dir }

// Created reports whether Open found an empty or missing folder and made it a
// data folder.
func (v *Volume) Created() bool { return v.created }

// Full reports that there is less free space than the reserve, or that a write
// has met a full disk: no more messages should be stored. One atomic load.
func (v *Volume) Full() bool { return v.space.full.Load() }

// Failed is the error that broke the volume, nil as long as it works.
func (v *Volume) Failed() error { return v.failed() }

// StopWaiting makes operations that wait for space, now or later, give up with
// the disk's error. It comes before closing a Pebble that may stand still.
func (v *Volume) StopWaiting() {
	v.giveOnce.Do(func() { close(v.giveUp) })
}

// Close syncs what the mode has put off and unlocks the folder. Pebble must have
// been closed before. It returns the error of the last sync, or the one that
// broke the volume. More calls return the same.
func (v *Volume) Close() error {
	v.closeOnce.Do(func() {
		v.StopWaiting()
		close(v.stop)
		v.running.Wait()
		v.closeErr = v.syncRest()
		if v.lock != nil {
			v.closeErr = errors.Join(v.closeErr, v.lock.Close())
		}
	})
	return v.closeErr
}

// failed is the error that all writing operations answer with after a failure.
func (v *Volume) failed() error {
	if err := v.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// fail breaks the volume: a sync that failed may have lost what it should have
// written, and another one would call that a success. It returns the first
// failure.
func (v *Volume) fail(op, name string, err error) error {
	v.failOnce.Do(func() {
		err = v.wrap(op, name, err)
		v.failure.Store(&err)
		close(v.broken)
		if v.o.OnFailed != nil {
			go v.o.OnFailed(err)
		}
	})
	return v.failed()
}
