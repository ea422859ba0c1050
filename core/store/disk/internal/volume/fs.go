package volume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// volumeFS is what Pebble sees. What only reads goes to the file system below
// unchanged.
type volumeFS struct{ v *Volume }

// inside reports whether a file or folder lies in the data folder.
func (v *Volume) inside(name string) bool {
	name = v.inner.PathJoin(name) // cleaned
	return name == v.dir || strings.HasPrefix(name, v.prefix)
}

// do runs an operation that changes the folder: not after a failure, again and
// again while there is no space, and with an eye on errors that mean that the
// disk is gone.
func (v *Volume) do(op, name string, run func() error) error {
	if !v.inside(name) {
		return run()
	}
	if v.o.ReadOnly {
		return fmt.Errorf("%s %s: %w", op, name, errWrite)
	}
	if err := v.failed(); err != nil {
		return err
	}
	a := attempt{v: v, op: op, name: v.inner.PathBase(name)}
	defer a.end()
	for {
		err := run()
		switch {
		case err == nil:
			return nil
		case isNoSpace(err):
			if err := a.again(err); err != nil {
				return err
			}
		case isBroken(err):
			return v.fail(op, a.name, err)
		default:
			return err
		}
	}
}

// open is do for what returns a file to write to.
func (v *Volume) open(op, name string, run func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := v.do(op, name, func() (err error) {
		f, err = run()
		return err
	})
	if err != nil {
		return nil, err
	}
	if !v.inside(name) {
		return f, nil
	}
	return v.newFile(f, name), nil
}

func (fs volumeFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(fs.v.inner.PathBase(name), markerPrefix) {
		if err := fs.settle(fs.v.inner.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return fs.v.open("create", name, func() (vfs.File, error) { return fs.v.inner.Create(name, category) })
}

// markerPrefix begins the names of Pebble's markers. The name of the file that
// one points to is the end of its own.
const markerPrefix = "marker."

// settle makes sure that a folder knows all its files. Pebble creates a manifest
// and then the marker that points to it, and syncs the folder once for both:
// where entries of a folder may become safe in another order than they were made,
// a power loss in between would leave a marker that points to nothing.
func (fs volumeFS) settle(dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (fs volumeFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.v.open("open", name, func() (vfs.File, error) { return fs.v.inner.OpenReadWrite(name, category, opts...) })
}

func (fs volumeFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.v.open("reuse", newname, func() (vfs.File, error) {
		return fs.v.inner.ReuseForWrite(oldname, newname, category)
	})
}

func (fs volumeFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.v.inner.OpenDir(name)
	if err != nil || fs.v.o.ReadOnly || !fs.v.inside(name) {
		return f, err
	}
	return fs.v.newDir(f, name), nil
}

func (fs volumeFS) Link(oldname, newname string) error {
	return fs.v.do("link", newname, func() error { return fs.v.inner.Link(oldname, newname) })
}

func (fs volumeFS) Remove(name string) error {
	return fs.v.do("remove", name, func() error { return fs.v.inner.Remove(name) })
}

func (fs volumeFS) RemoveAll(name string) error {
	return fs.v.do("remove", name, func() error { return fs.v.inner.RemoveAll(name) })
}

func (fs volumeFS) Rename(oldname, newname string) error {
	return fs.v.do("rename", newname, func() error { return fs.v.inner.Rename(oldname, newname) })
}

func (fs volumeFS) MkdirAll(dir string, perm os.FileMode) error {
	return fs.v.do("create", dir, func() error { return fs.v.inner.MkdirAll(dir, perm) })
}

// Lock is for Pebble's own lock. Taking it writes, so that a volume that is only
// read answers itself; the folder's lock keeps others out.
func (fs volumeFS) Lock(name string) (io.Closer, error) {
	if fs.v.o.ReadOnly && fs.v.inside(name) {
		return io.NopCloser(nil), nil
	}
	var l io.Closer
	err := fs.v.do("lock", name, func() (err error) {
		l, err = fs.v.inner.Lock(name)
		return err
	})
	return l, err
}

func (fs volumeFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.v.inner.Open(name, opts...)
}

func (fs volumeFS) List(dir string) ([]string, error)            { return fs.v.inner.List(dir) }
func (fs volumeFS) Stat(name string) (vfs.FileInfo, error)       { return fs.v.inner.Stat(name) }
func (fs volumeFS) PathBase(name string) string                  { return fs.v.inner.PathBase(name) }
func (fs volumeFS) PathJoin(elem ...string) string               { return fs.v.inner.PathJoin(elem...) }
func (fs volumeFS) PathDir(name string) string                   { return fs.v.inner.PathDir(name) }
func (fs volumeFS) Unwrap() vfs.FS                               { return fs.v.inner }
func (fs volumeFS) GetDiskUsage(n string) (vfs.DiskUsage, error) { return fs.v.inner.GetDiskUsage(n) }
