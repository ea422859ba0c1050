package authcert

import (
	"crypto/x509"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func login(t testing.TB, p *plugintest.Instance, clientID string, s *sdk.TLS) *pluginv1.Verdict {
	t.Helper()
	return p.Authenticate(t, &sdk.Client{ClientID: clientID, Username: "claimed", TLS: s}, &sdk.Authentication{HasUsername: true})
}

// said is a verdict in short.
func said(v *pluginv1.Verdict) string {
	s := strings.ToLower(strings.TrimPrefix(v.Action.String(), "ACTION_"))
	if v.Action == pluginv1.ActionDeny {
		return s + fmt.Sprintf(" %#x %s", v.ReasonCode, v.Reason)
	}
	if a := v.Auth; a != nil {
		s += " " + a.Username
		if a.ClientID != "" {
			s += " id=" + a.ClientID
		}
		if a.Namespace != "" {
			s += " in=" + a.Namespace
		}
		for _, a := range a.Attributes {
			if a.Name != "auth-cert.sha256" {
				s += " " + a.Name + "=" + a.Value
			}
		}
	}
	return s
}

func TestLogin(t *testing.T) {
	a := newAuthority(t)
	plain := a.issue(device("dev-7")).Leaf
	full := a.issue(device("dev-8", uri(t, "https://x/y"), uri(t, "spiffe://example.org/plant/device/8"), func(c *x509.Certificate) {
		c.Subject.Organization, c.Subject.OrganizationalUnit = []string{"Example"}, []string{"ops", "read"}
		c.DNSNames, c.EmailAddresses = []string{"other.example.org", "D8.Plant.example.com"}, []string{"d8@plant.example.com"}
		c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 8)}
	})).Leaf
	nameless := a.issue(device("", func(c *x509.Certificate) { c.DNSNames = []string{"d9.example.com"} })).Leaf
	old := a.issue(device("old", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})).Leaf
	future := a.issue(device("new", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	})).Leaf
	comma := a.issue(device("c", func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"a,admin"} })).Leaf

	const unknown = "deny 0x87 the certificate is not known"
	spiffe := `"identities":[{"match":{"uri":"spiffe://example.org/${tenant}/device/${device}"},"username":"${device}","namespace":"${tenant}"}]`
	pins := `"certificates":[{"sha256":"` + printOf(plain) + `","username":"pinned","namespace":"n","client_id":"p","groups":["a","b"]},
		{"sha256":"SUM","deny":true}]`
	pins = strings.Replace(pins, "SUM", strings.ToUpper(printOf(full)), 1)
	for _, c := range []struct {
		config string
		cert   *x509.Certificate
		id     string
		want   string
	}{
		{``, plain, "c", "allow dev-7"},
		{``, plain, "", "allow dev-7"},
		{``, nameless, "c", unknown},
		{``, old, "c", "deny 0x87 the certificate is not valid now"},
		{``, future, "c", "deny 0x87 the certificate is not valid now"},
		{`"unmatched":"continue"`, nameless, "c", "continue"},
		{`"unmatched":"continue"`, old, "c", "deny 0x87 the certificate is not valid now"},
		{`"namespace":"yard"`, plain, "c", "allow dev-7 in=yard"},
		{`"client_ids":["%u-*"]`, plain, "dev-7-x", "allow dev-7"},
		{`"client_ids":["%u-*"]`, plain, "dev-8-x", "deny 0x85 not a client id of this user"},
		{`"client_ids":["%u-*"]`, plain, "", "deny 0x85 not a client id of this user"},
		{spiffe, full, "c", "allow 8 in=plant"},
		{spiffe, plain, "c", unknown},
		{`"identities":[{"match":{"dns":"${d}.${t}.example.com"},"username":"${d}","namespace":"${t}","client_id":"${t}-${d}"}]`, full, "", "allow d8 id=plant-d8 in=plant"},
		{`"identities":[{"match":{"dns":"${d}.${t}.example.com"},"username":"${dns}","client_id":"${t}-${d}"}]`, full, "plant-d8", "allow d8.plant.example.com id=plant-d8"},
		{`"identities":[{"match":{"dns":"${d}.${t}.example.com"},"username":"${d}","client_id":"${t}-${d}"}]`, full, "x", "deny 0x85 the certificate is for another client id"},
		{`"identities":[{"match":{"email":"${u}@${t}.example.com","cn":"dev-8"},"username":"${u}"}]`, full, "c", "allow d8"},
		{`"identities":[{"match":{"email":"${u}@${t}.example.com","cn":"dev-9"},"username":"${u}"}]`, full, "c", unknown},
		{`"identities":[{"match":{"issuer":"CN=Plant CA,O=Example"},"username":"${o}/${ip}/${serial}","groups":["all","${ou}","${cn}-x"],"attributes":{"o":"${o}","none":"${email}"}}]`,
			full, "c", "allow Example/192.0.2.8/" + full.SerialNumber.Text(16) + " none=d8@plant.example.com o=Example groups=all,ops,read,dev-8-x"},
		{`"identities":[{"match":{"issuer":"CN=Other CA"}}]`, plain, "c", unknown},
		{`"identities":[{"username":"${dns}"},{"username":"x-${cn}"}]`, plain, "c", "allow x-dev-7"},
		{`"identities":[{"groups":["${ou}","${o}-x"]}]`, plain, "c", "allow dev-7"},
		{`"identities":[{"groups":["${ou}"]}]`, comma, "c", "deny 0x87 the certificate has a name that cannot be a group"},
		{`"identities":[]`, plain, "c", unknown},
		{pins, plain, "p", "allow pinned id=p in=n groups=a,b"},
		{pins, plain, "q", "deny 0x85 the certificate is for another client id"},
		{pins, full, "c", "deny 0x87 the certificate is refused"},
		{pins, comma, "c", "allow c"},
	} {
		p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), "{"+c.config+"}")
		v := login(t, p, c.id, sent(c.cert, true))
		if got := said(v); got != c.want {
			t.Errorf("%s with %s: %s, want %s", c.config, c.cert.Subject, got, c.want)
		}
		if v.Action == pluginv1.ActionAllow && v.Auth.ExpiresAtMs != c.cert.NotAfter.UnixMilli() {
			t.Errorf("%s: ends at %d", c.cert.Subject, v.Auth.ExpiresAtMs)
		}
	}
}

