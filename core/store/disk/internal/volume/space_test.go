package volume

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const mib = 1 << 20

// changes collects what OnFull is told.
type changes struct {
	mu  sync.Mutex
	all []bool
}

func (c *changes) add(full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, full)
}

func (c *changes) want(t *testing.T, want ...bool) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if fmt.Sprint(c.all) != fmt.Sprint(want) {
		t.Errorf("OnFull was told %v, want %v", c.all, want)
	}
}

func exists(v *Volume, name string) bool {
	_, err := v.inner.Stat(v.path(name))
	return err == nil
}

// spend takes space from the disk, behind the volume's back: a file of which
// only the size is true.
func spend(t *testing.T, d *faultFS, name string, n int64) {
	t.Helper()
	must(t, writeFile(d, name, nil))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sizes[name] = n
}

func TestBallastSize(t *testing.T) {
	for _, c := range []struct {
		reserve int64
		disk    uint64
		want    int64
	}{
		{64 * mib, 1 << 40, 64 * mib},
		{1 << 30, 1 << 40, 64 * mib},
		{8 * mib, 1 << 40, 8 * mib},
		{64 * mib, 1000 * mib, 10 * mib},
		{64 * mib, 50 * mib, mib},
		{0, 1 << 40, mib},
		{64 * mib, 0, 64 * mib},
	} {
		if got := ballastSize(c.reserve, c.disk); got != c.want {
			t.Errorf("reserve %d on a disk of %d: %d, want %d", c.reserve, c.disk, got, c.want)
		}
	}
}

// The whole story: the reserve is reached, the disk fills up, a write waits in
// the middle, space comes back.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaultFS(400 * mib)
		var told changes
		var logged bytes.Buffer
		v := open(t, Options{
			FS: d, Reserve: 8 * mib, OnFull: told.add, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		})
		ballast := ballastSize(8*mib, 400*mib)
		if info, err := d.Stat(v.path(ballastName)); err != nil || info.Size() != ballast {
			t.Fatalf("ballast: %v, %v", info, err)
		}
		f := withDir(t, v, "000001.log")
		write(t, f, "first,")
		must(t, f.Sync())

		spend(t, d, "filler", 400*mib-ballast-7*mib)
		if v.Full() {
			t.Fatal("full before the watcher could know")
		}
		time.Sleep(watchEach)
		told.want(t, true)
		if !v.Full() || !exists(v, ballastName) {
			t.Error("below the reserve: it should be full, and still have the ballast")
		}
		if _, free := v.Usage(); free >= 8*mib || free < 6*mib {
			t.Errorf("%d bytes free", free)
		}

		// No space at all. The ballast helps.
		spend(t, d, "filler2", d.left())
		write(t, f, "second,")
		must(t, f.Sync())
		if exists(v, ballastName) {
			t.Error("the ballast is still there")
		}
		// And that is gone too, but for two bytes.
		spend(t, d, "filler3", d.left()-2)
		done := make(chan error, 1)
		go func() {
			_, err := f.Write([]byte("third"))
			if err == nil {
				err = f.Sync()
			}
			done <- err
		}()
		time.Sleep(time.Minute)
		if got := contents(t, d, v.path("000001.log")); len(done) > 0 || got != "first,second,th" {
			t.Fatalf("a write on a full disk answered; the log holds %q", got)
		}
		told.want(t, true)

		// Enough for the write, not to end being full.
		must(t, d.Remove("filler3"))
		time.Sleep(retryEach)
		synctest.Wait()
		if len(done) == 0 {
			t.Fatal("the write does not notice that there is space")
		}
		must(t, <-done)
		if got := afterPowerLoss(t, d, v, "000001.log"); got != "first,second,third" {
			t.Errorf("the log holds %q", got)
		}
		time.Sleep(time.Minute)
		told.want(t, true)

		must(t, d.Remove("filler2"))
		must(t, d.Remove("filler"))
		v.Look()
		told.want(t, true, false)
		if v.Full() || !exists(v, ballastName) || exists(v, probeName) {
			t.Error("with space again it should not be full, have its ballast, and no probe")
		}
		must(t, v.Close())
		lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "free=") || !strings.Contains(lines[0], "remedy=") ||
			!strings.Contains(lines[1], "has space again") {
			t.Errorf("logged\n%s", logged.String())
		}
	})
}

