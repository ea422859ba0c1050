//go:build unix

package crash

import "syscall"

// ownGroup gives the broker a process group of its own: an interrupt from the
// keyboard is for the test, which ends it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