// A certificate that nobody has vouched for counts only by its fingerprint.
func TestUnverified(t *testing.T) {
	a := newAuthority(t)
	one, two := a.issue(device("one")).Leaf, a.issue(device("two")).Leaf
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), `{"close_at_expiry":false,"certificates":[{"sha256":"`+printOf(one)+`","username":"pinned"}]}`)
	if v := login(t, p, "c", sent(one, false)); said(v) != "allow pinned" || v.Auth.ExpiresAtMs != 0 {
		t.Errorf("with a fingerprint that is known: %s", said(v))
	}
	if v := login(t, p, "c", sent(two, false)); said(v) != "deny 0x87 the certificate is not known" {
		t.Errorf("without: %s", said(v))
	}
}

// Clients without a certificate, or with a method of another plugin, are left to the next.
func TestOthers(t *testing.T) {
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), `{}`)
	s := sent(newAuthority(t).issue(device("one")).Leaf, true)
	for name, v := range map[string]*pluginv1.Verdict{
		"no TLS":         login(t, p, "c", nil),
		"no certificate": login(t, p, "c", &sdk.TLS{}),
		"a method":       p.Authenticate(t, &sdk.Client{ClientID: "c", TLS: s}, &sdk.Authentication{Method: "X"}),
	} {
		if said(v) != "continue" {
			t.Errorf("%s: %s", name, said(v))
		}
	}
}

