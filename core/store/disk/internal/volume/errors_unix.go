//go:build !windows

package volume

import (
	"errors"
	"syscall"
)

// isNoSpace reports that there was no space, or no more for this user.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func isReadOnlyFS(err error) bool { return errors.Is(err, syscall.EROFS) }

// isBrokenHere: a network file system that has lost the file it had open.
func isBrokenHere(err error) bool { return errors.Is(err, syscall.ESTALE) }
