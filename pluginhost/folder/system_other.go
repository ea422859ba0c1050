//go:build !unix

package folder

import "io/fs"

func stampOf(info fs.FileInfo) stamp {
	return stamp{size: info.Size(), modified: info.ModTime(), mode: info.Mode(), owner: -1}
}

// private knows nothing of who may write here.
func private(string, stamp) error { return nil }

// executable: only names tell here.
func executable(fs.FileMode) bool { return false }
