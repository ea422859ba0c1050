package acl_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

const golden = "acl-c.wasm"

// work is a folder for what is built.
var work string

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "acl-c"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(work)
	os.Exit(code)
}

// source builds the module from the source, once.
var source = sync.OnceValues(func() (string, error) {
	for _, tool := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s is not there: install clang and lld: %w", tool, err)
		}
	}
	file := filepath.Join(work, golden)
	if out, err := exec.Command("./build.sh", file).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return file, nil
})

func built(t *testing.T) string {
	t.Helper()
	file, err := source()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("TEST_TOOLS") != "required" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// eachModule runs a test with the committed module, and with one that is built from the source if there is a compiler;
// each with the kit for authors, and in the runtime of the broker.
func eachModule(t *testing.T, test func(t *testing.T, r plugintest.Runner)) {
	eachFile(t, func(t *testing.T, file string) {
		for _, r := range runners(t, file) {
			t.Run(r.Name, func(t *testing.T) { test(t, r) })
		}
	})
}

func eachFile(t *testing.T, test func(t *testing.T, file string)) {
	t.Run("golden", func(t *testing.T) { test(t, golden) })
	t.Run("source", func(t *testing.T) { test(t, built(t)) })
}

// opened are the runners of a file: a module is compiled once.
var opened = map[string][]plugintest.Runner{}

// runners open the module with the kit for authors, and as the broker does.
func runners(t *testing.T, file string) []plugintest.Runner {
	t.Helper()
	if opened[file] == nil {
		m, err := wasm.LoadFile(context.Background(), file, wasm.Options{})
		if err != nil {
			t.Fatal(err)
		}
		kit := plugintest.Wasm(file)
		kit.Name = "kit"
		open := func(ctx context.Context, h v1host.Service) (instance.Plugin, error) { return m.Open(ctx, h) }
		opened[file] = []plugintest.Runner{kit, {Name: "broker", Open: open}}
	}
	return opened[file]
}

const config = `{"rules": [
	{"deny": ["publish", "subscribe"], "topics": ["plant/+/safety/#"], "groups": ["guests"]},
	{"allow": ["publish", "subscribe"], "topics": ["plant/#"], "groups": ["operators", "guests"]},
	{"allow": ["publish"], "topics": ["dev/${client_id}/up", "dev/${client_id}/${username}/#"]},
	{"allow": ["subscribe", "receive"], "topics": ["news/\u00e4"], "users": ["ann", "bob"], "clients": ["desk"]}
]}`

func allow(actions pluginv1.Access, filter string) sdk.Permission {
	return sdk.Permission{Allow: true, Actions: uint32(actions), TopicFilter: filter}
}

func deny(actions pluginv1.Access, filter string) sdk.Permission {
	p := allow(actions, filter)
	p.Allow = false
	return p
}

func TestPermit(t *testing.T) {
	both := sdk.AccessPublish | sdk.AccessSubscribe
	groups := func(s string) []sdk.Pair {
		return []sdk.Pair{{Name: "site", Value: "operators"}, {Name: "groups", Value: s}}
	}
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		for _, c := range []struct {
			name   string
			client sdk.Client
			want   []sdk.Permission
		}{
			{"device", sdk.Client{ClientID: "d7", Username: "ann"}, []sdk.Permission{
				allow(sdk.AccessPublish, "dev/d7/up"), allow(sdk.AccessPublish, "dev/d7/ann/#"),
			}},
			{"no user name", sdk.Client{ClientID: "d7"}, []sdk.Permission{allow(sdk.AccessPublish, "dev/d7/up")}},
			{"two conditions", sdk.Client{ClientID: "desk", Username: "bob"}, []sdk.Permission{
				allow(sdk.AccessPublish, "dev/desk/up"), allow(sdk.AccessPublish, "dev/desk/bob/#"),
				allow(sdk.AccessSubscribe|sdk.AccessReceive, "news/ä"),
			}},
			{"one of several groups", sdk.Client{ClientID: "a+b", Attributes: groups("crew,operators")}, []sdk.Permission{
				allow(both, "plant/#"),
			}},
			{"deny comes first", sdk.Client{ClientID: "#", Attributes: groups("guests,")}, []sdk.Permission{
				deny(both, "plant/+/safety/#"), allow(both, "plant/#"),
			}},
			{"part of a group's name", sdk.Client{ClientID: "a/b", Attributes: groups("operator,operators2")}, nil},
			{"a name that would widen", sdk.Client{ClientID: "$SYS", Username: "x"}, nil},
		} {
			v := p.Permit(t, &c.client)
			want := &sdk.Identity{HasPermissions: true, Permissions: c.want}
			if v.Action != pluginv1.ActionAllow || !pluginv1.Equal(v.Auth, want) {
				t.Errorf("%s: %+v with %+v, want %+v", c.name, v, v.Auth, want)
			}
		}
	})
}

