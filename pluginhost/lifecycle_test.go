package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// moody is a builtin plugin whose methods do what its script says.
type moody struct {
	*script
	number int32 // of the instance
}

type script struct {
	mu      sync.Mutex
	methods map[string]func(context.Context) error
	verdict func() (sdk.Decision, error)

	starts, stops atomic.Int32
	made          atomic.Int32
	sickFrom      atomic.Int32 // instances from this number on are sick; 0: none
}

// on says what a method is to do from now on; nil: nothing.
func (s *script) on(method string, f func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.methods == nil {
		s.methods = map[string]func(context.Context) error{}
	}
	s.methods[method] = f
}

// publish says how messages are answered.
func (s *script) publish(f func() (sdk.Decision, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdict = f
}

func (s *script) do(ctx context.Context, method string) error {
	s.mu.Lock()
	f := s.methods[method]
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx)
}

type moodyConfig struct {
	Version string     `json:"version"`
	Key     sdk.Secret `json:"key" min:"3"`
}

func (m moody) Start(ctx context.Context, _ *sdk.Host, _ moodyConfig) error {
	m.starts.Add(1)
	return m.do(ctx, "start")
}

func (m moody) Configure(ctx context.Context, _ moodyConfig) error { return m.do(ctx, "configure") }

func (m moody) Health(ctx context.Context) error {
	if n := m.sickFrom.Load(); n > 0 && m.number >= n {
		return errors.New("sick")
	}
	return m.do(ctx, "health")
}

func (m moody) Stop(ctx context.Context, _ sdk.StopReason) error {
	m.stops.Add(1)
	return m.do(ctx, "stop")
}

func (m moody) Publish(context.Context, *sdk.PublishRequest) (sdk.Decision, error) {
	m.script.mu.Lock()
	f := m.script.verdict
	m.script.mu.Unlock()
	if f == nil {
		return sdk.Continue(), nil
	}
	return f()
}

func (s *script) plugin(name string) sdk.Plugin {
	return sdk.Plugin{
		Name: name, Version: "1", Config: sdk.ConfigOf[moodyConfig](), New: func() any { return moody{s, s.made.Add(1)} },
		Grants: []sdk.Grant{{Name: "kv", Optional: true}},
	}
}

func specs(names ...string) (list []Spec) {
	for i, n := range names {
		list = append(list, Spec{Name: n, Source: fmt.Sprintf("plugins[%d]", i)})
	}
	return list
}

func stateOf(h *Host, name string) string {
	d, _ := h.Detail(name)
	return d.State
}

func namesOf(h *Host) string {
	var names []string
	for _, i := range h.List() {
		names = append(names, i.Name+" "+i.State)
	}
	return strings.Join(names, ", ")
}

// lifecycle runs a test in virtual time with two plugins, a and b.
func lifecycle(t *testing.T, test func(t *testing.T, h *Host, broker *fakeBroker, a, b *script)) {
	synctest.Test(t, func(t *testing.T) {
		a, b := new(script), new(script)
		h, broker := newTestHost(t, a.plugin("a"), b.plugin("b"))
		test(t, h, broker, a, b)
		closeHost(t, h)
	})
}

