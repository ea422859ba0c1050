//go:build !unix

package process

import (
	"io/fs"
	"os"
	"syscall"
)

const (
	reapsLater = false
	terminates = false
)

// OwnProgram is the file that is running, or another one that has its name by now.
func OwnProgram() (string, error) { return os.Executable() }

func attributes() *syscall.SysProcAttr { return nil }

func awaitExit(int) {}

func executable(fs.FileInfo) bool { return true }

// There is no signal that asks a process to end. It is told by the end of its input.
func terminateGroup(int) {}

func killGroup(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
		_ = p.Release()
	}
}

// runs reports whether there is a process of that id.
func runs(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	_ = p.Release()
	return true
}

func residentBytes(int) uint64 { return 0 }
