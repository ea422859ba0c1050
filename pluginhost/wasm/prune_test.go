package wasm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestPrune: the newest entries stay, and whatever is young.
func TestPrune(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct{ entries, young, left int }{
		"few":         {cacheEntries, 0, cacheEntries},
		"many":        {cacheEntries + 5, 0, cacheEntries},
		"many, young": {cacheEntries + 5, cacheEntries + 2, cacheEntries + 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var want []string
			for i := range c.entries {
				entry := filepath.Join(dir, fmt.Sprintf("%03d", i))
				if err := os.MkdirAll(filepath.Join(entry, "code"), 0o700); err != nil {
					t.Fatal(err)
				}
				at := now.Add(-time.Duration(i+1) * time.Second)
				if i >= c.young {
					at = at.Add(-cacheTime)
				}
				if err := os.Chtimes(entry, at, at); err != nil {
					t.Fatal(err)
				}
				if i < c.left {
					want = append(want, filepath.Base(entry))
				}
			}
			prune(dir, now.Add(-cacheTime))
			list, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range list {
				got = append(got, e.Name())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
	prune(filepath.Join(t.TempDir(), "absent"), now)
}
