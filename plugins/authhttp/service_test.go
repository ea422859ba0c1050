package authhttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const yes = `{"result":"allow"}`

// What has failed is asked again, as often as the config says.
func TestRetries(t *testing.T) {
	for _, c := range []struct {
		retries, failures int
		status            int
		want              string
		requests          int
	}{
		{0, 1, 503, unavailable, 1}, {1, 1, 503, "allow", 2}, {1, 2, 503, unavailable, 2}, {2, 2, 429, "allow", 3},
		{5, 1, 404, unavailable, 1}, {5, 1, 403, "deny 0x86", 1},
	} {
		f := newFake(t)
		left := atomic.Int64{}
		left.Store(int64(c.failures))
		f.does(func(received) (int, string, string) {
			if left.Add(-1) >= 0 {
				return c.status, "", ""
			}
			return 200, contentJSON, yes
		})
		p := builtin(t, f.config(modeNative, fmt.Sprintf(`"retries":%d`, c.retries), "authenticate"))
		if got := said(login(t, p, ann(), withPassword("x"))); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		if n := len(f.took()); n != c.requests {
			t.Errorf("%+v: %d requests", c, n)
		}
	}
}

// A service that goes away and comes back: what is said meanwhile, to clients and to
// operators, and that no connection has to be waited for afterwards.
func TestOutage(t *testing.T) {
	f := newFake(t)
	f.says(200, contentJSON, yes)
	h := plugintest.NewHost()
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), h, f.config(modeNative, `"retries":1`, "authenticate", "authorize"))
	old := ann()
	old.ProtocolVersion = 4
	try := func(wantLogin, wantQoS0, wantQoS1, wantOld, wantHealth string) {
		t.Helper()
		for _, x := range []struct{ what, got, want string }{
			{"login", said(login(t, p, ann(), withPassword("x"))), wantLogin}, {"QoS 0", said(publish(t, p, old, "a", 0, false)), wantQoS0},
			{"QoS 1", said(publish(t, p, ann(), "a", 1, false)), wantQoS1}, {"QoS 1 before MQTT 5", said(publish(t, p, old, "a", 1, false)), wantOld},
		} {
			if x.got != x.want {
				t.Errorf("%s: %s, want %s", x.what, x.got, x.want)
			}
		}
		if got := health(t, p); !strings.Contains(got, wantHealth) || (got == "") != (wantHealth == "") {
			t.Errorf("health %q, want %q", got, wantHealth)
		}
	}
	const allow, no = "allow for 30000ms", "what clients may do cannot be asked now"
	try("allow", allow, allow, allow, "")
	address := f.Listener.Addr().String()
	f.Close()
	try(unavailable, "deny 0x83 "+no, "deny 0x83 "+no, "disconnect 0x88 "+no, "authenticate: no answer since")
	back := httptest.NewUnstartedServer(f)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	back.Listener.Close()
	back.Listener = l
	back.Start()
	t.Cleanup(back.Close)
	try("allow", allow, allow, allow, "")
	var lines []string
	for _, l := range h.Logs() {
		lines = append(lines, l.Message)
		if text := fmt.Sprint(l); strings.Contains(text, address+"/") || strings.Contains(text, "x-secret") {
			t.Errorf("the log has the URL: %s", text)
		}
	}
	slices.Sort(lines)
	want := []string{"the service answers again", "the service answers again", "the service does not answer", "the service does not answer"}
	if !slices.Equal(lines, want) {
		t.Errorf("logged %q", lines)
	}
}

// The next plugin decides if the config says so.
func TestIgnoredErrors(t *testing.T) {
	f := newFake(t)
	f.says(500, "", "")
	p := builtin(t, f.config(modeNative, `"retries":0,"on_error":"ignore"`, "authenticate", "permit", "authorize"))
	for i, v := range []*pluginv1.Verdict{
		login(t, p, ann(), withPassword("x")), ask(t, p, sdk.PointPermit, ann(), pluginv1.Event{}), publish(t, p, ann(), "a", 1, false), subscribe(t, p, ann(), "a", 1),
	} {
		if got := said(v); got != "continue" {
			t.Errorf("%d: %s", i, got)
		}
	}
	if n := len(f.took()); n != 4 {
		t.Errorf("%d requests", n)
	}
}

// held is a service that answers when it is let go.
func held(t testing.TB) (f *fake, entered chan string, release func()) {
	t.Helper()
	f = newFake(t)
	entered, hold := make(chan string, 1000), make(chan struct{})
	f.does(func(r received) (int, string, string) {
		entered <- r.uri
		<-hold
		return 200, contentJSON, yes
	})
	release = sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	return f, entered, release
}