func apply(t *testing.T, h *Host, list []Spec) []string {
	t.Helper()
	lines, err := h.Apply(t.Context(), slices.Clone(list)) // which it keeps
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestApplyIsAllOrNothing(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, broker *fakeBroker, a, b *script) {
		apply(t, h, specs("a"))
		// a is configured and another copy of it started before b is refused.
		list := append(specs("a"), Spec{Name: "c", Source: "plugins[1]", Plugin: "a"}, Spec{Name: "b", Source: "plugins[2]"})
		list[0].Config, list[0].Grants = []byte(`{"version":"2"}`), nil
		b.on("start", func(context.Context) error { return sdk.NewProblem("/version", "it is not for me") })
		_, err := h.Apply(t.Context(), slices.Clone(list))
		if err == nil || !strings.Contains(err.Error(), "plugins[2]: plugin b: config: /version: it is not for me") {
			t.Errorf("%v", err)
		}
		if got := namesOf(h); got != "a serving" {
			t.Errorf("after an Apply that was refused: %s", got)
		}
		d, _ := h.Detail("a")
		if string(d.Config) != "{}" || d.Reloads != 0 {
			t.Errorf("config %s, %d reloads", d.Config, d.Reloads)
		}
		if n := a.starts.Load() - a.stops.Load(); n != 1 {
			t.Errorf("%d copies of a run", n)
		}

		// Grants of a spec that is refused are not given.
		list = specs("a")
		list[0].Grants = []pluginv1.Grant{{Name: "kv"}}
		a.sickFrom.Store(a.made.Load() + 1)
		if _, err := h.Apply(t.Context(), slices.Clone(list)); err == nil || !strings.Contains(err.Error(), "has not become healthy within 15s: sick") {
			t.Errorf("%v", err)
		}
		a.sickFrom.Store(0)
		service := h.find("a").gen.Load().service
		if _, err := service.KVGet(t.Context(), &pluginv1.KVGetRequest{Key: "k"}); err == nil {
			t.Error("the grant of a spec that was refused is in force")
		}
		if got := fmt.Sprint(broker.states("a")); got != "[starting serving]" {
			t.Errorf("what runs has gone through %s", got)
		}

		// Optional ones are left out, and tried again.
		b.on("start", func(context.Context) error { return errors.New("not now") })
		list = specs("a", "b")
		list[1].Optional = true
		apply(t, h, list)
		if got := namesOf(h); got != "a serving, b failed" {
			t.Errorf("%s", got)
		}
		b.on("start", nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := namesOf(h); got != "a serving, b serving" {
			t.Errorf("%s", got)
		}
		if got := strings.Join(apply(t, h, specs("b")), "; "); got != "plugin a: removed" {
			t.Errorf("%s", got)
		}
		if got := namesOf(h); got != "b serving" {
			t.Errorf("%s", got)
		}
	})
}

// A Configure after which the host cannot go on is taken back.
func TestConfigureIsTakenBack(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, _ *fakeBroker, a, _ *script) {
		apply(t, h, specs("a"))
		list := specs("a")
		list[0].Config = []byte(`{"version":"2"}`)
		times := 0
		a.on("configure", func(context.Context) error {
			if times++; times == 1 {
				return errors.New("told to")
			}
			return nil
		})
		if _, err := h.Apply(t.Context(), slices.Clone(list)); err == nil || !strings.Contains(err.Error(), "configure: told to") {
			t.Errorf("%v", err)
		}
		if d, _ := h.Detail("a"); string(d.Config) != "{}" || d.State != "serving" {
			t.Errorf("%s %s", d.Config, d.State)
		}
		if got := strings.Join(apply(t, h, list), "; "); got != "plugin a: configured" {
			t.Errorf("%s", got)
		}
		if d, _ := h.Detail("a"); string(d.Config) != `{"version":"2"}` {
			t.Errorf("%s", d.Config)
		}
	})
}

func TestQuarantine(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, broker *fakeBroker, a, _ *script) {
		list := specs("a")
		list[0].Optional = true
		a.on("start", func(context.Context) error { return errors.New("no database") })
		apply(t, h, list)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		d, _ := h.Detail("a")
		if d.State != "quarantined" || !strings.Contains(d.Error, "no database; it has failed 12 times in a row") || a.starts.Load() != maxRetries+1 {
			t.Errorf("%s after %d starts: %s", d.State, a.starts.Load(), d.Error)
		}
		// It ends when an operator says so: not with an error, but at once with success.
		if err := h.Reload(t.Context(), "a"); err == nil {
			t.Error("a reload that fails has no error")
		}
		if s := stateOf(h, "a"); s != "quarantined" {
			t.Errorf("%s", s)
		}
		a.on("start", nil)
		if err := h.Reload(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if d, _ := h.Detail("a"); d.State != "serving" || d.Error != "" {
			t.Errorf("%s %s", d.State, d.Error)
		}
		// What cannot get better is not tried again.
		a.on("start", func(context.Context) error { return sdk.NewProblem("", "never") })
		if err := h.Disable(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if err := h.Enable(t.Context(), "a"); err == nil {
			t.Error("enabled")
		}
		before := a.starts.Load()
		time.Sleep(time.Hour)
		if s := stateOf(h, "a"); s != "failed" || a.starts.Load() != before {
			t.Errorf("%s, started %d times more", s, a.starts.Load()-before)
		}
		_ = broker
	})
}

