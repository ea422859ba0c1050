package volume

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// null is a disk that takes everything and keeps nothing, so that what is
// measured is the volume's own share.
type null struct{ vfs.FS }

type nullFile struct{ vfs.File }

func (n null) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := n.FS.Create(name, c)
	return nullFile{f}, err
}

func (nullFile) Write(p []byte) (int, error) { return len(p), nil }
func (nullFile) SyncData() error             { return nil }

// commit is what Pebble does per group commit: a few KiB and a sync.
func commit(v *Volume) (func(), error) {
	f, err := v.FS().Create(v.path("000001.log"), "")
	if err != nil {
		return nil, err
	}
	block := make([]byte, 4096)
	return func() {
		f.Write(block)
		f.SyncData()
	}, nil
}

func TestCommitAllocatesNothing(t *testing.T) {
	for _, mode := range []Mode{Always, Never} {
		v := open(t, Options{FS: null{vfs.NewMem()}, Sync: mode})
		run, err := commit(v)
		must(t, err)
		run()
		if n := testing.AllocsPerRun(1000, run); n != 0 {
			t.Errorf("mode %d: %v allocations", mode, n)
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name string
		mode Mode
	}{{"always", Always}, {"interval", Interval}, {"never", Never}} {
		b.Run(c.name, func(b *testing.B) {
			v, err := Open(Options{Dir: "data", FS: null{vfs.NewMem()}, Sync: c.mode})
			if err != nil {
				b.Fatal(err)
			}
			defer v.Close()
			run, err := commit(v)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(4096)
			for b.Loop() {
				run()
			}
		})
	}
}
