package main_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"
	packets3 "github.com/eclipse/paho.mqtt.golang/packets"
)

// gate is one way to let clients in: plugins, and what becomes of clients.
type gate struct {
	name string
	// plugins of the configuration. HOW stands where stopped could be made a process.
	plugins string
	logins  []entrance
	// rights is whom to try topics with: only own/ID/# is allowed, but for own/ID/no.
	rights entrance
	// stopped is the plugin that is stopped to see what its silence means, called at point.
	stopped, point string
	// open says that the next plugin decides then, as it does for guard unless configured.
	open bool
	// errorTopics says that there is no answer about own/ID/error.
	errorTopics bool
}

// entrance is a client that knocks, and the codes that it gets: of CONNACK in MQTT 5, and
// in 3.1.1.
type entrance struct {
	name, user, password string // ID is the client's
	cert                 *pair  // then over TLS only
	v5, v3               byte
}

// door is a listener with a version of the protocol.
type door struct{ transport, version string }

func (d door) id() string { return d.transport + "-" + strings.ReplaceAll(d.version, ".", "") }

// doors are all that a client can come through.
func doors(secure bool) (out []door) {
	for _, transport := range []string{"tcp", "tls", "ws", "wss"} {
		for _, version := range []string{"3.1.1", "5"} {
			if !secure || strings.HasSuffix(transport, "s") && transport != "ws" {
				out = append(out, door{transport, version})
			}
		}
	}
	return out
}

// accessWorld is what all gates have: authorities, and a service that auth-http asks.
type accessWorld struct {
	ca             *authority
	server         *pair
	device, nobody *pair // certificates, of which auth-cert knows one
	service        *httptest.Server
	issuer         string // a URL where nobody is
}

func newAccessWorld(t testing.TB) *accessWorld {
	t.Helper()
	w := &accessWorld{ca: newAuthority(t, t.TempDir(), "ca"), service: httptest.NewServer(http.HandlerFunc(registry))}
	t.Cleanup(w.service.Close)
	w.server, w.device, w.nobody = w.ca.issue("server", "localhost"), w.ca.issue("device-7"), w.ca.issue("stranger")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.issuer = "http://" + l.Addr().String()
	l.Close()
	return w
}