func TestDisableAndEnable(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, _ *fakeBroker, a, _ *script) {
		apply(t, h, specs("a", "b"))
		for range 2 {
			if err := h.Disable(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		if got := namesOf(h); got != "a disabled, b serving" || a.stops.Load() != 1 {
			t.Errorf("%s, stopped %d times", got, a.stops.Load())
		}
		if err := h.Reload(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "patchbay plugin enable a") {
			t.Errorf("%v", err)
		}
		// A config that says nothing else leaves it alone, but for what it is started by.
		list := specs("a", "b")
		apply(t, h, list)
		list[0].Config = []byte(`{"version":"2"}`)
		apply(t, h, list)
		if got := namesOf(h); got != "a disabled, b serving" {
			t.Errorf("%s", got)
		}
		// One that cannot be started is enabled, and tried again.
		a.on("start", func(context.Context) error { return errors.New("not now") })
		if err := h.Enable(t.Context(), "a"); err == nil {
			t.Error("enabled")
		}
		if s := stateOf(h, "a"); s != "failed" {
			t.Errorf("%s", s)
		}
		a.on("start", nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if d, _ := h.Detail("a"); d.State != "serving" || string(d.Config) != `{"version":"2"}` {
			t.Errorf("%s with %s", d.State, d.Config)
		}
		// The config has the last word.
		list[0].Disabled = true
		if got := strings.Join(apply(t, h, list), "; "); got != "plugin a: disabled" {
			t.Errorf("%s", got)
		}
		if err := h.Enable(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		list[1].Config = []byte(`{"version":"2"}`)
		apply(t, h, list)
		if got := namesOf(h); got != "a serving, b serving" {
			t.Errorf("%s", got)
		}
		list[0].Disabled = false
		apply(t, h, list)
		if got := namesOf(h); got != "a serving, b serving" {
			t.Errorf("%s", got)
		}
		if err := h.Disable(t.Context(), "none"); !errors.Is(err, ErrNoPlugin) || !strings.Contains(err.Error(), "a, b") {
			t.Errorf("%v", err)
		}
	})
}

// A start that hangs, and does not keep to its context, holds up nobody else.
func TestHangingStart(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, _ *fakeBroker, a, b *script) {
		b.publish(func() (sdk.Decision, error) { return sdk.Drop("b"), nil })
		apply(t, h, specs("a", "b"))
		hang := make(chan struct{})
		a.on("start", func(context.Context) error { <-hang; return nil })
		reloaded := make(chan error, 1)
		go func() { reloaded <- h.Reload(t.Context(), "a") }()
		synctest.Wait()
		before := time.Now()
		if got := namesOf(h); got != "a serving, b serving" {
			t.Errorf("%s", got)
		}
		if r := ask(h); r.Verdict != hook.Drop {
			t.Errorf("%v", r.Verdict)
		}
		if err := h.Reload(t.Context(), "b"); err != nil {
			t.Error(err)
		}
		if err := h.Disable(t.Context(), "b"); err != nil {
			t.Error(err)
		}
		if took := time.Since(before); took > time.Second {
			t.Errorf("others waited for %s", took)
		}
		// Nor has it to be waited for in order to stop it.
		if err := h.Disable(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if took := time.Since(before); took > 5*time.Second {
			t.Errorf("it took %s to disable it", took)
		}
		if err := <-reloaded; !errors.Is(err, context.Canceled) {
			t.Errorf("the reload ended with %v", err)
		}
		if got := namesOf(h); got != "a disabled, b disabled" {
			t.Errorf("%s", got)
		}
		close(hang)
	})
}

// Methods that hang do not hang the host.
func TestHangingMethods(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, _ *fakeBroker, a, _ *script) {
		apply(t, h, specs("a"))
		hang := make(chan struct{})
		defer close(hang)
		hangs := func(context.Context) error { <-hang; return nil }
		// Health: after three questions it is started again.
		a.on("health", func(ctx context.Context) error {
			if a.starts.Load() == 1 {
				return hangs(ctx)
			}
			return nil
		})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if d, _ := h.Detail("a"); d.State != "serving" || d.Restarts != 1 || a.starts.Load() != 2 {
			t.Errorf("%s, %d restarts, %d starts: %s", d.State, d.Restarts, a.starts.Load(), d.Error)
		}
		a.on("configure", hangs)
		list := specs("a")
		list[0].Config = []byte(`{"version":"2"}`)
		if _, err := h.Apply(t.Context(), slices.Clone(list)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		a.on("stop", hangs)
		before := time.Now()
		if err := h.Disable(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if took := time.Since(before); took > drainDeadline {
			t.Errorf("it took %s", took)
		}
	})
}

func TestHealthIsShown(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, broker *fakeBroker, a, _ *script) {
		apply(t, h, specs("a"))
		say := func(health error, state, want string) {
			t.Helper()
			a.on("health", func(context.Context) error { return health })
			time.Sleep(healthTicks * time.Second)
			synctest.Wait()
			if d, _ := h.Detail("a"); d.State != state || d.Health != want {
				t.Errorf("%s %q, want %s %q", d.State, d.Health, state, want)
			}
		}
		say(nil, "serving", "")
		say(errors.New("sick"), "failed", "not serving: sick")
		if r := ask(h); r.Verdict != hook.Continue || a.starts.Load() != 1 {
			t.Errorf("%v, %d starts", r.Verdict, a.starts.Load())
		}
		say(sdk.Degraded("slow"), "serving", "degraded: slow")
		say(nil, "serving", "")
		if got := fmt.Sprint(broker.states("a")); got != "[starting serving failed serving]" {
			t.Errorf("%s", got)
		}
	})
}

