package authfile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// login is a CONNECT with a user name.
func login(t testing.TB, p *plugintest.Instance, user, clientID, secret string) *pluginv1.Verdict {
	t.Helper()
	return p.Authenticate(t, &sdk.Client{Username: user, ClientID: clientID},
		&sdk.Authentication{HasUsername: true, HasPassword: secret != "", Password: []byte(secret)})
}

// said is a verdict in short.
func said(v *pluginv1.Verdict) string {
	s := strings.ToLower(strings.TrimPrefix(v.Action.String(), "ACTION_"))
	if v.Action == pluginv1.ActionDeny {
		s += fmt.Sprintf(" %#x", v.ReasonCode)
	}
	if v.Auth != nil {
		if v.Auth.Namespace != "" {
			s += " in " + v.Auth.Namespace
		}
		for _, a := range v.Auth.Attributes {
			s += " " + a.Name + "=" + a.Value
		}
	}
	return s
}

const inlineConfig = `{"users":[
	{"name":"ann","hash":"` + argonHash + `","groups":["crew"]},
	{"name":"bob","hash":"` + bcryptHash + `","namespace":"hall","client_ids":["bob-*","x"]},
	{"name":"s*","hash":"` + sha512Hash + `"},
	{"name":"site/7","hash":"` + pbkdf2Hash + `"}],
	"groups":{"all":["*"],"site":["site/*","ann"]},"namespace":"yard","client_ids":["%u","%u-*"]}`

func TestLogin(t *testing.T) {
	for _, r := range allRunners(t) {
		t.Run(r.Name, func(t *testing.T) {
			p := plugintest.Start(t, r, plugintest.NewHost(), inlineConfig)
			for _, c := range []struct{ user, id, secret, want string }{
				{"ann", "ann", "hush", "allow in yard groups=crew,all,site"},
				{"ann", "ann-1", "hush", "allow in yard groups=crew,all,site"},
				{"ann", "bob-1", "hush", "deny 0x85"},
				{"ann", "", "hush", "deny 0x85"},
				{"ann", "bob-1", "loud", "deny 0x86"},
				{"ann", "ann", "", "deny 0x86"},
				{"bob", "bob-1", "hush", "allow in hall groups=all"},
				{"bob", "x", "hush", "allow in hall groups=all"},
				{"bob", "bob", "hush", "deny 0x85"},
				{"s*", "s*", "hush", "deny 0x85"},
				{"s*", "s1", "hush", "deny 0x85"},
				{"site/7", "site/7", "hush", "allow in yard groups=all,site"},
				{"eve", "eve", "hush", "deny 0x86"},
				{"", "", "hush", "deny 0x86"},
				{"Ann", "Ann", "hush", "deny 0x86"},
			} {
				v := login(t, p, c.user, c.id, c.secret)
				if got := said(v); got != c.want {
					t.Errorf("%s %s %s: %s, want %s", c.user, c.id, c.secret, got, c.want)
				}
				if v.ReasonCode == uint32(sdk.BadUserNameOrPassword) && v.Reason != badLogin {
					t.Errorf("%s: the reason tells %q", c.user, v.Reason)
				}
			}
		})
	}
}

// Clients that this plugin has nothing to say of are left to the next one.
func TestOthers(t *testing.T) {
	for config, want := range map[string]string{inlineConfig: "continue", `{"allow_anonymous":true}`: "allow"} {
		p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
		if got := said(p.Authenticate(t, &sdk.Client{ClientID: "c"}, &sdk.Authentication{})); got != want {
			t.Errorf("anonymous: %s, want %s", got, want)
		}
		// A password alone, as MQTT 5 allows, names nobody.
		if got := said(p.Authenticate(t, &sdk.Client{ClientID: "c"}, &sdk.Authentication{HasPassword: true, Password: []byte("x")})); got != want {
			t.Errorf("a password alone: %s, want %s", got, want)
		}
		if got := said(p.Authenticate(t, &sdk.Client{Username: "ann"}, &sdk.Authentication{HasUsername: true, Method: "SCRAM-SHA-256"})); got != "continue" {
			t.Errorf("enhanced authentication: %s", got)
		}
	}
}

// Runtimes agree on what they say about the same logins.
func TestEveryRuntime(t *testing.T) {
	var cases []plugintest.Case
	for _, user := range []string{"ann", "bob", "s*", "site/7", "eve", ""} {
		for _, id := range []string{"ann", "ann-2", "bob-2", "x", ""} {
			for _, secret := range []string{"hush", "loud", ""} {
				b := &pluginv1.Batch{Point: sdk.PointAuthenticate, Clients: []pluginv1.Client{{Username: user, ClientID: id}}, Events: []pluginv1.Event{
					{Client: 1, Authentication: &pluginv1.Authentication{HasUsername: user != "", HasPassword: secret != "", Password: []byte(secret)}},
				}}
				cases = append(cases, plugintest.Batch(user+" "+id+" "+secret, b))
			}
		}
	}
	plugintest.Conformance(t, inlineConfig, cases, allRunners(t)...)
}