// Runtimes agree on what they say about the same logins.
func TestEveryRuntime(t *testing.T) {
	a := newAuthority(t)
	config := `{"identities":[{"match":{"uri":"spiffe://x/${t}/${d}"},"username":"${d}","namespace":"${t}"},{"groups":["${ou}"]}],"client_ids":["%u*"],
		"certificates":[{"sha256":"SUM","username":"one","deny":false}]}`
	certs := []*x509.Certificate{
		a.issue(device("c", func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"a", "b"} })).Leaf,
		a.issue(device("c", uri(t, "spiffe://x/a/c"))).Leaf, a.issue(device("")).Leaf, a.issue(device("z")).Leaf,
	}
	config = strings.Replace(config, "SUM", printOf(certs[3]), 1)
	var cases []plugintest.Case
	for i, c := range certs {
		for _, id := range []string{"", "c", "one"} {
			for _, verified := range []bool{true, false} {
				b := &pluginv1.Batch{
					Point: sdk.PointAuthenticate, Clients: []pluginv1.Client{{ClientID: id, TLS: sent(c, verified)}},
					Events: []pluginv1.Event{{Client: 1, Authentication: &pluginv1.Authentication{}}},
				}
				cases = append(cases, plugintest.Batch(fmt.Sprint(i, id, verified), b))
			}
		}
	}
	plugintest.Conformance(t, config, cases, allRunners(t)...)
}

// The certificate itself is sent only if it is needed.
func TestNarrowing(t *testing.T) {
	for config, want := range map[string]sdk.Field{
		`{}`: sdk.FieldTLS,
		`{"identities":[{"groups":["x-${ou}"]}]}`:    0,
		`{"identities":[{"match":{"o":"Example"}}]}`: 0,
	} {
		_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
		if want == 0 && res.Narrowed != nil || want != 0 && (res.Narrowed == nil || sdk.Field(res.Narrowed.Hooks[0].Fields) != want) {
			t.Errorf("%s: %+v", config, res.Narrowed)
		}
	}
}