// registry is a service as users of auth-http write them.
func registry(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Action, Username, Password, Topic string
		ClientID                          string `json:"client_id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	own := "own/" + q.ClientID + "/"
	answer := map[string]any{"result": "deny"}
	switch {
	case q.Username == "outage" || strings.HasSuffix(q.Topic, "/error"):
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case q.Username == "banned":
		answer["reason_code"] = 0x8A
	case q.Username == "foreign":
		answer["result"] = "ignore"
	case q.Action == "authenticate" && q.Password == "pass":
		answer["result"] = "allow"
		if q.Username == "rich" {
			answer["permissions"] = ownTopics
		}
	case q.Action != "authenticate" && strings.HasPrefix(q.Topic, own) && (q.Action == "subscribe" || q.Topic != own+"no"):
		answer["result"] = "allow"
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // who has gone does not need it
}

// ownTopics are the rights of all tests, as tokens and answers have them.
var ownTopics = []map[string]any{
	{"deny": []string{"publish"}, "topics": []string{"own/${client_id}/no"}}, {"allow": []string{"all"}, "topics": []string{"own/${client_id}/#"}},
}

// rules are the same for acl.
const rules = `
	- name: acl
	  config: {rules: [{deny: [publish], topics: ["own/%c/no"]}, {allow: [all], topics: ["own/%c/#"]}]}
`

const tokenKey = "0123456789abcdef0123456789abcdef"

// token is a JSON Web Token with HS256.
func token(t testing.TB, key, kid string, lifetime time.Duration) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]string{"alg": "HS256", "kid": kid}) + "." +
		part(map[string]any{"sub": "ann", "exp": time.Now().Add(lifetime).Unix(), "acl": ownTopics})
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func gates(t testing.TB, w *accessWorld) []gate {
	users := "\n\t- name: authfile\n\t  HOW\n\t  config: {users: [{name: alice, hash: \"" + vector + "\"}, {name: own, hash: \"" + vector + "\", client_ids: [own-1]}]}"
	alice, bad := entrance{user: "alice", password: "U*U"}, byte(0x86)
	wrong := []entrance{
		{"wrong password", "alice", "x", nil, bad, 4}, {"unknown user", "bob", "U*U", nil, bad, 4}, {"empty password", "alice", "", nil, bad, 4},
		{"nobody", "", "", nil, 0x87, 5},
	}
	good := token(t, tokenKey, "a", time.Hour)
	endpoint := func(path string) string { return fmt.Sprintf(`{url: "%s/%s"}`, w.service.URL, path) }
	return []gate{
		{
			name: "authfile", plugins: users + rules, rights: alice, stopped: "authfile", point: "authenticate",
			logins: append([]entrance{{"right password", "alice", "U*U", nil, 0, 0}, {"another's client id", "own", "U*U", nil, 0x85, 2}}, wrong...),
		},
		{
			name: "acl", plugins: strings.Replace(rules, "- name: acl", "- name: acl\n\t  HOW", 1), stopped: "acl", point: "permit",
			logins: []entrance{{"nobody", "", "", nil, 0, 0}, {"anybody", "x", "y", nil, 0, 0}},
		},
		{
			name: "auth-jwt", rights: entrance{password: good}, stopped: "auth-jwt", point: "authenticate",
			plugins: fmt.Sprintf("\n\t- name: auth-jwt\n\t  HOW\n\t  config: {keys: [{kid: a, secret: %q}], claims: {permissions: acl}}\n", tokenKey),
			logins: []entrance{
				{"a token", "", good, nil, 0, 0}, {"a token with a user name", "x", good, nil, 0, 0},
				{"expired", "", token(t, tokenKey, "a", -time.Hour), nil, bad, 4},
				{"a wrong signature", "", token(t, strings.Repeat("x", 32), "a", time.Hour), nil, bad, 4},
				{"an unknown key", "", token(t, tokenKey, "b", time.Hour), nil, bad, 4},
				{"a password", "x", "y", nil, 0x87, 5}, {"nobody", "", "", nil, 0x87, 5},
			},
		},
		{
			name: "auth-jwt without its issuer", rights: entrance{password: good},
			plugins: fmt.Sprintf("\n\t- name: auth-jwt\n\t  grants: [{http: [%q]}]\n\t  config: {keys: [{kid: a, secret: %q}], jwks_url: \"%s/jwks\", claims: {permissions: acl}}\n", w.issuer, tokenKey, w.issuer),
			logins: []entrance{
				{"a token", "", good, nil, 0, 0}, {"expired", "", token(t, tokenKey, "a", -time.Hour), nil, bad, 4},
				{"a key that cannot be had", "", token(t, tokenKey, "b", time.Hour), nil, 0x88, 3},
			},
		},
		{
			name: "auth-cert", rights: entrance{cert: w.device}, stopped: "auth-cert", point: "authenticate",
			plugins: "\n\t- name: auth-cert\n\t  HOW\n\t  config: {identities: [{match: {cn: \"device-${n}\"}, client_ids: [\"tls-*\", \"wss-*\"]}]}" + rules,
			logins: []entrance{
				{"a certificate", "", "", w.device, 0, 0}, {"a certificate and a password", "x", "y", w.device, 0, 0},
				{"an unknown certificate", "", "", w.nobody, 0x87, 5}, {"no certificate", "x", "y", nil, 0x87, 5},
			},
		},
		{
			name: "auth-http with permissions", rights: entrance{user: "rich", password: "pass"}, stopped: "auth-http", point: "authenticate",
			plugins: fmt.Sprintf("\n\t- name: auth-http\n\t  HOW\n\t  config: {retries: 0, authenticate: %s}\n", endpoint("login")),
			logins: []entrance{
				{"yes", "rich", "pass", nil, 0, 0}, {"no", "rich", "x", nil, bad, 4}, {"banned", "banned", "pass", nil, 0x8A, 5},
				{"ignored", "foreign", "pass", nil, 0x87, 5}, {"no answer", "outage", "pass", nil, 0x88, 3}, {"nobody", "", "", nil, bad, 4},
			},
		},
		{
			name: "auth-http for each topic", rights: entrance{user: "poor", password: "pass"}, errorTopics: true,
			plugins: fmt.Sprintf("\n\t- name: auth-http\n\t  config: {retries: 0, authenticate: %s, authorize: %s}\n", endpoint("login"), endpoint("topic")),
			logins:  []entrance{{"yes", "poor", "pass", nil, 0, 0}},
		},
		{
			name: "guard", rights: alice, stopped: "guard", point: "authenticate", open: true,
			plugins: "\n\t- name: guard\n\t  HOW\n\t  grants: [ban, kv, clients, disconnect]\n\t  config: {logins: {per_user: 1, per_address: 0, pause: 10m, max_pause: 10m, ban_after: 0, known_for: 0s}, deny: [{username: mallory}]}" + users + rules,
			logins: []entrance{
				{"right password", "alice", "U*U", nil, 0, 0}, {"kept out", "mallory", "x", nil, 0x8A, 5}, {"a guess", "guess-ID", "x", nil, bad, 4}, {"after a guess", "guess-ID", "y", nil, 0x9F, 3},
			},
		},
	}
}

// startGate starts a broker with all kinds of listeners.
func (w *accessWorld) startGate(t testing.TB, plugins string) *broker {
	t.Helper()
	secure := fmt.Sprintf("cert: %q, key: %q, client_ca: %q, client_cert: optional", w.server.cert, w.server.key, w.ca.file)
	return start(t, fmt.Sprintf(`
listeners:
	- {name: tcp, tcp: "127.0.0.1:0"}
	- {name: tls, tls: "127.0.0.1:0", %[1]s}
	- {name: ws, ws: "127.0.0.1:0"}
	- {name: wss, wss: "127.0.0.1:0", %[1]s}
plugins:%[2]s`, secure, plugins))
}

// enter knocks at a door, and returns the client that was let in, or the code of CONNACK.
func (w *accessWorld) enter(t testing.TB, b *broker, d door, e entrance) (client, byte) {
	t.Helper()
	tc := w.ca.config()
	if e.cert != nil {
		tc = w.ca.config(e.cert)
	}
	to, user := b.target(d.transport, tc), strings.ReplaceAll(e.user, "ID", d.id())
	if d.version == "5" {
		c, err := connect5(to, d.id(), func(p *paho.Connect) {
			p.Username, p.UsernameFlag, p.Password, p.PasswordFlag = user, user != "", []byte(e.password), user != "" || e.password != ""
		})
		var code refused
		switch {
		case err == nil:
			return c, 0
		case errors.As(err, &code):
			return nil, byte(code)
		}
		t.Fatalf("%s: %v", d.id(), err)
	}
	if user == "" && e.password != "" {
		user = "-" // MQTT 3.1.1 has no password without a user name [MQTT-3.1.2-22]
	}
	c, err := connect3(to, d.id(), func(o *mqtt3.ClientOptions) { o.SetUsername(user).SetPassword(e.password) })
	if err == nil {
		return c, 0
	}
	for code := byte(1); code <= 5; code++ {
		if errors.Is(err, packets3.ConnErrors[code]) {
			return nil, code
		}
	}
	t.Fatalf("%s: %v", d.id(), err)
	return nil, 0
}

// TestAccessMatrix: each access plugin, over each transport, in both versions: who gets in,
// who does not and with which code, what that client may do, and what it is told if not.
func TestAccessMatrix(t *testing.T) {
	t.Parallel()
	w := newAccessWorld(t)
	for _, g := range gates(t, w) {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			b := w.startGate(t, strings.ReplaceAll(g.plugins, "HOW", ""))
			for _, e := range g.logins {
				for _, d := range doors(e.cert != nil) {
					c, code := w.enter(t, b, d, e)
					if c != nil {
						c.close()
					}
					want := e.v5
					if d.version != "5" {
						want = e.v3
					}
					if code != want {
						t.Errorf("%s, %s: CONNACK with 0x%02X, want 0x%02X", d.id(), e.name, code, want)
					}
				}
			}
			for _, d := range doors(g.rights.cert != nil) {
				c, code := w.enter(t, b, d, g.rights)
				if c == nil {
					t.Errorf("%s: CONNACK with 0x%02X", d.id(), code)
					continue
				}
				checkRights(t, c, d, g.errorTopics)
				c.close()
			}
		})
	}
}

// checkRights tries topics, and demands the codes of the specification.
func checkRights(t testing.TB, c client, d door, errorTopics bool) {
	t.Helper()
	own := "own/" + d.id() + "/"
	got := make(chan message, 16)
	if err := c.subscribe(own+"#", func(m message) { got <- m }); err != nil {
		t.Errorf("%s: subscribe to what is its own: %v", d.id(), err)
		return
	}
	// [MQTT-3.9.3]: 3.1.1 has one code for all failures of a SUBSCRIBE, and none for a
	// PUBLISH, which is acknowledged [MQTT-3.3.5-2].
	no, failed, acknowledged := byte(0x87), byte(0x83), byte(0x87)
	if d.version != "5" {
		no, failed, acknowledged = 0x80, 0x80, 0
	}
	subscribe := func(filter string, want byte) {
		if code := subscribeCode(t, c, filter); code != want {
			t.Errorf("%s: SUBACK of %s with 0x%02X, want 0x%02X", d.id(), filter, code, want)
		}
	}
	subscribe("other/x", no)
	subscribe("#", no)
	subscribe("$share/g/other/x", no)
	publish := func(topic string, qos, want byte) {
		if code := publishCode(t, c, topic, qos); code != want {
			t.Errorf("%s: PUBLISH to %s with QoS %d: 0x%02X, want 0x%02X", d.id(), topic, qos, code, want)
		}
	}
	publish(own+"no", 0, 0)
	publish(own+"no", 1, acknowledged)
	publish(own+"no", 2, acknowledged)
	publish("other/x", 1, acknowledged)
	publish(own+"yes", 1, 0)
	select {
	case m := <-got:
		if m.Topic != own+"yes" {
			t.Errorf("%s: %s was delivered", d.id(), m.Topic)
		}
	case <-time.After(patience):
		t.Errorf("%s: what it may publish was not delivered", d.id())
	}
	if !errorTopics {
		return
	}
	subscribe(own+"error", failed)
	if c, five := c.(*client5); five {
		publish(own+"error", 1, failed)
		publish(own+"error", 2, failed)
		if err := c.publish(own+"yes", 1, "x"); err != nil {
			t.Errorf("%s: after errors: %v", d.id(), err)
		}
		return
	}
	// An acknowledgement would say that the message is safe, so there is none.
	if err := c.publish(own+"error", 1, "x"); err == nil {
		t.Errorf("%s: a message that nobody has judged is acknowledged", d.id())
	}
}

func subscribeCode(t testing.TB, c client, filter string) byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c, five := c.(*client5); five {
		ack, err := c.c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
		if ack == nil {
			t.Fatal(err)
		}
		return ack.Reasons[0]
	}
	token := c.(*client3).c.Subscribe(filter, 1, nil).(*mqtt3.SubscribeToken)
	if !token.WaitTimeout(patience) {
		t.Fatal("no SUBACK")
	}
	for _, code := range token.Result() {
		return code // under the filter, without the $share that it may have
	}
	t.Fatal("SUBACK without codes")
	return 0
}

// publishCode is that of PUBACK or PUBREC, 0 if there is none.
func publishCode(t testing.TB, c client, topic string, qos byte) byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c, five := c.(*client5); five {
		ack, err := c.c.Publish(ctx, &paho.Publish{Topic: topic, QoS: qos})
		if ack == nil {
			if err != nil {
				t.Fatal(err)
			}
			return 0
		}
		return ack.ReasonCode
	}
	if err := c.publish(topic, qos, "x"); err != nil {
		t.Fatal(err)
	}
	return 0
}

// awaitIn waits until a client gets a code.
func (b *broker) awaitIn(t testing.TB, w *accessWorld, d door, e entrance, want byte) {
	t.Helper()
	var code byte
	eventually(t, patience, func() bool {
		var c client
		if c, code = w.enter(t, b, d, e); c != nil {
			c.close()
		}
		return code == want
	}, "%s: CONNACK with 0x%02X", d.id(), want)
}
