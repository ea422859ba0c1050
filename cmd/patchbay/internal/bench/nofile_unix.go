//go:build unix

package bench

import (
	"fmt"
	"syscall"
)

// spareFiles is what the program itself has open besides the connections.
const spareFiles = 64

// needFiles makes room for n connections at once by raising the soft limit of open
// files, up to the hard one. It changes this process only.
func needFiles(n int) error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	want := uint64(n) + spareFiles
	if uint64(lim.Cur) >= want {
		return nil
	}
	hard := uint64(lim.Max)
	if hard >= want {
		lim.Cur = lim.Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim) == nil {
			return nil
		}
	}
	return fmt.Errorf("%d connections need %d open files, but the hard limit is %d: raise it (ulimit -Hn %d; LimitNOFILE= in systemd) or ask for fewer connections",
		n, want, hard, want)
}
