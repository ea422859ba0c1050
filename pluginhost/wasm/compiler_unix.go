//go:build unix

package wasm

import "golang.org/x/sys/unix"

// niceness of the compiler: beside a busy broker it gets a tenth of a core.
const niceness = 10

// afterOthers lets the kernel run all other processes first. That it cannot be done is no reason not to compile.
func afterOthers(pid int) { _ = unix.Setpriority(unix.PRIO_PGRP, pid, niceness) }
