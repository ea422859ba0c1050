package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// fakePlugins is a plugin host that has and does what a test says.
type fakePlugins struct {
	list    []pluginhost.Detail
	metrics []pluginhost.Metric
	trouble error
	calls   []string
	taps    taps
}

func (f *fakePlugins) List() (list []pluginhost.Info) {
	for _, d := range f.list {
		list = append(list, d.Info)
	}
	return list
}

func (f *fakePlugins) Detail(name string) (pluginhost.Detail, bool) {
	for _, d := range f.list {
		if d.Name == name {
			return d, true
		}
	}
	return pluginhost.Detail{}, false
}

func (f *fakePlugins) change(ctx context.Context, what, name, state string) error {
	if _, limited := ctx.Deadline(); !limited {
		return errors.New("no deadline")
	}
	f.calls = append(f.calls, what+" "+name)
	for i := range f.list {
		if f.list[i].Name == name {
			if f.trouble == nil {
				f.list[i].State = state
			}
			return f.trouble
		}
	}
	return fmt.Errorf("%w: %q", pluginhost.ErrNoPlugin, name)
}

func (f *fakePlugins) Reload(ctx context.Context, name string) error {
	return f.change(ctx, "reload", name, "serving")
}

func (f *fakePlugins) Disable(ctx context.Context, name string) error {
	return f.change(ctx, "disable", name, "disabled")
}

func (f *fakePlugins) Enable(ctx context.Context, name string) error {
	return f.change(ctx, "enable", name, "serving")
}

func (f *fakePlugins) Metrics(put func(pluginhost.Metric)) {
	for _, m := range f.metrics {
		put(m)
	}
}

func (f *fakePlugins) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, "page of ", r.URL.Path)
}

func (f *fakePlugins) IsPublic(path string) bool { return strings.HasPrefix(path, "/plugins/open/pub") }

func twoPlugins() *fakePlugins {
	return &fakePlugins{list: []pluginhost.Detail{
		{
			Info: pluginhost.Info{
				Name: "z-auth", Plugin: "authfile", Version: "1.2.0", Runtime: pluginhost.WASM, Source: "plugins[0]", Path: "plugins/auth.wasm",
				State: "serving", Since: time.Now().Add(-time.Hour), SHA256: "abc", Restarts: 2, Reloads: 3, MemoryBytes: 1 << 20, FuelMax: 12345,
				Hooks: []pluginhost.HookInfo{
					{Point: "authenticate", Calls: 1200, Events: 1234, P50: 64 * time.Microsecond, P99: 2048 * time.Microsecond, Failures: 1, Timeouts: 1,
						Policy: 1, Deadline: 5 * time.Second, Failure: "deny", Verdicts: map[string]int64{"deny": 4, "allow": 1230}},
					{Point: "intercept_publish", TopicFilters: []string{"a/#", "b"}, MinQoS: 1},
				},
			},
			Manifest: &pluginv1.Manifest{Name: "authfile", Description: "Users from a file.", HTTPRoutes: []pluginv1.HTTPRoute{{Path: "ui/", Public: true}}},
			Grants:   []pluginv1.Grant{{Name: "kv"}, {Name: "publish", TopicFilters: []string{"a/#"}}},
			Missing:  []string{"http"}, Config: json.RawMessage(`{"key":"***"}`), Refused: map[string]int64{"http": 2},
		},
		{
			Info: pluginhost.Info{
				Name: "bridge", Runtime: pluginhost.Process, Source: "/data/plugins/bridge", State: "failed", Since: time.Now(), PID: 4711,
				Error: "cannot start: " + strings.Repeat("x", 100) + "\nand more", Hooks: []pluginhost.HookInfo{},
				Consumers: []pluginhost.ConsumerInfo{{Name: "out", TopicFilters: []string{"#"}, Backlog: 1500, BacklogBytes: 2048, OldestAge: 61000, DeadLetters: 7}},
			},
			Config: json.RawMessage(`{}`),
		},
	}}
}

