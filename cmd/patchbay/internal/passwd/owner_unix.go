//go:build unix

package passwd

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives file the owner and group of old. Who may not do that is told: the broker could lose
// access to its users.
func keepOwner(file string, old fs.FileInfo) error {
	stat, ok := old.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Geteuid() && int(stat.Gid) == os.Getegid() {
		return nil
	}
	return os.Chown(file, int(stat.Uid), int(stat.Gid))
}
