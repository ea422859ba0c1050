// Package bridge_test tests the plugin: alone, and in a broker that is killed, as it is
// itself, while messages come.
package bridge_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// noTool is the exit code of build.sh where Python is missing.
const noTool = 69

var work string // a folder for all tests

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "bridge-python-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(work)
	os.Exit(code)
}

// built makes the plugin, once for all tests. What it needs of PyPI is kept from one run to
// the next.
var built = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	needs, err := os.ReadFile("requirements.txt")
	if err != nil {
		return "", err
	}
	venv := filepath.Join(cache, "patchbay-test", fmt.Sprintf("bridge-python-%.4x", sha256.Sum256(needs)))
	if err := os.MkdirAll(filepath.Dir(venv), 0o755); err != nil {
		return "", err
	}
	if out, err := exec.Command("./build.sh", work, venv).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return filepath.Join(work, "bridge-python"), nil
})

// plugin returns the plugin, or skips the test.
func plugin(t testing.TB) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("asyncio has no unix sockets there")
	}
	path, err := built()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == noTool && os.Getenv("TEST_TOOLS") != "required":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return path
}

// patchbay is the broker's program.
var patchbay = sync.OnceValues(func() (string, error) {
	path := filepath.Join(work, "patchbay")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/patchbay").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// patience is how long anything may take on a busy machine.
const patience = 3 * time.Minute

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// broker is one that can be killed and started again.
type broker struct {
	t                  *testing.T
	program, dir, addr string
	cmd                *exec.Cmd
	ended              chan struct{}
}

// startBroker starts a broker with these plugins, in YAML.
func startBroker(t *testing.T, plugins string) *broker {
	t.Helper()
	program, err := patchbay()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, program: program, dir: t.TempDir(), addr: l.Addr().String()}
	l.Close() // the broker has to have the same each time
	config := fmt.Sprintf("listeners: [{tcp: %q}]\nadmin: {listen: off}\nplugins:\n%s", b.addr, plugins)
	if err := os.WriteFile(filepath.Join(b.dir, "patchbay.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(b.kill)
	return b
}

func (b *broker) command(args ...string) *exec.Cmd {
	cmd := exec.Command(b.program, args...)
	cmd.Dir, cmd.Env = b.dir, []string{"HOME=" + b.dir}
	return cmd
}

func (b *broker) start() {
	b.t.Helper()
	log, err := os.OpenFile(filepath.Join(b.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	cmd, ended := b.command("serve"), make(chan struct{})
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	b.cmd, b.ended = cmd, ended
	eventually(b.t, "the broker listens", func() bool {
		select {
		case <-ended:
			b.t.Fatalf("the broker has ended:\n%s", b.log())
		default:
		}
		c, err := net.Dial("tcp", b.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// kill ends the broker as a power failure would end it, for all that it can do about it.
func (b *broker) kill() {
	_ = b.cmd.Process.Kill() // it may have ended
	<-b.ended
}

func (b *broker) log() string {
	text, err := os.ReadFile(filepath.Join(b.dir, "log"))
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	return string(text)
}
