package volume

import (
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// faultFS is a disk of a certain size, in memory, with errors to order.
type faultFS struct {
	*vfs.MemFS
	mu       sync.Mutex
	capacity int64 // 0: no limit, and GetDiskUsage does not work
	sizes    map[string]int64
	faults   []*fault
	count    map[string]int  // calls by op
	after    func(op string) // called after each operation that changes something
}

// fault is an error that an operation on matching files answers with.
type fault struct {
	op    string // "write", "sync", "create", …; "": all of them
	match string // part of the file's name; "": all
	err   error
	times int  // how often; <0: for good
	lose  bool // sync: what was not synced turns to zeros, as kernels do it
}

func newFaultFS(capacity int64) *faultFS {
	return &faultFS{MemFS: vfs.NewCrashableMem(), capacity: capacity, sizes: map[string]int64{}, count: map[string]int{}}
}

func (d *faultFS) fail(f fault) *fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, &f)
	return &f
}

// heal ends a fault.
func (d *faultFS) heal(f *fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.times = 0
}

func (d *faultFS) resize(capacity int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = capacity
}

func (d *faultFS) calls(op string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count[op]
}

// check counts an operation and finds the error that is meant for it.
func (d *faultFS) check(op, name string) (*fault, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count[op]++
	for _, f := range d.faults {
		if f.times != 0 && (f.op == "" || f.op == op) && strings.Contains(path.Base(name), f.match) {
			f.times--
			return f, &os.PathError{Op: op, Path: name, Err: f.err}
		}
	}
	return nil, nil
}

func (d *faultFS) changed(op string) {
	if d.after != nil {
		d.after(op)
	}
}

func (d *faultFS) used() int64 {
	var n int64
	for _, size := range d.sizes {
		n += size
	}
	return n
}

func (d *faultFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.capacity == 0 {
		return vfs.DiskUsage{}, vfs.ErrUnsupported
	}
	used := d.used()
	return vfs.DiskUsage{
		AvailBytes: uint64(max(d.capacity-used, 0)), TotalBytes: uint64(d.capacity), UsedBytes: uint64(used),
	}, nil
}

func (d *faultFS) Unwrap() vfs.FS { return d.MemFS }

func (d *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if _, err := d.check("create", name); err != nil {
		return nil, err
	}
	f, err := d.MemFS.Create(name, c)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.sizes[name] = 0
	d.mu.Unlock()
	d.changed("create")
	return &faultFile{File: f, d: d, name: name}, nil
}

func (d *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if _, err := d.check("open", name); err != nil {
		return nil, err
	}
	f, err := d.MemFS.OpenReadWrite(name, c, opts...)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: f, d: d, name: name}, nil
}

func (d *faultFS) OpenDir(name string) (vfs.File, error) {
	f, err := d.MemFS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: f, d: d, name: name}, nil
}

func (d *faultFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if _, err := d.check("reuse", newname); err != nil {
		return nil, err
	}
	if err := d.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return d.OpenReadWrite(newname, c)
}

func (d *faultFS) Remove(name string) error {
	if _, err := d.check("remove", name); err != nil {
		return err
	}
	err := d.MemFS.Remove(name)
	if err == nil {
		d.mu.Lock()
		delete(d.sizes, name)
		d.mu.Unlock()
		d.changed("remove")
	}
	return err
}

func (d *faultFS) RemoveAll(name string) error {
	if _, err := d.check("remove", name); err != nil {
		return err
	}
	return d.MemFS.RemoveAll(name)
}

func (d *faultFS) Rename(oldname, newname string) error {
	if _, err := d.check("rename", newname); err != nil {
		return err
	}
	err := d.MemFS.Rename(oldname, newname)
	if err == nil {
		d.mu.Lock()
		d.sizes[newname] = d.sizes[oldname]
		delete(d.sizes, oldname)
		d.mu.Unlock()
		d.changed("rename")
	}
	return err
}

func (d *faultFS) Link(oldname, newname string) error {
	if _, err := d.check("link", newname); err != nil {
		return err
	}
	return d.MemFS.Link(oldname, newname)
}

func (d *faultFS) MkdirAll(dir string, perm os.FileMode) error {
	if _, err := d.check("mkdir", dir); err != nil {
		return err
	}
	return d.MemFS.MkdirAll(dir, perm)
}

type faultFile struct {
	vfs.File
	d      *faultFS
	name   string
	pos    atomic.Int64
	synced int64 // of those who sync, one at a time
}

// room is how much of a write of n bytes at an offset fits on the disk; the file
// grows by it.
func (f *faultFile) room(off int64, n int) int {
	d := f.d
	d.mu.Lock()
	defer d.mu.Unlock()
	grow := max(off+int64(n)-d.sizes[f.name], 0)
	if d.capacity > 0 {
		if short := grow - max(d.capacity-d.used(), 0); short > 0 {
			grow -= short
			n -= int(short)
		}
	}
	d.sizes[f.name] += grow
	return max(n, 0)
}

func (f *faultFile) Write(p []byte) (int, error) {
	if _, err := f.d.check("write", f.name); err != nil {
		return 0, err
	}
	n := f.room(f.pos.Load(), len(p))
	n, err := f.File.Write(p[:n])
	f.pos.Add(int64(n))
	f.d.changed("write")
	if err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	return n, err
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if _, err := f.d.check("write", f.name); err != nil {
		return 0, err
	}
	n := f.room(off, len(p))
	n, err := f.File.WriteAt(p[:n], off)
	f.synced = min(f.synced, off)
	if err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	return n, err
}

func (f *faultFile) sync(run func() error) error {
	pos := f.pos.Load()
	if fault, err := f.d.check("sync", f.name); err != nil {
		if fault.lose && pos > f.synced {
			if _, err := f.File.WriteAt(make([]byte, pos-f.synced), f.synced); err != nil {
				return err
			}
		}
		f.synced = pos
		return fault.err // as system calls do: no path
	}
	f.synced = pos
	err := run()
	f.d.changed("sync")
	return err
}

func (f *faultFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *faultFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *faultFile) SyncTo(length int64) (bool, error) {
	return false, f.sync(func() error { return nil })
}

func (f *faultFile) Preallocate(off, length int64) error {
	if _, err := f.d.check("allocate", f.name); err != nil {
		return err
	}
	return nil
}

// contents reads a whole file.
func contents(t *testing.T, files vfs.FS, name string) string {
	t.Helper()
	f, err := files.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if len(b) == 0 {
		return ""
	}
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// open opens a volume and closes it at the end of the test.
func open(t *testing.T, o Options) *Volume {
	t.Helper()
	if o.Dir == "" {
		o.Dir = "data"
	}
	v, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// create creates a file in the volume's folder.
func create(t *testing.T, v *Volume, name string) vfs.File {
	t.Helper()
	f, err := v.FS().Create(v.path(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// write writes to a file, all of it.
func write(t *testing.T, f vfs.File, s string) {
	t.Helper()
	if n, err := f.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(s), err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
