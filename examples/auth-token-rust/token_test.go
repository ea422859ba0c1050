package token_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

const (
	golden = "auth-token.wasm"
	newKey = "the key that tokens are signed with now"
	oldKey = "the key that tokens were signed with before"
	config = `{"keys": ["` + newKey + `", "` + oldKey + `"]}`
)

// work is a folder for what is built.
var work string

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "auth-token-rust"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(work)
	os.Exit(code)
}

var errNoCompiler = errors.New("a compiler is not there: install rustc, libstd-rust-dev-wasm32 and lld")

// source builds the module from the source, once.
var source = sync.OnceValues(func() (string, error) {
	file := filepath.Join(work, golden)
	out, err := exec.Command("./build.sh", file).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 3:
		return "", errNoCompiler
	case err != nil:
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return file, nil
})

func built(t *testing.T) string {
	t.Helper()
	file, err := source()
	if errors.Is(err, errNoCompiler) && os.Getenv("TEST_TOOLS") != "required" {
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
		m, err := wasm.LoadFile(context.Background(), file, wasm.Options{Now: plugintestNow})
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

// now is the time of plugintest's clock.
const now = int64(1_893_456_000)

func plugintestNow() time.Time { return time.Unix(now, 0) }

type claims map[string]any

// token signs claims as any JWT library does.
func token(key string, header string, c claims) string {
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const hs256 = `{"alg":"HS256","typ":"JWT"}`

func good(more claims) claims {
	c := claims{"exp": now + 60}
	for k, v := range more {
		c[k] = v
	}
	return c
}

func connect(token string) *sdk.Authentication {
	return &sdk.Authentication{HasPassword: true, Password: []byte(token)}
}

func TestAccepted(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		full := good(claims{"sub": "ann", "client_id": "c1", "namespace": "site", "nbf": now, "iss": "x",
			"publish": []string{"a/#", "b/ü"}, "subscribe": []string{"c"}})
		for _, c := range []struct {
			name   string
			client sdk.Client
			auth   *sdk.Authentication
			want   sdk.Identity
		}{
			{"all claims", sdk.Client{ClientID: "c1", Username: "ann"}, connect(token(newKey, hs256, full)), sdk.Identity{
				Username: "ann", Namespace: "site", Permissions: []sdk.Permission{
					{Allow: true, Actions: 1, TopicFilter: "a/#"}, {Allow: true, Actions: 1, TopicFilter: "b/ü"}, {Allow: true, Actions: 2, TopicFilter: "c"},
				},
			}},
			{"the name is the token's", sdk.Client{ClientID: "c1"}, connect(token(oldKey, hs256, good(claims{"sub": "bob"}))), sdk.Identity{Username: "bob"}},
			{"no name", sdk.Client{ClientID: "c2"}, connect(token(newKey, `{"alg":"HS256"}`, good(nil))), sdk.Identity{}},
			{"by method", sdk.Client{ClientID: "c2"}, &sdk.Authentication{Method: "token", Data: []byte(token(newKey, hs256, good(nil)))}, sdk.Identity{}},
			{"again", sdk.Client{ClientID: "c2", Username: "ann"}, &sdk.Authentication{
				Method: "token", Data: []byte(token(newKey, hs256, good(claims{"sub": "ann"}))), Reauthentication: true,
			}, sdk.Identity{Username: "ann"}},
		} {
			c.want.HasPermissions, c.want.ExpiresAtMs = true, (now+60)*1000
			v := p.Authenticate(t, &c.client, c.auth)
			if v.Action != pluginv1.ActionAllow || !pluginv1.Equal(v.Auth, &c.want) {
				t.Errorf("%s: %+v with %+v, want %+v", c.name, v, v.Auth, c.want)
			}
		}
	})
}

func TestRefused(t *testing.T) {
	flip := func(s string, i int) string {
		b := []byte(s)
		b[i] ^= 1
		return string(b)
	}
	right := token(newKey, hs256, good(nil))
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		for token, want := range map[string]string{
			token("another key, as long as the other ones", hs256, good(nil)): "signature",
			token(newKey, `{"alg":"none"}`, good(nil)):                        "HS256",
			token(newKey, `{"alg":"HS512"}`, good(nil)):                       "HS256",
			token(newKey, `{"alg":"HS256","crit":["x"]}`, good(nil)):          "HS256",
			token(newKey, `{}`, good(nil)):                                    "HS256",
			token(newKey, hs256, claims{"exp": now}):                          "expired",
			token(newKey, hs256, claims{}):                                    "does not say when it expires",
			token(newKey, hs256, claims{"exp": "soon"}):                       "wrong type",
			token(newKey, hs256, claims{"exp": 1.5}):                          "wrong type",
			token(newKey, hs256, good(claims{"nbf": now + 1})):                "not valid yet",
			token(newKey, hs256, good(claims{"sub": 7})):                      "wrong type",
			token(newKey, hs256, good(claims{"publish": "a"})):                "wrong type",
			token(newKey, hs256, good(claims{"publish": []any{"a", 1}})):      "wrong type",
			token(newKey, hs256, good(claims{"client_id": "other"})):          "another client id",
			token(newKey, hs256, good(claims{"sub": "bob"})):                  "another user name",
			right[:strings.LastIndexByte(right, '.')] + ".":                   "signature",
			right[:strings.LastIndexByte(right, '.')]:                         "", // what was the payload is the signature now
			flip(right, 3):            "signature",
			flip(right, 60):           "signature",
			flip(right, len(right)-2): "signature",
			"":                        "not a JWT",
			"..":                      "signature",
			"a.b":                     "not a JWT",
			right + "=":               "not a JWT",
			right + ".":               "",
			"\xff.\xff.\xff":          "not a JWT",
			strings.Repeat("x", 60_000) + "." + strings.Repeat("y", 1000) + ".zz": "",
		} {
			v := p.Authenticate(t, &sdk.Client{ClientID: "c1", Username: "ann"}, connect(token))
			if v.Action != pluginv1.ActionDeny || v.ReasonCode != uint32(sdk.BadUserNameOrPassword) || v.Auth != nil || !strings.Contains(v.Reason, want) {
				t.Errorf("%.80q: %+v, want %q", token, v, want)
			}
		}
	})
}

