package acl

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	if buildDir, err = os.MkdirTemp("", "acl-test"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// runners are the plugin in all runtimes, built once.
var runners = sync.OnceValues(func() ([]plugintest.Runner, error) {
	program, module := filepath.Join(buildDir, "acl.exe"), filepath.Join(buildDir, "acl.wasm")
	out := []plugintest.Runner{plugintest.Builtin(Plugin())}
	build := func(file string, env ...string) error {
		args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", file}
		if len(env) > 0 {
			args = append(args, "-buildmode=c-shared")
		}
		cmd := exec.Command("go", append(args, "./cmd/acl")...)
		cmd.Env = append(os.Environ(), env...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, text)
		}
		return nil
	}
	if err := build(program); err != nil {
		return nil, err
	}
	out = append(out, plugintest.Process(program))
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

func start(t testing.TB, config string) *plugintest.Instance {
	t.Helper()
	return plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
}

const exampleConfig = `{"check_deliveries":false,"rules":[
	{"deny":["all"],"topics":["+/secret/#"],"groups":["guest*"]},
	{"allow":["publish","subscribe"],"topics":["dev/%c/#","u/${username}"],"qos":[0,1]},
	{"allow":["publish"],"topics":["g/%g/#"],"retain":false,"addresses":["::ffff:10.0.0.0/104","::1","unix"]},
	{"allow":["subscribe"],"topics":["t/${attribute.tenant}/#"],"users":["ann","b*"]},
	{"allow":["receive"],"topics":["#"],"namespaces":[""]}]}`

// All runtimes give the same permissions to the same clients.
func TestEveryRuntime(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	var cases []plugintest.Case
	for i := range 100 {
		b := &pluginv1.Batch{Point: sdk.PointPermit}
		for j := range 1 + r.IntN(maxBatch) {
			c := sdk.Client{
				Username: pick(r, "ann", "bob", "", "x/y", "$SYS"), ClientID: pick(r, "c1", "c/2", "#"), Namespace: pick(r, "", "hall"),
				RemoteAddress: pick(r, "", "10.1.1.1:5", "[::ffff:10.1.1.1]:5", "[::1]:9", "192.0.2.1:7"), Connection: uint64(j + 1),
			}
			for _, name := range []string{"groups", "tenant"} {
				if v := pick(r, "", "crew", "guest-1, crew", "a+"); v != "" {
					c.Attributes = append(c.Attributes, sdk.Pair{Name: name, Value: v})
				}
			}
			b.Clients, b.Events = append(b.Clients, c), append(b.Events, pluginv1.Event{Client: uint32(j + 1)})
		}
		cases = append(cases, plugintest.Batch(fmt.Sprint(i), b))
	}
	plugintest.Conformance(t, exampleConfig, cases, allRunners(t)...)
}

func permission(t testing.TB, v *pluginv1.Verdict, text string) {
	t.Helper()
	if v.Action != pluginv1.ActionAllow || v.Auth == nil || !v.Auth.HasPermissions {
		t.Fatalf("verdict %+v", v)
	}
	var got []string
	for _, p := range v.Auth.Permissions {
		s := map[bool]string{true: "allow ", false: "deny "}[p.Allow] + accessText(sdk.Access(p.Actions)) + " " + p.TopicFilter
		if p.QoS != 0 {
			s += fmt.Sprintf(" qos %b", p.QoS)
		}
		if p.Retain != 0 {
			s += fmt.Sprintf(" retain %d", p.Retain)
		}
		got = append(got, s)
	}
	if s := strings.Join(got, "; "); s != text {
		t.Errorf("got  %s\nwant %s", s, text)
	}
}

func TestPermit(t *testing.T) {
	for _, r := range allRunners(t) {
		t.Run(r.Name, func(t *testing.T) {
			p := plugintest.Start(t, r, plugintest.NewHost(), exampleConfig)
			groups := []sdk.Pair{{Name: "groups", Value: "crew,guest-1"}, {Name: "tenant", Value: "acme"}}
			permission(t, p.Permit(t, &sdk.Client{ClientID: "c1", Username: "ann", RemoteAddress: "10.2.3.4:5", Attributes: groups}),
				"deny all +/secret/#; allow publish, subscribe dev/c1/# qos 11; allow publish, subscribe u/ann qos 11; "+
					"allow publish g/crew/# retain 2; allow publish g/guest-1/# retain 2; allow subscribe t/acme/#; allow receive #; "+
					"allow receive #; allow receive $SYS/#")
			permission(t, p.Permit(t, &sdk.Client{ClientID: "c/1", Namespace: "hall", RemoteAddress: "192.0.2.1:1"}), "")
		})
	}
}

// A changed file is in force for new clients, and the host is told to ask about the
// others; one with a fault is not, and the plugin says so.
func TestReload(t *testing.T) {
	path := file(t, "topic read a\n")
	for _, r := range allRunners(t) {
		if r.Name == "wasm" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			write(t, path, "topic read a\n")
			h := plugintest.NewHost()
			p := plugintest.Start(t, r, h, `{"acl_file":`+jsonOf(t, path)+`,"poll":"2s"}`)
			const tail = "; allow subscribe #; allow subscribe $SYS/#"
			check := func(want string, asked int, health string) {
				t.Helper()
				if err := h.Advance(t.Context(), 4*time.Second); err != nil {
					t.Fatal(err)
				}
				permission(t, p.Permit(t, &sdk.Client{ClientID: "c"}), want+tail)
				calls := h.Calls(pluginv1.HostOpInvalidateDecisions)
				if len(calls) != asked {
					t.Errorf("the host was told %d times, want %d", len(calls), asked)
				}
				res, err := p.Plugin.Health(t.Context(), &pluginv1.HealthRequest{})
				if err != nil || !strings.Contains(res.Message, health) || (res.Status == pluginv1.HealthStatusDegraded) != (health != "") {
					t.Errorf("health %+v, %v", res, err)
				}
			}
			check("allow receive a", 0, "")
			write(t, path, "topic write b\ntopic read c\n")
			check("allow publish b; allow receive c", 1, "")
			write(t, path, "topic write b\ntopik read c\n")
			check("allow publish b; allow receive c", 1, path+`:2: "topik" is none of`)
			check("allow publish b; allow receive c", 1, path+`:2: "topik" is none of`)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			check("allow publish b; allow receive c", 1, "no such file")
			write(t, path, "topic read d\n")
			check("allow receive d", 2, "")
			last := h.Calls(pluginv1.HostOpInvalidateDecisions)[1].Request.(*pluginv1.InvalidateDecisionsRequest)
			if !last.AllNamespaces {
				t.Errorf("the host was told %+v", last)
			}
		})
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConfigure(t *testing.T) {
	p := start(t, `{"acl_file":`+jsonOf(t, file(t, "topic read a\n"))+`}`)
	configure := func(config string) []pluginv1.Problem {
		t.Helper()
		res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: config})
		if err != nil || res.Restart {
			t.Fatalf("%+v, %v", res, err)
		}
		return res.Problems
	}
	for _, bad := range []string{`{"rules":[{}]}`, `{"acl_file":"/does/not/exist"}`} {
		if configure(bad) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	permission(t, p.Permit(t, &sdk.Client{ClientID: "c"}), "allow receive a; allow subscribe #; allow subscribe $SYS/#")
	if n := len(p.Host.Calls(pluginv1.HostOpInvalidateDecisions)); n != 0 {
		t.Errorf("the host was told %d times of nothing", n)
	}
	if p := configure(`{"rules":[{"allow":["publish"],"topics":["b"]}]}`); p != nil {
		t.Fatal(p)
	}
	permission(t, p.Permit(t, &sdk.Client{ClientID: "c"}), "allow publish b; deny receive #")
	if n := len(p.Host.Calls(pluginv1.HostOpInvalidateDecisions)); n != 1 {
		t.Errorf("the host was told %d times", n)
	}
	if n := len(p.Host.Calls(pluginv1.HostOpCancelTimer)); n != 1 {
		t.Errorf("the timer was cancelled %d times", n)
	}
}

func TestRefusedConfigs(t *testing.T) {
	for config, want := range map[string]string{
		`{"rules":[{"topics":["a"]}]}`:                                            `/rules/0 a rule has either`,
		`{"rules":[{"allow":["all"],"deny":["all"],"topics":["a"]}]}`:             `/rules/0 a rule has either`,
		`{"rules":[{"allow":["read"],"topics":["a"]}]}`:                           `/rules/0/allow must be one of`,
		`{"rules":[{"allow":[],"topics":["a"]}]}`:                                 `/rules/0/allow must be at least 1`,
		`{"rules":[{"allow":["all"]}]}`:                                           `/rules/0/topics is required`,
		`{"rules":[{"allow":["all"],"topics":["a","a+"]}]}`:                       `/rules/0/topics/1 "a+": "+" and "#"`,
		`{"rules":[{"allow":["all"],"topics":["a"],"users":[]}]}`:                 `/rules/0/users must be at least 1`,
		`{"rules":[{"allow":["all"],"topics":["a"],"qos":[3]}]}`:                  `/rules/0/qos must be one of`,
		`{"rules":[{"allow":["all"],"topics":["a"],"addresses":["10.0.0.1/8"]}]}`: `/rules/0/addresses/0 has bits behind the prefix; the network is "10.0.0.0/8"`,
		`{"rules":[{"allow":["all"],"topics":["a"],"addresses":["home"]}]}`:       `/rules/0/addresses/0 must be a network`,
		`{"rules":[{"allow":["all"],"topics":["a"],"user":["b"]}]}`:               `/rules/0/user unknown key "user", did you mean "users"?`,
		`{"default":"maybe"}`:                                                     `/default must be one of deny, allow`,
		`{"acl_file":` + jsonOf(t, file(t, "topic a\nfoo\n")) + `}`:               `/acl_file `,
		`{"acl_file":"/does/not/exist"}`:                                          `/acl_file /does/not/exist: no such file`,
	} {
		_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
		if len(res.Problems) == 0 {
			t.Errorf("%s is taken", config)
			continue
		}
		if got := res.Problems[0].Pointer + " " + res.Problems[0].Message; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
}

func TestNoFilesInWasm(t *testing.T) {
	for _, r := range allRunners(t) {
		if r.Name == "wasm" {
			_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), `{"acl_file":"acl"}`)
			if len(res.Problems) != 1 || res.Problems[0].Pointer != "/acl_file" || !strings.Contains(res.Problems[0].Message, "has no files") {
				t.Errorf("%+v", res)
			}
		}
	}
}