// Mosquitto's own files are taken as they are.
func TestMosquittoFile(t *testing.T) {
	program, err := exec.LookPath("mosquitto_passwd")
	if err != nil {
		t.Skip("no mosquitto_passwd here")
	}
	path := filepath.Join(t.TempDir(), "passwd")
	write(t, path, "")
	for i, name := range []string{"one", "two"} {
		args := []string{"-H", []string{"sha512", "sha512-pbkdf2"}[i], "-b", path, name, "secret of " + name}
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Skipf("mosquitto_passwd cannot do this: %v %s", err, out)
		}
	}
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), `{"file":`+jsonOf(t, path)+`}`)
	for user, want := range map[string]string{"one": "allow", "two": "allow", "three": "deny 0x86"} {
		if got := said(login(t, p, user, "c", "secret of "+user)); got != want {
			t.Errorf("%s: %s", user, got)
		}
		if got := said(login(t, p, user, "c", "secret")); got != "deny 0x86" {
			t.Errorf("%s with a wrong password: %s", user, got)
		}
	}
}

func TestReload(t *testing.T) {
	path := file(t, "")
	for _, r := range allRunners(t) {
		if r.Name == "wasm" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			write(t, path, "ann:"+argonHash+"\nbob:"+bcryptHash+"\neve:"+sha512Hash+"\n")
			h := plugintest.NewHost()
			h.State.Clients = []sdk.Client{
				{ClientID: "a", Username: "ann", Connection: 3}, {ClientID: "b", Username: "bob", Connection: 4}, {ClientID: "e", Username: "eve", Namespace: "x"},
			}
			p := plugintest.Start(t, r, h, `{"file":`+jsonOf(t, path)+`,"poll":"3s"}`)
			check := func(ann, bob, health string, closed int) {
				t.Helper()
				if err := h.Advance(t.Context(), 6*time.Second); err != nil {
					t.Fatal(err)
				}
				if got := said(login(t, p, "ann", "c", "hush")); got != ann {
					t.Errorf("ann: %s, want %s", got, ann)
				}
				if got := said(login(t, p, "bob", "c", "hush")); got != bob {
					t.Errorf("bob: %s, want %s", got, bob)
				}
				res, err := p.Plugin.Health(t.Context(), &pluginv1.HealthRequest{})
				if err != nil || !strings.Contains(res.Message, health) || (res.Status == pluginv1.HealthStatusDegraded) != (health != "") {
					t.Errorf("health %+v, %v", res, err)
				}
				if n := len(h.Calls(pluginv1.HostOpDisconnect)); n != closed {
					t.Errorf("%d connections were closed, want %d", n, closed)
				}
			}
			check("allow", "allow", "", 0)
			write(t, path, "ann:"+argonHash+"\nbob:nothash\n")
			check("allow", "allow", path+":2: user \"bob\" has no hash", 0)
			// Bob goes, ann gets another hash, eve stays.
			write(t, path, "# new\nann:"+pbkdf2Hash+"\neve:"+sha512Hash+"\n")
			check("allow", "deny 0x86", "", 2)
			for _, c := range h.Calls(pluginv1.HostOpDisconnect) {
				d := c.Request.(*pluginv1.DisconnectRequest)
				if d.ReasonCode != uint32(sdk.NotAuthorized) || d.ClientID == "e" || (d.ClientID == "a") != (d.Connection == 3) {
					t.Errorf("closed %+v", d)
				}
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			check("allow", "deny 0x86", "no such file", 2)
			write(t, path, "bob:"+bcryptHash+"\n")
			check("deny 0x86", "allow", "", 4)
		})
	}
}