func TestPluginCommands(t *testing.T) {
	b, _ := newBroker(t)
	f := twoPlugins()
	s := start(t, b, func(o *Options) { o.Plugins = f })

	list := at(t, s, "plugin")
	if list != at(t, s, "plugin", "list") {
		t.Error("plugin is not plugin list")
	}
	rows := strings.Split(strings.TrimSpace(list), "\n")
	if len(rows) != 3 {
		t.Fatalf("list:\n%s", list)
	}
	wantContains(t, rows[0], "NAME    STATE    FOR  RUNTIME  VERSION  CALLS  P99      FAILURES  RESTARTS  BACKLOG  PROBLEM")
	wantContains(t, rows[1], "z-auth  serving  1h   wasm     1.2.0    1,200  2.048ms  1         2         0")
	wantContains(t, rows[2], "bridge  failed   0s   process  -        0      -        0         0         1,500    cannot start: xxx", "x…")
	lines := jsonLines[pluginhost.Info](t, at(t, s, "plugin", "list", "--json"))
	if len(lines) != 2 || lines[0].Name != "z-auth" || lines[0].Hooks[0].P99 != 2048*time.Microsecond || lines[1].Consumers[0].Backlog != 1500 {
		t.Errorf("%+v", lines)
	}

	info := at(t, s, "plugin", "info", "z-auth")
	wantContains(t, info, "Plugin         z-auth, wasm\n", "State          serving for 1h\n", "Implements     authfile 1.2.0\n",
		"About          Users from a file.\n", "From           plugins[0]\n", "File           plugins/auth.wasm\n", "SHA-256        abc\n",
		"Restarts       2, reloads 3\n", "Memory         1.0 MiB\n", "Fuel           12,345 in the dearest call\n", `Config         {"key":"***"}`+"\n",
		`Grants         ["kv",{"publish":{"topic_filters":["a/#"]}}]`+"\n", "Missing        http\n", "Refused        2 calls for want of the grant http\n",
		"Route          /plugins/z-auth/ui/ (public, if public_routes allows it)\n",
		"authenticate       1,200  1,234   64µs  2.048ms  1         1         1          5s        deny        allow 1,230, deny 4  everything\n",
		"a/#, b, QoS 1 or more\n")
	wantContains(t, at(t, s, "plugin", "info", "bridge"), "Process        4711\n", "Problem        \"cannot start: ",
		"out       1,500    2.0 KiB  1m1s    0             0        7             0         #")
	var detail struct {
		pluginhost.Info
		Manifest struct{ Description string }
		Grants   []any
		Config   map[string]string
		Missing  []string `json:"missing_grants"`
	}
	if err := json.Unmarshal([]byte(at(t, s, "plugin", "info", "z-auth", "--json")), &detail); err != nil {
		t.Fatal(err)
	}
	if detail.Name != "z-auth" || detail.Manifest.Description != "Users from a file." || len(detail.Grants) != 2 || detail.Config["key"] != "***" || len(detail.Missing) != 1 {
		t.Errorf("%+v", detail)
	}

	if got := at(t, s, "plugin", "disable", "z-auth"); got != "z-auth disabled\n" {
		t.Errorf("disable: %q", got)
	}
	if got := at(t, s, "plugin", "enable", "z-auth"); got != "z-auth enabled: serving, version 1.2.0\n" {
		t.Errorf("enable: %q", got)
	}
	if got := decode[pluginhost.Info](t, at(t, s, "plugin", "reload", "z-auth", "--json")); got.State != "serving" || got.Name != "z-auth" {
		t.Errorf("reload: %+v", got)
	}
	if got := strings.Join(f.calls, ", "); got != "disable z-auth, enable z-auth, reload z-auth" {
		t.Errorf("calls: %s", got)
	}
}

func TestPluginCommandErrors(t *testing.T) {
	b, _ := newBroker(t)
	f := twoPlugins()
	f.trouble = errors.New("the new version is not healthy")
	s, bare := start(t, b, func(o *Options) { o.Plugins = f }), start(t, b, nil)
	for _, c := range []struct {
		s    *Server
		args string
		code int
		says string
	}{
		{s, "reload z-auth", 1, "plugin z-auth: the new version is not healthy"},
		{s, "reload nobody", 1, `there is no such plugin: "nobody"`},
		{s, "info nobody", 1, `there is no plugin "nobody"; patchbay plugin list shows which there are`},
		{s, "info", 2, "patchbay plugin info: accepts 1 arg(s), received 0"},
		{s, "list x", 2, "unknown command"},
		{s, "disable a b", 2, "accepts 1 arg(s), received 2"},
		{s, "info z-auth --nonsense", 2, "unknown flag"},
		{bare, "info z-auth", 1, `there is no plugin "z-auth"`},
		{bare, "enable z-auth", 1, `there is no plugin "z-auth"`},
	} {
		r := run(t, "", append(append([]string{"plugin"}, strings.Fields(c.args)...), "--socket", c.s.Socket())...)
		if r.code() != c.code || !strings.Contains(fmt.Sprint(r.err), c.says) {
			t.Errorf("%s: %d %v; want %d, %s", c.args, r.code(), r.err, c.code, c.says)
		}
	}
	if got := at(t, bare, "plugin", "list", "--json"); got != "" {
		t.Errorf("without a host: %q", got)
	}
}