// With the default, what could be subscribed to once and cannot be now does not come.
func TestRightsThatAreTakenAway(t *testing.T) {
	const rest = `{"deny":["subscribe"],"topics":["plant/secret/#"]},{"allow":["publish","subscribe"],"topics":["plant/#"],"qos":[0]}`
	p := start(t, `{"rules":[{"allow":["subscribe"],"topics":["other/#"],"users":["ann"]},`+rest+`]}`)
	ann := &sdk.Client{ClientID: "c", Username: "ann"}
	permission(t, p.Permit(t, ann), "allow subscribe other/#; deny subscribe plant/secret/#; allow publish, subscribe plant/# qos 1; "+
		"allow receive other/#; deny receive plant/secret/#; allow receive plant/#")
	if _, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"rules":[` + rest + `]}`}); err != nil {
		t.Fatal(err)
	}
	permission(t, p.Permit(t, ann), "deny subscribe plant/secret/#; allow publish, subscribe plant/# qos 1; "+
		"deny receive plant/secret/#; allow receive plant/#")
}

// A client about which too much is said is refused: half of its rules could be the wrong
// half.
func TestTooManyPermissions(t *testing.T) {
	topics := slices.Repeat([]string{"a"}, 4096)
	rule := `{"allow":["publish"],"topics":` + jsonOf(t, topics) + `}`
	p := start(t, `{"check_deliveries":false,"rules":[`+rule+`]}`)
	if v := p.Permit(t, &sdk.Client{ClientID: "c"}); v.Action != pluginv1.ActionAllow || len(v.Auth.Permissions) != 4096 {
		t.Errorf("verdict %v", v.Action)
	}
	p = start(t, `{"check_deliveries":false,"rules":[`+rule+`,{"allow":["publish"],"topics":["b"]}]}`)
	if v := p.Permit(t, &sdk.Client{ClientID: "c"}); v.Action != pluginv1.ActionDeny || v.ReasonCode != uint32(sdk.QuotaExceeded) {
		t.Errorf("verdict %v", v.Action)
	}
	if logs := p.Host.Logs(); len(logs) != 1 || !strings.Contains(logs[0].Message, "refused") {
		t.Errorf("logs %v", logs)
	}
}

// A full answer fits the contract's limits in every runtime.
func TestLargestAnswer(t *testing.T) {
	config := `{"check_deliveries":false,"rules":[{"allow":["publish"],"topics":` + jsonOf(t, slices.Repeat([]string{"dev/%c"}, maxPermissions)) + `}]}`
	b := &pluginv1.Batch{Point: sdk.PointPermit}
	for i := range maxBatch {
		b.Clients, b.Events = append(b.Clients, sdk.Client{ClientID: "c"}), append(b.Events, pluginv1.Event{Client: uint32(i + 1)})
	}
	for _, r := range allRunners(t) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		if h := p.Manifest.Hooks[0]; h.MaxBatch != maxBatch {
			t.Fatalf("hook %+v", h)
		}
		if a := p.Process(t, b); len(a.Verdicts) != maxBatch || len(a.Verdicts[maxBatch-1].Auth.Permissions) != maxPermissions {
			t.Errorf("%s: %d verdicts", r.Name, len(a.Verdicts))
		}
	}
}

func BenchmarkPermit(b *testing.B) {
	var big strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&big, "user u%d\ntopic readwrite u/%d/#\ntopic read all/#\n", i, i)
	}
	for name, config := range map[string]string{
		"5 rules":     exampleConfig,
		"10000 users": `{"acl_file":` + jsonOf(b, file(b, big.String())) + `}`,
	} {
		b.Run(name, func(b *testing.B) {
			rules := rulesOf(b, config)
			c := Client{Username: "u77", ClientID: "c1", Groups: []string{"crew"}}
			b.ReportAllocs()
			for b.Loop() {
				rules.resolve(&c, false)
			}
		})
	}
}

// BenchmarkDelivery is what check_deliveries costs the broker for a delivery, at the last
// of five rules and without.
func BenchmarkDelivery(b *testing.B) {
	const rules = `"rules":[{"allow":["subscribe"],"topics":["a/%c/#","b/+/state","c/#","d/%u/#","plant/+/line/#"]}]`
	for _, check := range []string{"true", "false"} {
		b.Run(check, func(b *testing.B) {
			p := permissionsOf(b, rulesOf(b, `{"check_deliveries":`+check+`,`+rules+`}`), Client{Username: "ann", ClientID: "c1"})
			b.ReportAllocs()
			for b.Loop() {
				if !p.MayReceive("plant/7/line/3/state", 1, false, 1) {
					b.Fatal("denied")
				}
			}
		})
	}
}