// A rule that denies and cannot be applied must not leave the client with more than others.
func TestDenyThatCannotBeApplied(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), `{"rules": [
			{"deny": ["subscribe"], "topics": ["private/${username}"]}, {"allow": ["subscribe"], "topics": ["#"]}]}`)
		for name, want := range map[string]pluginv1.Action{"ann": pluginv1.ActionAllow, "": pluginv1.ActionDeny, "a/b": pluginv1.ActionDeny} {
			if v := p.Permit(t, &sdk.Client{ClientID: "c", Username: name}); v.Action != want {
				t.Errorf("%q: %+v", name, v)
			}
		}
	})
}

func TestBatch(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		b := &pluginv1.Batch{Point: sdk.PointPermit}
		for i := range 600 {
			b.Clients = append(b.Clients, sdk.Client{ClientID: strings.Repeat("c", i+1), Username: "u"})
			b.Events = append(b.Events, pluginv1.Event{Client: uint32(i + 1)})
		}
		a := p.Process(t, b)
		if len(a.Verdicts) != len(b.Events) {
			t.Fatalf("%d verdicts", len(a.Verdicts))
		}
		for i, v := range a.Verdicts {
			if want := "dev/" + strings.Repeat("c", i+1) + "/up"; v.Event != uint32(i) || v.Auth.Permissions[0].TopicFilter != want {
				t.Fatalf("%d: %+v", i, v.Auth)
			}
		}
	})
}

func TestRefusedConfig(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		_, res := plugintest.StartResponse(t, r, plugintest.NewHost(),
			`{"rules": [{"topics": ["a"]}, {"allow": ["publish"], "topics": ["a", "b/${user}"]}]}`)
		var got []string
		for _, p := range res.Problems {
			got = append(got, p.Pointer+" "+p.Message)
		}
		want := "/rules/0 a rule has either allow or deny\n/rules/1/topics/1 the placeholders are ${username} and ${client_id}"
		if strings.Join(got, "\n") != want {
			t.Errorf("problems %q", got)
		}
	})
}

func TestConfigure(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		permissions := func() int { return len(p.Permit(t, &sdk.Client{ClientID: "d7", Username: "ann"}).Auth.Permissions) }
		for i, c := range []struct {
			config   string
			problems int
			want     int
		}{
			{`{"rules": []}`, 0, 0},
			{`{"rules": [{"topics": ["a"]}]}`, 1, 0},
			{config, 0, 2},
			{`{"rules": [{"allow": ["publish"], "topics": ["${nobody}"]}]}`, 1, 2},
			{`{"rules": [{"allow": ["publish"], "topics": ["a", "b", "c"]}]}`, 0, 3},
		} {
			res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: c.config})
			if err != nil || len(res.Problems) != c.problems || res.Restart {
				t.Fatalf("%d: %+v, %v", i, res, err)
			}
			if got := permissions(); got != c.want {
				t.Errorf("%d: %d permissions, want %d", i, got, c.want)
			}
		}
	})
}

func TestManifest(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		m := plugintest.Start(t, r, plugintest.NewHost(), config).Manifest
		if m.Name != "acl-c" || len(m.Hooks) != 1 || m.Hooks[0].Point != sdk.PointPermit || len(m.NeededFeatures) != 1 ||
			m.Hooks[0].Fields != uint32(sdk.FieldAttributes|sdk.FieldConnection) || !strings.Contains(m.ConfigSchema, `"clients": {"type": "array", "minItems": 1`) {
			t.Errorf("manifest %+v", m)
		}
	})
}

// A plugin is small: this one, with the SDK, stays below 32 KiB.
func TestSize(t *testing.T) {
	eachFile(t, func(t *testing.T, file string) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if t.Logf("%d bytes", info.Size()); info.Size() > 32<<10 {
			t.Errorf("%d bytes", info.Size())
		}
	})
}
