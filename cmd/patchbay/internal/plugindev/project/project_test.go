package project

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestNeedsOf(t *testing.T) {
	version, modules := needsOf("module x\n\ngo 1.26 // newest\n\nrequire a/b v1.0.0\nrequire (\n\tc/d v2.0.0 // indirect\n\te/f v0.1.0\n)\n\ntool g/h\n")
	if want := []string{"a/b v1.0.0", "c/d v2.0.0", "e/f v0.1.0"}; version != "1.26" || !slices.Equal(modules, want) {
		t.Errorf("%s, %q", version, modules)
	}
}

func TestQuoted(t *testing.T) {
	for path, want := range map[string]string{"/a/b": "/a/b", "/a b": `"/a b"`, "/a(b": `"/a(b"`} {
		if got := quoted(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// TestFingerprint: Zig wants the CRC-32 of the name before the number of one's own.
func TestFingerprint(t *testing.T) {
	if got := fingerprint("filter-zig"); got[:10] != "0x261a9153" || got == fingerprint("filter-zag") || len(got) != 18 {
		t.Error(got)
	}
}

// TestGoRelease: a project of a released patchbay names its version.
func TestGoRelease(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	if err := Create(Project{Dir: dir, Name: "p", Language: "go", Kind: "auth", Version: "v1.2.3"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if want := "module p\n\ngo 1.26\n\nrequire github.com/patchbay-mq/patchbay v1.2.3\n"; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	for _, version := range []string{"devel", "v1.2.3+dirty"} {
		dir := filepath.Join(t.TempDir(), "p")
		if err := Create(Project{Dir: dir, Name: "p", Language: "go", Kind: "auth", Version: version}); err != ErrNoRelease {
			t.Errorf("%s: %v", version, err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s has left its folder behind", version)
		}
	}
}
