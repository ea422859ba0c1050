package pluginhost_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/testplugin"
	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// built are the test plugin's files, made once. The patient ones have a deadline that a
// busy machine keeps.
var built struct {
	once                        sync.Once
	dir                         string
	program, wasm               string
	patientProgram, patientWASM string
	err                         error
}

func TestMain(m *testing.M) {
	var err error
	if built.dir, err = os.MkdirTemp("", "pluginhost"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(built.dir)
	os.Exit(code)
}

func build(t testing.TB) {
	t.Helper()
	built.once.Do(func() {
		built.program, built.wasm = compile(t, "test", ""), compile(t, "test.wasm", "")
		built.patientProgram, built.patientWASM = compile(t, "patient", "patient"), compile(t, "patient.wasm", "patient")
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
}

// compile makes a file of the test plugin.
func compile(t testing.TB, file, version string) string {
	return compileOf(t, file, version, "testplugin/cmd")
}

func compileOf(t testing.TB, file, version, pkg string) string {
	file = filepath.Join(built.dir, file)
	args := []string{"build", "-o", file, "-ldflags", "-X main.version=" + version}
	env := os.Environ()
	if filepath.Ext(file) == ".wasm" {
		args, env = append(args, "-buildmode=c-shared"), append(env, "GOOS=wasip1", "GOARCH=wasm")
	}
	cmd := exec.Command("go", append(args, "github.com/patchbay-mq/patchbay/pluginhost/internal/"+pkg)...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil && built.err == nil {
		t.Logf("%s", out)
		built.err = err
	}
	return file
}

// patient makes a spec one of the patient plugin.
func patient(s pluginhost.Spec) pluginhost.Spec {
	switch s.Path {
	case built.program:
		s.Path = built.patientProgram
	case built.wasm:
		s.Path = built.patientWASM
	}
	return s
}

// fixture is a broker with a host.
type fixture struct {
	t      testing.TB
	broker *broker.Broker
	host   *pluginhost.Host
	addr   string
	log    *logs
}

// logs keeps the log for who wants to see it.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func start(t testing.TB, change ...func(*pluginhost.Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, log: new(logs)}
	logger := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	st := new(store.Memory)
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = slog.New(slog.DiscardHandler), st })
	if err != nil {
		t.Fatal(err)
	}
	f.broker = b
	o := pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: st.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) { p := testplugin.Plugin(); return p, name == p.Name },
		Logger:  logger, Node: "node", Version: "test", DataDir: t.TempDir(),
		CacheDir: filepath.Join(built.dir, "cache"), // a module is compiled once for all tests
	}
	for _, c := range change {
		c(&o)
	}
	if f.host, err = pluginhost.New(o); err != nil {
		t.Fatal(err)
	}
	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := f.host.Close(ctx); err != nil {
			t.Errorf("close the host: %v", err)
		}
		if err := b.Close(ctx); err != nil {
			t.Errorf("close the broker: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", f.log)
		}
	})
	return f
}

// spec is the test plugin in a runtime.
func spec(t testing.TB, rt pluginhost.Runtime, config map[string]any) pluginhost.Spec {
	t.Helper()
	s := pluginhost.Spec{Name: "test", Source: "plugins[0]", Runtime: rt}
	switch rt {
	case pluginhost.Process:
		build(t)
		s.Path, s.Dev = built.program, true
	case pluginhost.WASM:
		build(t)
		s.Path = built.wasm
	}
	if config != nil {
		s.Config, _ = json.Marshal(config)
	}
	return s
}

func (f *fixture) apply(specs ...pluginhost.Spec) {
	f.t.Helper()
	if _, err := f.host.Apply(f.t.Context(), specs); err != nil {
		f.t.Fatalf("apply: %v\n%s", err, f.log)
	}
}

func (f *fixture) info(name string) pluginhost.Info {
	d, _ := f.host.Detail(name)
	return d.Info
}

// eachRuntime runs a test in all three runtimes.
func eachRuntime(t *testing.T, test func(t *testing.T, rt pluginhost.Runtime)) {
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process, pluginhost.WASM} {
		t.Run(string(rt), func(t *testing.T) { test(t, rt) })
	}
}

