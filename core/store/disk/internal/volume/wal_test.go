package volume

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// afterPowerLoss is what a file holds if the power goes now.
func afterPowerLoss(t *testing.T, d *faultFS, v *Volume, name string) string {
	t.Helper()
	return contents(t, d.CrashClone(vfs.CrashCloneCfg{}), v.path(name))
}

// withDir creates a file and syncs the folder, so that a power loss takes at
// most its content.
func withDir(t *testing.T, v *Volume, name string) vfs.File {
	t.Helper()
	f := create(t, v, name)
	must(t, syncDir(v.FS(), v.Dir()))
	return f
}

func TestSyncModes(t *testing.T) {
	for _, c := range []struct {
		mode                      Mode
		sync, interval, fileClose string // what a power loss leaves of the log then
	}{
		{Always, "one", "one", "onetwo"},
		{Interval, "", "one", "onetwo"},
		{Never, "", "", "onetwo"},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newFaultFS(0)
			v := open(t, Options{FS: d, Sync: c.mode, Interval: time.Second})
			want := func(when, want string) {
				t.Helper()
				if got := afterPowerLoss(t, d, v, "000001.log"); got != want {
					t.Errorf("mode %d, %s: power loss leaves %q, want %q", c.mode, when, got, want)
				}
			}
			f := withDir(t, v, "000001.log")
			write(t, f, "one")
			must(t, f.SyncData())
			must(t, f.Sync())
			if full, err := f.SyncTo(2); full || err != nil {
				t.Errorf("mode %d: SyncTo answers %v, %v", c.mode, full, err)
			}
			want("synced", c.sync)
			time.Sleep(3 * time.Second / 2)
			want("an interval later", c.interval)
			before := d.calls("sync")
			time.Sleep(10 * time.Second)
			if n := d.calls("sync") - before; n != 0 {
				t.Errorf("mode %d: %d syncs of a log that nobody writes", c.mode, n)
			}
			write(t, f, "two")
			if c.mode == Always {
				must(t, f.Sync()) // as Pebble does before Close
			}
			must(t, f.Close())
			want("file closed", c.fileClose)
			must(t, v.Close())
			want("volume closed", "onetwo")
		})
	}
}

func TestOnlyTheLogIsSyncedLate(t *testing.T) {
	for _, mode := range []Mode{Always, Interval, Never} {
		d := newFaultFS(0)
		v := open(t, Options{FS: d, Sync: mode, Interval: time.Hour})
		for _, name := range []string{"MANIFEST-000001", "000002.sst", "000003.blob", "OPTIONS-000004", "x.log.tmp"} {
			f := withDir(t, v, name)
			write(t, f, "data")
			must(t, f.Sync())
			if got := afterPowerLoss(t, d, v, name); got != "data" {
				t.Errorf("mode %d: %s holds %q after a power loss", mode, name, got)
			}
			must(t, f.Close())
		}
	}
}

func TestCloseSyncsOpenLogs(t *testing.T) {
	for _, mode := range []Mode{Interval, Never} {
		d := newFaultFS(0)
		v := open(t, Options{FS: d, Sync: mode, Interval: time.Hour})
		f := withDir(t, v, "000001.log")
		write(t, f, "data")
		must(t, v.Close())
		if got := afterPowerLoss(t, d, v, "000001.log"); got != "data" {
			t.Errorf("mode %d: the log holds %q after Close", mode, got)
		}
	}
}

// Entries of a folder may become safe in any order: the file that a marker points
// to has to be there first.
func TestMarkerFollowsItsFile(t *testing.T) {
	d := newFaultFS(0)
	v := open(t, Options{FS: d})
	f := create(t, v, "MANIFEST-000002")
	write(t, f, "data")
	must(t, f.Sync())
	create(t, v, "marker.manifest.000001.MANIFEST-000002")
	if got := afterPowerLoss(t, d, v, "MANIFEST-000002"); got != "data" {
		t.Errorf("there can be a marker, and the manifest that it points to holds %q", got)
	}
}

func TestLateSyncFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaultFS(0)
		failed := make(chan error, 2)
		v := open(t, Options{FS: d, Sync: Interval, OnFailed: func(err error) { failed <- err }})
		f := create(t, v, "000001.log")
		d.fail(fault{op: "sync", match: ".log", err: syscall.EIO, times: 1})
		write(t, f, "data")
		must(t, f.Sync())
		time.Sleep(2 * DefaultInterval)
		synctest.Wait()
		if len(failed) != 1 {
			t.Fatalf("OnFailed was called %d times", len(failed))
		}
		err := <-failed
		if !errors.Is(err, syscall.EIO) || err.Error() != "data_dir data: sync 000001.log: input/output error" {
			t.Errorf("error is %q", err)
		}
		if _, again := f.Write([]byte("more")); !errors.Is(again, err) {
			t.Errorf("write after the failure: %v", again)
		}
		if again := f.Sync(); !errors.Is(again, err) {
			t.Errorf("sync after the failure: %v", again)
		}
		if again := v.Close(); !errors.Is(again, err) {
			t.Errorf("Close: %v", again)
		}
	})
}

func TestLastSyncFails(t *testing.T) {
	d := newFaultFS(0)
	v := open(t, Options{FS: d, Sync: Never})
	f := create(t, v, "000001.log")
	write(t, f, "data")
	d.fail(fault{op: "sync", err: syscall.EIO, times: -1})
	if err := v.Close(); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "sync 000001.log") {
		t.Errorf("Close: %v", err)
	}
}
