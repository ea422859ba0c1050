package trial

import (
	"os"
	"path/filepath"
)

// CacheDir is where compiled WebAssembly of this user is kept, for Options: a Go module
// takes two seconds to compile, and its author calls one command after the other. Empty if
// the user has no folder for such things.
func CacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "patchbay", "plugin-cache")
}
