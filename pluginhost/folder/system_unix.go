//go:build unix

package folder

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime(), mode: info.Mode(), owner: -1}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.owner = st.Ino, int(st.Uid)
	}
	return s
}

// private says who else could have written a file or folder.
func private(path string, s stamp) error {
	if s.mode.Perm()&0o002 != 0 {
		return fmt.Errorf("%s: everyone can write to it (%s): chmod o-w %s", path, s.mode, path)
	}
	if us := os.Geteuid(); s.owner != us && s.owner != 0 {
		return fmt.Errorf("%s: belongs to user %d, and the broker runs as user %d: chown %d %s", path, s.owner, us, us, path)
	}
	return nil
}

func executable(m fs.FileMode) bool { return m.Perm()&0o111 != 0 }
