package wasm

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// compilerAttributes let the system run all other processes first.
func compilerAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.BELOW_NORMAL_PRIORITY_CLASS}
}

func afterOthers(int) {}
