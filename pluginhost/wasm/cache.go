package wasm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"
)

// A cache entry is a folder CacheDir/HASH of the module's bytes, with the files that wazero has written, and "sums" about
// them. wazero checks the code, but not its tables of offsets, and would run code at a wrong one; so an
// entry whose files are not what its sums say is thrown away before wazero sees it.
const sumsFile = "sums"

// entry is the place of one module in the cache; the zero value is none. With temp it is new; without dir it is for the
// time of one compilation only.
type entry struct{ dir, temp string }

// openEntry finds the entry of a module, or a temporary folder for a new one.
func openEntry(cacheDir string, module []byte) (entry, error) {
	if cacheDir == "" {
		return entry{}, nil
	}
	if err := privateFolder(cacheDir); err != nil {
		return entry{}, err
	}
	hash := sha256.Sum256(module)
	e := entry{dir: filepath.Join(cacheDir, hex.EncodeToString(hash[:16]))}
	if want, err := os.ReadFile(filepath.Join(e.dir, sumsFile)); err == nil {
		if have, err := sums(e.dir); err == nil && slices.Equal(have, want) {
			now := time.Now()
			_ = os.Chtimes(e.dir, now, now) // for prune; that it is not known to be in use costs time at most
			return e, nil
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		return entry{}, fmt.Errorf("compile cache: %w", err)
	}
	var err error
	if e.temp, err = os.MkdirTemp(cacheDir, "new-"); err != nil {
		return entry{}, fmt.Errorf("compile cache: %w", err)
	}
	return e, nil
}

// privateFolder makes the folder, and refuses one into which others could have put code.
func privateFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("compile cache: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("compile cache: %w", err)
	}
	if !info.IsDir() || !ownedByUs(info) {
		return fmt.Errorf("compile cache: %s is not a folder of the user that the broker runs as", dir)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("compile cache: %s has mode %#o; it holds native code and has to be 0700", dir, info.Mode().Perm())
	}
	return nil
}

// cache is wazero's view of the entry, nil if there is none.
func (e entry) cache() (wazero.CompilationCache, error) {
	switch {
	case e.temp != "":
		return wazero.NewCompilationCacheWithDir(e.temp)
	case e.dir != "":
		return wazero.NewCompilationCacheWithDir(e.dir)
	}
	return nil, nil
}

// keep makes a new entry of what has been compiled; of two processes that do it at once one wins.
func (e entry) keep() error {
	if e.temp == "" {
		return nil
	}
	defer os.RemoveAll(e.temp)
	if e.dir == "" {
		return nil
	}
	s, err := sums(e.temp)
	if err != nil {
		return fmt.Errorf("compile cache: %w", err)
	}
	if err := os.WriteFile(filepath.Join(e.temp, sumsFile), s, 0o600); err != nil {
		return fmt.Errorf("compile cache: %w", err)
	}
	if err := os.Rename(e.temp, e.dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("compile cache: %w", err)
	}
	prune(filepath.Dir(e.dir), time.Now().Add(-cacheTime))
	return nil
}

// cacheEntries is how much of a cache is kept, cacheTime how long whatever was used: native code of a Go module has
// some 12 MiB, and each build of it is another module.
const (
	cacheEntries = 32
	cacheTime    = time.Hour
)

// prune leaves the entries that were used last, and those of after a time: somebody may just be making them. What it cannot
// remove stays.
func prune(dir string, after time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var list []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			list = append(list, info)
		}
	}
	slices.SortFunc(list, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, info := range list[min(cacheEntries, len(list)):] {
		if info.ModTime().Before(after) {
			_ = os.RemoveAll(filepath.Join(dir, info.Name()))
		}
	}
}

// drop removes what a failed compilation has left.
func (e entry) drop() {
	for _, dir := range []string{e.dir, e.temp} {
		if dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
}

// sums lists the files below dir, but for the sums, with their SHA-256.
func sums(dir string) ([]byte, error) {
	var list []byte
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == filepath.Join(dir, sumsFile) {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		list = fmt.Appendf(list, "%x  %s\n", h.Sum(nil), name)
		return err
	})
	return list, err
}