// left is what is free on the disk.
func (d *faultFS) left() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.capacity - d.used()
}

// Whatever the disk does around the limits, full changes only when a quarter of
// the reserve has come or gone.
func TestFullDoesNotFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const reserve = 8 * mib
		d := newFaultFS(800 * mib)
		var told changes
		v := open(t, Options{FS: d, Reserve: reserve, OnFull: told.add})
		rng := rand.New(rand.NewPCG(3, 4))
		set := func(free int64) { // by resizing the disk
			d.mu.Lock()
			defer d.mu.Unlock()
			d.capacity = d.used() + free
		}
		f := create(t, v, "1.log")
		for i := range 300 {
			// Between 7.9 and 9.9 MiB: at most one change, in the beginning.
			set(reserve - mib/10 + rng.Int64N(2*mib))
			if i%10 == 0 {
				write(t, f, "x")
			}
			time.Sleep(watchEach)
		}
		told.want(t, true)
		for range 50 {
			// The ballast's own space must not make the difference: without it, and
			// with just enough to be tempted.
			set(0)
			done := make(chan struct{})
			go func() {
				defer close(done)
				f.Write([]byte("x"))
			}()
			time.Sleep(watchEach)
			set(reserve + reserve/4 + v.space.ballast - 1)
			<-done
			time.Sleep(5 * watchEach)
		}
		told.want(t, true)
		set(reserve + reserve/4 + v.space.ballast + 1)
		time.Sleep(watchEach)
		told.want(t, true, false)
		time.Sleep(time.Minute)
		told.want(t, true, false)
	})
}

func TestStartOnNearlyFullDisk(t *testing.T) {
	for _, c := range []struct {
		name          string
		capacity      int64
		left          int64 // from an earlier start: size of the ballast
		full, ballast bool
	}{
		{"below the reserve", 7 * mib, 0, true, false},
		{"reserve, but no room for the ballast", 10 * mib, 0, false, false},
		{"just enough", 12 * mib, 0, false, true},
		{"below the reserve, with a ballast", 7 * mib, mib, true, true},
		{"nothing but the ballast", mib + mib/2, mib, true, false},
		{"a ballast of another size", 7 * mib, 2 * mib, true, false},
		{"half a ballast", 400 * mib, mib / 2, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newFaultFS(c.capacity)
				must(t, d.MkdirAll("data", 0o700))
				if c.left > 0 {
					must(t, writeFile(d, "data/"+ballastName, make([]byte, c.left)))
				}
				var told changes
				v := open(t, Options{FS: d, Reserve: 8 * mib, OnFull: told.add})
				if v.Full() != c.full || exists(v, ballastName) != c.ballast {
					t.Errorf("full %v, ballast %v", v.Full(), exists(v, ballastName))
				}
				f := create(t, v, "1.log")
				write(t, f, "it works")
				must(t, f.Sync())
				if c.full {
					told.want(t, true)
				}
				d.resize(400 * mib)
				time.Sleep(watchEach)
				synctest.Wait()
				if v.Full() || !exists(v, ballastName) {
					t.Errorf("with space: full %v, ballast %v", v.Full(), exists(v, ballastName))
				}
			})
		})
	}
}

