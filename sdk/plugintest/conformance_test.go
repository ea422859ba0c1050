package plugintest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/internal/testplugin"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const (
	source = "github.com/patchbay-mq/patchbay/sdk/internal/testplugin/"
	config = `{"password":"hush","prefix":"site/"}`
)

// runners are the test plugin in all runtimes, built once.
var runners []plugintest.Runner

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "plugintest")
	if err != nil {
		panic(err)
	}
	program, module := filepath.Join(dir, "testplugin.exe"), filepath.Join(dir, "testplugin.wasm")
	build("cmd", program)
	runners = []plugintest.Runner{plugintest.Builtin(testplugin.Plugin()), plugintest.Process(program)}
	if withWasm {
		build("cmd", module, "GOOS=wasip1", "GOARCH=wasm")
		runners = append(runners, plugintest.Wasm(module))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(pkg, out string, env ...string) {
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", out}
	if len(env) > 0 {
		args = append(args, "-buildmode=c-shared")
	}
	cmd := exec.Command("go", append(args, source+pkg)...)
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v\n%s", err, text))
	}
}

func eachRuntime(t *testing.T, f func(t *testing.T, r plugintest.Runner)) {
	for _, r := range runners {
		t.Run(r.Name, func(t *testing.T) { f(t, r) })
	}
}

var users = []string{"ann", "bob", "other", "banned", "fail", "panic"}

// randomBatch makes a batch of one of the points that need no state.
func randomBatch(rnd *rand.Rand) *pluginv1.Batch {
	points := []sdk.Point{
		sdk.PointAuthenticate, sdk.PointPermit, sdk.PointAuthorizePublish, sdk.PointAuthorizeSubscribe, sdk.PointInterceptPublish,
		sdk.PointInterceptSubscribe, sdk.PointInterceptWill, sdk.PointGatePublish,
	}
	topics := []string{"site/a", "secret/x", "drop", "disconnect", "upper", "twice", "now", "fail", "challenge", "panic", "full", "odd", "#", "a/b"}
	b := &pluginv1.Batch{Point: points[rnd.IntN(len(points))], DeadlineMs: 10_000}
	for i := range 1 + rnd.IntN(2) {
		b.Clients = append(b.Clients, pluginv1.Client{
			ClientID: fmt.Sprintf("c%d", i), Username: users[rnd.IntN(len(users))], Connection: uint64(i + 1),
			Attributes: []sdk.Pair{{Name: "group", Value: []string{"crew", "guest"}[rnd.IntN(2)]}},
		})
	}
	for range 1 + rnd.IntN(4) {
		topic := topics[rnd.IntN(len(topics))]
		e := pluginv1.Event{Client: uint32(rnd.IntN(len(b.Clients) + 1)), QoS: uint32(rnd.IntN(3))}
		switch b.Point {
		case sdk.PointAuthenticate:
			e.Authentication = &pluginv1.Authentication{Password: []byte([]string{"hush", "loud"}[rnd.IntN(2)])}
		case sdk.PointAuthorizePublish, sdk.PointAuthorizeSubscribe:
			e.Topic, e.Retain = topic, rnd.IntN(4) == 0
		case sdk.PointPermit:
		case sdk.PointInterceptSubscribe:
			e.Subscriptions = []pluginv1.Subscription{{TopicFilter: topic, QoS: e.QoS}, {TopicFilter: "#"}}
		default:
			e.Message = &pluginv1.Message{Topic: topic, Payload: []byte("payload")[:rnd.IntN(8)], QoS: e.QoS}
		}
		b.Events = append(b.Events, e)
	}
	return b
}

// The same 1,000 batches in all three runtimes must give the same verdicts.
func TestConformance(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	var cases []plugintest.Case
	for i := range 1000 {
		b := randomBatch(rnd)
		cases = append(cases, plugintest.Batch(fmt.Sprintf("%d/%v", i, b.Point), b))
	}
	plugintest.Conformance(t, config, cases, runners...)
}

func action(t *testing.T, what string, v *pluginv1.Verdict, want pluginv1.Action) {
	t.Helper()
	if v.Action != want {
		t.Errorf("%s: %v, want %v (%s)", what, v.Action, want, v.Reason)
	}
}

func TestAuthentication(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		v := p.Authenticate(t, &sdk.Client{ClientID: "c"}, &sdk.Authentication{Password: []byte("hush")})
		action(t, "right password", v, pluginv1.ActionAllow)
		if a := v.Auth; a == nil || !a.HasPermissions || a.Permissions[0].TopicFilter != "site/#" || a.Permissions[0].TTLMs != 60_000 ||
			a.Attributes[0].Value != "testplugin" {
			t.Errorf("identity %+v", v.Auth)
		}
		v = p.Authenticate(t, &sdk.Client{ClientID: "c"}, &sdk.Authentication{Password: []byte("loud")})
		if action(t, "wrong password", v, pluginv1.ActionDeny); v.ReasonCode != uint32(sdk.BadUserNameOrPassword) {
			t.Errorf("reason code %#x", v.ReasonCode)
		}
		// Two steps: what the first one leaves in state comes back.
		v = p.Authenticate(t, &sdk.Client{ClientID: "dev"}, &sdk.Authentication{Method: "twice"})
		action(t, "first step", v, pluginv1.ActionChallenge)
		second := &sdk.Authentication{Method: "twice", Step: 1, Data: []byte("dev"), State: v.Auth.State}
		v = p.Authenticate(t, &sdk.Client{ClientID: "dev"}, second)
		if action(t, "second step", v, pluginv1.ActionAllow); v.Auth.Username != "twice" {
			t.Errorf("identity %+v", v.Auth)
		}
	})
}