func TestConfigure(t *testing.T) {
	h := plugintest.NewHost()
	h.State.Clients = []sdk.Client{{ClientID: "a", Username: "ann"}}
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), h, inlineConfig)
	configure := func(config string) []pluginv1.Problem {
		t.Helper()
		res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: config})
		if err != nil || res.Restart {
			t.Fatalf("%+v, %v", res, err)
		}
		return res.Problems
	}
	if configure(`{"file":"/does/not/exist"}`) == nil {
		t.Error("a file that is not there is taken")
	}
	if got := said(login(t, p, "ann", "ann", "hush")); got != "allow in yard groups=crew,all,site" {
		t.Errorf("after a refused config: %s", got)
	}
	if problems := configure(`{"users":[{"name":"eve","hash":"` + bcryptHash + `"}]}`); problems != nil {
		t.Fatal(problems)
	}
	if a, e := said(login(t, p, "ann", "ann", "hush")), said(login(t, p, "eve", "x", "hush")); a != "deny 0x86" || e != "allow" {
		t.Errorf("after a new config: ann %s, eve %s", a, e)
	}
	if n := len(h.Calls(pluginv1.HostOpDisconnect)); n != 1 {
		t.Errorf("%d connections were closed", n)
	}
}

// Without the grants nothing is closed, and the log says why.
func TestGrantsForClosing(t *testing.T) {
	h := plugintest.NewHost()
	h.State.Clients = []sdk.Client{{ClientID: "a", Username: "ann"}}
	p, err := Plugin().Open(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	start := &pluginv1.StartRequest{Name: "authfile", Config: inlineConfig, Grants: []pluginv1.Grant{{Name: "clients"}}}
	if res, err := p.Start(t.Context(), start); err != nil || len(res.Problems) > 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := p.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{}`}); err != nil {
		t.Fatal(err)
	}
	logs := h.Logs()
	if len(h.Calls(pluginv1.HostOpDisconnect)) != 0 || len(logs) != 1 || !strings.Contains(logs[0].Message, "without the grant disconnect") {
		t.Errorf("logs %v", logs)
	}
}

func TestRefusedConfigs(t *testing.T) {
	user := func(name, rest string) string { return `{"name":` + jsonOf(t, name) + rest + `}` }
	good := `,"hash":"` + argonHash + `"`
	for config, want := range map[string]string{
		`{"users":[` + user("", good) + `]}`:                                                     `/users/0/name must be at least 1`,
		`{"users":[` + user("a", "") + `]}`:                                                      `/users/0/hash is required`,
		`{"users":[` + user("a", `,"hash":"x"`) + `]}`:                                           `/users/0/hash not a hash`,
		`{"users":[` + user("a", good) + `,` + user("a", good) + `]}`:                            `/users /users/1: the user "a" is at /users/0 already`,
		`{"users":[` + user("a", good+`,"groups":["a,b"]`) + `]}`:                                `/users/0/groups "a,b": a group`,
		`{"groups":{" a":[]}}`:                                                                   `/groups " a": a group`,
		`{"users":[` + user("a", good) + `],"file":` + jsonOf(t, file(t, "a:"+bcryptHash)) + `}`: `/file `,
		`{"file":` + jsonOf(t, file(t, "ann\n")) + `}`:                                           `/file `,
		`{"file":"/does/not/exist"}`:                                                             `/file /does/not/exist: no such file`,
		`{"fiel":"x"}`:                                                                           `/fiel unknown key "fiel", did you mean "file"?`,
		`{"max_queue":0}`:                                                                        `/max_queue must be at least 1`,
	} {
		_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
		if len(res.Problems) == 0 {
			t.Errorf("%s is taken", config)
			continue
		}
		got := res.Problems[0].Pointer + " " + res.Problems[0].Message
		if !strings.HasPrefix(got, want) || strings.Contains(got, argonHash) {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
}

// In a sandbox there are no files, and the broker does the work.
func TestSandbox(t *testing.T) {
	for _, r := range allRunners(t) {
		if r.Name != "wasm" {
			continue
		}
		_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), `{"file":"users.txt"}`)
		if len(res.Problems) != 1 || res.Problems[0].Pointer != "/file" || !strings.Contains(res.Problems[0].Message, "has no files") {
			t.Errorf("a file: %+v", res)
		}
		p := plugintest.Start(t, r, plugintest.NewHost(), inlineConfig)
		for range 3 {
			login(t, p, "ann", "ann", "hush")
			login(t, p, "ann", "ann", "loud")
		}
		if n := len(p.Host.Calls(pluginv1.HostOpPasswordVerify)); n != 4 {
			t.Errorf("the broker was asked %d times, want once for what is right and 3 times for what is wrong", n)
		}
		plugin, err := r.Open(t.Context(), plugintest.NewHost())
		if err != nil {
			t.Fatal(err)
		}
		defer plugin.Close()
		got, err := plugin.Start(t.Context(), &pluginv1.StartRequest{Name: "authfile", Config: "{}", Host: &pluginv1.HostInfo{Runtime: pluginv1.RuntimeWasm}})
		if err != nil || len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Message, "grant password") {
			t.Errorf("without the grant: %+v, %v", got, err)
		}
	}
}