// A quota, or a disk without inodes: the figures say that there is space.
func TestFiguresThatLie(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EDQUOT, syscall.ENOSPC} {
		synctest.Test(t, func(t *testing.T) {
			d := newFaultFS(800 * mib)
			var told changes
			v := open(t, Options{FS: d, Reserve: mib, OnFull: told.add})
			quota := d.fail(fault{op: "create", err: errno, times: -1})
			done := make(chan error, 1)
			go func() {
				f, err := v.FS().Create(v.path("2.log"), "")
				if err == nil {
					err = f.Close()
				}
				done <- err
			}()
			time.Sleep(10 * time.Minute)
			told.want(t, true)
			if len(done) > 0 {
				t.Fatal("create answered")
			}
			// Some of it is let through, by far not enough.
			for range 20 {
				d.heal(quota)
				time.Sleep(retryEach)
				synctest.Wait()
				quota = d.fail(fault{op: "create", match: "PATCHBAY", err: errno, times: -1})
				time.Sleep(10 * watchEach)
			}
			must(t, <-done)
			told.want(t, true)
			before := d.calls("create")
			time.Sleep(10 * time.Minute)
			if n := d.calls("create") - before; n > 40 {
				t.Errorf("tried to make the ballast %d times in ten minutes", n)
			}
			d.heal(quota)
			time.Sleep(skipLimit * 2 * watchEach)
			told.want(t, true, false)
		})
	}
}

// It is not over while something still waits, and not if only the ballast fits.
func TestFullUntilNothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaultFS(800 * mib)
		var told changes
		v := open(t, Options{FS: d, Reserve: mib, OnFull: told.add})
		f := create(t, v, "1.log")
		quota := d.fail(fault{op: "write", match: ".log", err: syscall.EDQUOT, times: -1})
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.Write([]byte("data"))
		}()
		time.Sleep(10 * time.Minute)
		told.want(t, true)
		probe := d.fail(fault{op: "write", match: probeName, err: syscall.EDQUOT, times: -1})
		d.heal(quota)
		<-done
		time.Sleep(10 * time.Minute)
		told.want(t, true)
		if exists(v, ballastName) || exists(v, probeName) {
			t.Error("it keeps space that others need")
		}
		d.heal(probe)
		time.Sleep(skipLimit * 2 * watchEach)
		told.want(t, true, false)
		if !exists(v, ballastName) || exists(v, probeName) {
			t.Error("no ballast, or still a probe")
		}
	})
}

// A system that cannot tell the disk's usage: only errors say that it is full.
func TestUnknownUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaultFS(0)
		var told changes
		v := open(t, Options{FS: d, Reserve: 8 * mib, OnFull: told.add})
		if exists(v, ballastName) {
			t.Error("it made a ballast")
		}
		f := create(t, v, "1.log")
		d.fail(fault{op: "write", match: ".log", err: syscall.ENOSPC, times: 5})
		write(t, f, "data")
		told.want(t, true)
		time.Sleep(watchEach)
		told.want(t, true, false)
	})
}

// Every operation waits for space, and none answers that there is none.
func TestAllOperationsWait(t *testing.T) {
	type env struct {
		files vfs.FS
		v     *Volume
		file  vfs.File
	}
	old, fresh := "old", "fresh"
	for _, c := range []struct {
		op  string
		run func(e env) error
	}{
		{"create", func(e env) error { _, err := e.files.Create(e.v.path(fresh), ""); return err }},
		{"open", func(e env) error { _, err := e.files.OpenReadWrite(e.v.path(fresh), ""); return err }},
		{"reuse", func(e env) error { _, err := e.files.ReuseForWrite(e.v.path(old), e.v.path(fresh), ""); return err }},
		{"rename", func(e env) error { return e.files.Rename(e.v.path(old), e.v.path(fresh)) }},
		{"link", func(e env) error { return e.files.Link(e.v.path(old), e.v.path(fresh)) }},
		{"remove", func(e env) error { return e.files.Remove(e.v.path(old)) }},
		{"remove", func(e env) error { return e.files.RemoveAll(e.v.path(old)) }},
		{"mkdir", func(e env) error { return e.files.MkdirAll(e.v.path(fresh), 0o700) }},
		{"write", func(e env) error { _, err := e.file.Write([]byte("x")); return err }},
		{"write", func(e env) error { _, err := e.file.WriteAt([]byte("x"), 0); return err }},
		{"sync", func(e env) error { return e.file.Sync() }},
		{"sync", func(e env) error { return e.file.SyncData() }},
		{"sync", func(e env) error { _, err := e.file.SyncTo(1); return err }},
		{"sync", func(e env) error { return syncDir(e.files, e.v.Dir()) }},
		{"rename", func(e env) error { return e.v.SetSchema(4) }},
	} {
		for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
			synctest.Test(t, func(t *testing.T) {
				d := newFaultFS(0)
				v := open(t, Options{FS: d})
				f := create(t, v, old)
				write(t, f, "data")
				d.fail(fault{op: c.op, err: errno, times: 3})
				start := time.Now()
				if err := c.run(env{v.FS(), v, f}); err != nil {
					t.Errorf("%s, %v: %v", c.op, errno, err)
				}
				// At once after the first, and after a pause each time then.
				if took := time.Since(start); took != 2*retryEach {
					t.Errorf("%s, %v: took %v", c.op, errno, took)
				}
				if !v.Full() {
					t.Errorf("%s, %v: not full", c.op, errno)
				}
				if n := v.space.waiting.Load(); n != 0 {
					t.Errorf("%s: %d operations still counted as waiting", c.op, n)
				}
				must(t, f.Close())
			})
		}
	}
}