func TestChainOrderIsThatOfTheConfig(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, broker *fakeBroker, a, b *script) {
		a.publish(func() (sdk.Decision, error) { return sdk.Drop("a"), nil })
		b.publish(func() (sdk.Decision, error) { return sdk.Drop("b"), nil })
		first := func(want string) {
			t.Helper()
			if r := ask(h); r.Reason != want {
				t.Errorf("%q was asked first, want %q", r.Reason, want)
			}
		}
		apply(t, h, specs("a", "b"))
		first("a")
		forgotten := broker.forgotten
		apply(t, h, specs("b", "a"))
		first("b")
		if broker.forgotten == forgotten {
			t.Error("answers of another order are not forgotten")
		}
		list := specs("b", "a")
		list[0].Hooks = map[pluginv1.Point]HookSpec{pluginv1.PointInterceptPublish: {Off: true}}
		apply(t, h, list)
		first("a")
		// The operator's failure policy, and deadline.
		list[1].Hooks = map[pluginv1.Point]HookSpec{pluginv1.PointInterceptPublish: {Failure: pluginv1.FailurePolicyDeny, Deadline: time.Millisecond}}
		a.publish(func() (sdk.Decision, error) { return sdk.Continue(), errors.New("told to") })
		apply(t, h, list)
		if r := ask(h); r.Verdict != hook.Deny || r.Code != packet.ImplementationSpecificError {
			t.Errorf("%v %v", r.Verdict, r.Code)
		}
		if i := h.List()[1].Hooks[0]; i.Deadline != time.Millisecond || i.Failure != "deny" || i.Policy != 1 {
			t.Errorf("%+v", i)
		}
		list[1].Hooks = map[pluginv1.Point]HookSpec{pluginv1.PointInterceptSubscribe: {Failure: pluginv1.FailurePolicyDrop}}
		if _, err := h.Apply(t.Context(), slices.Clone(list)); err == nil || !strings.Contains(err.Error(), `hooks: intercept_subscribe: failure "drop" is impossible here`) {
			t.Errorf("%v", err)
		}
	})
}

