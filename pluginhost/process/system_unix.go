//go:build unix

package process

import (
	"errors"
	"io/fs"
	"syscall"
)

// terminates says that terminateGroup does something.
const terminates = true

func executable(info fs.FileInfo) bool { return info.Mode()&0o111 != 0 }

// A group that is not there any more is what was wanted.

func terminateGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGTERM) }

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// runs reports whether there is a process of that id.
func runs(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
