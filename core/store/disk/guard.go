package disk

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/store/disk/internal/volume"
)

// guard stands between Pebble and the volume.
//
// Once the volume has failed, goroutines of Pebble that want to write stop in it
// for good. If they got an error they would panic where a log cannot be changed
// for the next one, with locks in a state that does not let anybody recover, and
// elsewhere try again and again; but the process is to end in an orderly way.
//
// It also decides which old logs are written again: not those that one large
// commit has blown up, and none while the folder is to shrink.
type guard struct {
	vfs.FS
	vol *volume.Volume
	// armed is set when the folder has been opened: before that Pebble returns
	// errors as it should.
	armed  atomic.Bool
	fail   func(error)
	reuse  int64 // bytes of a log that may be written again
	shrink atomic.Bool
}

// check returns err, unless it is one that nobody should go on with.
func (g *guard) check(err error) error {
	if err != nil && g.armed.Load() && g.vol.Failed() != nil {
		g.fail(g.vol.Failed())
		select {}
	}
	return err
}

func (g *guard) file(f vfs.File, err error) (vfs.File, error) {
	if g.check(err) != nil {
		return nil, err
	}
	return &guardedFile{f, g}, nil
}

func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.file(g.FS.Create(name, c))
}

func (g *guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.file(g.FS.OpenReadWrite(name, c, o...))
}

func (g *guard) OpenDir(name string) (vfs.File, error) { return g.file(g.FS.OpenDir(name)) }

func (g *guard) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if info, err := g.FS.Stat(oldname); err == nil && (g.shrink.Load() || info.Size() > g.reuse) {
		if err := g.check(g.FS.Remove(oldname)); err != nil {
			return nil, err
		}
		return g.Create(newname, c)
	}
	return g.file(g.FS.ReuseForWrite(oldname, newname, c))
}

func (g *guard) Link(oldname, newname string) error   { return g.check(g.FS.Link(oldname, newname)) }
func (g *guard) Rename(oldname, newname string) error { return g.check(g.FS.Rename(oldname, newname)) }
func (g *guard) Remove(name string) error             { return g.check(g.FS.Remove(name)) }
func (g *guard) Unwrap() vfs.FS                       { return g.FS }

type guardedFile struct {
	vfs.File
	g *guard
}

func (f *guardedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.g.check(err)
}

func (f *guardedFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.g.check(err)
}

func (f *guardedFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.g.check(err)
}

func (f *guardedFile) Preallocate(off, n int64) error { return f.g.check(f.File.Preallocate(off, n)) }
func (f *guardedFile) Sync() error                    { return f.g.check(f.File.Sync()) }
func (f *guardedFile) SyncData() error                { return f.g.check(f.File.SyncData()) }
func (f *guardedFile) Close() error                   { return f.g.check(f.File.Close()) }
