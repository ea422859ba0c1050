package wasm

import (
	"errors"
	"strings"
	"testing"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// TestGoGuest asks a plugin in Go one thing after the other, on instances of the pool and on the worker.
func TestGoGuest(t *testing.T) {
	host := &fakeHost{values: map[string]string{"k": "v", "long": strings.Repeat("x", 100)}}
	now := time.Unix(1_700_000_000, 0)
	p := open(t, guestModule(t, Options{Inline: 1, Now: func() time.Time { return now }}), host)
	started(t, p, &pluginv1.StartRequest{Config: "first"})
	for _, c := range []struct{ topic, pool, worker string }{
		{"pass", "", ""},
		{"drop/x", "dropped x", "dropped x"},
		{"config", "first", "first"},
		{"instance", "1", "0"},
		{"now", "2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z"},
		{"get/k", "v", "v"},
		{"get/long", strings.Repeat("x", 100), strings.Repeat("x", 100)},
		{"get/denied", `HOST_ERROR_CODE_DENIED: no (missing grant "kv")`, `HOST_ERROR_CODE_DENIED: no (missing grant "kv")`},
		{"get/bug", "HOST_ERROR_CODE_INTERNAL: HOST_OP_KV_GET: the host panicked: a bug of the host", "HOST_ERROR_CODE_INTERNAL: HOST_OP_KV_GET: the host panicked: a bug of the host"},
		{"set/k", "HOST_ERROR_CODE_WORKER_ONLY: HOST_OP_KV_SET may wait, and only the worker instance may make it", ""},
	} {
		for point, want := range map[pluginv1.Point]string{
			pluginv1.PointInterceptPublish: c.pool, pluginv1.PointAuthenticate: c.worker,
		} {
			a, err := process(p, batchOf(point, "other", c.topic))
			if err != nil {
				t.Errorf("%s at %s: %v", c.topic, point, err)
				continue
			}
			got := ""
			for _, v := range a.Verdicts {
				got += v.Reason
			}
			if got != want {
				t.Errorf("%s at %s: %q, want %q", c.topic, point, got, want)
			}
		}
	}
	if s := p.Stats(); len(s.Instances) != 2 || s.Traps != 0 || s.Instances[0].FuelMax == 0 || s.Instances[1].MemoryBytes < 1<<20 {
		t.Errorf("stats %+v", s)
	}
}

func TestGoGuestFails(t *testing.T) {
	for _, c := range []struct {
		topic    string
		cause    Cause
		function string // part of the name of one that was running
		reason   string
	}{
		{"spin", OutOfFuel, "main.spin", "the call may use 1,040,000 units"},
		{"recurse", OutOfFuel, "main.recurse", "the call may use 1,040,000 units"},
		{"panic", Trapped, "main.verdict", "panic: this is what went wrong"},
		{"exit", Exited, "", "exited with code 3"},
		{"hoard", Trapped, "main.verdict", "out of memory"},
		{"sleep", OutOfFuel, "patchbay_call", "it wanted to sleep, which a decision or gate must not"},
	} {
		t.Run(c.topic, func(t *testing.T) {
			o := Options{Inline: 1}
			if c.topic == "hoard" {
				o.FuelPerCall = 100_000_000 // enough to run out of memory first
			}
			p := started(t, open(t, guestModule(t, o), &fakeHost{}), &pluginv1.StartRequest{Config: "c"})
			_, err := process(p, publish("pass", c.topic))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			t.Log(err)
			if e.Cause != c.cause || !strings.Contains(e.Reason, c.reason) || !strings.Contains(strings.Join(e.Stack, " "), c.function) {
				t.Errorf("%s: %q in %q", e.Cause, e.Reason, e.Stack)
			}
			a, err := process(p, publish("config")) // waits for the next instance
			if err != nil || len(a.Verdicts) != 1 || a.Verdicts[0].Reason != "c" {
				t.Errorf("afterwards: %+v, %v", a, err)
			}
			if s := p.Stats(); s.Traps != 1 || s.Failed != 1 || s.Made != 3 {
				t.Errorf("stats %+v", s)
			}
			// The worker likewise.
			if c.topic == "sleep" || c.topic == "recurse" {
				return
			}
			if _, err := process(p, batchOf(pluginv1.PointAuthenticate, c.topic)); !errors.As(err, &e) {
				t.Fatalf("the worker: %v", err)
			}
			if h, err := p.Health(t.Context(), &pluginv1.HealthRequest{}); err != nil || h.Message != "c" {
				t.Errorf("the worker afterwards: %+v, %v", h, err)
			}
		})
	}
}

func TestGoGuestLifecycle(t *testing.T) {
	m := guestModule(t, Options{Inline: 2})
	p := open(t, m, &fakeHost{})
	if _, err := p.Health(t.Context(), &pluginv1.HealthRequest{}); !errors.Is(err, ErrNotServing) {
		t.Fatalf("Health before Start: %v", err)
	}
	if answered, err := p.Process(publish("x"), new(pluginv1.Answer), nil); !answered || !errors.Is(err, ErrNotServing) {
		t.Fatalf("Process before Start: %v, %v", answered, err)
	}
	manifest, err := p.Describe(t.Context(), &pluginv1.DescribeRequest{})
	if err != nil || manifest.Name != "guest" || len(manifest.Hooks) != 3 {
		t.Fatalf("Describe: %+v, %v", manifest, err)
	}
	if out, err := p.Start(t.Context(), &pluginv1.StartRequest{Config: "refuse"}); err != nil || len(out.Problems) != 1 {
		t.Fatalf("Start: %+v, %v", out, err)
	}
	started(t, p, &pluginv1.StartRequest{Config: "one"})
	if _, err := p.Start(t.Context(), &pluginv1.StartRequest{}); err == nil {
		t.Fatal("a second Start succeeded")
	}
	if s := p.Stats(); len(s.Instances) != 3 {
		t.Fatalf("stats %+v", s)
	}
	if out, err := p.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: "refuse"}); err != nil || len(out.Problems) != 1 {
		t.Fatalf("Configure: %+v, %v", out, err)
	}
	if out, err := p.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: "two"}); err != nil || len(out.Problems) != 0 {
		t.Fatalf("Configure: %+v, %v", out, err)
	}
	for _, s := range p.pool.slots[:2] { // each of them knows
		s.mu.Lock()
		answer, err := s.call(t.Context(), p.inlineTerms(publish("config")), request{message: publish("config")})
		s.mu.Unlock()
		var a pluginv1.Answer
		if err != nil || a.Unmarshal(answer) != nil || a.Verdicts[0].Reason != "two" {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	process(p, publish("exit")) // and so does the one that takes its place
	eventually(t, "there are 3 again", func() bool { return len(p.Stats().Instances) == 3 })
	for range 4 {
		if a, err := process(p, publish("config")); err != nil || a.Verdicts[0].Reason != "two" {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	body := strings.Repeat("b", 100_000)
	if out, err := p.HTTP(t.Context(), &pluginv1.HTTPRequest{Body: []byte(body)}); err != nil || string(out.Body) != body {
		t.Fatalf("HTTP: %v", err)
	}
	if _, err := p.Timer(t.Context(), &pluginv1.TimerFired{}); err != nil { // it sleeps
		t.Fatal(err)
	}
	if _, err := p.Stop(t.Context(), &pluginv1.StopRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := process(p, publish("x")); !errors.Is(err, ErrNotServing) {
		t.Fatalf("Process after Stop: %v", err)
	}
	p.Close()
	if _, err := process(p, publish("x")); !errors.Is(err, ErrClosed) {
		t.Fatalf("Process after Close: %v", err)
	}
}

func TestHostCallsAreLimited(t *testing.T) {
	p := started(t, open(t, guestModule(t, Options{Inline: 1, HostCalls: 5}), &fakeHost{}), &pluginv1.StartRequest{})
	a, err := process(p, publish("storm"))
	if err != nil || !strings.HasPrefix(a.Verdicts[0].Reason, "HOST_ERROR_CODE_LIMIT") {
		t.Fatalf("%+v, %v", a, err)
	}
}

func TestLog(t *testing.T) {
	now := time.Unix(1000, 0)
	host := &fakeHost{}
	o := Options{Inline: 1, LogRate: 1, Now: func() time.Time { return now }}
	p := started(t, open(t, guestModule(t, o), host), &pluginv1.StartRequest{})
	for range 3 { // 9 lines, a burst of 4
		if _, err := process(p, publish("print")); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Second)
	if _, err := process(p, publish("print")); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"LOG_LEVEL_WARN to stderr", "LOG_LEVEL_INFO to stdout", "LOG_LEVEL_WARN to the log", "LOG_LEVEL_WARN to stderr",
		"LOG_LEVEL_WARN 5 lines were dropped: there were more than 1 a second", "LOG_LEVEL_WARN to stderr",
	}
	if got := host.logged(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}
