package authjwt

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// login is a CONNECT with a token as its password.
func login(t testing.TB, p *plugintest.Instance, clientID, token string) *pluginv1.Verdict {
	t.Helper()
	return p.Authenticate(t, &sdk.Client{ClientID: clientID, Username: "claimed"},
		&sdk.Authentication{HasUsername: true, HasPassword: true, Password: []byte(token)})
}

// said is a verdict in short.
func said(v *pluginv1.Verdict) string {
	s := strings.ToLower(strings.TrimPrefix(v.Action.String(), "ACTION_"))
	if v.Action == pluginv1.ActionDeny {
		return s + fmt.Sprintf(" %#x %s", v.ReasonCode, v.Reason)
	}
	if a := v.Auth; a != nil {
		for _, f := range [...]struct{ name, value string }{{"user", a.Username}, {"id", a.ClientID}, {"in", a.Namespace}} {
			if f.value != "" {
				s += " " + f.name + "=" + f.value
			}
		}
		for _, a := range a.Attributes {
			s += " " + a.Name + "=" + a.Value
		}
		if a.HasPermissions {
			s += fmt.Sprintf(" permissions=%d", len(a.Permissions))
		}
	}
	return s
}

// inline is a config for all runtimes, with keys of three kinds.
func inline(t testing.TB, more string) string {
	t.Helper()
	if more != "" {
		more = "," + more
	}
	return `{"keys":[
		{"kid":"h","secret":` + jsonOf(t, string(newSigner("HS256", "").private.([]byte))+"\n") + `},
		{"kid":"e","algorithm":"ES256","pem":` + jsonOf(t, newSigner("ES256", "").public(t)) + `},
		{"pem":` + jsonOf(t, newSigner("RS256", "").public(t)) + `}]` + more + `}`
}