func TestFolder(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, _ *fakeBroker, a, b *script) {
		apply(t, h, specs("a"))
		file := func(name, plugin, version string) Spec {
			return Spec{Name: name, Source: "plugins/" + name, Plugin: plugin, Config: []byte(`{"version":"` + version + `"}`)}
		}
		set := func(problems map[string]error, want string, files ...Spec) {
			t.Helper()
			h.SetFolder(t.Context(), files, problems)
			if got := namesOf(h); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		set(nil, "a serving, x serving, y serving", file("y", "b", "1"), file("x", "b", "1"))
		starts := b.starts.Load()
		set(nil, "a serving, x serving, y serving", file("y", "b", "1"), file("x", "b", "1"))
		if b.starts.Load() != starts {
			t.Error("files that have not changed were started anew")
		}
		// A new version that cannot be started; the config's name; a file that is none.
		b.on("start", func(context.Context) error { return sdk.NewProblem("", "no") })
		set(map[string]error{"z": errors.New("no manifest")}, "a serving, x serving, y serving, z failed",
			file("a", "b", "1"), file("x", "b", "2"), file("y", "b", "1"))
		if d, _ := h.Detail("x"); !strings.Contains(d.Error, "the last reload was refused: no") || string(d.Config) != `{"version":"1"}` {
			t.Errorf("%s, config %s", d.Error, d.Config)
		}
		// One that is no plugin is never taken for a builtin one of its name.
		set(map[string]error{"b": errors.New("no manifest")}, "a serving, b failed, x serving", file("x", "b", "2"))
		b.on("start", nil)
		if err := h.Reload(t.Context(), "b"); err == nil || err.Error() != "no manifest" {
			t.Errorf("%v", err)
		}
		if err := h.Reload(t.Context(), "x"); err != nil {
			t.Error(err)
		}
		set(nil, "a serving, b serving", file("b", "b", "1"))
		// The config takes over a plugin of the folder without a gap.
		reloads := h.List()[1].Reloads
		apply(t, h, specs("a", "b"))
		if got := namesOf(h); got != "a serving, b serving" || h.List()[1].Reloads != reloads+1 && h.List()[1].Source != "plugins[1]" {
			t.Errorf("%s %+v", got, h.List()[1])
		}
		set(nil, "a serving, b serving")
		set(nil, "a serving, b serving", file("b", "b", "7"))
		_ = a
	})
}

// A plugin that ends by itself during a change of the config is started again or
// exchanged, and not both.
func TestApplyDuringACrash(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, _ *fakeBroker, a, b *script) {
		apply(t, h, specs("a", "b"))
		p := h.find("a")
		g := p.gen.Load()
		crashed := make(chan struct{})
		b.on("configure", func(context.Context) error { // while the Apply is under way, and a is started already
			p.over(g, errors.New("crashed"))
			close(crashed)
			time.Sleep(time.Second)
			return nil
		})
		list := specs("a", "b")
		list[0].Grants = []pluginv1.Grant{{Name: "kv"}}
		list[1].Config = []byte(`{"version":"2"}`)
		apply(t, h, list)
		<-crashed
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := namesOf(h); got != "a serving, b serving" {
			t.Errorf("%s", got)
		}
		if n := a.starts.Load() - a.stops.Load(); n != 2 { // the crashed one was not stopped
			t.Errorf("%d were started and not stopped", n)
		}
	})
}

func TestAfterClose(t *testing.T) {
	lifecycle(t, func(t *testing.T, h *Host, broker *fakeBroker, a, _ *script) {
		apply(t, h, specs("a"))
		closeHost(t, h)
		if _, err := h.Apply(t.Context(), specs("a")); !errors.Is(err, errClosed) {
			t.Errorf("%v", err)
		}
		if err := h.Reload(t.Context(), "a"); err == nil {
			t.Error("reloaded")
		}
		h.SetFolder(t.Context(), specs("b"), nil)
		if a.starts.Load() != 1 || a.stops.Load() != 1 || broker.wants != 0 {
			t.Errorf("%d starts, %d stops, wants %b", a.starts.Load(), a.stops.Load(), broker.wants)
		}
	})
}
