//go:build unix && !linux

package wasm

import "syscall"

func compilerAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
