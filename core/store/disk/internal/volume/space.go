package volume

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// watchEach is how often the disk's usage is looked at (one statfs). A disk
	// that takes 64 MiB in less has the ballast and the waiting to fall back on.
	watchEach = time.Second
	// retryEach is how often an operation that waits for space tries again.
	retryEach = 100 * time.Millisecond
	// skipLimit bounds the looks that are let pass after the ballast did not fit
	// although the disk's figures said so: about a minute.
	skipLimit = 64
)

// space is what the volume knows about the disk's. full is true from the moment
// a write finds no space, or the watcher sees less than the reserve, until the
// watcher sees enough again and nothing waits.
type space struct {
	full    atomic.Bool
	waiting atomic.Int32 // operations that have met a full disk and are not through yet
	used    atomic.Int64 // bytes, as of the last look
	free    atomic.Int64

	tell    chan struct{} // look now
	tripped chan struct{} // full has become true

	mu      sync.Mutex // guards what follows and the ballast file
	ballast int64      // its size
	have    bool       // it exists
	met     error      // what made the volume full, if that was an error
	skip    int        // looks to let pass
	skipped int        // length of the last row of those

	reported bool // what OnFull was told last; the watcher's own
}

// Usage is the disk's, as of the last look (a second ago at most): bytes that
// are used, by anybody, without the ballast, and bytes that are free for this
// process, again without the ballast. Both are 0 if the system cannot tell.
func (v *Volume) Usage() (used, free int64) {
	return v.space.used.Load(), v.space.free.Load()
}

// Look makes the watcher look at the disk at once instead of within a second,
// for those who have just freed a lot. It does not wait for that.
func (v *Volume) Look() {
	if v.o.ReadOnly {
		return
	}
	select {
	case v.space.tell <- struct{}{}:
	default: // told already
	}
}

// watch looks at the disk, and is the only one who calls OnFull.
func (v *Volume) watch() {
	defer v.running.Done()
	t := time.NewTicker(watchEach)
	defer t.Stop()
	for {
		v.report()
		select {
		case <-v.stop:
			return
		case <-v.space.tripped:
			// Only reported: what has just been met does not end here and now.
		case <-v.space.tell:
			v.look(false)
		case <-t.C:
			v.look(false)
		}
	}
}

// look compares the disk's usage with the reserve; start is for the look that Open
// takes.
func (v *Volume) look(start bool) {
	s := &v.space
	s.mu.Lock()
	defer s.mu.Unlock()
	free, known := v.measure()
	switch {
	case v.failed() != nil:
		// Nothing is written any more.
	case known && free < v.o.Reserve:
		s.full.Store(true)
	case known && free <= v.enough():
		// Between the two: as it was.
	case !known && start:
		// Nothing to go by, and nothing has happened.
	case s.waiting.Load() > 0:
		// What waits takes the space first.
	case s.skip > 0:
		s.skip--
	case s.full.Load() || !s.have:
		v.recover(known)
	}
}

// measure asks the system for the disk's usage. It is called with s.mu held.
func (v *Volume) measure() (free int64, known bool) {
	s := &v.space
	usage, err := v.inner.GetDiskUsage(v.dir)
	if err != nil {
		return 0, false
	}
	used := int64(usage.UsedBytes)
	if s.have {
		used -= s.ballast
	}
	s.used.Store(used)
	s.free.Store(int64(usage.AvailBytes))
	return int64(usage.AvailBytes), true
}

// enough is how much must be free to end being full. It is called with s.mu held.
func (v *Volume) enough() int64 {
	n := v.o.Reserve + v.o.Reserve/4
	if !v.space.have {
		n += v.space.ballast
	}
	return n
}

// recover makes the ballast and ends being full. The ballast is also the test
// of whether there really is space: figures do not show a user's quota, or that
// there are no more inodes. If those were what filled the volume then a quarter
// of the reserve must fit in too, or else the first message would fill it again.
// It is called with s.mu held.
func (v *Volume) recover(known bool) {
	s := &v.space
	var err error
	if known && !s.have {
		err = v.allocate(ballastName, s.ballast)
		s.have = err == nil
	}
	if err == nil && s.met != nil {
		err = v.allocate(probeName, max(v.o.Reserve/4, 4096))
		v.inner.Remove(v.path(probeName))
	}
	if isNoSpace(err) {
		if s.full.Load() && s.have {
			v.dropBallast()
		}
		s.skipped = min(max(2*s.skipped, 1), skipLimit)
		s.skip = s.skipped
		return
	}
	if err != nil {
		// It is a file that nobody reads: doing without does no harm.
		v.logger.Warn("the ballast could not be made: the volume goes on without", "data_dir", v.dir, "error", err)
		s.have = true // as far as it can be: no attempt each second
	}
	s.skip, s.skipped, s.met = 0, 0, nil
	s.full.Store(false)
}

// outOfSpace is told of an operation that met a full disk. When it returns the
// ballast is gone.
func (v *Volume) outOfSpace(op, name string, err error) {
	s := &v.space
	s.mu.Lock()
	if s.met == nil {
		s.met = v.wrap(op, name, err)
	}
	s.full.Store(true)
	if s.have {
		v.dropBallast()
	}
	s.mu.Unlock()
	select {
	case s.tripped <- struct{}{}:
	default:
	}
}

// report logs a change of full and tells the owner.
func (v *Volume) report() {
	s := &v.space
	full := s.full.Load()
	if full == s.reported {
		return
	}
	s.reported = full
	s.mu.Lock()
	met, enough := s.met, v.enough()
	v.measure()
	s.mu.Unlock()
	free := s.free.Load()
	if full {
		cause := "less is free than the reserve"
		if met != nil {
			cause = met.Error()
		}
		v.logger.Warn("the data folder's disk is full: no more messages are taken in until there is space; nothing is lost",
			"data_dir", v.dir, "free", bytesText(free), "reserve", bytesText(v.o.Reserve), "cause", cause,
			"remedy", "free space on this disk: service resumes by itself above "+bytesText(enough))
	} else {
		v.logger.Info("the data folder's disk has space again", "data_dir", v.dir, "free", bytesText(free))
	}
	if v.o.OnFull != nil {
		v.o.OnFull(full)
	}
}

// attempt is one operation on the disk that must not fail for lack of space.
type attempt struct {
	v     *Volume
	op    string
	name  string
	tries int
}

// again is asked when the operation has failed. It answers nil when it is time
// to try again: at once the first time, since the ballast was there to help, and
// later each time after a wait. Any other error than no space breaks the volume.
func (a *attempt) again(err error) error {
	v := a.v
	if !isNoSpace(err) {
		return v.fail(a.op, a.name, err)
	}
	a.tries++
	if a.tries == 1 {
		v.space.waiting.Add(1)
		v.outOfSpace(a.op, a.name, err)
		return v.failed()
	}
	t := time.NewTimer(retryEach)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-v.broken:
		return v.failed()
	case <-v.giveUp:
		return fmt.Errorf("closed while waiting for space: %w", v.wrap(a.op, a.name, err))
	}
}

// end is called when the operation is through, well or not.
func (a *attempt) end() {
	if a.tries > 0 {
		a.v.space.waiting.Add(-1)
	}
}

// bytesText writes a size as people do.
func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
