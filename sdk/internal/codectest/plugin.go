package codectest

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

// Plugin tests a module that is testplugin in another language: it must answer as testplugin does.
func Plugin(t *testing.T, file string) {
	r := plugintest.Wasm(file)
	for name, test := range map[string]func(*testing.T, plugintest.Runner){
		"manifest": sameManifest, "verdicts": sameVerdicts, "steps": steps, "deferral": deferral, "config": configs,
		"host": hostServices, "consumer": consumer, "panic": panics, "health": health,
	} {
		t.Run(name, func(t *testing.T) { test(t, r) })
	}
}

func pair(t *testing.T, r plugintest.Runner) (want, got *plugintest.Instance) {
	want = plugintest.Start(t, plugintest.Builtin(testplugin.Plugin()), plugintest.NewHost(), config)
	return want, plugintest.Start(t, r, plugintest.NewHost(), config)
}

// sameManifest compares all but the schema, which Go derives from a struct, and the order of hooks, which means nothing.
func sameManifest(t *testing.T, r plugintest.Runner) {
	a, b := pair(t, r)
	want, got := sdk.Clone(a.Manifest), sdk.Clone(b.Manifest)
	want.ConfigSchema, got.ConfigSchema = "", ""
	for _, m := range []*pluginv1.Manifest{want, got} {
		slices.SortFunc(m.Hooks, func(a, b pluginv1.Hook) int { return int(a.Point - b.Point) })
	}
	if !pluginv1.Equal(got, want) {
		t.Errorf("manifest is\n%+v, want\n%+v", got, want)
	}
}

// randomBatch makes a batch of a point that needs no state, of what is the same in all languages.
func randomBatch(rnd *rand.Rand) *pluginv1.Batch {
	points := []sdk.Point{
		sdk.PointAuthenticate, sdk.PointPermit, sdk.PointAuthorizePublish, sdk.PointAuthorizeSubscribe, sdk.PointInterceptPublish,
		sdk.PointInterceptSubscribe, sdk.PointInterceptWill, sdk.PointGatePublish,
	}
	users := []string{"ann", "bob", "other", "banned", "fail"}
	topics := []string{"site/a", "secret/x", "drop", "disconnect", "upper", "twice", "now", "fail", "full", "odd", "#", "a/b"}
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
			e.Subscriptions = []pluginv1.Subscription{{TopicFilter: topic, QoS: e.QoS, NoLocal: true, RetainHandling: 2}, {TopicFilter: "#"}}
		default:
			e.Message = &pluginv1.Message{Topic: topic, Payload: []byte("payload")[:rnd.IntN(8)], QoS: e.QoS}
		}
		b.Events = append(b.Events, e)
	}
	return b
}

func sameVerdicts(t *testing.T, r plugintest.Runner) {
	a, b := pair(t, r)
	rnd := rand.New(rand.NewPCG(3, 3))
	for i := range 1000 {
		c := plugintest.Batch(fmt.Sprint(i), randomBatch(rnd))
		if want, got := c.Ask(t, a), c.Ask(t, b); !pluginv1.Equal(got, want) {
			t.Fatalf("batch %d: %+v, want %+v", i, got, want)
		}
	}
}

func steps(t *testing.T, r plugintest.Runner) {
	p := plugintest.Start(t, r, plugintest.NewHost(), config)
	v := p.Authenticate(t, &sdk.Client{ClientID: "dev"}, &sdk.Authentication{Method: "twice"})
	if v.Action != pluginv1.ActionChallenge || string(v.Auth.Data) != "say dev" {
		t.Fatalf("first step: %+v", v)
	}
	second := &sdk.Authentication{Method: "twice", Step: 1, Data: []byte("dev"), State: v.Auth.State}
	if v = p.Authenticate(t, &sdk.Client{ClientID: "dev"}, second); v.Action != pluginv1.ActionAllow || v.Auth.Username != "twice" {
		t.Errorf("second step: %+v", v)
	}
}

func deferral(t *testing.T, r plugintest.Runner) {
	h := plugintest.NewHost()
	p := plugintest.Start(t, r, h, config)
	if v := p.Authenticate(t, &sdk.Client{Username: "later"}, &sdk.Authentication{}); v.Action != pluginv1.ActionDefer {
		t.Fatalf("%+v", v)
	}
	if err := h.Advance(context.Background(), time.Second); err != nil {
		t.Fatal(err)
	}
	if v := p.Completed(t, p.LastEvent()); v.Action != pluginv1.ActionAllow || v.Auth == nil || v.Auth.Username != "late" {
		t.Errorf("%+v", v)
	}
	if m := h.Published(); len(m) != 1 || m[0].Topic != "timers/later" {
		t.Errorf("published %v", m)
	}
}

