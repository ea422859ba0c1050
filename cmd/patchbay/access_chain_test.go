package main_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAccessChain: several plugins in order. The first that knows a client decides, its no
// is final, and who is known to nobody is not let in.
func TestAccessChain(t *testing.T) {
	t.Parallel()
	w := newAccessWorld(t)
	const (
		cert = "\n\t- name: auth-cert\n\t  config: {unmatched: continue, identities: [{match: {cn: \"device-${n}\"}}]}"
		jwt  = "\n\t- name: auth-jwt\n\t  config: {keys: [{kid: a, secret: \"" + tokenKey + "\"}]}"
		file = "\n\t- name: authfile\n\t  config: {users: [{name: alice, hash: \"" + vector + "\"}, {name: foreign, hash: \"" + vector + "\"}, {name: outage, hash: \"" + vector + "\"}]}"
	)
	service := func(more string) string {
		return fmt.Sprintf("\n\t- name: auth-http\n\t  config: {retries: 0, %sauthenticate: {url: \"%s/login\"}}", more, w.service.URL)
	}
	good, expired := token(t, tokenKey, "a", 1e12), token(t, tokenKey, "a", -1e12)
	type want struct {
		entrance
		as string // the user name that the client has then
	}
	for _, c := range []struct {
		name    string
		plugins string
		want    []want
	}{
		{"each knows some", cert + jwt + service("") + file, []want{
			{entrance{"a certificate", "alice", "U*U", w.device, 0, 0}, "device-7"}, // the first that knows it decides
			{entrance{"a certificate that is not known, and a token", "", good, w.nobody, 0, 0}, "ann"},
			{entrance{"a token", "alice", good, nil, 0, 0}, "ann"},
			{entrance{"an expired token is final", "alice", expired, nil, 0x86, 4}, ""},
			{entrance{"the service says yes", "rich", "pass", nil, 0, 0}, "rich"},
			{entrance{"the service says no, which is final", "alice", "U*U", nil, 0x86, 4}, ""},
			{entrance{"the service knows nothing, the file does", "foreign", "U*U", nil, 0, 0}, "foreign"},
			{entrance{"the file says no", "foreign", "pass", nil, 0x86, 4}, ""},
			{entrance{"no answer is final", "outage", "U*U", nil, 0x88, 3}, ""},
			{entrance{"nobody", "", "", nil, 0x86, 4}, ""}, // the service is asked about those without a name too
		}},
		{"no answer is left to the next", service("on_error: ignore, ") + file, []want{
			{entrance{"the file knows", "outage", "U*U", nil, 0, 0}, "outage"},
			{entrance{"it does not", "outage", "pass", nil, 0x86, 4}, ""},
		}},
		{"another order", file + service("") + jwt + cert, []want{
			{entrance{"the file says yes", "alice", "U*U", nil, 0, 0}, "alice"},
			{entrance{"the file says no, which is final", "rich", "pass", nil, 0x86, 4}, ""},
			{entrance{"the service says no to who has no name", "", "", w.device, 0x86, 4}, ""},
		}},
		{"nobody knows", cert + jwt, []want{
			{entrance{"nobody", "", "", nil, 0x87, 5}, ""},
			{entrance{"a password", "alice", "U*U", nil, 0x87, 5}, ""},
			{entrance{"a certificate", "alice", "U*U", w.device, 0, 0}, "device-7"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := w.startGate(t, c.plugins+rules)
			for _, x := range c.want {
				for _, d := range doors(x.cert != nil) {
					client, code := w.enter(t, b, d, x.entrance)
					want := x.v5
					if d.version != "5" {
						want = x.v3
					}
					if code != want {
						t.Errorf("%s, %s: CONNACK with 0x%02X, want 0x%02X", d.id(), x.name, code, want)
					}
					if client == nil {
						continue
					}
					if d.transport == "tls" { // a command for each door would take its time
						if got := b.client(d.id()).Username; got != x.as {
							t.Errorf("%s, %s: user name %q, want %q", d.id(), x.name, got, x.as)
						}
					}
					client.close()
				}
			}
			// Rights come from the last plugin, whoever has let the client in.
			for _, x := range c.want {
				if x.v5 != 0 {
					continue
				}
				d := doors(true)[1]
				client, code := w.enter(t, b, d, x.entrance)
				if client == nil {
					t.Fatalf("%s: CONNACK with 0x%02X", x.name, code)
				}
				if x.user != "rich" { // has permissions of its own
					checkRights(t, client, d, false)
				}
				client.close()
			}
		})
	}
}

// TestAccessUnconfigured: with nothing configured everybody is let in, and nobody from
// elsewhere can come: all listeners are on loopback, over all transports. One plugin that
// decides who may connect opens them; one that says what clients may do does not, and
// neither does one that only refuses.
func TestAccessUnconfigured(t *testing.T) {
	t.Parallel()
	w := newAccessWorld(t)
	secure := fmt.Sprintf("cert: %q, key: %q", w.server.cert, w.server.key)
	listeners := fmt.Sprintf(`
listeners:
	- {name: tcp, tcp: ":0"}
	- {name: tls, tls: ":0", %[1]s}
	- {name: ws, ws: ":0"}
	- {name: wss, wss: ":0", %[1]s}
`, secure)
	for _, c := range []struct {
		name, plugins string
		open          bool
		v5, v3        byte // for a client without a name
	}{
		{"nothing", "", false, 0, 0},
		{"rules", "plugins:" + rules, false, 0, 0},
		{"one that only refuses", "plugins: [{name: guard, grants: [ban], config: {deny: [{client_id: \"test-*\"}]}}]", false, 0, 0},
		{"that before users", "plugins: [{name: guard, grants: [ban], config: {logins: {per_user: 0, per_address: 0, ban_after: 0}, deny: [{client_id: \"test-*\"}]}}, {name: authfile, config: {users: []}}]", true, 0x87, 5},
		{"users", "plugins: [{name: authfile, config: {users: []}}]", true, 0x87, 5},
		{"a service", fmt.Sprintf("plugins: [{name: auth-http, config: {authenticate: {url: \"%s/login\"}}}]", w.service.URL), true, 0x86, 4},
		{"a service that says what clients may do", fmt.Sprintf("plugins: [{name: auth-http, config: {authorize: {url: \"%s/topic\"}}}]", w.service.URL), false, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, listeners+c.plugins)
			for _, transport := range []string{"tcp", "tls", "ws", "wss"} {
				host, port, err := net.SplitHostPort(b.addr[transport])
				if err != nil {
					t.Fatal(err)
				}
				if loopback := net.ParseIP(host).IsLoopback(); loopback == c.open {
					t.Errorf("%s listens on %s", transport, b.addr[transport])
				}
				b.addr[transport] = net.JoinHostPort("127.0.0.1", port)
			}
			for _, d := range doors(false) {
				client, code := w.enter(t, b, d, entrance{})
				if client != nil {
					client.close()
				}
				if want := map[bool]byte{true: c.v5, false: c.v3}[d.version == "5"]; code != want {
					t.Errorf("%s: CONNACK with 0x%02X, want 0x%02X", d.id(), code, want)
				}
			}
			for _, r := range b.log.find("listening") {
				if name := r.text("name"); name == "admin" {
					continue
				}
				if said := r.text("access"); strings.Contains(said, "this machine only") == c.open {
					t.Errorf("%s: access is said to be %q", r.text("name"), said)
				}
			}
		})
	}
}

