package volume

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// wals are the log's open files, which a mode other than Always has to look after.
type wals struct {
	mu   sync.Mutex
	open map[*file]struct{}
}

func (w *wals) add(f *file) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = map[*file]struct{}{}
	}
	w.open[f] = struct{}{}
}

// done takes out a file that is about to be closed.
func (w *wals) done(f *file) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, f)
}

func (w *wals) opened() []*file {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.open))
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
	return errors.Join(errs...)
}
