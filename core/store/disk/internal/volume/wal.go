package volume

import (
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// wals are the log's files that a mode other than Always has to look after: the
// open ones, and, with Mode Never, the names of closed ones that nobody has
// synced.
type wals struct {
	mu       sync.Mutex
	open     map[*file]struct{}
	unsynced map[string]struct{}
}

func (w *wals) add(f *file) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open, w.unsynced = map[*file]struct{}{}, map[string]struct{}{}
	}
	w.open[f] = struct{}{}
}

// done takes out a file that is about to be closed.
func (w *wals) done(f *file) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, f)
	if f.v.o.Sync == Never && f.dirty.Load() {
		w.unsynced[f.path] = struct{}{}
	}
}

// forget: the file is gone, and its content not needed any more.
func (w *wals) forget(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.unsynced, path)
}

func (w *wals) rename(oldpath, newpath string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.unsynced[oldpath]; ok {
		delete(w.unsynced, oldpath)
		w.unsynced[newpath] = struct{}{}
	}
}

func (w *wals) opened() []*file {
	w.mu.Lock()
	defer w.mu.Unlock()
	files := make([]*file, 0, len(w.open))
	for f := range w.open {
		files = append(files, f)
	}
	return files
}

// flushEach syncs the log once per interval, if it was written to.
func (v *Volume) flushEach(interval time.Duration) {
	defer v.running.Done()
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-v.stop:
			return
		case <-t.C:
			for _, f := range v.wals.opened() {
				f.flushDirty() // an error has broken the volume, or it is closing
			}
		}
	}
}

// flushDirty syncs a log that was written to since the last time.
func (f *file) flushDirty() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || !f.dirty.Load() {
		return nil
	}
	return f.flush(false)
}

// syncRest syncs at the end what the mode has put off.
func (v *Volume) syncRest() error {
	if err := v.failed(); err != nil {
		return err
	}
	var errs []error
	for _, f := range v.wals.opened() {
		errs = append(errs, f.flushDirty())
	}
	for path := range v.wals.unsynced {
		errs = append(errs, v.syncClosed(path))
	}
	return errors.Join(errs...)
}

// syncClosed syncs a file that is not open any more. It is opened for writing,
// which some systems want for that, but must not be created again.
func (v *Volume) syncClosed(path string) error {
	if _, err := v.inner.Stat(path); isNotExist(err) {
		return nil
	}
	f, err := v.inner.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		err = errors.Join(f.SyncData(), f.Close())
	}
	if err != nil {
		return v.fail("sync", v.inner.PathBase(path), err)
	}
	return nil
}
