package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/internal/guest"
	"github.com/patchbay-mq/patchbay/sdk/internal/testplugin"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/sdkhttp"
	"github.com/patchbay-mq/patchbay/sdk/sdklog"
)

// with is a plugin made of functions.
type with struct {
	start   func(*sdk.Host) error
	publish func(*sdk.PublishRequest) (sdk.Decision, error)
	gate    func(context.Context, *sdk.GateBatch) error
	http    http.Handler
}

func (w *with) Start(_ context.Context, h *sdk.Host, _ struct{}) error {
	if w.start == nil {
		return nil
	}
	return w.start(h)
}

func (w *with) Publish(_ context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
	return w.publish(r)
}

func (w *with) Gate(ctx context.Context, b *sdk.GateBatch) error { return w.gate(ctx, b) }

func (w *with) HTTP(ctx context.Context, r *sdk.HTTPRequest) (*sdk.HTTPResponse, error) {
	return sdkhttp.Serve(ctx, w.http, r)
}

func (w *with) plugin(hooks ...sdk.Hook) plugintest.Runner {
	return plugintest.Builtin(sdk.Plugin{
		Name: "with", New: func() any { return w }, Hooks: hooks, Routes: []sdk.HTTPRoute{{Path: "x/"}},
	})
}

func publish(topics ...string) *pluginv1.Batch {
	b := &pluginv1.Batch{Point: sdk.PointInterceptPublish, Clients: []pluginv1.Client{{ClientID: "c", Connection: 1}}}
	for i, t := range topics {
		b.Events = append(b.Events, pluginv1.Event{ID: uint64(i + 1), Client: 1, Message: &pluginv1.Message{Topic: t}})
	}
	return b
}

// Some failed of a batch: they get the policy that the plugin asked for, the others what
// was decided. All failed: the host is told.
func TestPartFails(t *testing.T) {
	w := &with{publish: func(r *sdk.PublishRequest) (sdk.Decision, error) {
		if r.Message.Topic == "bad" {
			return sdk.Decision{}, errors.New("no good")
		}
		return sdk.Allow(), nil
	}}
	for policy, want := range map[sdk.FailurePolicy]pluginv1.Action{
		sdk.FailureDefault: pluginv1.ActionContinue, sdk.FailureContinue: pluginv1.ActionContinue,
		sdk.FailureDeny: pluginv1.ActionDeny, sdk.FailureDrop: pluginv1.ActionDrop,
	} {
		p := plugintest.Start(t, w.plugin(sdk.Hook{Point: sdk.PointInterceptPublish, Failure: policy}), plugintest.NewHost(), "")
		got := map[uint32]pluginv1.Action{}
		for _, v := range p.Process(t, publish("good", "bad", "good")).Verdicts {
			got[v.Event] = v.Action
		}
		if got[0] != pluginv1.ActionAllow || got[1] != want || got[2] != pluginv1.ActionAllow {
			t.Errorf("%v: %v", policy, got)
		}
		if _, err := p.ProcessErr(publish("bad", "bad")); err == nil || err.Error() != "no good" {
			t.Errorf("%v: all failed: %v", policy, err)
		}
	}
}

// A builtin plugin that puts a decision off, and completes it from another goroutine at
// once: the host must have the deferral before the completion.
func TestDeferralBeforeCompletion(t *testing.T) {
	w := &with{publish: func(*sdk.PublishRequest) (sdk.Decision, error) {
		return sdk.Later(func(complete func(sdk.Decision)) { go complete(sdk.Drop("late")) }), nil
	}}
	for range 200 {
		h := plugintest.NewHost()
		p := plugintest.Start(t, w.plugin(), h, "")
		a := &pluginv1.Answer{}
		end := make(chan int, 1)
		done := func(err error) {
			if err != nil {
				t.Error(err)
			}
			end <- len(h.Calls(pluginv1.HostOpComplete))
		}
		if answered, err := p.Plugin.Process(publish("x"), a, done); err != nil {
			t.Fatal(err)
		} else if answered { // it was completed while the plugin was still called
			if a.Verdicts[0].Action != pluginv1.ActionDrop {
				t.Fatalf("answered with %v", a.Verdicts[0].Action)
			}
			continue
		}
		if n := <-end; n != 0 {
			t.Fatalf("%d completions before the answer", n)
		}
		if v := p.Completed(t, 1); v.Action != pluginv1.ActionDrop {
			t.Fatalf("completed with %v", v.Action)
		}
	}
}

// Close ends what hangs: its done is called with an error, and its context ends.
func TestCloseEndsCalls(t *testing.T) {
	inside, ended := make(chan struct{}), make(chan struct{})
	w := &with{gate: func(ctx context.Context, _ *sdk.GateBatch) error {
		close(inside)
		<-ctx.Done()
		close(ended)
		return nil
	}}
	p := plugintest.Start(t, w.plugin(), plugintest.NewHost(), "")
	b := publish("x")
	b.Point = sdk.PointGatePublish
	end := make(chan error, 1)
	if answered, err := p.Plugin.Process(b, &pluginv1.Answer{}, func(err error) { end <- err }); answered {
		t.Fatalf("answered: %v", err)
	}
	<-inside
	if err := p.Plugin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-end; err == nil {
		t.Error("no error")
	}
	<-ended
	if answered, err := p.Plugin.Process(b, &pluginv1.Answer{}, nil); !answered || err == nil {
		t.Error("a closed instance takes calls")
	}
}