// Preallocation is a hint and not worth waiting for.
func TestPreallocateNeedsNoSpace(t *testing.T) {
	d := newFaultFS(0)
	v := open(t, Options{FS: d})
	f := create(t, v, "1.log")
	d.fail(fault{op: "allocate", err: syscall.ENOSPC, times: 1})
	must(t, f.Preallocate(0, 1<<20))
	if v.Full() {
		t.Error("a hint filled the volume")
	}
	d.fail(fault{op: "allocate", err: syscall.EOPNOTSUPP, times: 1})
	if err := f.Preallocate(0, 1<<20); !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("error is %v", err)
	}
}

func TestCloseGivesUpWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaultFS(0)
		v := open(t, Options{FS: d})
		f := create(t, v, "1.log")
		d.fail(fault{op: "write", err: syscall.ENOSPC, times: -1})
		done := make(chan error, 1)
		go func() {
			_, err := f.Write([]byte("data"))
			done <- err
		}()
		time.Sleep(time.Minute)
		v.StopWaiting()
		err := <-done
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "closed while waiting for space: data_dir data: write 1.log: no space") {
			t.Errorf("error is %v", err)
		}
		if v.Failed() != nil {
			t.Error("a full disk was taken for a broken one")
		}
		// What comes later has its two attempts, and does not wait.
		start := time.Now()
		if _, err := f.Write([]byte("data")); !errors.Is(err, syscall.ENOSPC) || time.Since(start) != 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// Many files on a disk that is full again and again: every byte arrives.
func TestManyWritersOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaultFS(4 * mib)
		v := open(t, Options{FS: d, Reserve: mib, Sync: Interval})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				name := fmt.Sprintf("%06d.log", i)
				f := create(t, v, name)
				var want bytes.Buffer
				rng := rand.New(rand.NewPCG(uint64(i), 5))
				for range 40 {
					chunk := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(64<<10))
					want.Write(chunk)
					if n, err := f.Write(chunk); n != len(chunk) || err != nil {
						t.Errorf("%s: wrote %d of %d: %v", name, n, len(chunk), err)
						return
					}
					if err := f.Sync(); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				if got := contents(t, d, v.path(name)); got != want.String() {
					t.Errorf("%s: %d bytes, want %d, or others", name, len(got), want.Len())
				}
				if err := errors.Join(f.Close(), v.FS().Remove(v.path(name))); err != nil {
					t.Error(err)
				}
			})
		}
		for range 12 { // the operator gives a little each time
			time.Sleep(2 * watchEach)
			d.mu.Lock()
			d.capacity += mib
			d.mu.Unlock()
		}
		wg.Wait()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if v.Full() || !exists(v, ballastName) {
			t.Errorf("in the end: full %v, ballast %v", v.Full(), exists(v, ballastName))
		}
	})
}
