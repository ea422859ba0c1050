package guard

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// buildDir is where runners are built, removed by TestMain.
var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "guard-test"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

func program() string { return filepath.Join(buildDir, "guard.exe") }

// runners are the plugin in all runtimes, built once.
var runners = sync.OnceValues(func() ([]plugintest.Runner, error) {
	module := filepath.Join(buildDir, "guard.wasm")
	build := func(file string, env ...string) error {
		args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", file}
		if len(env) > 0 {
			args = append(args, "-buildmode=c-shared")
		}
		cmd := exec.Command("go", append(args, "./cmd/guard")...)
		cmd.Env = append(os.Environ(), env...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, text)
		}
		return nil
	}
	if err := build(program()); err != nil {
		return nil, err
	}
	out := []plugintest.Runner{plugintest.Builtin(Plugin()), plugintest.Process(program())}
	if withWasm {
		if err := build(module, "GOOS=wasip1", "GOARCH=wasm"); err != nil {
			return nil, err
		}
		out = append(out, plugintest.Wasm(module))
	}
	return out, nil
})

func allRunners(t testing.TB) []plugintest.Runner {
	t.Helper()
	out, err := runners()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// guarded is the plugin with clients that come and go.
type guarded struct {
	*plugintest.Instance
	t          testing.TB
	connection uint64
	at         func() int64
}

// watchman is the plugin, builtin, with a clock that the test moves.
type watchman struct {
	guarded
	mu  sync.Mutex
	now time.Time
}

func newWatchman(t testing.TB, h *plugintest.Host, config string) *watchman {
	t.Helper()
	w := &watchman{now: time.UnixMilli(1_900_000_000_000)}
	w.guarded = guarded{t: t, at: func() int64 { return w.clock().UnixMilli() }}
	w.Instance = plugintest.Start(t, plugintest.Builtin(withClock(w.clock)), h, config)
	return w
}

func withClock(now func() time.Time) sdk.Plugin {
	p := Plugin()
	p.New = func() any { return newPlugin(now) }
	return p
}

func (w *watchman) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *watchman) pass(d time.Duration) {
	w.mu.Lock()
	w.now = w.now.Add(d)
	w.mu.Unlock()
	// Timers of the host go by the host's own time.
	if err := w.Host.Advance(w.t.Context(), min(d, 10*time.Second)); err != nil {
		w.t.Fatal(err)
	}
}

// client is one on a new connection; "" for an address is a unix socket.
func (g *guarded) client(address, id, user string) *pluginv1.Client {
	g.connection++
	c := &pluginv1.Client{ClientID: id, Username: user, Connection: g.connection}
	if address != "" {
		c.RemoteAddress = address + ":5000"
	}
	return c
}

func (g *guarded) ask(c *pluginv1.Client, secret string) *pluginv1.Verdict {
	g.t.Helper()
	return g.Authenticate(g.t, c, &pluginv1.Authentication{HasUsername: c.Username != "", HasPassword: true, Password: []byte(secret)})
}

func (g *guarded) tell(p pluginv1.Point, c *pluginv1.Client, code sdk.ReasonCode) {
	g.t.Helper()
	b := &pluginv1.Batch{Point: p, Clients: []pluginv1.Client{*c}, Events: []pluginv1.Event{{Client: 1, ReasonCode: uint32(code), TimeMs: g.at()}}}
	g.Process(g.t, b)
}

// fail has a client fail with a password, and returns the verdict before.
func (g *guarded) fail(c *pluginv1.Client, secret string) *pluginv1.Verdict {
	g.t.Helper()
	v := g.ask(c, secret)
	if v.Action == pluginv1.ActionContinue {
		g.tell(pluginv1.PointAuthFailed, c, sdk.BadUserNameOrPassword)
	}
	return v
}

// bans are those that the plugin has made.
func (g *guarded) bans() (out []pluginv1.Ban) {
	for _, c := range g.Host.Calls(pluginv1.HostOpBanAdd) {
		out = append(out, *c.Request.(*pluginv1.BanAddRequest).Ban)
	}
	return out
}