// No more requests than allowed are under way, one kind does not wait for another, what is
// too much is refused at once, and who has waited too long is told.
func TestQueue(t *testing.T) {
	f, entered, release := held(t)
	h := plugintest.NewHost()
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), h, f.config(modeNative, `"connections":2,"max_waiting":6,"timeout":"50s","wait":"55s"`, "authenticate", "authorize"))
	verdicts := make(chan string, 10)
	for range 5 {
		go func() { verdicts <- said(login(t, p, ann(), withPassword("x"))) }()
	}
	<-entered
	<-entered
	inst := func() int64 {
		var n float64
		for _, c := range h.Calls(pluginv1.HostOpMetric) {
			for _, s := range c.Request.(*pluginv1.MetricRequest).Samples {
				if s.Name == "waiting" {
					n += s.Value
				}
			}
		}
		return int64(n)
	}
	eventually(t, "five wait", func() bool { return inst() == 5 })
	select {
	case uri := <-entered:
		t.Fatalf("a third request, %s", uri)
	default:
	}
	topics := make(chan string, 1)
	go func() { topics <- said(publish(t, p, ann(), "a", 1, false)) }()
	if uri := <-entered; uri != "/authorize" {
		t.Fatal(uri)
	}
	if got := said(login(t, p, ann(), withPassword("x"))); got != "deny 0x89 too many questions at once" {
		t.Errorf("one too many: %s", got)
	}
	release()
	for range 5 {
		if got := <-verdicts; got != "allow" {
			t.Errorf("after the wait: %s", got)
		}
	}
	if got := <-topics; got != "allow for 30000ms" {
		t.Errorf("the topic: %s", got)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.peers) > 4 { // one may be closing as another is opened
		t.Errorf("%d connections for 6 requests of which 3 were under way", len(f.peers))
	}
}

// Who waits for the service is refused after timeout, and that is the service's fault; who
// has waited in the queue is refused when the time is up, and that is not.
func TestSlowService(t *testing.T) {
	f, _, _ := held(t)
	p := builtin(t, f.config(modeNative, `"timeout":"20ms","wait":"50s","retries":0`, "authenticate"))
	if got := said(login(t, p, ann(), withPassword("x"))); got != unavailable {
		t.Errorf("no answer: %s", got)
	}
	if got := health(t, p); !strings.Contains(got, "authenticate: no answer since") {
		t.Errorf("health: %s", got)
	}

	e := inside(t, f.config(modeNative, `"connections":1,"timeout":"50s","wait":"50s","retries":3`, "authenticate")).endpoints["authenticate"]
	r, err := e.plain(contentJSON, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	short := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := e.ask(ctx, r)
		return err
	}
	if err := short(); !errors.Is(err, errBusy) {
		t.Errorf("little time is left for the request: %v", err)
	}
	e.slots <- struct{}{}
	if err := short(); !errors.Is(err, errBusy) {
		t.Errorf("others have all connections: %v", err)
	}
	if err := e.health(); err != nil {
		t.Errorf("health: %v", err)
	}
}

// The plugin ends although the service does not answer, and all who wait are told.
func TestStopWhileWaiting(t *testing.T) {
	f, entered, _ := held(t)
	p := builtin(t, f.config(modeNative, `"timeout":"50s","wait":"50s"`, "authenticate"))
	verdict := make(chan string, 1)
	go func() { verdict <- said(login(t, p, ann(), withPassword("x"))) }()
	<-entered
	if _, err := p.Plugin.Stop(t.Context(), &pluginv1.StopRequest{DeadlineMs: 5000}); err != nil {
		t.Fatal(err)
	}
	if got := <-verdict; !strings.HasPrefix(got, "deny 0x8") {
		t.Errorf("%s", got)
	}
}

// Passwords are not sent to where a redirect points.
func TestRedirect(t *testing.T) {
	f := newFake(t)
	f.says(200, contentJSON, yes)
	from := httptest.NewServer(http.RedirectHandler(f.URL, http.StatusTemporaryRedirect))
	t.Cleanup(from.Close)
	p := builtin(t, `{"authenticate":{"url":"`+from.URL+`"}}`)
	if got := said(login(t, p, ann(), withPassword("x"))); got != unavailable {
		t.Errorf("%s", got)
	}
	if all := f.took(); len(all) != 0 {
		t.Errorf("asked: %v", all)
	}
}

