package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

func TestFolderOfSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: dir})
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "a.txt") {
		t.Errorf("%v", err)
	}
	if _, err := OpenReadOnly(Options{Dir: dir}); !errors.Is(err, ErrForeign) {
		t.Errorf("%v", err)
	}
	if _, err := Import(Options{Dir: dir}); !errors.Is(err, ErrForeign) {
		t.Errorf("%v", err)
	}
}

func TestFolderInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, Options{Dir: dir, FS: vfs.Default})
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
	if _, err := OpenReadOnly(Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	v, err := OpenReadOnly(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	s, err = Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestReadOnlyWritesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, Options{Dir: dir, FS: vfs.Default})
	load(t, s)
	safe(t, create(s, "c", false).add("x", false))
	s.Close()
	list := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, e.Name()+info.ModTime().String())
		}
		return names
	}
	before := strings.Join(list(), "\n")
	v, err := OpenReadOnly(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if sum := summary(t, v); sum.Sessions != 1 || sum.Waiting != 1 {
		t.Errorf("%+v", sum)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if after := strings.Join(list(), "\n"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestNewerSchema(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	if err := setNumber(s.db, format.SchemaKey, 3); err != nil {
		t.Fatal(err)
	}
	s.Close()
	want := "data_dir data was written by a newer Patchbay (schema 3; this one knows up to 1)"
	if _, err := Open(Options{Dir: "data", FS: fs}); !errors.Is(err, ErrNewer) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v", err)
	}
	if _, err := OpenReadOnly(Options{Dir: "data", FS: fs}); !errors.Is(err, ErrNewer) {
		t.Errorf("%v", err)
	}
}

func TestNewerSchemaInTheMarker(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	if err := s.vol.SetSchema(2); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(Options{Dir: "data", FS: fs}); !errors.Is(err, ErrNewer) {
		t.Errorf("%v", err)
	}
}

func TestMigration(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	defer s.Close()
	if err := setNumber(s.db, format.SchemaKey, 2); err != nil {
		t.Fatal(err)
	}
	var ran []uint64
	step := func(n uint64) migration {
		return func(db *pebble.DB) error {
			if now, err := getNumber(db, format.SchemaKey); err != nil || now != n {
				t.Errorf("schema %d in step %d: %v", now, n, err)
			}
			ran = append(ran, n)
			return nil
		}
	}
	steps := map[uint64]migration{2: step(2), 3: step(3)}
	if err := migrate(s.db, "data", 4, steps); err != nil {
		t.Fatal(err)
	}
	if len(ran) != 2 || ran[0] != 2 || ran[1] != 3 {
		t.Errorf("ran %v", ran)
	}
	if n, err := getNumber(s.db, format.SchemaKey); n != 4 || err != nil {
		t.Errorf("schema %d, %v", n, err)
	}
	if err := migrate(s.db, "data", 6, steps); err == nil || !strings.Contains(err.Error(), "older Patchbay (schema 4; this one knows 6") {
		t.Errorf("%v", err)
	}
	failing := map[uint64]migration{4: func(*pebble.DB) error { return errors.New("broken") }}
	if err := migrate(s.db, "data", 5, failing); err == nil || !strings.Contains(err.Error(), "migrate from schema 4: broken") {
		t.Errorf("%v", err)
	}
	if n, _ := getNumber(s.db, format.SchemaKey); n != 4 {
		t.Errorf("schema %d", n)
	}
}

func TestEachBootHasItsNumbers(t *testing.T) {
	fs := vfs.NewMem()
	seen := make(map[uint64]bool)
	for boot := range uint64(3) {
		s := open(t, Options{FS: fs})
		load(t, s)
		if s.first() != (boot+1)<<40 {
			t.Errorf("boot %d begins at %x", boot, s.first())
		}
		for range 3 {
			c := create(s, "c", true)
			if seen[c.key] || c.FirstSeq() != s.first() {
				t.Errorf("session %x, seq %x", c.key, c.FirstSeq())
			}
			seen[c.key] = true
		}
		s.Close()
	}
}
