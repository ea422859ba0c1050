//go:build !windows

package volume

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock locks an open file without waiting; false if another has it. flock, not
// fcntl: it excludes a second volume in this process too, and closing another
// descriptor of the file does not undo it.
func tryLock(f *os.File, shared bool) (bool, error) {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EOPNOTSUPP):
			return false, errNoLocks(err)
		default:
			return false, err
		}
	}
}

// alive reports whether there is a process with this number.
func alive(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}
