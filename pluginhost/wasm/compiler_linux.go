package wasm

import "syscall"

// compilerAttributes give the compiler a process group of its own, for afterOthers, and an end when the broker ends.
func compilerAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