func TestRefusedConfigs(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	path := filepath.Join(t.TempDir(), "certificates.txt")
	write(t, path, sum+" ann\n"+sum+" bob\n")
	for config, want := range map[string]string{
		`{"identities":[{"match":{"name":"x"}}]}`:                                                            `/identities/0/match "name" is no field of certificates; there are cn, o,`,
		`{"identities":[{"match":{"cn":"${a}${b}"}}]}`:                                                       `/identities/0/match/cn between ${a} and ${b} has to be some text`,
		`{"identities":[{"match":{"cn":"${a}-${a}"}}]}`:                                                      `/identities/0/match/cn ${a} is there twice`,
		`{"identities":[{"match":{"cn":"${cn}"}}]}`:                                                          `/identities/0/match/cn ${cn} is a field`,
		`{"identities":[{"match":{"cn":"${"}}]}`:                                                             `/identities/0/match/cn a ${ without`,
		`{"identities":[{"match":{"cn":"${A}"}}]}`:                                                           `/identities/0/match/cn ${A}: a name has`,
		`{"identities":[{"match":{"cn":"${a}","dns":"${a}"}}]}`:                                              `/identities/0/match/dns ${a} is taken from another field`,
		`{"identities":[{"username":"${who}"}]}`:                                                             `/identities/0/username ${who} is neither`,
		`{"identities":[{"username":""}]}`:                                                                   `/identities/0/username it is empty`,
		`{"identities":[{"groups":["${x"]}]}`:                                                                `/identities/0/groups/0 a ${ without`,
		`{"identities":[{"attributes":{"groups":"x"}}]}`:                                                     `/identities/0/attributes "groups" is not`,
		`{"certificates":[{"sha256":"ab","username":"x"}]}`:                                                  `/certificates/0/sha256 a fingerprint is`,
		`{"certificates":[{"sha256":"` + sum + `"}]}`:                                                        `/certificates/0 the user name is missing`,
		`{"certificates":[{"username":"x"}]}`:                                                                `/certificates/0/sha256 is required`,
		`{"certificates":[{"sha256":"` + sum + `","username":"x","deny":true}]}`:                             `/certificates/0 a certificate that is refused has`,
		`{"certificates":[{"sha256":"` + sum + `","username":"x"},{"sha256":"` + sum + `","username":"y"}]}`: `/certificates/1/sha256 the certificate is at /certificates/0 already`,
		`{"unmatched":"allow"}`:                                                                              `/unmatched must be one of`,
		`{"file":"/does/not/exist"}`:                                                                         `/file /does/not/exist: no such file`,
		`{"file":` + jsonOf(t, path) + `}`:                                                                   `/file ` + path + `:2: the certificate is at ` + path + `:1 already`,
		`{"fiel":"x"}`:                                                                                       `/fiel unknown key "fiel", did you mean "file"?`,
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

// When the file changes, clients that would not be let in any more are sent away, and no
// others.
func TestChanges(t *testing.T) {
	a := newAuthority(t)
	certs := map[string]*x509.Certificate{}
	for _, name := range []string{"ann", "bob", "eve"} {
		certs[name] = a.issue(device(name)).Leaf
	}
	path := filepath.Join(t.TempDir(), "certificates.txt")
	for _, r := range allRunners(t) {
		if r.Name == "wasm" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			write(t, path, printOf(certs["ann"])+" ann\n"+printOf(certs["bob"])+" bob namespace=n\n")
			h := plugintest.NewHost()
			ours := func(id, user, namespace string, n uint64) sdk.Client {
				return sdk.Client{
					ClientID: id, Username: user, Namespace: namespace, Connection: n, TLS: sent(certs[user], true),
					Attributes: []sdk.Pair{{Name: "auth-cert.sha256", Value: printOf(certs[user])}},
				}
			}
			// Eve has a certificate, and was let in by another plugin.
			other := ours("e2", "eve", "", 5)
			other.Attributes = nil
			h.State.Clients = []sdk.Client{
				ours("a", "ann", "", 1), ours("b", "bob", "n", 2), ours("e", "eve", "", 3), {ClientID: "x", Username: "x", Connection: 4}, other,
			}
			p := plugintest.Start(t, r, h, `{"file":`+jsonOf(t, path)+`,"poll":"3s","identities":[{"match":{"cn":"eve"}}]}`)
			check := func(health string, closed ...uint64) {
				t.Helper()
				if err := h.Advance(t.Context(), 6*time.Second); err != nil {
					t.Fatal(err)
				}
				var got []uint64
				for _, c := range h.Calls(pluginv1.HostOpDisconnect) {
					d := c.Request.(*pluginv1.DisconnectRequest)
					if d.ReasonCode != uint32(sdk.NotAuthorized) {
						t.Errorf("closed with %#x", d.ReasonCode)
					}
					got = append(got, d.Connection)
				}
				if fmt.Sprint(got) != fmt.Sprint(closed) {
					t.Errorf("closed %v, want %v", got, closed)
				}
				res, err := p.Plugin.Health(t.Context(), &pluginv1.HealthRequest{})
				if err != nil || !strings.Contains(res.Message, health) || (res.Status == pluginv1.HealthStatusDegraded) != (health != "") {
					t.Errorf("health %+v, %v", res, err)
				}
			}
			check("")
			write(t, path, "nonsense\n")
			check("certificates.txt:1: a fingerprint is")
			// Bob gets another namespace, eve is refused, ann stays.
			write(t, path, printOf(certs["ann"])+" ann groups=new\n"+printOf(certs["bob"])+" bob namespace=m\n!"+printOf(certs["eve"])+"\n")
			check("", 2, 3)
			if got := said(login(t, p, "c", sent(certs["eve"], true))); got != "deny 0x87 the certificate is refused" {
				t.Errorf("eve: %s", got)
			}
			write(t, path, "# nobody\n")
			check("", 2, 3, 1, 2)
		})
	}
}

// Without the grants nothing is closed, and the log says why.
func TestGrantsForClosing(t *testing.T) {
	h := plugintest.NewHost()
	p, err := Plugin().Open(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if res, err := p.Start(t.Context(), &pluginv1.StartRequest{Name: "auth-cert", Config: `{}`, Grants: []pluginv1.Grant{{Name: "clients"}}}); err != nil || len(res.Problems) > 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := p.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"namespace":"n"}`}); err != nil {
		t.Fatal(err)
	}
	if logs := h.Logs(); len(logs) != 1 || !strings.Contains(logs[0].Message, "without the grant disconnect") {
		t.Errorf("logs %v", logs)
	}
}
