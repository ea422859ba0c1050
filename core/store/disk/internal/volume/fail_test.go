package volume

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A failed sync is not repeated, is told once, and ends all writing.
func TestBrokenDisk(t *testing.T) {
	for _, c := range []struct {
		name, op string
		file     string
		err      error
	}{
		{"sync of the log", "sync", "1.log", syscall.EIO},
		{"sync of a table", "sync", "1.sst", syscall.EIO},
		{"sync of the folder", "sync", "data", syscall.EIO},
		{"write", "write", "1.log", syscall.EIO},
		{"write, file too large", "write", "1.sst", syscall.EFBIG},
		{"file system turned read-only", "write", "MANIFEST-1", syscall.EROFS},
		{"create", "create", "2.sst", syscall.EROFS},
		{"rename", "rename", "2.sst", syscall.EIO},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newFaultFS(2 * mib) // not full, but no room for a ballast
				failed := make(chan error, 2)
				v := open(t, Options{FS: d, Reserve: mib, OnFailed: func(err error) { failed <- err }})
				file := c.file
				if c.op == "create" || c.op == "rename" || file == "data" {
					file = "1.log"
				}
				f := create(t, v, file)
				d.fail(fault{op: c.op, match: c.file, err: c.err, times: 1})
				before := d.calls("sync")
				run := func() error {
					if c.file == "data" {
						return syncDir(v.FS(), v.Dir())
					}
					_, err := f.Write([]byte("data"))
					err = errors.Join(err, f.Sync())
					g, create := v.FS().Create(v.path("2.sst"), "")
					if create == nil {
						g.Close()
					}
					return errors.Join(err, create, v.FS().Rename(v.path(file), v.path("2.sst")))
				}
				if err := run(); !errors.Is(err, c.err) || !strings.Contains(err.Error(), "data_dir data: "+c.op+" "+c.file+": ") {
					t.Errorf("error is %v", err)
				}
				if n := d.calls("sync") - before; n > 1 {
					t.Errorf("%d syncs, one of which failed", n)
				}
				synctest.Wait()
				if len(failed) != 1 || !errors.Is(<-failed, v.Failed()) || v.Failed() == nil {
					t.Fatal("OnFailed was not called once, with the failure")
				}
				if v.Full() {
					t.Error("a broken disk was taken for a full one")
				}
				calls := d.calls("write") + d.calls("sync") + d.calls("create") + d.calls("rename")
				if err := run(); !errors.Is(err, v.Failed()) {
					t.Errorf("after the failure: %v", err)
				}
				if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, v.Failed()) {
					t.Errorf("after the failure: %v", err)
				}
				if _, err := f.SyncTo(1); !errors.Is(err, v.Failed()) {
					t.Errorf("after the failure: %v", err)
				}
				if err := f.Preallocate(0, 1); !errors.Is(err, v.Failed()) {
					t.Errorf("after the failure: %v", err)
				}
				d.resize(400 * mib) // now it would be made
				time.Sleep(2 * watchEach)
				synctest.Wait()
				if n := d.calls("write") + d.calls("sync") + d.calls("create") + d.calls("rename"); n != calls {
					t.Error("after the failure the disk was still written to")
				}
				if len(failed) != 0 {
					t.Error("OnFailed was called again")
				}
				if err := v.Close(); !errors.Is(err, v.Failed()) {
					t.Errorf("Close: %v", err)
				}
			})
		})
	}
}

// Ordinary answers break nothing.
func TestOrdinaryErrors(t *testing.T) {
	d := newFaultFS(0)
	v := open(t, Options{FS: d})
	if err := v.FS().Remove(v.path("nothing")); !isNotExist(err) {
		t.Errorf("remove: %v", err)
	}
	d.fail(fault{op: "create", err: syscall.EMFILE, times: 1})
	if _, err := v.FS().Create(v.path("x"), ""); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("create: %v", err)
	}
	f := create(t, v, "1.log")
	write(t, f, "data")
	d.fail(fault{op: "sync", err: syscall.EINTR, times: 2})
	must(t, f.Sync())
	d.fail(fault{op: "sync", err: syscall.EINTR, times: 2})
	_, err := f.SyncTo(3)
	must(t, err)
	if v.Failed() != nil {
		t.Errorf("broken: %v", v.Failed())
	}
}

func TestFailureEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaultFS(0)
		v := open(t, Options{FS: d})
		f, g := create(t, v, "1.log"), create(t, v, "2.log")
		d.fail(fault{op: "write", match: "1.log", err: syscall.ENOSPC, times: -1})
		done := make(chan error, 1)
		go func() {
			_, err := f.Write([]byte("data"))
			done <- err
		}()
		time.Sleep(time.Minute)
		d.fail(fault{op: "sync", match: "2.log", err: syscall.EIO, times: 1})
		if err := g.Sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("sync: %v", err)
		}
		if err := <-done; !errors.Is(err, syscall.EIO) {
			t.Errorf("the write that waited answers %v", err)
		}
	})
}

// A kernel that answers a sync with "no space" has forgotten the pages. A second
// sync that succeeds says nothing about them: they have to be written again.
func TestSyncWithoutSpaceWritesAgain(t *testing.T) {
	for _, name := range []string{"1.log", "MANIFEST-000001", "1.sst"} {
		for _, mode := range []Mode{Always, Interval} {
			synctest.Test(t, func(t *testing.T) {
				d := newFaultFS(0)
				v := open(t, Options{FS: d, Sync: mode})
				f := withDir(t, v, name)
				write(t, f, "synced,")
				must(t, f.Sync())
				time.Sleep(time.Second)
				write(t, f, "lost,")
				write(t, f, "too")
				d.fail(fault{op: "sync", match: name, err: syscall.ENOSPC, times: 3, lose: true})
				err := f.Sync()
				time.Sleep(time.Second)
				if name == "1.sst" {
					// Pebble throws it away and writes another.
					if !errors.Is(err, syscall.ENOSPC) || v.Failed() != nil {
						t.Errorf("a table's sync answers %v, the volume %v", err, v.Failed())
					}
					return
				}
				must(t, err)
				if got := afterPowerLoss(t, d, v, name); got != "synced,lost,too" {
					t.Errorf("%s, mode %d: a power loss leaves %q", name, mode, got)
				}
			})
		}
	}
}

// SyncTo takes the kernel's one report of an error; it counts as much.
func TestSyncToWithoutSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaultFS(0)
		v := open(t, Options{FS: d})
		f := withDir(t, v, "MANIFEST-000001")
		write(t, f, "data")
		d.fail(fault{op: "sync", err: syscall.ENOSPC, times: 1, lose: true})
		_, err := f.SyncTo(4)
		must(t, err)
		if got := afterPowerLoss(t, d, v, "MANIFEST-000001"); got != "data" {
			t.Errorf("a power loss leaves %q", got)
		}
	})
}

// More than is kept in memory cannot be written again.
func TestSyncWithoutSpaceAfterTooMuch(t *testing.T) {
	for name, run := range map[string]func(t *testing.T, f *file){
		"much": func(t *testing.T, f *file) { write(t, f, strings.Repeat("x", tailLimit+1)) },
		"at random": func(t *testing.T, f *file) {
			_, err := f.WriteAt([]byte("x"), 7)
			must(t, err)
		},
	} {
		d := newFaultFS(0)
		v := open(t, Options{FS: d})
		f := create(t, v, "MANIFEST-000001").(*file)
		run(t, f)
		d.fail(fault{op: "sync", err: syscall.ENOSPC, times: 1, lose: true})
		if err := f.Sync(); !errors.Is(err, syscall.ENOSPC) || v.Failed() == nil {
			t.Errorf("%s: sync answers %v, the volume %v", name, err, v.Failed())
		}
	}
}

// A sync that was given up at the end has still lost its pages: the one that
// Close tries must not pass for a success without them.
func TestSyncGivenUpIsMendedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaultFS(0)
		v := open(t, Options{FS: d, Sync: Interval})
		f := withDir(t, v, "1.log")
		write(t, f, "data")
		full := d.fail(fault{op: "sync", match: "1.log", err: syscall.ENOSPC, times: -1, lose: true})
		time.Sleep(time.Second) // the interval's sync waits for space
		v.StopWaiting()
		synctest.Wait()
		if err := v.Failed(); err != nil {
			t.Fatal(err)
		}
		d.heal(full)
		must(t, v.Close())
		if got := afterPowerLoss(t, d, v, "1.log"); got != "data" {
			t.Errorf("a power loss leaves %q", got)
		}
	})
}
