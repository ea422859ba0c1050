package volume

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// fallocate gives a file its blocks without writing them. The error is
// errors.ErrUnsupported where that does not exist.
func fallocate(f vfs.File, size int64) error {
	if f.Fd() == vfs.InvalidFd {
		return errors.ErrUnsupported
	}
	for {
		// Not vfs's Preallocate: it leaves the file's size at 0, by which the next
		// start could not tell a whole ballast.
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if !errors.Is(err, unix.EINTR) {
			return err // EOPNOTSUPP and ENOSYS are errors.ErrUnsupported
		}
	}
}
