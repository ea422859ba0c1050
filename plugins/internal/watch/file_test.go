package watch

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// poll looks twice, which is what a change needs, and returns what was read.
func poll(t *testing.T, f *File) string {
	t.Helper()
	if content, changed, err := f.Poll(); err != nil || changed {
		t.Fatalf("a first look gives %q, %v", content, err)
	}
	content, changed, err := f.Poll()
	if err != nil || changed != (content != nil) {
		t.Fatalf("%q, %v, %v", content, changed, err)
	}
	return string(content)
}

func TestChangesAreSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "one")
	f := New(path)
	if content, err := f.Read(); err != nil || string(content) != "one" {
		t.Fatalf("%q, %v", content, err)
	}
	if got := poll(t, f); got != "" {
		t.Errorf("nothing has changed, and %q was read", got)
	}
	write(t, path, "in place")
	if got := poll(t, f); got != "in place" {
		t.Errorf("read %q", got)
	}
	// The same size and time, another file.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+".new", "in plaza")
	if err := os.Chtimes(path+".new", info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if got := poll(t, f); got != "in plaza" {
		t.Errorf("read %q", got)
	}
	if err := os.Chtimes(path, time.Time{}, info.ModTime().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := poll(t, f); got != "in plaza" {
		t.Errorf("read %q", got)
	}
}

// A file that changes from look to look is not read.
func TestChangeThatGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "")
	f := New(path)
	if _, err := f.Read(); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		write(t, path, strings.Repeat("x", i+1))
		if content, changed, err := f.Poll(); changed || err != nil {
			t.Fatalf("%q, %v", content, err)
		}
	}
	if content, changed, err := f.Poll(); !changed || err != nil || string(content) != "xxxxx" {
		t.Fatalf("%q, %v, %v", content, changed, err)
	}
}

func TestFileThatIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f := New(path)
	if _, err := f.Read(); err == nil || !strings.HasPrefix(err.Error(), path+": ") || strings.Count(err.Error(), path) != 1 {
		t.Errorf("error %v", err)
	}
	t.Chdir(t.TempDir())
	if _, err := New("none").Read(); err == nil || !strings.HasSuffix(err.Error(), ", where this plugin runs") {
		t.Errorf("error %v", err)
	}
	write(t, path, "a")
	if _, err := f.Read(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Poll(); err == nil {
		t.Error("no error although the file is gone")
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if got := poll(t, f); got != "" {
		t.Errorf("the same file came back, and %q was read", got)
	}
}

func TestFilesThatAreNotTaken(t *testing.T) {
	dir := t.TempDir()
	if _, err := New(dir).Read(); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("a folder: %v", err)
	}
	large := filepath.Join(dir, "large")
	write(t, large, "")
	if err := os.Truncate(large, MaxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := New(large).Read(); err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("a large file: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	open := filepath.Join(dir, "open")
	write(t, open, "")
	if err := os.Chmod(open, 0o606); err != nil {
		t.Fatal(err)
	}
	if _, err := New(open).Read(); err == nil || !strings.Contains(err.Error(), "chmod o-w") {
		t.Errorf("a file that everybody may write to: %v", err)
	}
}
