package pluginhost

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// maxSocketDir is how long the name of a folder for sockets may be: the name of a
// socket has a limit of about 100 bytes.
const maxSocketDir = 60

// sockets is where processes have their sockets.
type sockets struct {
	mu  sync.Mutex
	dir string
}

// in returns the folder, which it makes for the first program.
func (s *sockets) in(dataDir string) (dir string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == "" {
		s.dir, err = socketDir(dataDir)
	}
	return s.dir, err
}

// remove removes the folder, and the one around it if no other broker uses that.
func (s *sockets) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
		_ = os.Remove(filepath.Dir(s.dir))
	}
}

// socketDir makes a folder for the sockets of this process, and removes those that
// processes have left that are gone. It is "" if the folder for temporary files has to
// do.
func socketDir(dataDir string) (string, error) {
	if dataDir == "" {
		return "", nil
	}
	all, err := filepath.Abs(filepath.Join(dataDir, "run"))
	if err != nil {
		return "", err
	}
	own := filepath.Join(all, strconv.Itoa(os.Getpid()))
	if len(own) > maxSocketDir {
		return "", nil
	}
	if err := os.MkdirAll(own, 0o700); err != nil {
		return "", fmt.Errorf("a folder for sockets of plugins: %w", err)
	}
	list, err := os.ReadDir(all)
	if err != nil {
		return "", fmt.Errorf("a folder for sockets of plugins: %w", err)
	}
	for _, e := range list {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() && !alive(pid) {
			_ = os.RemoveAll(filepath.Join(all, e.Name()))
		}
	}
	return own, nil
}

// alive reports whether there is, or may be, a process of that number.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || os.IsPermission(err)
}