func TestPermit(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		if f := p.Manifest.NeededFeatures; len(f) != 1 || f[0] != "permit" {
			t.Errorf("needed features %v", f)
		}
		if v := p.Permit(t, &sdk.Client{ClientID: "c", Username: "ann", Attributes: []sdk.Pair{{Name: "group", Value: "crew"}}}); v.Action != pluginv1.ActionAllow ||
			v.Auth == nil || !v.Auth.HasPermissions || len(v.Auth.Permissions) != 1 || v.Auth.Permissions[0].TopicFilter != "crew/ann/#" {
			t.Errorf("verdict %+v", v)
		}
		action(t, "no group", p.Permit(t, &sdk.Client{ClientID: "c"}), pluginv1.ActionContinue)
		v := p.Permit(t, &sdk.Client{Username: "banned"})
		if action(t, "banned", v, pluginv1.ActionDeny); v.ReasonCode != uint32(sdk.Banned) || v.Auth != nil {
			t.Errorf("verdict %+v", v)
		}
		_, err := p.ProcessErr(&pluginv1.Batch{Point: sdk.PointPermit, Clients: []pluginv1.Client{{Username: "fail"}}, Events: []pluginv1.Event{{Client: 1}}})
		if err == nil || !strings.Contains(err.Error(), "asked for it") {
			t.Errorf("error %v", err)
		}
	})
}

// A deferred verdict comes when the virtual clock has reached the plugin's timer.
func TestDeferral(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r plugintest.Runner) {
		h := plugintest.NewHost()
		p := plugintest.Start(t, r, h, config)
		v := p.Authenticate(t, &sdk.Client{Username: "later"}, &sdk.Authentication{})
		action(t, "at once", v, pluginv1.ActionDefer)
		event := p.LastEvent()
		if err := h.Advance(context.Background(), 999*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if n := len(h.Calls(pluginv1.HostOpComplete)); n != 0 {
			t.Fatalf("%d completions before it is time", n)
		}
		if err := h.Advance(context.Background(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
		v = p.Completed(t, event)
		if action(t, "later", v, pluginv1.ActionAllow); v.Auth == nil || v.Auth.Username != "late" {
			t.Errorf("identity %+v", v.Auth)
		}
		if m := h.Published(); len(m) != 1 || m[0].Topic != "timers/later" {
			t.Errorf("published %v", m)
		}
	})
}

func TestRefusedConfig(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r plugintest.Runner) {
		for text, want := range map[string]string{
			`{"password":"password"}`: "/password must not be the first",
			`{"pasword":"hush"}`:      `/pasword unknown key "pasword", did you mean "password"?`,
			`{"password":"x"}`:        "/password must be at least 3",
		} {
			_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), text)
			if len(res.Problems) == 0 {
				t.Fatalf("%s is taken", text)
			}
			if got := res.Problems[0].Pointer + " " + res.Problems[0].Message; !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s, want %s", text, got, want)
			}
		}
	})
}

func TestConfigure(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"password":3}`})
		if err != nil || len(res.Problems) != 1 {
			t.Fatalf("%+v, %v", res, err)
		}
		old := p.Authenticate(t, &sdk.Client{}, &sdk.Authentication{Password: []byte("hush")})
		action(t, "after a refused config", old, pluginv1.ActionAllow)
		res, err = p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"password":"new!"}`})
		if err != nil || len(res.Problems) != 0 || res.Restart {
			t.Fatalf("%+v, %v", res, err)
		}
		fresh := p.Authenticate(t, &sdk.Client{}, &sdk.Authentication{Password: []byte("new!")})
		action(t, "after a new config", fresh, pluginv1.ActionAllow)
	})
}