func TestLogin(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	es, hs, rs := newSigner("ES256", "e"), newSigner("HS256", "h"), newSigner("RS256", "any")
	type m = map[string]any
	long := inline(t, `"issuers":["us"],"audiences":["mqtt","all"],"leeway":"5s","max_age":"1h","verify":{"kind":"device","cid":"${client_id}"},
		"claims":{"client_id":"ids","namespace":"/org/https:~1~1x~1tenant","groups":["scope","/org/roles"],"attributes":{"site":"site","n":"n"}},
		"default_namespace":"yard","client_ids":["%u-*"]`)
	full := func(more m) m {
		c := m{
			"iss": "us", "aud": []string{"x", "all"}, "iat": now.Unix(), "kind": []string{"device"}, "cid": "ann-1", "ids": []string{"ann-1", "ann-2"},
			"org": m{"https://x/tenant": "plant", "roles": []string{"ops", "read"}}, "scope": "read write", "site": []any{"a", 7}, "n": 1.5,
		}
		for k, v := range more {
			c[k] = v
		}
		return claims(c)
	}
	for _, c := range []struct{ name, config, token, id, want string }{
		{"ES256", "", es.token(t, claims(nil)), "c", "allow user=ann"},
		{"HS256", "", hs.token(t, claims(nil)), "c", "allow user=ann"},
		{"RS256, a key without id", "", rs.token(t, claims(nil)), "c", "allow user=ann"},
		{"no kid", "", newSigner("ES256", "").token(t, claims(nil)), "c", "allow user=ann"},
		{"another kid", "", newSigner("ES256", "h").token(t, claims(nil)), "c", "deny 0x86 the key of the token is not known"},
		{"another key", "", fresh(t, "e").token(t, claims(nil)), "c", "deny 0x86 the signature of the token is wrong"},
		{"a key for ES256 with HS256", "", (&signer{"HS256", "e", []byte(newSigner("ES256", "").public(t))}).token(t, claims(nil)), "c", "deny 0x86 the key of the token is not known"},
		{"none", "", b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"sub":"ann","exp":9999999999}`)) + ".", "c", "deny 0x86 the algorithm of the token is not accepted"},
		{"an algorithm that is not accepted", inline(t, `"algorithms":["HS256"]`), es.token(t, claims(nil)), "c", "deny 0x86 the algorithm of the token is not accepted"},
		{"a password", "", "hush", "c", "continue"},
		{"dots", "", "a.b.c", "c", "continue"},
		{"expired", "", es.token(t, claims(m{"exp": at(-31 * time.Second)})), "c", "deny 0x86 the token has expired"},
		{"just expired", "", es.token(t, claims(m{"exp": at(-10 * time.Second)})), "c", "allow user=ann"},
		{"no exp", "", es.token(t, m{"sub": "ann"}), "c", "deny 0x86 the token has no exp"},
		{"no exp needed", inline(t, `"require_expiry":false`), es.token(t, m{"sub": "ann"}), "c", "allow user=ann"},
		{"exp as text", "", es.token(t, claims(m{"exp": "9999999999"})), "c", "deny 0x86 exp of the token is not a time"},
		{"exp without end", "", es.raw(t, `{"alg":"ES256"}`, `{"sub":"ann","exp":1e300}`), "c", "deny 0x86 exp of the token is not a time"},
		{"not yet", "", es.token(t, claims(m{"nbf": at(time.Minute)})), "c", "deny 0x86 the token is not valid yet"},
		{"almost", "", es.token(t, claims(m{"nbf": at(10 * time.Second)})), "c", "allow user=ann"},
		{"no sub", "", es.token(t, m{"exp": at(time.Hour)}), "c", "deny 0x86 the token has no sub"},
		{"an empty sub", "", es.token(t, claims(m{"sub": ""})), "c", "deny 0x86 the token has no sub"},
		{"sub with U+0000", "", es.token(t, claims(m{"sub": "a\x00"})), "c", "deny 0x86 the token has no sub"},
		{"sub is a number", "", es.token(t, claims(m{"sub": 7})), "c", "allow user=7"},
		{"crit", "", es.raw(t, `{"alg":"ES256","crit":["b64"],"b64":false}`, `{"sub":"ann"}`), "c", "deny 0x86 the token needs an extension that is not known (crit)"},
		{"the name is kept", inline(t, `"claims":{"username":""},"verify":{"sub":"${username}"}`), es.token(t, claims(m{"sub": "claimed"})), "c", "allow"},
		{"another name", inline(t, `"claims":{"username":""},"verify":{"sub":"${username}"}`), es.token(t, claims(nil)), "c", "deny 0x86 the claim sub of the token does not fit"},

		{"everything", long, es.token(t, full(nil)), "ann-1", "allow user=ann in=plant groups=read,write,ops n=1.5 site=a,7"},
		{"another issuer", long, es.token(t, full(m{"iss": "them"})), "ann-1", "continue"},
		{"another audience", long, es.token(t, full(m{"aud": "them"})), "ann-1", "deny 0x86 the token is for somebody else (aud)"},
		{"no audience", long, es.token(t, full(m{"aud": nil})), "ann-1", "deny 0x86 the token is for somebody else (aud)"},
		{"too old", long, es.token(t, full(m{"iat": at(-2 * time.Hour)})), "ann-1", "deny 0x86 the token is too old"},
		{"from the future", long, es.token(t, full(m{"iat": at(time.Minute)})), "ann-1", "deny 0x86 the token is from the future"},
		{"no iat", long, es.token(t, full(m{"iat": nil})), "ann-1", "deny 0x86 the token has no iat"},
		{"verify", long, es.token(t, full(m{"kind": "person"})), "ann-1", "deny 0x86 the claim kind of the token does not fit"},
		{"verify with the client id", long, es.token(t, full(nil)), "ann-2", "deny 0x86 the claim cid of the token does not fit"},
		{"another client id", long, es.token(t, full(m{"cid": "ann-3"})), "ann-3", "deny 0x85 the token is for another client id"},
		{"an id that is not the user's", long, es.token(t, full(m{"cid": "x", "ids": "x"})), "x", "deny 0x85 not a client id of this user"},
		{"no id in the token", long, es.token(t, full(m{"ids": []string{}})), "ann-1", "deny 0x86 the token has no ids"},
		{"no namespace in the token", long, es.token(t, full(m{"org": m{}})), "ann-1", "allow user=ann in=yard groups=read,write n=1.5 site=a,7"},
		{"a namespace that is none", long, es.token(t, full(m{"org": m{"https://x/tenant": ""}})), "ann-1", "deny 0x86 the token has no /org/https://x/tenant"},
		{"a group with a comma", long, es.token(t, full(m{"scope": []string{"a,admin"}})), "ann-1", "deny 0x86 the claim scope of the token cannot be groups"},
		{"groups that are none", long, es.token(t, full(m{"scope": m{"a": 1}})), "ann-1", "deny 0x86 the claim scope of the token cannot be groups"},

		{"an id is given", inline(t, `"claims":{"client_id":"cid"}`), es.token(t, claims(m{"cid": "seven"})), "", "allow user=ann id=seven"},
		{"an id is replaced", inline(t, `"claims":{"client_id":"cid"},"replace_client_id":true`), es.token(t, claims(m{"cid": "seven"})), "c", "allow user=ann id=seven"},
		{"a namespace is needed", inline(t, `"claims":{"namespace":"tenant"}`), es.token(t, claims(nil)), "c", "deny 0x86 the token has no tenant"},
		{"permissions", inline(t, `"claims":{"permissions":"acl"}`), es.token(t, claims(m{"acl": m{"pub": []string{"a/${client_id}"}, "sub": "b/#"}})), "c", "allow user=ann permissions=2"},
		{"no permissions", inline(t, `"claims":{"permissions":"acl"}`), es.token(t, claims(nil)), "c", "allow user=ann permissions=0"},
		{"permissions that cannot be read", inline(t, `"claims":{"permissions":"acl"}`), es.token(t, claims(m{"acl": "all"})), "c", "deny 0x87 the permissions of the token: neither a list nor an object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config == "" {
				c.config = inline(t, "")
			}
			p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), c.config)
			if got := said(login(t, p, c.id, c.token)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// Where clients can put a token.
func TestFrom(t *testing.T) {
	token := newSigner("ES256", "e").token(t, claims(nil))
	expired := newSigner("ES256", "e").token(t, claims(map[string]any{"exp": 1}))
	password := &sdk.Authentication{HasUsername: true, HasPassword: true, Password: []byte(token)}
	method := func(name, data string) *sdk.Authentication {
		return &sdk.Authentication{Method: name, Data: []byte(data)}
	}
	for _, c := range []struct {
		from, username string
		a              *sdk.Authentication
		want           string
	}{
		{``, "u", password, "allow user=ann"},
		{``, token, &sdk.Authentication{HasUsername: true}, "continue"},
		{``, "", &sdk.Authentication{}, "continue"},
		{``, "", method("JWT", token), "allow user=ann"},
		{``, "", method("OAUTH2-JWT", token), "allow user=ann"},
		{``, "", method("SCRAM-SHA-1", token), "continue"},
		{``, "", method("JWT", ""), "deny 0x87 not a token"},
		{``, "", method("JWT", "hush"), "deny 0x87 not a token"},
		{``, "", method("JWT", expired), "deny 0x87 the token has expired"},
		// With a method of another plugin, a password does not count.
		{``, "u", &sdk.Authentication{Method: "X", HasUsername: true, HasPassword: true, Password: []byte(token)}, "continue"},
		{`"from":["username"]`, token, &sdk.Authentication{HasUsername: true}, "allow user=ann"},
		{`"from":["username"]`, "u", password, "continue"},
		{`"from":["username"]`, "", method("JWT", token), "continue"},
		{`"from":["method"],"methods":["X"]`, "", method("X", token), "allow user=ann"},
		{`"from":["method"],"methods":["X"]`, "u", password, "continue"},
	} {
		p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), inline(t, c.from))
		if got := said(p.Authenticate(t, &sdk.Client{ClientID: "c", Username: c.username}, c.a)); got != c.want {
			t.Errorf("%s %+v: %s, want %s", c.from, c.a, got, c.want)
		}
	}
}

// A re-authentication is for who is connected, and tells when to come again.
func TestReauthentication(t *testing.T) {
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(),
		inline(t, `"claims":{"client_id":"cid","namespace":"tenant"},"leeway":"0s"`))
	es := newSigner("ES256", "e")
	exp := time.Now().Add(time.Hour).Unix()
	ann := &sdk.Client{ClientID: "c1", Username: "ann", Namespace: "x"}
	for _, c := range []struct {
		more map[string]any
		want string
	}{
		{map[string]any{}, "allow user=ann in=x"},
		{map[string]any{"cid": []string{"c0", "c1"}}, "allow user=ann in=x"},
		{map[string]any{"sub": "bob"}, "deny 0x87 the token is for another client than the one that is connected"},
		{map[string]any{"tenant": "y"}, "deny 0x87 the token is for another client than the one that is connected"},
		{map[string]any{"cid": "c2"}, "deny 0x85 the token is for another client id"},
	} {
		all := claims(map[string]any{"exp": exp, "tenant": "x", "cid": "c1"})
		for k, v := range c.more {
			all[k] = v
		}
		v := p.Authenticate(t, ann, &sdk.Authentication{Method: "JWT", Data: []byte(es.token(t, all)), Reauthentication: true})
		if got := said(v); got != c.want {
			t.Errorf("%v: %s, want %s", c.more, got, c.want)
		}
		if v.Action == pluginv1.ActionAllow && (v.Auth.ExpiresAtMs != exp*1000 || string(v.Auth.Data) != fmt.Sprintf(`{"expires_at":%d}`, exp)) {
			t.Errorf("%v: ends at %d, data %s", c.more, v.Auth.ExpiresAtMs, v.Auth.Data)
		}
	}
}

// Connections end with the token, leeway included, unless the config says otherwise.
func TestExpiry(t *testing.T) {
	exp := time.Now().Add(time.Hour).Unix()
	token := newSigner("ES256", "e").token(t, claims(map[string]any{"exp": exp}))
	for config, want := range map[string]int64{`"leeway":"10s"`: exp*1000 + 10_000, `"close_at_expiry":false`: 0} {
		p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), inline(t, config))
		if v := login(t, p, "c", token); v.Auth == nil || v.Auth.ExpiresAtMs != want {
			t.Errorf("%s: %+v", config, v.Auth)
		}
	}
}

// Runtimes agree on what they say about the same logins.
func TestEveryRuntime(t *testing.T) {
	var cases []plugintest.Case
	for _, alg := range []string{"HS256", "RS256", "ES256", "PS512", "EdDSA"} {
		for _, kid := range []string{"", "h", "e", "x"} {
			for i, more := range []map[string]any{{}, {"exp": 5}, {"sub": nil}, {"acl": map[string]any{"all": "a/${client_id}/#"}}, {"cid": "d"}} {
				// One token for all: signatures of ES differ from time to time.
				token := newSigner(alg, kid).token(t, claims(more))
				b := &pluginv1.Batch{Point: sdk.PointAuthenticate, Clients: []pluginv1.Client{{ClientID: "c"}}, Events: []pluginv1.Event{
					{Client: 1, Authentication: &pluginv1.Authentication{HasPassword: true, Password: []byte(token)}},
				}}
				cases = append(cases, plugintest.Batch(fmt.Sprint(alg, kid, i), b))
			}
		}
	}
	plugintest.Conformance(t, inline(t, `"claims":{"permissions":"acl"}`), cases, allRunners(t)...)
}

func TestRefusedConfigs(t *testing.T) {
	pem := jsonOf(t, newSigner("ES256", "").public(t))
	secret := `"` + strings.Repeat("x", 32) + `"`
	key := `"keys":[{"secret":` + secret + `}]`
	for config, want := range map[string]string{
		`{}`:                                  ` tokens are verified with keys`,
		`{"keys":[{}]}`:                       `/keys/0 a key has either`,
		`{"keys":[{"secret":"x","pem":"y"}]}`: `/keys/0 a key has either`,
		`{"keys":[{"secret":"short"}]}`:       `/keys/0/secret a secret of 5 bytes`,
		`{"keys":[{"secret":"%","encoding":"base64"}]}`:              `/keys/0/secret it is not written in base64`,
		`{"keys":[{"secret":"zz","encoding":"hex"}]}`:                `/keys/0/secret it is not written in hex`,
		`{"keys":[{"secret":` + secret + `,"algorithm":"HS512"}]}`:   `/keys/0/algorithm the key cannot be used for HS512`,
		`{"keys":[{"pem":` + pem + `,"algorithm":"HS256"}]}`:         `/keys/0/algorithm the key cannot be used for HS256`,
		`{"keys":[{"pem":"x"}]}`:                                     `/keys/0/pem no PEM block`,
		`{` + key + `,"algorithms":["none"]}`:                        `/algorithms must be one of`,
		`{` + key + `,"from":["cookie"]}`:                            `/from must be one of`,
		`{` + key + `,"from":["username"],"claims":{"username":""}}`: `/claims/username with the token in the user name`,
		`{` + key + `,"replace_client_id":true}`:                     `/replace_client_id claims.client_id has to say`,
		`{` + key + `,"verify":{"sub":"${name}"}}`:                   `/verify "sub": ${name} is not one of`,
		`{` + key + `,"verify":{"sub":"${username"}}`:                `/verify "sub": a ${ without`,
		`{` + key + `,"claims":{"groups":["/a~2"]}}`:                 `/claims/groups/0 in a JSON Pointer`,
		`{` + key + `,"claims":{"attributes":{"groups":"x"}}}`:       `/claims/attributes "groups" is not a name`,
		`{` + key + `,"ask":{}}`:                                     `/ask/topic is required`,
		`{` + key + `,"ask":{"topic":"a/#"}}`:                        `/ask/topic a Topic Name`,
		`{` + key + `,"ask":{"topic":"a"},"from":["password"]}`:      `/ask only clients with an Authentication Method`,
		`{"jwks_url":"id.example.com"}`:                              `/jwks_url it has to be a URL`,
		`{"jwks_url":"https://a:b@id.example.com/"}`:                 `/jwks_url name and password`,
		`{"jwks_file":"/does/not/exist"}`:                            `/jwks_file /does/not/exist: no such file`,
		`{"jwks_fiel":"x"}`:                                          `/jwks_fiel unknown key "jwks_fiel", did you mean "jwks_file"?`,
	} {
		_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
		if len(res.Problems) == 0 {
			t.Errorf("%s is taken", config)
			continue
		}
		got := res.Problems[0].Pointer + " " + res.Problems[0].Message
		if !strings.HasPrefix(got, want) || strings.Contains(got, secret) {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
}

// What a config needs and is not granted is said at the start.
func TestGrants(t *testing.T) {
	for config, want := range map[string]string{
		`{"jwks_url":"https://id.example.com/jwks"}`:     "/jwks_url it needs the grant http",
		inline(t, `"ask":{"topic":"auth/${client_id}"}`): "/ask it needs the grant publish",
	} {
		p, err := Plugin().Open(t.Context(), plugintest.NewHost())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		res, err := p.Start(t.Context(), &pluginv1.StartRequest{Name: "auth-jwt", Config: config, Host: &pluginv1.HostInfo{}})
		if err != nil || len(res.Problems) != 1 || res.Problems[0].Pointer+" "+res.Problems[0].Message != want {
			t.Errorf("%s: %+v, %v", config, res, err)
		}
	}
}

// Keys of a file change while the plugin runs.
func TestFile(t *testing.T) {
	old, next := fresh(t, "old"), fresh(t, "next")
	path := filepath.Join(t.TempDir(), "jwks.json")
	for _, r := range allRunners(t) {
		if r.Name == "wasm" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			write(t, path, set(t, old))
			h := plugintest.NewHost()
			p := plugintest.Start(t, r, h, `{"jwks_file":`+jsonOf(t, path)+`,"poll":"3s"}`)
			check := func(first, second, health string) {
				t.Helper()
				if err := h.Advance(t.Context(), 6*time.Second); err != nil {
					t.Fatal(err)
				}
				for s, want := range map[*signer]string{old: first, next: second} {
					if got := said(login(t, p, "c", s.token(t, claims(nil)))); !strings.HasPrefix(got, want) {
						t.Errorf("key %s: %s, want %s", s.id, got, want)
					}
				}
				res, err := p.Plugin.Health(t.Context(), &pluginv1.HealthRequest{})
				if err != nil || !strings.Contains(res.Message, health) || (res.Status == pluginv1.HealthStatusDegraded) != (health != "") {
					t.Errorf("health %+v, %v", res, err)
				}
			}
			check("allow", "deny 0x86 the key", "")
			write(t, path, set(t, old, next))
			check("allow", "allow", "")
			write(t, path, `{"keys":[]}`)
			check("allow", "allow", "jwks.json: it has no key")
			write(t, path, next.public(t))
			check("deny 0x86 the signature", "allow", "") // a key in PEM has no id
		})
	}
}

func TestConfigure(t *testing.T) {
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), inline(t, ""))
	token := newSigner("ES256", "e").token(t, claims(nil))
	configure := func(config string) *pluginv1.ConfigureResponse {
		t.Helper()
		res, err := p.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: config})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := configure(`{"jwks_file":"/does/not/exist"}`); res.Problems == nil {
		t.Error("a file that is not there is taken")
	}
	if got := said(login(t, p, "c", token)); got != "allow user=ann" {
		t.Errorf("after a refused config: %s", got)
	}
	if res := configure(inline(t, `"claims":{"username":"cid"}`)); res.Problems != nil || res.Restart {
		t.Errorf("%+v", res)
	}
	if got := said(login(t, p, "c", token)); got != "deny 0x86 the token has no cid" {
		t.Errorf("after a new config: %s", got)
	}
	if res := configure(`{"jwks_url":"https://id.example.com/"}`); !res.Restart {
		t.Errorf("another URL: %+v", res)
	}
}

// The plugin says in metrics what becomes of tokens, and at which points it is called.
func TestMetricsAndNarrowing(t *testing.T) {
	h := plugintest.NewHost()
	p, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), h, inline(t, ""))
	if res.Narrowed == nil || len(res.Narrowed.Hooks) != 1 {
		t.Errorf("narrowed to %+v", res.Narrowed)
	}
	login(t, p, "c", newSigner("ES256", "e").token(t, claims(nil)))
	login(t, p, "c", newSigner("ES256", "e").token(t, claims(map[string]any{"exp": 1})))
	login(t, p, "c", "hush")
	var seen []string
	if !h.WaitFor(t.Context(), func() bool {
		seen = nil
		for _, c := range h.Calls(pluginv1.HostOpMetric) {
			for _, s := range c.Request.(*pluginv1.MetricRequest).Samples {
				if s.Name == "logins_total" {
					seen = append(seen, s.Labels[0].Value)
				}
			}
		}
		return len(seen) == 2
	}) || !slices.Equal(seen, []string{"accepted", "expired"}) {
		t.Errorf("counted %v", seen)
	}
}