// Logins that are remembered are not asked about, and only those.
func TestLoginCache(t *testing.T) {
	f := newFake(t)
	f.says(200, contentJSON, `{"result":"allow","username":"ann2"}`)
	p := builtin(t, f.config(modeNative, `"login_cache_ttl":"1h","login_cache_size":3,"methods":["X"]`, "authenticate"))
	asked := func(what string, want int, change func(c *sdk.Client, a *sdk.Authentication)) {
		t.Helper()
		c, a := ann(), withPassword("x")
		change(c, a)
		if got := said(login(t, p, c, a)); got != "allow user=ann2" {
			t.Errorf("%s: %s", what, got)
		}
		if n := len(f.took()); n != want {
			t.Errorf("%s: %d requests, want %d", what, n, want)
		}
	}
	same := func(*sdk.Client, *sdk.Authentication) {}
	asked("the first", 1, same)
	asked("again", 0, same)
	asked("another port", 0, func(c *sdk.Client, _ *sdk.Authentication) { c.RemoteAddress = "192.0.2.7:4712" })
	for what, change := range map[string]func(*sdk.Client, *sdk.Authentication){
		"another password":   func(_ *sdk.Client, a *sdk.Authentication) { a.Password = []byte("y") },
		"no password":        func(_ *sdk.Client, a *sdk.Authentication) { a.Password, a.HasPassword = nil, false },
		"another id":         func(c *sdk.Client, _ *sdk.Authentication) { c.ClientID = "d" },
		"parts that move":    func(c *sdk.Client, _ *sdk.Authentication) { c.ClientID, c.Username = "c 1ann", "/é" },
		"another address":    func(c *sdk.Client, _ *sdk.Authentication) { c.RemoteAddress = "192.0.2.8:4711" },
		"another namespace":  func(c *sdk.Client, _ *sdk.Authentication) { c.Namespace = "n" },
		"no certificate":     func(c *sdk.Client, _ *sdk.Authentication) { c.TLS = nil },
		"not verified":       func(c *sdk.Client, _ *sdk.Authentication) { c.TLS.Verified = false; c.Listener = "x" },
		"another transport":  func(c *sdk.Client, _ *sdk.Authentication) { c.Transport = "wss" },
		"a method, once":     func(_ *sdk.Client, a *sdk.Authentication) { *a = sdk.Authentication{Method: "X"} },
		"the version of old": func(c *sdk.Client, _ *sdk.Authentication) { c.ProtocolVersion = 4 },
	} {
		asked(what, 1, change)
	}
	asked("the first, pushed out by others", 1, same)
	asked("the first, again", 0, same)
	f.says(200, contentJSON, `{"result":"deny"}`)
	for range 2 {
		if got := said(login(t, p, ann(), withPassword("wrong"))); got != "deny 0x86" {
			t.Errorf("%s", got)
		}
	}
	if n := len(f.took()); n != 2 {
		t.Errorf("a refusal is remembered: %d requests", n)
	}
}