// Batches of one client are gated in order, those of different ones at once.
func TestOrderOfClients(t *testing.T) {
	var mu sync.Mutex
	var order []string
	release := make(chan struct{})
	w := &with{gate: func(_ context.Context, b *sdk.GateBatch) error {
		if b.Message(0).Topic == "first" {
			<-release
		}
		mu.Lock()
		defer mu.Unlock()
		order = append(order, b.Message(0).Topic)
		return nil
	}}
	p := plugintest.Start(t, w.plugin(), plugintest.NewHost(), "")
	var wg sync.WaitGroup
	other := make(chan struct{})
	send := func(topic string, connection uint64, after func()) {
		b := publish(topic)
		b.Point, b.Clients[0].Connection = sdk.PointGatePublish, connection
		wg.Add(1)
		if answered, _ := p.Plugin.Process(b, &pluginv1.Answer{}, func(error) { after(); wg.Done() }); answered {
			t.Error("answered at once")
		}
	}
	send("first", 1, func() {})
	send("second", 1, func() {})
	send("other", 2, func() { close(other) })
	<-other
	close(release)
	wg.Wait()
	if got := strings.Join(order, " "); got != "other first second" {
		t.Error(got)
	}
}

func TestManifestRefuses(t *testing.T) {
	type observer struct{ sdk.Observer }
	type batcher struct {
		sdk.PublishInterceptor
		sdk.PublishBatchInterceptor
	}
	fresh := func(v any) func() any { return func() any { return v } }
	for name, p := range map[string]sdk.Plugin{
		"name":               {Name: "Bad", New: fresh(&with{})},
		"no New":             {Name: "a"},
		"observes nothing":   {Name: "a", New: fresh(observer{})},
		"hook not there":     {Name: "a", New: fresh(observer{}), Hooks: []sdk.Hook{{Point: sdk.PointAuthenticate}}},
		"hook twice":         {Name: "a", New: fresh(observer{}), Hooks: []sdk.Hook{{Point: sdk.PointTick}, {Point: sdk.PointTick}}},
		"both":               {Name: "a", New: fresh(batcher{})},
		"queue, no consumer": {Name: "a", New: fresh(struct{}{}), Queues: []sdk.Queue{{Name: "q", TopicFilters: []string{"#"}}}},
		"Start of another":   {Name: "a", New: testplugin.Plugin().New, Queues: testplugin.Plugin().Queues, Routes: testplugin.Plugin().Routes},
		"drop":               {Name: "a", New: fresh(&with{}), Routes: []sdk.HTTPRoute{{}}, Hooks: []sdk.Hook{{Point: sdk.PointGatePublish, Failure: sdk.FailureDrop}}},
		"refuses elsewhere":  {Name: "a", New: fresh(&with{}), Routes: []sdk.HTTPRoute{{}}, Hooks: []sdk.Hook{{Point: sdk.PointGatePublish, OnlyRefuses: true}}},
	} {
		if _, err := p.Manifest(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Lists come page by page, and stop with the first error.
func TestPages(t *testing.T) {
	h := plugintest.NewHost()
	for i := range 250 {
		h.State.Clients = append(h.State.Clients, pluginv1.Client{ClientID: fmt.Sprint(i)})
	}
	var host *sdk.Host
	plugintest.Start(t, (&with{start: func(x *sdk.Host) error { host = x; return nil }}).plugin(), h, "")
	n := 0
	for c, err := range host.Clients(t.Context(), sdk.ClientsRequest{}) {
		if err != nil || c.ClientID != fmt.Sprint(n) {
			t.Fatalf("client %d: %v, %v", n, c, err)
		}
		n++
	}
	if n != 250 {
		t.Errorf("%d clients", n)
	}
	h.Fail(pluginv1.HostOpClients, nil, &sdk.HostError{Code: pluginv1.HostErrorCodeUnavailable})
	n = 0
	var last error
	for _, err := range host.Clients(t.Context(), sdk.ClientsRequest{}) {
		if n++; err != nil {
			last = err
		}
	}
	if n != 101 || !errors.Is(last, sdk.ErrUnavailable) {
		t.Errorf("%d, %v", n, last)
	}
	h.Deny("publish")
	_, err := host.Publish(t.Context(), sdk.Message{Topic: "t"})
	var denied *sdk.HostError
	if !errors.As(err, &denied) || denied.Grant != "publish" || !errors.Is(err, sdk.ErrDenied) {
		t.Errorf("%v", err)
	}
}

func TestSlogAndHTTP(t *testing.T) {
	h := plugintest.NewHost()
	h.Fetch = func(r *pluginv1.HTTPFetchRequest) (*pluginv1.HTTPFetchResponse, error) {
		return &pluginv1.HTTPFetchResponse{Status: 201, Body: append([]byte(r.Method+" "+r.URL+" "), r.Body...)}, nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /x/{name}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Who", r.URL.User.Username()+r.Header.Get("Accept"))
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s %s", r.PathValue("name"), r.URL.Query().Get("q"), body)
	})
	var host *sdk.Host
	p := plugintest.Start(t, (&with{http: mux, start: func(x *sdk.Host) error { host = x; return nil }}).plugin(), h, "")
	sdklog.New(host).With("a", 1).WithGroup("g").Warn("hello", "b", 2*time.Second, slog.Group("c", "d", true))
	l := h.Logs()[0]
	if l.Level != sdk.LevelWarn || l.Message != "hello" || fmt.Sprint(l.Attributes) != "[{a 1} {g.b 2s} {g.c.d true}]" {
		t.Errorf("%v", l)
	}
	res, err := p.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{
		Method: "POST", Path: "x/ann", Query: "q=1", Body: []byte("body"), Operator: "op", Headers: []pluginv1.Pair{{Name: "accept", Value: "!"}},
	})
	if err != nil || res.Status != 202 || string(res.Body) != "ann 1 body" || !strings.Contains(fmt.Sprint(res.Headers), "{x-who op!}") {
		t.Errorf("%+v, %v", res, err)
	}
	client := http.Client{Transport: sdkhttp.Transport(host)}
	got, err := client.Post("http://127.0.0.1/a", "text/plain", strings.NewReader("hi"))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if body, _ := io.ReadAll(got.Body); got.StatusCode != 201 || string(body) != "POST http://127.0.0.1/a hi" {
		t.Errorf("%d %s", got.StatusCode, body)
	}
}

// The path of a message allocates nothing: builtin, and in a guest with its codec.
func TestPublishAllocatesNothing(t *testing.T) {
	h := plugintest.NewHost()
	p := plugintest.Start(t, plugintest.Builtin(testplugin.Plugin()), h, `{"password":"hush"}`)
	b, a := publish("site/a", "drop", "site/b"), &pluginv1.Answer{}
	run := func() {
		a.Reset()
		if answered, err := p.Plugin.Process(b, a, nil); !answered || err != nil || len(a.Verdicts) != 1 {
			t.Fatal(answered, err, a)
		}
	}
	if n := testing.AllocsPerRun(1000, run); n > 0 {
		t.Errorf("builtin: %v allocations", n)
	}
	call := guestCall(t, publish("site/a", "drop", "site/b"))
	if n := testing.AllocsPerRun(1000, call); n > 0 {
		t.Errorf("guest: %v allocations", n)
	}
}

// guestCall is what a guest does for one batch, without the sandbox.
func guestCall(t testing.TB, b *pluginv1.Batch) func() {
	m := &guest.Module{Open: sdk.OpenGuest(testplugin.Plugin()), Host: plugintest.NewHost()}
	start := &pluginv1.StartRequest{Name: "x", Config: `{"password":"hush"}`, Worker: true}
	n := copy(m.Buffer(start.Size()), start.AppendTo(nil))
	if _, err := m.Call(pluginv1.PluginOpStart, n); err != nil {
		t.Fatal(err)
	}
	raw := b.AppendTo(nil)
	return func() {
		n := copy(m.Buffer(len(raw)), raw)
		if out, err := m.Call(pluginv1.PluginOpProcess, n); err != nil || len(out) == 0 {
			t.Fatal(out, err)
		}
	}
}

func BenchmarkBuiltinPublish(b *testing.B) {
	p := plugintest.Start(b, plugintest.Builtin(testplugin.Plugin()), plugintest.NewHost(), `{"password":"hush"}`)
	batch, a := publish("site/a"), &pluginv1.Answer{}
	b.ReportAllocs()
	for b.Loop() {
		a.Reset()
		if _, err := p.Plugin.Process(batch, a, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGuestPublish(b *testing.B) {
	call := guestCall(b, publish("drop"))
	b.ReportAllocs()
	for b.Loop() {
		call()
	}
}

// Whatever bytes a host gives, a guest must answer or fail, and not panic.
func FuzzGuestCall(f *testing.F) {
	f.Add(int32(pluginv1.PluginOpProcess), publish("drop").AppendTo(nil))
	f.Add(int32(pluginv1.PluginOpHTTP), (&pluginv1.HTTPRequest{Path: "x"}).AppendTo(nil))
	f.Add(int32(99), []byte("x"))
	f.Fuzz(func(t *testing.T, op int32, raw []byte) {
		m := &guest.Module{Open: sdk.OpenGuest(testplugin.Plugin()), Host: plugintest.NewHost()}
		start := &pluginv1.StartRequest{Name: "x", Config: `{"password":"hush"}`, Worker: true}
		if _, err := m.Call(pluginv1.PluginOpStart, copy(m.Buffer(start.Size()), start.AppendTo(nil))); err != nil {
			t.Fatal(err)
		}
		out, err := m.Call(pluginv1.PluginOp(op), copy(m.Buffer(len(raw)), raw))
		if err == nil && op == int32(pluginv1.PluginOpProcess) {
			if err := new(pluginv1.Answer).Unmarshal(out); err != nil {
				t.Fatal(err)
			}
		}
	})
}