// TestBrokenAccessFiles: a file with a fault changes nothing for clients, which the log
// says, and what comes in its place when it is mended counts.
func TestBrokenAccessFiles(t *testing.T) {
	t.Parallel()
	w := newAccessWorld(t)
	key := base64.RawURLEncoding.EncodeToString([]byte(tokenKey))
	for _, c := range []struct {
		name, plugin           string // FILE stands for the file
		content, broken, other string
		client                 entrance // that content lets in, and other does not
		v5, v3                 byte     // what it is told then; 0: it has lost its rights
	}{
		{
			"authfile", "\n\t- name: authfile\n\t  config: {poll: 100ms, file: FILE}", "alice:" + vector + "\n", "alice:U*U\n", "bob:" + vector + "\n",
			entrance{user: "alice", password: "U*U"}, 0x86, 4,
		},
		{
			"acl", "\n\t- name: acl\n\t  config: {poll: 100ms, acl_file: FILE}", "pattern readwrite own/%c/#\n", "nonsense\n", "topic read other\n",
			entrance{}, 0, 0,
		},
		{
			"auth-jwt", "\n\t- name: auth-jwt\n\t  config: {poll: 100ms, jwks_file: FILE}", `{"keys":[{"kty":"oct","kid":"a","k":"` + key + `"}]}`, `{"keys":[`,
			`{"keys":[{"kty":"oct","kid":"b","k":"` + key + `"}]}`, entrance{password: token(t, tokenKey, "a", time.Hour)}, 0x86, 4,
		},
		{
			"auth-cert", "\n\t- name: auth-cert\n\t  config: {poll: 100ms, identities: [], file: FILE}", fingerprint(w.device) + " seven\n", "zz\n", fingerprint(w.nobody) + " nobody\n",
			entrance{cert: w.device}, 0x87, 5,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "access")
			putFile(t, file, []byte(c.content), 0o600)
			b := w.startGate(t, strings.ReplaceAll(c.plugin, "FILE", file))
			d := doors(true)
			try := func(what string, v5, v3 byte) {
				t.Helper()
				b.awaitIn(t, w, d[0], c.client, v3)
				client, code := w.enter(t, b, d[1], c.client)
				if code != v5 {
					t.Errorf("%s: CONNACK with 0x%02X, want 0x%02X", what, code, v5)
				}
				if client == nil {
					return
				}
				defer client.close()
				code = publishCode(t, client, "own/"+d[1].id()+"/x", 1)
				if lost := c.v5 == 0 && what == "mended"; (code == 0x87) != lost {
					t.Errorf("%s: PUBACK with 0x%02X", what, code)
				}
			}
			logged := func(text string) {
				t.Helper()
				if _, ok := b.log.awaitLine(text); !ok {
					t.Fatalf("the log does not say: %s", text)
				}
			}
			try("at first", 0, 0)
			putFile(t, file, []byte(c.broken), 0o600)
			logged("a changed file has a fault; what was read before stays in force")
			try("broken", 0, 0)
			putFile(t, file, []byte(c.other), 0o600)
			logged("a changed file was read")
			try("mended", c.v5, c.v3)
		})
	}
}

// fingerprint is the SHA-256 of a certificate.
func fingerprint(p *pair) string {
	sum := sha256.Sum256(p.tls.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}