func TestDecisions(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		f := start(t)
		f.apply(spec(t, rt, nil))
		dial(t, f.addr, "a", "bad").connack(packet.BadUserNameOrPassword)
		dial(t, f.addr, "a", "").connack(packet.NotAuthorized)
		dial(t, f.addr, "a", "bad", v311).connack(packet.BadUserNameOrPassword)

		sub := connect(t, f.addr, "sub", "sub")
		sub.subscribe("#")
		p := connect(t, f.addr, "p", "p")
		p.publish("plain", "1", 0, 0)
		sub.expect("plain", "1")
		p.publish("edit/version", "x", 1, 1)
		p.puback(1, packet.Success)
		sub.expect("edit/version", "1")
		p.publish("edit/topic", "x", 0, 0)
		sub.expect("edited/edit/topic", "x")
		p.publish("edit/twice", "x", 0, 0)
		sub.expect("edit/twice", "x")
		sub.expect("edited/second", "second")
		p.publish("edit/drop", "x", 1, 2)
		p.puback(2, packet.Success)
		p.publish("edit/deny", "x", 1, 3)
		p.puback(3, packet.QuotaExceeded)
		p.publish("guarded/no", "x", 1, 4)
		p.puback(4, packet.NotAuthorized)
		p.publish("guarded/yes", "x", 1, 5)
		p.puback(5, packet.Success)
		sub.expect("guarded/yes", "x")
		sub.quiet()

		limited := connect(t, f.addr, "l", "limited")
		limited.publish("other", "x", 1, 1)
		limited.puback(1, packet.NotAuthorized)
		limited.publish("mine/a", "x", 1, 2)
		limited.puback(2, packet.Success)
		sub.expect("mine/a", "x")

		p.publish("edit/disconnect", "x", 1, 6)
		p.end(packet.AdministrativeAction)
		sub.quiet()
	})
}

// A plugin that only refuses stands before listeners that let everybody in, and before
// plugins that decide.
func TestRefuserBeforeListeners(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		o := new(open)
		f := start(t, func(opts *pluginhost.Options) {
			known := opts.Builtin
			opts.Builtin = func(name string) (sdk.Plugin, bool) {
				if name == "open" {
					return plugin("open", o), true
				}
				return known(name)
			}
		})
		l, err := f.broker.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}})
		if err != nil {
			t.Fatal(err)
		}
		refuser := spec(t, rt, map[string]any{"only_refuses": true})
		f.apply(refuser)
		if f.host.Authenticates() {
			t.Error("it counts as one that decides")
		}
		if i := f.info("test"); len(i.Hooks) != 1 || !i.Hooks[0].OnlyRefuses {
			t.Errorf("%+v", i.Hooks)
		}
		p := connect(t, f.addr, "p", "")
		p.publish("t", "x", 1, 1)
		p.puback(1, packet.NoMatchingSubscribers)
		dial(t, l.Addr().String(), "q", "").connack(packet.NotAuthorized)
		dial(t, f.addr, "q", "bad").connack(packet.BadUserNameOrPassword)
		dial(t, f.addr, "q", "let me in").connack(packet.ImplementationSpecificError)

		f.apply(refuser, pluginhost.Spec{Name: "open", Source: "plugins[1]", Runtime: pluginhost.Builtin})
		if !f.host.Authenticates() {
			t.Error("the one behind it does not count")
		}
		connect(t, l.Addr().String(), "q", "")
		if o.asked.Load() != 1 {
			t.Errorf("it was asked %d times", o.asked.Load())
		}
		dial(t, f.addr, "q", "bad").connack(packet.BadUserNameOrPassword)
	})
}

func TestFailurePolicy(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		f := start(t)
		f.apply(spec(t, rt, nil))
		dial(t, f.addr, "a", "panic").connack(packet.ImplementationSpecificError)
		sub := connect(t, f.addr, "sub", "sub")
		sub.subscribe("#")
		p := connect(t, f.addr, "p", "p")
		for i, topic := range []string{"edit/panic", "edit/fail", "edit/wrong"} {
			p.publish(topic, "x", 1, uint16(i+1))
			p.puback(uint16(i+1), packet.Success) // interceptors fail open by default
			sub.expect(topic, "x")
		}
		i := f.info("test")
		if i.State != "serving" && i.State != "degraded" {
			t.Errorf("state %s", i.State)
		}
		var failures int64
		for _, h := range i.Hooks {
			failures += h.Failures
		}
		if failures < 4 {
			t.Errorf("%d failures counted, want 4", failures)
		}
	})
}

func TestHangAndExit(t *testing.T) {
	f := start(t)
	s := spec(t, pluginhost.Process, nil)
	s.Hooks = map[pluginv1.Point]pluginhost.HookSpec{pluginv1.PointInterceptPublish: {Deadline: 50 * time.Millisecond}}
	f.apply(s)
	sub := connect(t, f.addr, "sub", "sub")
	sub.subscribe("#")
	p := connect(t, f.addr, "p", "p")
	p.publish("edit/hang", "x", 1, 1)
	p.puback(1, packet.Success)
	sub.expect("edit/hang", "x")
	p.publish("edit/exit", "x", 1, 2)
	p.puback(2, packet.Success)
	sub.expect("edit/exit", "x")
	eventually(t, "a restart", func() bool { i := f.info("test"); return i.Restarts >= 1 && i.State == "serving" })
	p.publish("edit/version", "x", 1, 3)
	p.puback(3, packet.Success)
	sub.expect("edit/version", "1")
}

