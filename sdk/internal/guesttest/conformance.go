package guesttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/internal/testplugin"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const config = `{"password":"hush","prefix":"site/"}`

// Conformance runs the test plugin as a module, beside the original in Go. Panics are
// left out: they end a module.
func Conformance(t *testing.T, module string) {
	r := plugintest.Wasm(module)
	t.Run("decisions", func(t *testing.T) { decisions(t, r) })
	t.Run("manifest", func(t *testing.T) { manifest(t, r) })
	t.Run("configs", func(t *testing.T) { configs(t, r) })
	t.Run("deferral", func(t *testing.T) { deferral(t, r) })
	t.Run("consumer", func(t *testing.T) { consumer(t, r) })
	t.Run("host", func(t *testing.T) { host(t, r) })
	t.Run("panic", func(t *testing.T) { panics(t, r) })
}

// decisions compares 3,000 batches with what the original says.
func decisions(t *testing.T, r plugintest.Runner) {
	want := plugintest.Start(t, plugintest.Builtin(testplugin.Plugin()), plugintest.NewHost(), config)
	got := plugintest.Start(t, r, plugintest.NewHost(), config)
	rnd := rand.New(rand.NewPCG(7, 7))
	for i := range 3000 {
		b := randomBatch(rnd)
		if g, w := answer(t, got, b), answer(t, want, b); !pluginv1.Equal(g, w) {
			t.Fatalf("%d: %v\nevents %+v\n got %+v\nwant %+v", i, b.Point, b.Events, g, w)
		}
	}
}

// answer has the verdicts in the order of the events; a module may give them in any.
func answer(t *testing.T, p *plugintest.Instance, b *pluginv1.Batch) *pluginv1.Answer {
	t.Helper()
	own := &pluginv1.Batch{}
	if err := own.Unmarshal(b.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	a, err := p.ProcessErr(own)
	if err != nil {
		return &pluginv1.Answer{Error: strings.TrimPrefix(err.Error(), "PLUGIN_OP_PROCESS: ")}
	}
	slices.SortFunc(a.Verdicts, func(x, y pluginv1.Verdict) int { return int(x.Event) - int(y.Event) })
	return a
}

func randomBatch(rnd *rand.Rand) *pluginv1.Batch {
	points := []sdk.Point{
		sdk.PointAuthenticate, sdk.PointPermit, sdk.PointAuthorizePublish, sdk.PointAuthorizeSubscribe,
		sdk.PointInterceptPublish, sdk.PointInterceptSubscribe, sdk.PointInterceptWill, sdk.PointGatePublish,
	}
	users := []string{"ann", "bob", "other", "fail"}
	topics := []string{"site/a", "secret/x", "drop", "disconnect", "upper", "twice", "fail", "full", "odd", "#", "a/b"}
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
			if rnd.IntN(4) == 0 {
				e.Authentication = &pluginv1.Authentication{Method: "twice", Step: uint32(rnd.IntN(2)), Data: []byte("x"), State: []byte("x")[:rnd.IntN(2)]}
			}
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

// manifest compares all of it but the schema, which is written by hand in other languages.
func manifest(t *testing.T, r plugintest.Runner) {
	want, err := testplugin.Plugin().Manifest()
	if err != nil {
		t.Fatal(err)
	}
	got := plugintest.Start(t, r, plugintest.NewHost(), config).Manifest
	if !strings.Contains(got.ConfigSchema, `"password":{"type":"string"`) {
		t.Errorf("schema %s", got.ConfigSchema)
	}
	want.ConfigSchema, got.ConfigSchema = "", ""
	if !pluginv1.Equal(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func configs(t *testing.T, r plugintest.Runner) {
	for text, want := range map[string]string{
		`{"password":"password"}`: "/password must not be the first",
		`{"pasword":"hush"}`:      "/pasword unknown key",
		`{"prefix":"x"}`:          "/password is required",
		`{"password":3}`:          "/password must be a string",
		`{"password":"hush`:       " the config is not JSON",
	} {
		_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), text)
		found := slices.ContainsFunc(res.Problems, func(p pluginv1.Problem) bool {
			return strings.HasPrefix(p.Pointer+" "+p.Message, want)
		})
		if !found {
			t.Errorf("%s: %v, want %s", text, res.Problems, want)
		}
	}
	p := plugintest.Start(t, r, plugintest.NewHost(), config)
	res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"password":3}`})
	if err != nil || len(res.Problems) != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	hush, fresh := &sdk.Authentication{Password: []byte("hush")}, &sdk.Authentication{Password: []byte("n\"ew ☃")}
	if v := p.Authenticate(t, &sdk.Client{}, hush); v.Action != pluginv1.ActionAllow {
		t.Errorf("after a refused config: %+v", v)
	}
	res, err = p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"password":"n\"ew \u2603"}`})
	if err != nil || len(res.Problems) != 0 || res.Restart {
		t.Fatalf("%+v, %v", res, err)
	}
	if v := p.Authenticate(t, &sdk.Client{}, hush); v.Action != pluginv1.ActionDeny {
		t.Errorf("the old password after a new config: %+v", v)
	}
	if v := p.Authenticate(t, &sdk.Client{}, fresh); v.Action != pluginv1.ActionAllow {
		t.Errorf("after a new config: %+v", v)
	}
}