// What is not a token's business is left to the next plugin.
func TestContinue(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		for _, a := range []*sdk.Authentication{{}, {Method: "SCRAM-SHA-256", Data: []byte("n,,")}} {
			if v := p.Authenticate(t, &sdk.Client{ClientID: "c"}, a); v.Action != pluginv1.ActionContinue {
				t.Errorf("%+v: %+v", a, v)
			}
		}
	})
}

func TestLeeway(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		p := plugintest.Start(t, r, plugintest.NewHost(), `{"keys": ["`+newKey+`"], "leeway_s": 10}`)
		for c, want := range map[int64]pluginv1.Action{-10: pluginv1.ActionDeny, -9: pluginv1.ActionAllow} {
			v := p.Authenticate(t, &sdk.Client{}, connect(token(newKey, hs256, claims{"exp": now + c, "nbf": now + 10})))
			if v.Action != want || want == pluginv1.ActionAllow && v.Auth.ExpiresAtMs != (now+1)*1000 {
				t.Errorf("%d: %+v", c, v)
			}
		}
	})
}

func TestConfig(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		for config, want := range map[string]string{
			`{"keys": []}`:                        "/keys must name a key",
			`{}`:                                  "/keys must name a key",
			`{"keys": ["` + newKey + `", 7]}`:     "/keys/1 must be a string",
			`{"keys": ["a"], "leeway_s": "long"}`: "/leeway_s must be a whole number from 0",
			`{"keys": {"a": 1}}`:                  "/keys must be a list",
		} {
			_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), config)
			if len(res.Problems) != 1 || res.Problems[0].Pointer+" "+res.Problems[0].Message != want {
				t.Errorf("%s: %+v", config, res)
			}
		}
		// A changed key counts at once, and a config that is refused changes nothing.
		p := plugintest.Start(t, r, plugintest.NewHost(), config)
		for _, c := range []struct {
			config        string
			problems      int
			first, second pluginv1.Action
		}{
			{`{"keys": [1]}`, 1, pluginv1.ActionAllow, pluginv1.ActionAllow},
			{`{"keys": ["` + newKey + `"]}`, 0, pluginv1.ActionAllow, pluginv1.ActionDeny},
		} {
			res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: c.config})
			if err != nil || len(res.Problems) != c.problems || res.Restart {
				t.Fatalf("%+v, %v", res, err)
			}
			for key, want := range map[string]pluginv1.Action{newKey: c.first, oldKey: c.second} {
				if v := p.Authenticate(t, &sdk.Client{}, connect(token(key, hs256, good(nil)))); v.Action != want {
					t.Errorf("%s with %q: %+v", c.config, key, v)
				}
			}
		}
	})
}

func TestManifest(t *testing.T) {
	eachModule(t, func(t *testing.T, r plugintest.Runner) {
		m := plugintest.Start(t, r, plugintest.NewHost(), config).Manifest
		if m.Name != "auth-token" || len(m.Hooks) != 1 || m.Hooks[0].Point != sdk.PointAuthenticate ||
			m.Hooks[0].Fields != uint32(sdk.FieldPassword) || len(m.Grants) != 0 || !json.Valid([]byte(m.ConfigSchema)) {
			t.Errorf("manifest %+v", m)
		}
	})
}

// A plugin is small: this one, with the SDK, JSON and SHA-256, stays below 60 KiB.
func TestSize(t *testing.T) {
	eachFile(t, func(t *testing.T, file string) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if t.Logf("%d bytes", info.Size()); info.Size() > 60<<10 {
			t.Errorf("%d bytes", info.Size())
		}
	})
}

// The parts that have tests in Rust: SHA-256, HMAC and base64url.
func TestCargo(t *testing.T) {
	built(t) // or there is no compiler
	binary := filepath.Join(work, "unit")
	library := filepath.Join(work, "libpatchbay.rlib")
	for _, args := range [][]string{
		{"--crate-type", "rlib", "--crate-name", "patchbay", "../../sdk/rust/src/lib.rs", "-o", library},
		{"--test", "--extern", "patchbay=" + library, "src/lib.rs", "-o", binary},
	} {
		if out, err := exec.Command("rustc", append([]string{"--edition", "2021"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if out, err := exec.Command(binary).CombinedOutput(); err != nil || !strings.Contains(string(out), "test result: ok") {
		t.Errorf("%v\n%s", err, out)
	}
}
