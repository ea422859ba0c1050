package volume

import (
	"errors"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// kind is what a file is to a sync.
type kind uint8

const (
	kindOther kind = iota // manifest, options, markers
	kindLog               // the write-ahead log: subject to the sync mode
	kindTable             // a flush's or compaction's output: Pebble writes it again
	kindDir
)

func kindOf(base string) kind {
	switch filepath.Ext(base) {
	case ".log":
		return kindLog
	case ".sst", ".blob":
		return kindTable
	}
	return kindOther
}

// file is a file that Pebble writes, or a folder that it syncs. As with any
// vfs.File there is one writer at a time; the goroutine of Mode Interval syncs
// beside it.
type file struct {
	vfs.File
	v    *Volume
	name string // its base
	kind kind

	keep    bool         // tail is kept
	tail    tail         // what a sync that met a full disk needs
	written atomic.Int64 // bytes from the start, written and taken by the system
	dirty   atomic.Bool  // written to since the last sync began
	torn    error        // of a sync that failed and was given up: see mend

	mu     sync.Mutex // log: held while it is synced by another than the writer, or closed
	closed bool
}

func (v *Volume) newFile(inner vfs.File, path string) vfs.File {
	f := &file{File: inner, v: v, name: v.inner.PathBase(path)}
	f.kind = kindOf(f.name)
	f.keep = f.kind == kindOther || f.kind == kindLog && v.o.Sync != Never
	if f.kind == kindLog {
		v.wals.add(f)
	}
	return f
}

func (v *Volume) newDir(inner vfs.File, path string) vfs.File {
	return &file{File: inner, v: v, name: v.inner.PathBase(path), kind: kindDir}
}

// later reports that syncs of the file are put off by the mode. That data has
// been written is all they mean then, and so it has when Write has returned.
func (f *file) later() bool { return f.kind == kindLog && f.v.o.Sync != Always }

// Write writes all of p, if need be when there is space again.
func (f *file) Write(p []byte) (int, error) {
	if err := f.v.failed(); err != nil {
		return 0, err
	}
	if f.keep {
		// Before the write, which may change p.
		f.tail.add(f.written.Load(), p)
	}
	a := attempt{v: f.v, op: "write", name: f.name}
	defer a.end()
	for n := 0; ; {
		m, err := f.File.Write(p[n:])
		n += m
		f.written.Add(int64(m))
		f.dirty.Store(true)
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		if err == nil {
			return n, nil
		}
		if err := a.again(err); err != nil {
			return n, err
		}
	}
}

// WriteAt is Write at an offset. What it writes could not be written again if a
// sync met a full disk.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if err := f.v.failed(); err != nil {
		return 0, err
	}
	f.tail.lose()
	a := attempt{v: f.v, op: "write", name: f.name}
	defer a.end()
	for n := 0; ; {
		m, err := f.File.WriteAt(p[n:], off+int64(n))
		n += m
		f.dirty.Store(true)
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		if err == nil {
			return n, nil
		}
		if err := a.again(err); err != nil {
			return n, err
		}
	}
}

// Preallocate is a hint. Where there is no space for all of it there may be
// enough for what will be written, and if there is not then Write will know.
func (f *file) Preallocate(offset, length int64) error {
	if err := f.v.failed(); err != nil {
		return err
	}
	if err := f.File.Preallocate(offset, length); !isNoSpace(err) {
		return err
	}
	return nil
}

func (f *file) Sync() error {
	if f.later() {
		return f.v.failed()
	}
	return f.flush(true)
}

func (f *file) SyncData() error {
	if f.later() {
		return f.v.failed()
	}
	return f.flush(false)
}

// SyncTo has the system begin to write the file out. An error of that must be
// taken for what it is: the system reports it once, and the next sync succeeds.
func (f *file) SyncTo(length int64) (fullSync bool, err error) {
	if err := f.v.failed(); err != nil {
		return false, err
	}
	if f.later() {
		return false, nil
	}
	fullSync, err = f.File.SyncTo(length)
	for errors.Is(err, syscall.EINTR) {
		fullSync, err = f.File.SyncTo(length)
	}
	if err != nil {
		return false, f.mend(err)
	}
	return fullSync, nil
}

// flush syncs for real.
func (f *file) flush(meta bool) error {
	if err := f.v.failed(); err != nil {
		return err
	}
	mark := f.written.Load()
	f.dirty.Store(false)
	err := f.torn
	if err == nil {
		err = f.sync(meta)
	}
	if err != nil {
		if err := f.mend(err); err != nil {
			return err
		}
	}
	f.tail.drop(mark)
	return nil
}

// sync is the system call. Interrupted (some network file systems let that
// happen) it has lost nothing.
func (f *file) sync(meta bool) error {
	for {
		var err error
		if meta {
			err = f.File.Sync()
		} else {
			err = f.File.SyncData()
		}
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// mend goes on after a sync that failed. That there was no space says as little
// about the pages that should have been written as any other error: they may be
// gone, and the next sync says all is well. So all that is not known to be on
// the disk is written again first. Where that is not possible it is a failure.
func (f *file) mend(err error) error {
	a := attempt{v: f.v, op: "sync", name: f.name}
	defer a.end()
	if f.kind == kindTable && isNoSpace(err) {
		return f.giveBack(&a, err)
	}
	if f.kind != kindDir && !(f.keep && f.tail.whole()) {
		return f.v.fail("sync", f.name, err)
	}
	for {
		if given := a.again(err); given != nil {
			f.torn = given
			f.dirty.Store(true)
			return given
		}
		if err = f.tail.rewrite(f.File); err == nil {
			err = f.sync(true)
		}
		if err == nil {
			f.torn = nil
			return nil
		}
	}
}

// giveBack answers a table's sync with the error that there was no space: Pebble
// throws the table away and writes another, which waits for space where it needs
// some. There is a pause before, or it would try that without end.
func (f *file) giveBack(a *attempt, err error) error {
	for range 2 {
		if given := a.again(err); given != nil {
			return given
		}
	}
	return f.v.wrap("sync", f.name, err)
}

// Close closes the file, a log not before it is synced. In Mode Never too: the
// next log may reach the disk before this one would, and Pebble opens no folder
// that lacks the end of any log but the last.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.kind == kindLog && !f.closed {
		if f.later() && f.dirty.Load() {
			err = f.flush(false)
		}
		f.v.wals.done(f)
	}
	f.closed = true
	return errors.Join(err, f.File.Close())
}
