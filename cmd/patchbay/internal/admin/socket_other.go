//go:build !linux

package admin

import "syscall"

// privateFromTheStart can do nothing here: only Linux takes the mode of a socket
// over to its file. listenSocket sets it right after.
func privateFromTheStart(_, _ string, _ syscall.RawConn) error { return nil }
