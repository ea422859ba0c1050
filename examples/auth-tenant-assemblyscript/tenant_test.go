// Package tenant_test tests the plugin: the module that is here, and one that is built
// from its source.
package tenant_test

import (
	"bytes"
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
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const golden = "auth-tenant.wasm"

// maxSize is what the golden module may grow to, in bytes.
const maxSize = 60 << 10

// noTool is the exit code of build.sh where the compiler is missing.
const noTool = 69

// compiled is what build.sh makes, once for all tests.
var compiled = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "auth-tenant")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, golden)
	text, err := exec.Command("./build.sh", out).CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("%w\n%s", err, text)
	}
	return out, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if out, _ := compiled(); out != "" {
		os.RemoveAll(filepath.Dir(out))
	}
	os.Exit(code)
}

// built compiles the plugin, or skips the test.
func built(t *testing.T) string {
	t.Helper()
	out, err := compiled()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == noTool && os.Getenv("TEST_TOOLS") != "required":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return out
}

func eachModule(t *testing.T, test func(t *testing.T, r plugintest.Runner)) {
	t.Run("golden", func(t *testing.T) { test(t, plugintest.Wasm(golden)) })
	t.Run("built", func(t *testing.T) { test(t, plugintest.Wasm(built(t))) })
}

const config = `{
	"roles": {
		"device": [{"deny":["all"],"topic":"devices/+/secret"},
			{"allow":["publish"],"topic":"devices/${user}/#"}, {"allow":["subscribe"],"topic":"commands/${user}/${clientid}/#"}],
		"operator": [{"allow":["all"],"topic":"#"}]
	},
	"tenants": {
		"acme": {"namespace":"acme-prod", "max_subscriptions":10, "publish_rate":5.5, "users": {
			"pump":{"password":"hush","role":"device"}, "ann":{"password_hash":"$plain$secret","role":"operator"}}},
		"bolt": {"users": {"pump":{"password":"other","role":"device"}}}
	}
}`

func login(t *testing.T, p *plugintest.Instance, username, clientID, password string) *pluginv1.Verdict {
	t.Helper()
	return p.Authenticate(t, &sdk.Client{Username: username, ClientID: clientID}, &sdk.Authentication{HasPassword: true, Password: []byte(password)})
}

// show is a verdict in a line.
func show(v *pluginv1.Verdict) string {
	a := v.Auth
	if a == nil {
		return fmt.Sprintf("%v %#x", v.Action, v.ReasonCode)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%v in %q", v.Action, a.Namespace)
	if !a.HasPermissions {
		b.WriteString(" without permissions")
	}
	for _, p := range a.Permissions {
		fmt.Fprintf(&b, "; %t %d %s", p.Allow, p.Actions, p.TopicFilter)
	}
	for _, at := range a.Attributes {
		fmt.Fprintf(&b, "; %s=%s", at.Name, at.Value)
	}
	if a.Quotas != nil {
		fmt.Fprintf(&b, "; %d subscriptions, %v/s", a.Quotas.MaxSubscriptions, a.Quotas.PublishRate)
	}
	return b.String()
}

func TestLogin(t *testing.T) {
	const (
		device    = "; false 7 devices/+/secret; true 1 devices/pump/#; true 6 commands/pump/c1/#; tenant=%s; role=device"
		refused   = "ACTION_DENY 0x86"
		continued = "ACTION_CONTINUE 0x0"
	)
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		for _, c := range []struct{ username, clientID, password, want string }{
			{"pump@acme", "c1", "hush", `ACTION_ALLOW in "acme-prod"` + fmt.Sprintf(device, "acme") + "; 10 subscriptions, 5.5/s"},
			{"pump@bolt", "c1", "other", `ACTION_ALLOW in "bolt"` + fmt.Sprintf(device, "bolt")},
			{"ann@acme", "any/+/#", "secret", `ACTION_ALLOW in "acme-prod"; true 7 #; tenant=acme; role=operator; 10 subscriptions, 5.5/s`},
			{"pump@acme", "c1", "other", refused},
			{"pump@acme", "c1", "", refused},
			{"ann@acme", "c1", "wrong", refused},
			{"ann@bolt", "c1", "secret", refused},
			{"pump@nobody", "c1", "hush", refused},
			{"@acme", "c1", "hush", refused},
			{"pump@acme@", "c1", "hush", refused},
			{"pump", "c1", "hush", continued},
			{"", "c1", "", continued},
			// A Client Identifier must not reach into other levels.
			{"pump@acme", "a/b", "hush", "ACTION_DENY 0x87"},
			{"pump@acme", "#", "hush", "ACTION_DENY 0x87"},
			{"pump@acme", "", "hush", "ACTION_DENY 0x87"},
		} {
			if got := show(login(t, p, c.username, c.clientID, c.password)); got != c.want {
				t.Errorf("%s as %s with %q:\n got %s\nwant %s", c.username, c.clientID, c.password, got, c.want)
			}
		}
	})
}

