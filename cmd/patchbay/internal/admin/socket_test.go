//go:build unix

package admin

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
)

func TestSocketIsPrivate(t *testing.T) {
	// This process has one umask; nothing else of these tests depends on it.
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	b, _ := newBroker(t)
	dir := filepath.Join(dataDir(t), "made", "for it")
	s := start(t, b, func(o *Options) { o.DataDir = dir })
	if s.Socket() != filepath.Join(dir, "admin.sock") {
		t.Errorf("socket %s", s.Socket())
	}
	info, err := os.Lstat(s.Socket())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if folder, _ := os.Stat(dir); folder.Mode().Perm()&0o007 != 0 {
		t.Errorf("mode of the folder %v", folder.Mode())
	}
}

func TestPrivateFromTheStart(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(dataDir(t), "s")
	lc := net.ListenConfig{Control: privateFromTheStart}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if info, _ := os.Lstat(path); info.Mode().Perm() != 0o600 {
		t.Skipf("mode %v before chmod: this system takes none from the socket", info.Mode())
	}
}

func TestSocketLeftBehindIsReplaced(t *testing.T) {
	b, _ := newBroker(t)
	dir := dataDir(t)
	ln, err := net.Listen("unix", filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	s := start(t, b, func(o *Options) { o.DataDir = dir })
	wantContains(t, at(t, s, "status"), "1.2.3-test")
}

func TestSocketInUseIsNotReplaced(t *testing.T) {
	b, _ := newBroker(t)
	s := start(t, b, nil)
	_, err := Start(t.Context(), Options{Broker: b, Config: config.Admin{Listen: "127.0.0.1:0"}, DataDir: s.opts.DataDir})
	if err == nil || !strings.Contains(err.Error(), "admin.socket: "+s.Socket()+": another broker answers there") {
		t.Errorf("start: %v", err)
	}
	wantContains(t, at(t, s, "status"), "1.2.3-test")
}
