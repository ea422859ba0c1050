//go:build unix && !linux

package process

import (
	"os"
	"syscall"
)

// reapsLater: see system_linux.go. What a process leaves behind in its group is not killed here: when its end is
// seen its id may be another's.
const reapsLater = false

// OwnProgram is the file that is running, or another one that has its name by now.
func OwnProgram() (string, error) { return os.Executable() }

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func awaitExit(int) {}

func residentBytes(int) uint64 { return 0 }
