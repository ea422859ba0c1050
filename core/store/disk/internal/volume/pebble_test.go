package volume

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// quiet is Pebble's logger. Fatalf must not return.
type quiet struct{ t *testing.T }

func (quiet) Infof(string, ...any)             {}
func (quiet) Errorf(string, ...any)            {}
func (q quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf("pebble: "+format, a...)) }

// openPebble opens a store with small tables, so that little fills many.
func openPebble(t *testing.T, v *Volume, readOnly bool) *pebble.DB {
	t.Helper()
	db, err := pebble.Open(v.Dir(), &pebble.Options{
		FS: v.FS(), ReadOnly: readOnly, MemTableSize: 128 << 10, Logger: quiet{t},
		FormatMajorVersion: pebble.FormatNewest,
	})
	must(t, err)
	return db
}

func key(i int) []byte { return fmt.Appendf(nil, "key %06d", i) }

// value is what a key holds; it does not compress.
func value(i int) []byte {
	b := make([]byte, 1000)
	rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(b)
	return b
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in 20 s", what)
		}
	}
}

// fillPebble commits keys, synced, from several goroutines; the answer counts
// those that are safe.
func fillPebble(t *testing.T, db *pebble.DB, from, to int) (done *atomic.Int64, wait func()) {
	var next, safe atomic.Int64
	next.Store(int64(from))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < to; i = int(next.Add(1)) - 1 {
				if err := db.Set(key(i), value(i), pebble.Sync); err != nil {
					t.Errorf("commit %d: %v", i, err)
					return
				}
				safe.Add(1)
			}
		})
	}
	return &safe, wg.Wait
}

func checkPebble(t *testing.T, db *pebble.DB, n int) {
	t.Helper()
	for i := range n {
		got, closer, err := db.Get(key(i))
		if err != nil || string(got) != string(value(i)) {
			t.Fatalf("key %d of %d: %d bytes, %v", i, n, len(got), err)
		}
		must(t, closer.Close())
	}
}

// Pebble on a disk that is far too small stands still, and goes on when it
// grows: nothing that was answered is lost, and Pebble never learns of it.
func TestPebbleOnAFullDisk(t *testing.T) {
	const n = 4000
	d := newFaultFS(3 * mib)
	v := open(t, Options{FS: d, Reserve: mib / 4})
	db := openPebble(t, v, false)
	safe, wait := fillPebble(t, db, 0, n)
	for step := 0; safe.Load() < n; step++ {
		eventually(t, "stand still or end", func() bool { return v.space.waiting.Load() > 0 || safe.Load() == n })
		if step == 0 && !v.Full() {
			t.Error("it waits for space but is not full")
		}
		d.mu.Lock()
		d.capacity += mib
		d.mu.Unlock()
		if step == 2 {
			// The power goes: what was answered by now must be there.
			answered := safe.Load()
			lost := d.CrashClone(vfs.CrashCloneCfg{})
			checkAtLeast(t, lost, int(answered))
		}
		before := safe.Load()
		eventually(t, "go on", func() bool { return safe.Load() > before || v.space.waiting.Load() == 0 })
	}
	wait()
	checkPebble(t, db, n)
	must(t, db.Close())
	must(t, v.Close())
	if v.Failed() != nil {
		t.Error(v.Failed())
	}
	d.resize(100 * mib)
	again := open(t, Options{FS: d})
	db = openPebble(t, again, false)
	checkPebble(t, db, n)
	must(t, db.Close())
}

// checkAtLeast counts the keys that a power loss has left.
func checkAtLeast(t *testing.T, files *vfs.MemFS, answered int) {
	t.Helper()
	v := open(t, Options{FS: files})
	db := openPebble(t, v, false)
	defer db.Close()
	it, err := db.NewIter(nil)
	must(t, err)
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	must(t, it.Close())
	if n < answered {
		t.Errorf("%d commits were answered, %d are there after a power loss", answered, n)
	}
}

// Table syncs that find no space are the one such error that Pebble is told of.
func TestPebbleWritesTablesAgain(t *testing.T) {
	d := newFaultFS(0)
	v := open(t, Options{FS: d})
	db := openPebble(t, v, false)
	d.fail(fault{op: "sync", match: ".sst", err: syscall.ENOSPC, times: 2, lose: true})
	d.fail(fault{op: "sync", match: ".log", err: syscall.ENOSPC, times: 2, lose: true})
	const n = 600
	_, wait := fillPebble(t, db, 0, n)
	wait()
	must(t, db.Flush())
	checkPebble(t, db, n)
	lost := d.CrashClone(vfs.CrashCloneCfg{})
	checkAtLeast(t, lost, n)
	must(t, db.Close())
	if v.Failed() != nil {
		t.Error(v.Failed())
	}
}

// A Pebble that stands still can be closed.
func TestClosePebbleThatStandsStill(t *testing.T) {
	d := newFaultFS(0)
	v := open(t, Options{FS: d})
	fatal := make(chan string, 1)
	db, err := pebble.Open(v.Dir(), &pebble.Options{FS: v.FS(), Logger: parked{fatal}})
	must(t, err)
	must(t, db.Set(key(0), value(0), pebble.Sync))
	d.fail(fault{op: "write", match: ".log", err: syscall.ENOSPC, times: -1})
	done := make(chan error, 1)
	go func() { done <- db.Set(key(1), value(1), pebble.Sync) }()
	eventually(t, "stand still", func() bool { return v.space.waiting.Load() > 0 })
	v.StopWaiting()
	select {
	case err := <-done:
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("the commit answers %v", err)
		}
	case <-fatal: // what Pebble does about an error of its log
	case <-time.After(20 * time.Second):
		t.Fatal("it still waits")
	}
	must(t, v.Close())
	lost := d.CrashClone(vfs.CrashCloneCfg{})
	checkAtLeast(t, lost, 1)
}

// parked reports Fatalf and keeps its goroutine.
type parked struct{ fatal chan string }

func (parked) Infof(string, ...any)  {}
func (parked) Errorf(string, ...any) {}

func (p parked) Fatalf(format string, a ...any) {
	p.fatal <- fmt.Sprintf(format, a...)
	select {}
}

// All modes on a real disk; and a closed store can be read without writing.
func TestPebbleOnDisk(t *testing.T) {
	for _, mode := range []Mode{Always, Interval, Never} {
		dir := t.TempDir()
		v := open(t, Options{Dir: dir, Sync: mode, Interval: time.Millisecond, Reserve: mib})
		db := openPebble(t, v, false)
		const n = 500
		_, wait := fillPebble(t, db, 0, n)
		wait()
		must(t, db.Close())
		must(t, v.Close())

		before, err := vfs.Default.List(dir)
		must(t, err)
		for range 2 {
			r := open(t, Options{Dir: dir, ReadOnly: true})
			db = openPebble(t, r, true)
			checkPebble(t, db, n)
			must(t, db.Close())
			must(t, r.Close())
		}
		after, err := vfs.Default.List(dir)
		must(t, err)
		if len(before) != len(after) {
			t.Errorf("mode %d: reading changed %v to %v", mode, before, after)
		}
	}
}
