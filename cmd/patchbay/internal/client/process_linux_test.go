package client

import (
	"os/exec"
	"syscall"
)

// endWithUs has the kernel end the broker when a test run panics or times out, which skips TestMain's end.
func endWithUs(process *exec.Cmd) {
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
