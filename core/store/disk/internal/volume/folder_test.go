package volume

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestOpenCreatesFolderAndMarker(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "data")
	v := open(t, Options{Dir: dir})
	if !v.Created() {
		t.Error("a new folder was not reported as created")
	}
	if runtime.GOOS != "windows" {
		for _, d := range []string{dir, filepath.Dir(dir)} {
			info, err := os.Stat(d)
			must(t, err)
			if info.Mode().Perm() != 0o700 {
				t.Errorf("%s has mode %v, want 0700", d, info.Mode())
			}
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, markerName))
	must(t, err)
	m, err := parseMarker(b)
	must(t, err)
	if m.Format != format || m.Schema != 0 || m.Created.IsZero() || !strings.Contains(m.Note, "Do not edit") {
		t.Errorf("marker is %s", b)
	}
	must(t, v.SetSchema(3))
	must(t, v.Close())

	again := open(t, Options{Dir: dir})
	if again.Created() || again.Schema() != 3 {
		t.Errorf("second start: created %v, schema %d", again.Created(), again.Schema())
	}
	if !again.marker.Created.Equal(m.Created) {
		t.Errorf("creation time changed from %v to %v", m.Created, again.marker.Created)
	}
	if err := again.SetSchema(-1); err == nil {
		t.Error("a negative schema was stored")
	}
}

func TestOpenAcceptsWhatIsNobodys(t *testing.T) {
	mem := vfs.NewMem()
	must(t, mem.MkdirAll("data/lost+found", 0o700))
	// A start that was cut short before there was a marker.
	must(t, writeFile(mem, "data/"+markerTemp, []byte(`{"for`)))
	must(t, writeFile(mem, "data/"+lockName, nil))
	if v := open(t, Options{FS: mem}); !v.Created() {
		t.Error("the folder was not taken for a new one")
	}
}

func TestOpenRefuses(t *testing.T) {
	put := func(name, content string) func(*testing.T, *faultFS) {
		return func(t *testing.T, d *faultFS) {
			must(t, d.MkdirAll("data", 0o700))
			must(t, writeFile(d.MemFS, name, []byte(content)))
		}
	}
	ordered := func(f fault) func(*testing.T, *faultFS) {
		return func(_ *testing.T, d *faultFS) { d.fail(f) }
	}
	for _, c := range []struct {
		name     string
		prepare  func(*testing.T, *faultFS)
		dir      string
		readOnly bool
		kind     error
		text     string
	}{
		{name: "foreign", prepare: func(t *testing.T, d *faultFS) {
			put("data/a.txt", "mine")(t, d)
			must(t, d.MkdirAll("data/b", 0o700))
		}, kind: ErrForeign, text: "data_dir data is not empty and is no Patchbay data folder (found a.txt, b/): choose another or empty it"},
		{name: "foreign, many", prepare: func(t *testing.T, d *faultFS) {
			for _, n := range "123456" {
				put("data/"+string(n), "")(t, d)
			}
		}, kind: ErrForeign, text: "(found 1, 2, 3, 4, and 2 more)"},
		{name: "file", prepare: put("data/file", ""), dir: "data/file", kind: ErrNotFolder, text: "data_dir data/file is a file"},
		{name: "parent is a file", prepare: put("data/file", ""), dir: "data/file/x", kind: ErrNotFolder, text: "because data/file is a file"},
		{name: "damaged", prepare: put("data/PATCHBAY", "\x00\x00"), kind: ErrDamaged, text: `replace its content by {"format":1}`},
		{name: "empty marker", prepare: put("data/PATCHBAY", ""), kind: ErrDamaged, text: "has a damaged marker file"},
		{name: "no format", prepare: put("data/PATCHBAY", "{}"), kind: ErrDamaged, text: "format 0"},
		{name: "newer", prepare: put("data/PATCHBAY", `{"format":9}`), kind: ErrNewer, text: "was written by a newer Patchbay (format 9; this one knows up to 1)"},
		{name: "permission to create", prepare: ordered(fault{op: "mkdir", err: syscall.EACCES, times: 1}), kind: ErrPermission, text: "no permission to create it (permission denied)"},
		{name: "permission to write", prepare: ordered(fault{op: "create", match: markerTemp, err: syscall.EPERM, times: 1}), kind: ErrPermission, text: "no permission to write to it"},
		{name: "read-only file system", prepare: ordered(fault{op: "create", err: syscall.EROFS, times: 1}), kind: ErrReadOnly, text: "is on a read-only file system: mount it writable or"},
		{name: "no space at all", prepare: ordered(fault{op: "write", err: syscall.ENOSPC, times: -1}), kind: ErrNoSpace, text: "is on a full disk"},
		{name: "no quota", prepare: ordered(fault{op: "mkdir", err: syscall.EDQUOT, times: -1}), kind: ErrNoSpace, text: "free some space and start again"},
		{name: "too little space", prepare: func(_ *testing.T, d *faultFS) { d.resize(1 << 19) }, kind: ErrNoSpace, text: "512.0 KiB free, at least 1.0 MiB needed"},
		{name: "nothing to read", readOnly: true, kind: ErrNotFound, text: "does not exist"},
		{name: "empty, to read", prepare: func(t *testing.T, d *faultFS) { must(t, d.MkdirAll("data", 0o700)) }, readOnly: true, kind: ErrNotFound, text: "is empty"},
		{name: "foreign, to read", prepare: put("data/x", ""), readOnly: true, kind: ErrForeign, text: "found x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFaultFS(0)
			if c.prepare != nil {
				c.prepare(t, d)
			}
			if c.dir == "" {
				c.dir = "data"
			}
			before := d.String()
			v, err := Open(Options{Dir: c.dir, FS: d, ReadOnly: c.readOnly})
			if err == nil {
				v.Close()
				t.Fatal("it was opened")
			}
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) || !strings.HasPrefix(err.Error(), "data_dir "+c.dir+" ") {
				t.Errorf("error is %q (%v), want %q in it", err, errors.Unwrap(err), c.text)
			}
			var e *Error
			if !errors.As(err, &e) || e.Dir != c.dir {
				t.Errorf("error %#v does not carry the folder", err)
			}
			if d.String() != before && (c.kind == ErrForeign || c.kind == ErrDamaged || c.kind == ErrNewer || c.readOnly) {
				t.Errorf("a folder that was refused was changed:\n%s\nwas\n%s", d.String(), before)
			}
			if c.kind == ErrNoSpace || c.kind == ErrPermission || c.kind == ErrReadOnly {
				// The lock went with the refusal: it can be tried again.
				d.faults = nil
				d.resize(0)
				open(t, Options{Dir: c.dir, FS: d})
			}
		})
	}
}