func configs(t *testing.T, r plugintest.Runner) {
	_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), `{"password":"password"}`)
	if len(res.Problems) != 1 || res.Problems[0].Pointer != "/password" || res.Problems[0].Message != "must not be the first that everybody tries" {
		t.Errorf("%+v", res)
	}
	h := plugintest.NewHost()
	p := plugintest.Start(t, r, h, config)
	for i, c := range []struct {
		password string
		refused  bool
		right    string
	}{{"password", true, "hush"}, {"new!", false, "new!"}, {"\\u00fc/", false, "ü/"}, {"password", true, "ü/"}} {
		res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"password":"` + c.password + `"}`})
		if err != nil || len(res.Problems) > 0 != c.refused || res.Restart {
			t.Fatalf("%d: %+v, %v", i, res, err)
		}
		if v := p.Authenticate(t, &sdk.Client{}, &sdk.Authentication{Password: []byte(c.right)}); v.Action != pluginv1.ActionAllow {
			t.Errorf("%d: %q is refused", i, c.right)
		}
	}
	if l := h.Logs(); len(l) != 1 || l[0].Message != "started" || l[0].Level != sdk.LevelInfo {
		t.Errorf("logs %v", l)
	}
	if _, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"password":`}); err == nil {
		t.Error("a config that is not JSON is taken")
	}
}

// hostServices: storage, metrics, pages of a list that does not fit into the first buffer; and a missing grant.
func hostServices(t *testing.T, r plugintest.Runner) {
	h := plugintest.NewHost()
	p := plugintest.Start(t, r, h, config)
	b := &pluginv1.Batch{Point: sdk.PointConnected}
	for i := range 150 { // more than a page, and with long ids: more than a guest has room for at first
		b.Clients = append(b.Clients, pluginv1.Client{ClientID: fmt.Sprintf("c%03d", i) + strings.Repeat("x", 40)})
		b.Events = append(b.Events, pluginv1.Event{Client: uint32(i + 1)})
	}
	p.Process(t, b)
	if string(h.Value("seen/"+b.Clients[149].ClientID)) != "1" || len(h.Calls(pluginv1.HostOpMetric)) != 150 {
		t.Error("not everything was stored and counted")
	}
	res, err := p.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Method: "GET", Path: "seen"})
	if err != nil || strings.Count(string(res.Body), "\n") != 150 || res.Headers[0].Value != "text/plain" {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err = p.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Path: "x"}); err != nil || res.Status != 404 {
		t.Errorf("%+v, %v", res, err)
	}
	h.Deny("kv")
	res, err = p.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Method: "GET", Path: "seen"})
	if err != nil || res.Status != 403 || string(res.Body) != `no grant "kv"` {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := p.ProcessErr(b); err == nil || !strings.Contains(err.Error(), "HOST_OP_KV_SET needs a grant") {
		t.Errorf("error %v", err)
	}
}

func consumer(t *testing.T, r plugintest.Runner) {
	a, b := pair(t, r)
	for _, payloads := range []string{"a b", "a retry dead ack", "a ack fail", "a stop b", "ack", "fail"} {
		batch := &pluginv1.ConsumeBatch{Consumer: "all"}
		for i, s := range strings.Fields(payloads) {
			batch.Deliveries = append(batch.Deliveries, pluginv1.Delivery{
				Offset: uint64(i + 10), Attempt: 1, Message: &pluginv1.Message{Topic: "t", Payload: []byte(s)},
			})
		}
		want, err := a.ConsumeErr(batch)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.ConsumeErr(batch); err != nil || !pluginv1.Equal(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", payloads, got, err, want)
		}
	}
}

// panics end an instance, with a text in the log.
func panics(t *testing.T, r plugintest.Runner) {
	for _, b := range []*pluginv1.Batch{
		{Point: sdk.PointInterceptPublish, Events: []pluginv1.Event{{Message: &pluginv1.Message{Topic: "panic"}}}},
		{Point: sdk.PointAuthenticate, Clients: []pluginv1.Client{{Username: "panic"}}, Events: []pluginv1.Event{{Client: 1}}},
	} {
		h := plugintest.NewHost()
		p, err := r.Open(t.Context(), h) // it ends with the panic: nobody stops it
		if err != nil {
			t.Fatal(err)
		}
		if _, err = p.Start(t.Context(), &pluginv1.StartRequest{Config: config}); err != nil {
			t.Fatal(err)
		}
		if _, err = p.Process(b, &pluginv1.Answer{}, nil); err == nil {
			t.Error("no error")
		}
		p.Close()
		logs := h.Logs()
		if last := logs[len(logs)-1]; last.Level != sdk.LevelError ||
			!strings.Contains(last.Message, "asked for it") && !strings.Contains(last.Message, "unwrap") {
			t.Errorf("logs %v", logs)
		}
	}
}

func health(t *testing.T, r plugintest.Runner) {
	for prefix, want := range map[string]pluginv1.HealthStatus{"ok/": pluginv1.HealthStatusServing, "ill/": pluginv1.HealthStatusDegraded} {
		p := plugintest.Start(t, r, plugintest.NewHost(), `{"password":"hush","prefix":"`+prefix+`"}`)
		res, err := p.Plugin.Health(t.Context(), &pluginv1.HealthRequest{})
		if err != nil || res.Status != want || (res.Message == "ill") != (want == pluginv1.HealthStatusDegraded) {
			t.Errorf("%s: %+v, %v", prefix, res, err)
		}
	}
}