// Observers use the host: storage, metrics, pages; and grants that are missing are named.
func TestHostServices(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r plugintest.Runner) {
		h := plugintest.NewHost()
		p := plugintest.Start(t, r, h, config)
		b := &pluginv1.Batch{Point: sdk.PointConnected}
		for i := range 150 { // more than a page of a scan
			b.Clients = append(b.Clients, pluginv1.Client{ClientID: fmt.Sprintf("c%03d", i)})
			b.Events = append(b.Events, pluginv1.Event{Client: uint32(i + 1)})
		}
		p.Process(t, b)
		if string(h.Value("seen/c149")) != "1" {
			t.Error("c149 was not stored")
		}
		res, err := p.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Method: "GET", Path: "seen"})
		if err != nil || strings.Count(string(res.Body), "\n") != 150 {
			t.Errorf("%+v, %v", res, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		samples := func() (n int) {
			for _, c := range h.Calls(pluginv1.HostOpMetric) {
				n += len(c.Request.(*pluginv1.MetricRequest).Samples)
			}
			return n
		}
		if !h.WaitFor(ctx, func() bool { return samples() == 150 }) {
			t.Errorf("%d samples", samples())
		}
		if !h.WaitFor(ctx, func() bool { return len(h.Logs()) > 0 }) || h.Logs()[0].Message != "started" {
			t.Errorf("logs %v", h.Logs())
		}
		h.Deny("kv")
		res, err = p.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Method: "GET", Path: "seen"})
		if err != nil || res.Status != 403 || string(res.Body) != `no grant "kv"` {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

func TestConsumer(t *testing.T) {
	batch := func(payloads ...string) *pluginv1.ConsumeBatch {
		b := &pluginv1.ConsumeBatch{Consumer: "all"}
		for i, s := range payloads {
			b.Deliveries = append(b.Deliveries, pluginv1.Delivery{
				Offset: uint64(i + 10), Attempt: 1, Message: &pluginv1.Message{Topic: "t", Payload: []byte(s)},
			})
		}
		return b
	}
	result := func(offset uint64, o pluginv1.Outcome, reason string, after uint32) pluginv1.DeliveryResult {
		return pluginv1.DeliveryResult{Offset: offset, Outcome: o, Reason: reason, RetryAfterMs: after}
	}
	eachRuntime(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		for _, c := range []struct {
			in   *pluginv1.ConsumeBatch
			want *pluginv1.ConsumeResult
		}{
			{batch("a", "b"), &pluginv1.ConsumeResult{AcknowledgedOffset: 11}},
			{batch("a", "retry", "dead", "ack"), &pluginv1.ConsumeResult{AcknowledgedOffset: 13, Results: []pluginv1.DeliveryResult{
				result(11, pluginv1.OutcomeRetry, "not now", 5000), result(12, pluginv1.OutcomeDeadLetter, "hopeless", 0),
			}}},
			{batch("a", "ack", "fail"), &pluginv1.ConsumeResult{Error: "asked for it", Results: []pluginv1.DeliveryResult{
				result(11, pluginv1.OutcomeOk, "", 0),
			}}},
			{batch("a", "stop", "b"), &pluginv1.ConsumeResult{AcknowledgedOffset: 12, Results: []pluginv1.DeliveryResult{
				result(11, pluginv1.OutcomeRetry, "in order", 0), result(12, pluginv1.OutcomeRetry, "in order", 0),
			}}},
		} {
			got, err := p.ConsumeErr(c.in)
			if err != nil || !pluginv1.Equal(got, c.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		}
	})
}

// A panic is an error with its text, the stack is in the log, and the plugin goes on.
func TestPanic(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r plugintest.Runner) {
		h := plugintest.NewHost()
		p := plugintest.Start(t, r, h, config)
		_, err := p.ProcessErr(&pluginv1.Batch{Point: sdk.PointInterceptPublish, Events: []pluginv1.Event{{Message: &pluginv1.Message{Topic: "panic"}}}})
		if err == nil || !strings.Contains(err.Error(), "nil pointer") {
			t.Fatalf("error %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		logged := func() bool {
			for _, l := range h.Logs() {
				for _, a := range l.Attributes {
					if l.Level == sdk.LevelError && strings.Contains(a.Value, "testplugin.(*plugin).Publish") {
						return true
					}
				}
			}
			return false
		}
		if !h.WaitFor(ctx, logged) {
			t.Errorf("no stack in %v", h.Logs())
		}
		action(t, "after the panic", p.Publish(t, nil, &sdk.Message{Topic: "drop"}), pluginv1.ActionDrop)
	})
}

func publishBatch(n int) *pluginv1.Batch {
	b := &pluginv1.Batch{Point: sdk.PointInterceptPublish, Clients: []pluginv1.Client{{ClientID: "c", Connection: 1}}}
	for range n {
		b.Events = append(b.Events, pluginv1.Event{Client: 1, Message: &pluginv1.Message{Topic: "site/a", Payload: make([]byte, 200)}})
	}
	return b
}

// A small plugin in WebAssembly must not grow unnoticed. An empty module of Go is 1.8 MB,
// with context and reflect 2.6 MB.
func TestModuleSize(t *testing.T) {
	if !withWasm {
		t.Skip("no module is built with the race detector")
	}
	const limit = 4_200_000
	file := filepath.Join(t.TempDir(), "auth.wasm")
	build("auth", file, "GOOS=wasip1", "GOARCH=wasm")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > limit {
		t.Errorf("%d bytes, more than %d", info.Size(), limit)
	}
}
