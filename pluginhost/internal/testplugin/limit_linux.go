package testplugin

import "syscall"

// mostMemory is what a program may take that takes without end, so that the machine of
// the test stays alive; an operator has ulimit or a cgroup for that.
const mostMemory = 256 << 20

func limitMemory() {
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: mostMemory, Max: mostMemory}); err != nil {
		panic(err)
	}
}