func TestCache(t *testing.T) {
	now := time.Unix(1e9, 0)
	q := func(id string) *question {
		return &question{client: &sdk.Client{ClientID: id, Username: "u-" + id, Namespace: "n"}, auth: &sdk.Authentication{}}
	}
	fill := func() *cache {
		c := newCache(time.Hour, 10)
		for id, a := range map[string]answer{
			"plain": {ttl: -1}, "short": {ttl: time.Minute}, "never": {ttl: 0}, "ending": {ttl: -1, identity: sdk.Identity{ExpiresAtMs: now.Add(time.Second).UnixMilli()}},
			"moved": {ttl: -1, identity: sdk.Identity{Namespace: "m", Username: "moved-to", ClientID: "id-to"}},
		} {
			_, epoch, _ := c.find(q(id), now)
			c.keep(q(id), a, epoch, now)
		}
		return c
	}
	for after, want := range map[time.Duration]string{
		0: "ending moved plain short", 2 * time.Second: "moved plain short", 2 * time.Minute: "moved plain", time.Hour: "",
	} {
		c := fill()
		var got []string
		for _, id := range []string{"ending", "moved", "never", "plain", "short"} {
			if _, _, found := c.find(q(id), now.Add(after)); found {
				got = append(got, id)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("after %s: %q, want %q", after, got, want)
		}
	}
	for wish, want := range map[sdk.InvalidateDecisionsRequest]int{
		{AllNamespaces: true}: 0, {Namespace: "n"}: 0, {Namespace: "m"}: 3, {Namespace: "x"}: 4, {}: 4,
		{AllNamespaces: true, ClientID: "plain"}: 3, {AllNamespaces: true, ClientID: "id-to"}: 3, {AllNamespaces: true, Username: "u-moved"}: 3,
		{Namespace: "n", ClientID: "plain", Username: "u-short"}: 4, {Namespace: "m", Username: "moved-to"}: 3,
	} {
		c := fill()
		_, epoch, _ := c.find(q("late"), now)
		c.forget(&wish)
		if n := c.recent.Len(); n != want {
			t.Errorf("%+v: %d are left, want %d", wish, n, want)
		}
		// An answer to a question from before is not kept.
		c.keep(q("late"), answer{ttl: -1}, epoch, now)
		if n := c.recent.Len(); n != want {
			t.Errorf("%+v: an old answer was kept", wish)
		}
	}
}

// The service says that rights have changed.
func TestInvalidate(t *testing.T) {
	f := newFake(t)
	f.says(200, contentJSON, yes)
	h := plugintest.NewHost()
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), h, f.config(modeNative, `"login_cache_ttl":"1h"`, "authenticate"))
	for body, want := range map[string]string{
		``:                                "204 {Namespace: AllNamespaces:true ClientID: Username:}",
		`{"client_id":"c1"}`:              "204 {Namespace: AllNamespaces:true ClientID:c1 Username:}",
		`{"username":"u","namespace":""}`: "204 {Namespace: AllNamespaces:false ClientID: Username:u}",
		`{"user":"u"}`:                    "400",
		`all`:                             "400",
	} {
		login(t, p, ann(), withPassword("x"))
		before := len(h.Calls(pluginv1.HostOpInvalidateDecisions))
		res, err := p.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Method: "POST", Path: "invalidate", Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(res.Status)
		if calls := h.Calls(pluginv1.HostOpInvalidateDecisions); len(calls) > before {
			got += fmt.Sprintf(" %+v", *calls[before].Request.(*pluginv1.InvalidateDecisionsRequest))
		}
		if got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	remembered := func(what, body string, want int) {
		t.Helper()
		login(t, p, ann(), withPassword("x"))
		f.took()
		if _, err := p.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Method: "POST", Path: "invalidate", Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
		login(t, p, ann(), withPassword("x"))
		if n := len(f.took()); n != want {
			t.Errorf("%s: %d requests, want %d", what, n, want)
		}
	}
	remembered("a wish that is not understood", "all", 0)
	remembered("another client", `{"client_id":"c 2"}`, 0)
	remembered("the client", `{"client_id":"c 1"}`, 1)
	remembered("all", "", 1)
}

// A new config is in force at once, takes old answers back, and is refused as a whole.
func TestConfigure(t *testing.T) {
	one, two := newFake(t), newFake(t)
	one.says(200, contentJSON, yes)
	two.says(200, contentJSON, `{"result":"deny"}`)
	h := plugintest.NewHost()
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), h, one.config(modeNative, "", "authenticate"))
	configure := func(config string) *pluginv1.ConfigureResponse {
		t.Helper()
		res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: config})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := configure(`{"authenticate":{"url":"nowhere"}}`); res.Problems == nil {
		t.Error("a wrong config is taken")
	}
	if got := said(login(t, p, ann(), withPassword("x"))); got != "allow" {
		t.Errorf("after a refused config: %s", got)
	}
	if res := configure(two.config(modeNative, "", "authenticate", "authorize")); res.Problems != nil || res.Restart || len(res.Narrowed.Hooks) != 3 {
		t.Errorf("%+v", res)
	}
	if got := said(login(t, p, ann(), withPassword("x"))); got != "deny 0x86" {
		t.Errorf("after a new config: %s", got)
	}
	if n := len(h.Calls(pluginv1.HostOpInvalidateDecisions)); n != 1 {
		t.Errorf("old answers were taken back %d times", n)
	}
}

func TestMetrics(t *testing.T) {
	f := newFake(t)
	f.says(200, contentJSON, yes)
	h := plugintest.NewHost()
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), h, f.config(modeNative, `"retries":0`, "authenticate"))
	login(t, p, ann(), withPassword("x"))
	f.says(503, "", "")
	login(t, p, ann(), withPassword("x"))
	want := map[string]float64{
		"requests_total authenticate answered": 1, "requests_total authenticate status": 1, "answers_total authenticate allow": 1,
		"answers_total authenticate unavailable": 1, "waiting": 0, "request_seconds authenticate": 2,
	}
	var got map[string]float64
	eventually(t, "metrics", func() bool {
		got = map[string]float64{}
		for _, c := range h.Calls(pluginv1.HostOpMetric) {
			for _, s := range c.Request.(*pluginv1.MetricRequest).Samples {
				name := s.Name
				for _, l := range s.Labels {
					name += " " + l.Value
				}
				if s.Name == "request_seconds" {
					s.Value = 1
				}
				got[name] += s.Value
			}
		}
		return fmt.Sprint(got) == fmt.Sprint(want)
	})
}