func deferral(t *testing.T, r plugintest.Runner) {
	h := plugintest.NewHost()
	p := plugintest.Start(t, r, h, config)
	if v := p.Authenticate(t, &sdk.Client{Username: "later"}, &sdk.Authentication{}); v.Action != pluginv1.ActionDefer {
		t.Fatalf("verdict %+v", v)
	}
	event := p.LastEvent()
	for _, d := range []time.Duration{999 * time.Millisecond, time.Millisecond} {
		if n := len(h.Calls(pluginv1.HostOpComplete)); n != 0 {
			t.Fatalf("%d completions before it is time", n)
		}
		if err := h.Advance(context.Background(), d); err != nil {
			t.Fatal(err)
		}
	}
	if v := p.Completed(t, event); v.Action != pluginv1.ActionAllow || v.Auth == nil || v.Auth.Username != "late" {
		t.Errorf("verdict %+v", v)
	}
	if m := h.Published(); len(m) != 1 || m[0].Topic != "timers/later" {
		t.Errorf("published %v", m)
	}
}

func consumer(t *testing.T, r plugintest.Runner) {
	want := plugintest.Start(t, plugintest.Builtin(testplugin.Plugin()), plugintest.NewHost(), config)
	got := plugintest.Start(t, r, plugintest.NewHost(), config)
	for _, payloads := range [][]string{
		{"a", "b"}, {"a", "retry", "dead", "ack"}, {"a", "ack", "fail"}, {"a", "stop", "b"}, {"fail"}, {"retry", "stop", "a"},
	} {
		b := &pluginv1.ConsumeBatch{Consumer: "all"}
		for i, s := range payloads {
			b.Deliveries = append(b.Deliveries, pluginv1.Delivery{
				Offset: uint64(i + 10), Attempt: 1, Message: &pluginv1.Message{Topic: "t", Payload: []byte(s)},
			})
		}
		w, err := want.ConsumeErr(b)
		if err != nil {
			t.Fatal(err)
		}
		if g, err := got.ConsumeErr(b); err != nil || !pluginv1.Equal(g, w) {
			t.Errorf("%v: got %+v, %v; want %+v", payloads, g, err, w)
		}
	}
}

func host(t *testing.T, r plugintest.Runner) {
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
	if err != nil || strings.Count(string(res.Body), "\n") != 150 || len(res.Headers) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err = p.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Path: "x"}); err != nil || res.Status != 404 {
		t.Errorf("%+v, %v", res, err)
	}
	samples := 0
	for _, c := range h.Calls(pluginv1.HostOpMetric) {
		samples += len(c.Request.(*pluginv1.MetricRequest).Samples)
	}
	if samples != 150 {
		t.Errorf("%d samples", samples)
	}
	if logs := h.Logs(); len(logs) == 0 || logs[0].Message != "started" || logs[0].Level != pluginv1.LogLevelInfo {
		t.Errorf("logs %v", logs)
	}
	h.Deny("kv")
	res, err = p.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Method: "GET", Path: "seen"})
	if err != nil || res.Status != 403 || string(res.Body) != `no grant "kv"` {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := p.ProcessErr(b); err == nil || !strings.Contains(err.Error(), `grant "kv"`) {
		t.Errorf("error %v", err)
	}
	if s, err := p.Plugin.Health(t.Context(), &pluginv1.HealthRequest{}); err != nil || s.Status != pluginv1.HealthStatusServing {
		t.Errorf("%+v, %v", s, err)
	}
}

// panics shows that a panic ends the call with an error, and is not lost.
func panics(t *testing.T, r plugintest.Runner) {
	ctx := context.Background()
	p, err := r.Open(ctx, plugintest.NewHost())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Start(ctx, &pluginv1.StartRequest{Name: "p", Config: config, Worker: true}); err != nil {
		t.Fatal(err)
	}
	b := &pluginv1.Batch{Point: sdk.PointInterceptPublish, Events: []pluginv1.Event{{Message: &pluginv1.Message{Topic: "panic"}}}}
	if _, err := p.Process(b, &pluginv1.Answer{}, nil); err == nil {
		t.Error("a panic was not an error")
	}
}
