package trial

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// cacheEntries is how much of CacheDir is kept, cacheTime for how long at least: native code
// of a Go module has some 12 MiB, and each build is another module.
const (
	cacheEntries = 16
	cacheTime    = time.Hour
)

// CacheDir is where compiled WebAssembly of this user is kept, for Options: a Go module
// takes two seconds to compile, and its author calls one command after the other. Empty if
// the user has no folder for such things. Old entries are removed.
func CacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	dir = filepath.Join(dir, "patchbay", "plugin-cache")
	prune(dir, time.Now().Add(-cacheTime))
	return dir
}

// prune leaves the newest entries, and those from after a time: somebody may just be
// using them. What it cannot remove stays.
func prune(dir string, after time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // it will be made
	}
	var list []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			list = append(list, info)
		}
	}
	slices.SortFunc(list, func(a, b fs.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	for i := cacheEntries; i < len(list); i++ {
		if list[i].ModTime().Before(after) {
			_ = os.RemoveAll(filepath.Join(dir, list[i].Name()))
		}
	}
}