// Hashes are the broker's to compare; without the grant that fails, and is no wrong password.
func TestMissingGrant(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		h := plugintest.NewHost()
		p := plugintest.Start(t, r, h, config)
		h.Deny("password")
		b := &pluginv1.Batch{Point: sdk.PointAuthenticate, Clients: []pluginv1.Client{{Username: "ann@acme"}},
			Events: []pluginv1.Event{{Client: 1, Authentication: &pluginv1.Authentication{Password: []byte("secret")}}}}
		if _, err := p.ProcessErr(b); err == nil || !strings.Contains(err.Error(), `missing grant "password"`) {
			t.Errorf("error %v", err)
		}
		if got := show(login(t, p, "pump@bolt", "c1", "other")); !strings.HasPrefix(got, "ACTION_ALLOW") {
			t.Errorf("a password in clear: %s", got)
		}
	})
}

func TestConfigure(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		for _, c := range []struct {
			config, want string
			problems     int
		}{
			{strings.Replace(config, `"hush"`, `"new"`, 1), "ACTION_DENY", 0},
			{config, "ACTION_ALLOW", 0},
			{`{"roles":{},"tenants":{"acme":{"users":{"pump":{"password":"x","role":"y"}}}}}`, "ACTION_ALLOW", 1},
		} {
			res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: c.config})
			if err != nil || res.Restart || len(res.Problems) != c.problems {
				t.Fatalf("%+v, %v", res, err)
			}
			if got := show(login(t, p, "pump@acme", "c1", "hush")); !strings.HasPrefix(got, c.want) {
				t.Errorf("with %s: %s, want %s", c.config, got, c.want)
			}
		}
	})
}

func TestRefusedConfigs(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		for text, want := range map[string]string{
			`{}`: "/roles is required; /tenants is required",
			`{"roles":{"r":[{"topic":"#"}]},"tenants":{}}`:                             "/roles/r/0 needs allow or deny; /roles/r/0/deny is required",
			`{"roles":{"r":[{"allow":["fly"],"topic":"#"}]},"tenants":{}}`:             `/roles/r/0/allow/0 must be "publish", "subscribe" or "all"`,
			`{"roles":{},"tenants":{"a/b":{"users":{}}}}`:                              "/tenants/a~1b a name must not be empty, nor have / + or #",
			`{"roles":{"r":[]},"tenants":{"a":{"users":{"u":{"role":"r"}}}}}`:          "/tenants/a/users/u needs password or password_hash",
			`{"roles":{},"tenants":{"a":{"users":{"u":{"role":"r","password":"p"}}}}}`: "/tenants/a/users/u/role is none of the roles",
			`{"roles":{},"tenants":{},"seperator":"@"}`:                                "/seperator unknown key",
		} {
			_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), text)
			var got []string
			for _, p := range res.Problems {
				got = append(got, p.Pointer+" "+p.Message)
			}
			if strings.Join(got, "; ") != want {
				t.Errorf("%s:\n got %s\nwant %s", text, strings.Join(got, "; "), want)
			}
		}
	})
}

// The module that is here is what build.sh makes, with the version of AssemblyScript that
// it names.
func TestGolden(t *testing.T) {
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) > maxSize {
		t.Errorf("%d bytes, more than %d", len(want), maxSize)
	}
	got, err := os.ReadFile(built(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("build.sh makes other %d bytes than the %d of %s; was it built anew, and with another asc?", len(got), len(want), golden)
	}
}

// BenchmarkAuthenticate is the time of a login in the broker's own runtime, the way to the
// worker and back included.
func BenchmarkAuthenticate(b *testing.B) {
	m, err := wasm.LoadFile(b.Context(), golden, wasm.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	p, err := m.Open(b.Context(), plugintest.NewHost())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if res, err := p.Start(b.Context(), &pluginv1.StartRequest{Config: config}); err != nil || len(res.Problems) > 0 {
		b.Fatal(res, err)
	}
	batch, answer := &pluginv1.Batch{
		Point: pluginv1.PointAuthenticate, Clients: []pluginv1.Client{{ClientID: "c1", Username: "pump@acme"}},
		Events: []pluginv1.Event{{Client: 1, Authentication: &pluginv1.Authentication{HasPassword: true, Password: []byte("hush")}}},
	}, new(pluginv1.Answer)
	done := make(chan error, 1)
	b.ReportAllocs()
	for b.Loop() {
		answer.Reset()
		if answered, err := p.Process(batch, answer, func(err error) { done <- err }); answered {
			b.Fatal("answered at once", err)
		}
		if err := <-done; err != nil || answer.Verdicts[0].Action != pluginv1.ActionAllow {
			b.Fatal(answer, err)
		}
	}
}
