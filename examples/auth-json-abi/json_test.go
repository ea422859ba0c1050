package json_test

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

const (
	golden = "auth-json-abi.wasm"
	config = `{"users": {"ann": "hush", "bob": "a \"quoted\" \\ word\n", "j\u00fcrgen \ud83d\ude42": "gr\u00fc\u00dfe"}}`
)

// work is a folder for what is built.
var work string

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "auth-json-abi"); err != nil {
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

// eachModule runs a test with the committed module, and with one that is built from the source if there is a compiler.
func eachModule(t *testing.T, test func(t *testing.T, r plugintest.Runner)) {
	t.Run("golden", func(t *testing.T) { test(t, runner(t, golden)) })
	t.Run("source", func(t *testing.T) {
		file, err := source()
		if errors.Is(err, exec.ErrNotFound) && os.Getenv("TEST_TOOLS") != "required" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		test(t, runner(t, file))
	})
}

// runner opens the module as the broker does.
func runner(t *testing.T, file string) plugintest.Runner {
	t.Helper()
	m, err := wasm.LoadFile(t.Context(), file, wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return plugintest.Runner{Name: "broker", Open: func(ctx context.Context, h v1host.Service) (instance.Plugin, error) { return m.Open(ctx, h) }}
}

func password(s string) *sdk.Authentication {
	return &sdk.Authentication{HasUsername: true, HasPassword: true, Password: []byte(s)}
}

func TestAuthenticate(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		for _, c := range []struct {
			username string
			auth     *sdk.Authentication
			want     pluginv1.Action
		}{
			{"ann", password("hush"), pluginv1.ActionAllow},
			{"bob", password("a \"quoted\" \\ word\n"), pluginv1.ActionAllow},
			{"jürgen 🙂", password("grüße"), pluginv1.ActionAllow},
			{"ann", password("hus"), pluginv1.ActionDeny},
			{"ann", password("hushh"), pluginv1.ActionDeny},
			{"ann", password("hush\x00"), pluginv1.ActionDeny},
			{"ann", password(""), pluginv1.ActionDeny},
			{"ann", &sdk.Authentication{}, pluginv1.ActionDeny},
			{"an", password("hush"), pluginv1.ActionDeny},
			{"", password("hush"), pluginv1.ActionDeny},
			{"users", password("hush"), pluginv1.ActionDeny},
			{`"},"x":{"`, password("hush"), pluginv1.ActionDeny},
			{strings.Repeat("x", 65_000), password(strings.Repeat("y", 65_000)), pluginv1.ActionDeny},
			{"ann", &sdk.Authentication{Method: "SCRAM-SHA-256"}, pluginv1.ActionContinue},
		} {
			v := p.Authenticate(t, &sdk.Client{ClientID: `a"b\`, Username: c.username}, c.auth)
			if v.Action != c.want || c.want == pluginv1.ActionDeny && v.ReasonCode != uint32(sdk.BadUserNameOrPassword) {
				t.Errorf("%.80q with %+v: %+v", c.username, c.auth, v)
			}
			want := &sdk.Identity{HasPermissions: true, Permissions: []sdk.Permission{{Allow: true, Actions: 3, TopicFilter: "home/" + c.username + "/#"}}}
			if c.want == pluginv1.ActionAllow && !pluginv1.Equal(v.Auth, want) {
				t.Errorf("%s gets %+v", c.username, v.Auth)
			}
		}
	})
}

func TestBatch(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		b := &pluginv1.Batch{Point: sdk.PointAuthenticate, Clients: []sdk.Client{{Username: "bob"}, {Username: "ann"}}}
		for i := range 64 {
			b.Events = append(b.Events, pluginv1.Event{Client: uint32(i % 3), Authentication: password("hush")})
		}
		a := p.Process(t, b)
		for i, v := range a.Verdicts {
			if allowed := i%3 == 2; v.Event != uint32(i) || (v.Action == pluginv1.ActionAllow) != allowed {
				t.Errorf("%d: %+v", i, v)
			}
		}
		if len(a.Verdicts) != len(b.Events) {
			t.Errorf("%d verdicts", len(a.Verdicts))
		}
	})
}

func TestConfig(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		for _, name := range []string{"a/b", "+", "#", "", "$SYS", `\u002b`} {
			_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), `{"users": {"ann": "hush", "`+name+`": "hush"}}`)
			if len(res.Problems) != 1 || res.Problems[0].Pointer != "/users" {
				t.Errorf("%q: %+v", name, res)
			}
		}
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		if m := p.Manifest; m.Name != "auth-json-abi" || len(m.Hooks) != 1 || m.Hooks[0].Fields != uint32(sdk.FieldPassword) || !strings.Contains(m.ConfigSchema, `"minLength":4`) {
			t.Errorf("manifest %+v", m)
		}
		res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: config})
		if err != nil || !res.Restart {
			t.Errorf("%+v, %v", res, err)
		}
		if res, err := p.Plugin.Health(t.Context(), &pluginv1.HealthRequest{}); err != nil || res.Status != pluginv1.HealthStatusServing {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// A request that does not fit into the buffer fails, and the next one is answered.
func TestTooLarge(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		b := &pluginv1.Batch{Point: sdk.PointAuthenticate, Clients: []sdk.Client{{ClientID: strings.Repeat("x", 1<<20)}}, Events: []pluginv1.Event{{Client: 1}}}
		if _, err := p.ProcessErr(b); err == nil {
			t.Fatal("it was answered")
		}
		if v := p.Authenticate(t, &sdk.Client{Username: "ann"}, password("hush")); v.Action != pluginv1.ActionAllow {
			t.Errorf("%+v", v)
		}
	})
}