func TestDeferred(t *testing.T) {
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process} {
		t.Run(string(rt), func(t *testing.T) {
			f := start(t)
			f.apply(spec(t, rt, nil))
			sub := connect(t, f.addr, "sub", "sub")
			sub.subscribe("#")
			p := connect(t, f.addr, "p", "p")
			for id := range uint16(20) {
				p.publish("edit/later", "x", 1, id+1)
			}
			p.publish("edit/version", "x", 1, 100)
			for id := range uint16(20) {
				p.puback(id+1, packet.Success)
			}
			p.puback(100, packet.Success)
			sub.expect("edit/version", "1")
			sub.quiet()
		})
	}
}

func TestObserveAndConsumeAndGate(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		f := start(t)
		f.apply(spec(t, rt, nil))
		p := connect(t, f.addr, "p", "p")
		p.publish("watch/a", "1", 0, 0)
		p.publish("consume/a", "1", 1, 1)
		p.puback(1, packet.Success)
		p.publish("gate/a", "g", 1, 2)
		p.puback(2, packet.NoMatchingSubscribers)
		p.publish("gate/no", "g", 1, 3)
		p.puback(3, packet.QuotaExceeded)
		want := []string{"connected p", "published watch/a", "consume 1"}
		if rt != pluginhost.WASM { // whose gates run in instances that HTTP does not see
			want = append(want, "gate g")
		}
		eventually(t, "all to be seen", func() bool {
			got := f.seen()
			for _, w := range want {
				if !strings.Contains(got, w) {
					return false
				}
			}
			return true
		})
	})
}

func TestDeadLetter(t *testing.T) {
	f := start(t)
	f.apply(spec(t, pluginhost.Builtin, nil))
	sub := connect(t, f.addr, "sub", "sub")
	sub.subscribe("dead")
	p := connect(t, f.addr, "p", "p")
	for i, payload := range []string{"1", "poison", "2"} {
		p.publish("consume/a", payload, 1, uint16(i+1))
		p.puback(uint16(i+1), packet.Success)
	}
	sub.expect("dead", "poison")
	eventually(t, "the rest", func() bool { return strings.Contains(f.seen(), "consume 2") })
	c := f.info("test").Consumers[0]
	eventually(t, "an empty queue", func() bool { c = f.info("test").Consumers[0]; return c.Backlog == 0 })
	if c.DeadLetters != 1 || c.Acknowledged != 2 {
		t.Errorf("%+v", c)
	}
}

func TestReload(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		f := start(t)
		f.apply(spec(t, rt, map[string]any{"version": "1"}))
		sub := connect(t, f.addr, "sub", "sub")
		sub.subscribe("#")
		p := connect(t, f.addr, "p", "p")
		ask := func(want string) {
			t.Helper()
			p.publish("edit/version", "x", 0, 0)
			sub.expect("edit/version", want)
		}
		ask("1")
		f.apply(spec(t, rt, map[string]any{"version": "2"})) // by Configure
		ask("2")
		if _, err := f.host.Apply(t.Context(), []pluginhost.Spec{spec(t, rt, map[string]any{"refuse": true})}); err == nil || !strings.Contains(err.Error(), "/refuse") {
			t.Errorf("a refused config: %v", err)
		}
		ask("2")
		if _, err := f.host.Apply(t.Context(), []pluginhost.Spec{spec(t, rt, map[string]any{"vers": "2"})}); err == nil || !strings.Contains(err.Error(), "vers") {
			t.Errorf("a config that does not fit the schema: %v", err)
		}
		reloads := int64(5)
		if raced && rt == pluginhost.WASM {
			reloads = 1
		}
		for range reloads {
			if err := f.host.Reload(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
			ask("2")
		}
		if i := f.info("test"); i.Reloads != reloads || i.State != "serving" {
			t.Errorf("%+v", i)
		}
		if err := f.host.Disable(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		ask("x")
		if err := f.host.Enable(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		ask("2")
		f.apply()
		ask("x")
	})
}

func TestBans(t *testing.T) {
	f := start(t)
	p := connect(t, f.addr, "p", "")
	id, n, err := f.host.Services().AddBan(&pluginv1.Ban{ClientID: "p", Reason: "test"})
	if err != nil || n != 1 {
		t.Fatalf("%d disconnected, %v", n, err)
	}
	p.end(packet.AdministrativeAction) // DISCONNECT cannot say Banned
	dial(t, f.addr, "p", "").connack(packet.Banned)
	connect(t, f.addr, "q", "")
	if found, err := f.host.Services().RemoveBan(id); !found || err != nil {
		t.Fatal(found, err)
	}
	connect(t, f.addr, "p", "")
}

// seen is what the test plugin shows over HTTP.
func (f *fixture) seen() string {
	w := httptest.NewRecorder()
	f.host.ServeHTTP(w, httptest.NewRequestWithContext(f.t.Context(), http.MethodGet, "/plugins/test/seen", nil))
	return w.Body.String()
}
