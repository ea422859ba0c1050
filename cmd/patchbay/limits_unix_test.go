//go:build unix

package main_test

import "syscall"

// openFiles is the limit of this process, which the broker inherits; Go has raised
// it as far as it may be.
func openFiles() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return int(min(l.Max, 1<<30))
}
