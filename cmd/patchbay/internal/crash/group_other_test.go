//go:build !unix

package crash

import "syscall"

func ownGroup() *syscall.SysProcAttr { return nil }
