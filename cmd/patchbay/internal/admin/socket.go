package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	socketMode = 0o600
	// dataDirMode is for the folder of the socket, should it have to be made.
	dataDirMode = 0o750
	// shortestLimit of a unix socket's path is that of macOS; Linux has 107.
	shortestLimit = 103
)

// listenSocket opens the unix socket at path for this user alone. A socket that a
// broker left behind is replaced, one on which somebody answers is not.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), dataDirMode); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: privateFromTheStart}
	ln, err := lc.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(ctx, path); err != nil {
			return nil, err
		}
		ln, err = lc.Listen(ctx, "unix", path)
	}
	if err != nil {
		if len(path) > shortestLimit && errors.Is(err, syscall.EINVAL) {
			return nil, fmt.Errorf("%s: a path of %d bytes is too long for a unix socket; give a shorter one, or off", path, len(path))
		}
		return nil, fmt.Errorf("%s: %w", path, innermost(err))
	}
	if err := os.Chmod(path, socketMode); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// removeStale removes the socket at path unless somebody answers on it.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s: is there and not a socket", path)
	}
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s: another broker answers there; stop it, or choose another data_dir or socket", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w", path, innermost(err))
	}
	return os.Remove(path)
}