// TestPluginRoutes: pages of plugins are behind the guard, unless they are public.
func TestPluginRoutes(t *testing.T) {
	b, _ := newBroker(t)
	const token = "0123456789abcdef"
	s := start(t, b, func(o *Options) {
		o.Plugins, o.Config = twoPlugins(), config.Admin{Listen: "127.0.0.1:0", Token: token}
	})
	bare := start(t, b, nil)
	for _, c := range []struct {
		s      *Server
		path   string
		token  string
		status int
		body   string
	}{
		{s, "/plugins/z-auth/", "", http.StatusUnauthorized, "a token is needed"},
		{s, "/plugins/z-auth/", token, http.StatusOK, "page of /plugins/z-auth/"},
		{s, "/plugins/open/pub/x", "", http.StatusOK, "page of /plugins/open/pub/x"},
		{s, "/plugins/open/other", "", http.StatusUnauthorized, "a token is needed"},
		{s, "/plugins/open/pub/../other", "", http.StatusUnauthorized, "a token is needed"},
		{s, "/metrics", "", http.StatusUnauthorized, "a token is needed"},
		{bare, "/plugins/z-auth/", "", http.StatusNotFound, "404"},
	} {
		answer, text := fetch(t, http.DefaultClient, "http://"+c.s.Addr().String()+c.path, func(r *http.Request) {
			if c.token != "" {
				r.Header.Set("Authorization", "Bearer "+c.token)
			}
		})
		if answer.StatusCode != c.status || !strings.Contains(text, c.body) {
			t.Errorf("%s: %d %q, want %d %q", c.path, answer.StatusCode, text, c.status, c.body)
		}
	}
}

func TestPluginMetrics(t *testing.T) {
	b, _ := newBroker(t)
	f := &fakePlugins{metrics: []pluginhost.Metric{
		{Name: "patchbay_plugin_calls_total", Help: "Calls.", Counter: true, Labels: []pluginhost.Label{{Name: "plugin", Value: "a"}}, Value: 3},
		{Name: "patchbay_plugin_calls_total", Help: "Calls.", Counter: true, Labels: []pluginhost.Label{{Name: "plugin", Value: "b\xff"}}, Value: 4},
		{Name: "patchbay_plugin_queued_events", Help: "Waiting.", Value: 1.5},
		{Name: "", Help: "Wrong.", Value: 1},
		{Name: "patchbay_plugin_call_seconds", Help: "Time.", Labels: []pluginhost.Label{{Name: "plugin", Value: "a"}}, Value: 0.5, Count: 3,
			Buckets: []pluginhost.Bucket{{UpperBound: 0.1, Count: 1}, {UpperBound: 1, Count: 3}}},
	}}
	s := start(t, b, func(o *Options) { o.Plugins = f })
	answer, text := fetch(t, http.DefaultClient, "http://"+s.Addr().String()+"/metrics", nil)
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
	wantContains(t, text, "# TYPE patchbay_plugin_calls_total counter\n", `patchbay_plugin_calls_total{plugin="a"} 3`+"\n",
		`patchbay_plugin_calls_total{plugin="b?"} 4`+"\n", "# TYPE patchbay_plugin_queued_events gauge\npatchbay_plugin_queued_events 1.5\n",
		`patchbay_plugin_call_seconds_bucket{plugin="a",le="0.1"} 1`+"\n", `patchbay_plugin_call_seconds_bucket{plugin="a",le="+Inf"} 3`+"\n",
		`patchbay_plugin_call_seconds_sum{plugin="a"} 0.5`+"\n", "\npatchbay_uptime_seconds ")
	if strings.Contains(text, "Wrong.") {
		t.Error("a metric without a valid name is shown")
	}
}

// TestReadyDegraded: what does not work beside the broker is said to those who may know.
func TestReadyDegraded(t *testing.T) {
	b, _ := newBroker(t)
	s := start(t, b, func(o *Options) { o.Degraded = func() string { return "plugin x fails" } })
	if answer, text := fetch(t, http.DefaultClient, "http://"+s.Addr().String()+"/readyz", nil); answer.StatusCode != http.StatusOK || text != "ready, degraded: plugin x fails\n" {
		t.Errorf("%s %q", answer.Status, text)
	}
}