func TestOpenWithoutFolder(t *testing.T) {
	if _, err := Open(Options{}); err == nil || err.Error() != "data_dir is not set" {
		t.Errorf("error is %v", err)
	}
}

// Whatever the instant of a power loss, the folder can be opened afterwards, and
// a marker that was there is still whole.
func TestPowerLossWhileCreating(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var clones []*vfs.MemFS
	d := newFaultFS(0)
	d.after = func(string) {
		for _, percent := range []int{0, 50, 100} {
			clones = append(clones, d.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
		}
	}
	v := open(t, Options{Dir: "a/data", FS: d})
	created := len(clones)
	must(t, v.SetSchema(1))
	d.after = nil
	if created < 9 {
		t.Fatalf("only %d instants", created)
	}
	for i, clone := range clones {
		w, err := Open(Options{Dir: "a/data", FS: clone})
		if err != nil {
			t.Fatalf("after a power loss at instant %d: %v", i, err)
		}
		if i >= created && w.Created() {
			t.Errorf("instant %d: the folder was not known any more", i)
		}
		must(t, w.Close())
	}
	synced := d.CrashClone(vfs.CrashCloneCfg{})
	if w := open(t, Options{Dir: "a/data", FS: synced}); w.Created() || w.Schema() != 1 {
		t.Error("SetSchema returned before the schema was safe")
	}
}

func TestReadOnlyWritesNothing(t *testing.T) {
	d := newFaultFS(64 << 20)
	v := open(t, Options{FS: d, Reserve: 1 << 20})
	f := create(t, v, "000001.log")
	write(t, f, "log")
	must(t, f.Close())
	must(t, v.Close())

	before := d.String()
	r := open(t, Options{FS: d, ReadOnly: true})
	files, name := r.FS(), r.path("000001.log")
	if got := contents(t, files, name); got != "log" {
		t.Errorf("read %q", got)
	}
	l, err := files.Lock(r.path("LOCK"))
	must(t, err)
	must(t, l.Close())
	dir, err := files.OpenDir(r.Dir())
	must(t, err)
	must(t, dir.Close())
	for op, run := range map[string]func() error{
		"create":   func() error { _, err := files.Create(name, ""); return err },
		"open":     func() error { _, err := files.OpenReadWrite(name, ""); return err },
		"reuse":    func() error { _, err := files.ReuseForWrite(name, name+"x", ""); return err },
		"rename":   func() error { return files.Rename(name, name+"x") },
		"link":     func() error { return files.Link(name, name+"x") },
		"remove":   func() error { return files.Remove(name) },
		"all":      func() error { return files.RemoveAll(name) },
		"mkdir":    func() error { return files.MkdirAll(name+"x", 0o700) },
		"schema":   func() error { return r.SetSchema(7) },
		"no error": func() error { r.Look(); return errWrite },
	} {
		if err := run(); !errors.Is(err, errWrite) {
			t.Errorf("%s: error is %v", op, err)
		}
	}
	if used, free := r.Usage(); used == 0 || free == 0 {
		t.Error("no usage")
	}
	must(t, r.Close())
	if d.String() != before {
		t.Errorf("reading changed the folder:\n%s\nwas\n%s", d.String(), before)
	}
}

// Files elsewhere, such as a backup on another disk, are not the volume's.
func TestFilesOutsideAreLeftAlone(t *testing.T) {
	d := newFaultFS(0)
	v := open(t, Options{FS: d})
	must(t, d.MkdirAll("data2", 0o700))
	d.fail(fault{match: "out", err: syscall.ENOSPC, times: -1})
	if _, err := v.FS().Create("data2/out.log", ""); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error is %v, want the disk's", err)
	}
	if v.Full() || v.Failed() != nil {
		t.Error("another folder's full disk filled the volume")
	}
	if _, err := v.FS().Open("data2/out.log"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	if vfs.Root(v.FS()) != vfs.FS(d.MemFS) {
		t.Error("Unwrap does not lead to the file system below")
	}
}

func FuzzMarker(f *testing.F) {
	b, err := marker{Note: markerNote, Format: format, Schema: 2}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"schema":-1}`))
	f.Add([]byte(`{"format":1}{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMarker(b)
		if err != nil {
			return
		}
		if m.Format < 1 || m.Schema < 0 {
			t.Fatalf("accepted %+v", m)
		}
		b, err = m.encode()
		if err != nil {
			return // a year that JSON does not know
		}
		again, err := parseMarker(b)
		if err != nil || !again.Created.Equal(m.Created) || again.Format != m.Format || again.Schema != m.Schema {
			t.Fatalf("%+v came back as %+v: %v", m, again, err)
		}
	})
}
