package crash

import (
	"io"
	"math/rand/v2"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// power is the disk of one life of a broker: a crashable file system in memory,
// until the power fails. From then on no sync returns, so that nothing more can
// become safe and nothing that waits for it can be acknowledged; what a
// connection still carries then was safe before, or does not need to be. restore
// lets the syncs go, for the broker that is left behind on it: by then it has no
// client any more.
type power struct {
	*vfs.MemFS
	forgets func(name string) bool // files whose Sync is a lie; nil for none
	// left counts operations down to a failure of the power; below 0 there is none.
	left atomic.Int64
	cfg  vfs.CrashCloneCfg

	syncs sync.RWMutex // its write side is held from fail to restore
	// cloning keeps operations that take the file system's lock for cloning twice
	// from standing still between the two.
	cloning sync.RWMutex
	once    sync.Once
	after   *vfs.MemFS // what is there after the failure

	logSynced atomic.Int64 // when the last sync of a log that is through began
}

func newPower(fs *vfs.MemFS, unsynced int, rng *rand.Rand) *power {
	p := &power{MemFS: fs, cfg: vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng}}
	p.left.Store(-1)
	return p
}

// fail is the power failure. It returns what the next life finds on its disk.
func (p *power) fail() *vfs.MemFS {
	p.once.Do(func() {
		p.syncs.Lock()
		p.cloning.Lock()
		defer p.cloning.Unlock()
		p.after = p.CrashClone(p.cfg)
	})
	return p.after
}

// restore comes once after fail.
func (p *power) restore() { p.syncs.Unlock() }

// step is called before each operation that changes something.
func (p *power) step() {
	if p.left.Load() >= 0 && p.left.Add(-1) < 0 {
		p.fail()
	}
}

func (p *power) sync(name string, sync func() error) error {
	p.step()
	p.syncs.RLock()
	defer p.syncs.RUnlock()
	if p.forgets != nil && p.forgets(name) {
		return nil
	}
	began := time.Now().UnixNano()
	err := sync()
	if path.Ext(name) == ".log" {
		p.logSynced.Store(max(began, p.logSynced.Load()))
	}
	return err
}

func (p *power) file(f vfs.File, err error, name string) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &poweredFile{f, p, name}, nil
}

func (p *power) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	p.step()
	f, err := p.MemFS.Create(name, c)
	return p.file(f, err, name)
}

func (p *power) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	p.step()
	f, err := p.MemFS.OpenReadWrite(name, c, o...)
	return p.file(f, err, name)
}

func (p *power) OpenDir(name string) (vfs.File, error) {
	f, err := p.MemFS.OpenDir(name)
	return p.file(f, err, name)
}

func (p *power) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	p.step()
	p.cloning.RLock()
	defer p.cloning.RUnlock()
	f, err := p.MemFS.ReuseForWrite(oldname, newname, c)
	return p.file(f, err, newname)
}

func (p *power) Link(oldname, newname string) error {
	p.step()
	p.cloning.RLock()
	defer p.cloning.RUnlock()
	return p.MemFS.Link(oldname, newname)
}

func (p *power) Lock(name string) (io.Closer, error) {
	p.step()
	p.cloning.RLock()
	defer p.cloning.RUnlock()
	return p.MemFS.Lock(name)
}

func (p *power) Rename(oldname, newname string) error {
	p.step()
	return p.MemFS.Rename(oldname, newname)
}

func (p *power) Remove(name string) error {
	p.step()
	return p.MemFS.Remove(name)
}

func (p *power) Unwrap() vfs.FS { return p.MemFS }

type poweredFile struct {
	vfs.File
	p    *power
	name string
}

func (f *poweredFile) Write(b []byte) (int, error) {
	f.p.step()
	return f.File.Write(b)
}

func (f *poweredFile) WriteAt(b []byte, off int64) (int, error) {
	f.p.step()
	return f.File.WriteAt(b, off)
}

func (f *poweredFile) Sync() error     { return f.p.sync(f.name, f.File.Sync) }
func (f *poweredFile) SyncData() error { return f.p.sync(f.name, f.File.SyncData) }
