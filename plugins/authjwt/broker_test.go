package authjwt

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/sdk"
)

const patience = 15 * time.Second

// running is a broker with the plugin.
type running struct {
	t *testing.T
	b *broker.Broker
}

// listen opens a listener and returns its address.
func (r *running) listen(network string) string {
	r.t.Helper()
	c := transport.ListenerConfig{Network: network, Address: "127.0.0.1:0"}
	if network == "tls" {
		c.TLS = certificate(r.t)
	}
	l, err := r.b.Listen(broker.Listener{Transport: c})
	if err != nil {
		r.t.Fatal(err)
	}
	return l.Addr().String()
}

func serve(t *testing.T, s pluginhost.Spec) *running {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	st := new(store.Memory)
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = quiet, st })
	if err != nil {
		t.Fatal(err)
	}
	h, err := pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: st.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) { return Plugin(), name == "auth-jwt" }, Logger: quiet, DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	s.Name, s.Source = "auth-jwt", "test"
	if _, err := h.Apply(t.Context(), []pluginhost.Spec{s}); err != nil {
		t.Fatal(err)
	}
	return &running{t, b}
}

// site is an issuer's web site, which can be away.
type site struct {
	t    *testing.T
	addr string
	mu   sync.Mutex
	set  string
	http *http.Server
}

func newSite(t *testing.T, signers ...*signer) *site {
	s := &site{t: t, addr: "127.0.0.1:0"}
	s.serves(signers...)
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *site) serves(signers ...*signer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = set(s.t, signers...)
}

func (s *site) open() {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		fmt.Fprint(w, s.set)
	})}
	go s.http.Serve(l)
}

func (s *site) close() { s.http.Close() }

// spec of a plugin that has its keys from the site.
func (s *site) spec(t testing.TB, rt pluginhost.Runtime, more string) pluginhost.Spec {
	out := pluginhost.Spec{
		Config:  json.RawMessage(`{"jwks_url":"http://` + s.addr + `/jwks","refetch_pause":"100ms","leeway":"0s"` + more + `}`),
		Grants:  []sdk.Grant{{Name: "http", Origins: []string{"http://" + s.addr}}, {Name: "kv"}, {Name: "publish", TopicFilters: []string{"auth/#"}}, {Name: "clients"}},
		Runtime: rt,
	}
	if rt == pluginhost.Process {
		allRunners(t) // builds it
		out.Path, out.Dev = program(), true
	}
	return out
}

// client is an MQTT 5 client.
type client struct {
	*paho.Client
	ended    chan *paho.Disconnect
	messages chan *paho.Publish
}

// Authenticate and Authenticated implement paho.Auther: the method has one step.
func (c *client) Authenticate(*paho.Auth) *paho.Auth { return nil }
func (c *client) Authenticated()                     {}

// connect5 connects with a token, as the password or with a method.
func connect5(t testing.TB, network, addr, id, method, token string) (*client, *paho.Connack) {
	t.Helper()
	c := &client{ended: make(chan *paho.Disconnect, 1), messages: make(chan *paho.Publish, 8)}
	c.Client = paho.NewClient(paho.ClientConfig{
		Conn: dial(t, network, addr), AuthHandler: c,
		OnServerDisconnect: func(d *paho.Disconnect) { c.ended <- d },
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			c.messages <- p.Packet
			return true, nil
		}},
	})
	packet := &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60}
	if method != "" {
		packet.Properties = &paho.ConnectProperties{AuthMethod: method, AuthData: []byte(token)}
	} else {
		packet.Password, packet.PasswordFlag = []byte(token), true
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ack, err := c.Connect(ctx, packet)
	if ack == nil {
		t.Fatal(err)
	}
	if err == nil {
		t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	}
	return c, ack
}

func connect3(t testing.TB, network, addr, id, token string, lost func()) byte {
	t.Helper()
	url := map[string]string{"tcp": "tcp://" + addr, "tls": "ssl://" + addr, "ws": "ws://" + addr + "/mqtt"}[network]
	o := mqtt3.NewClientOptions().AddBroker(url).SetClientID(id).SetUsername("u").SetPassword(token).SetTLSConfig(anyServer).
		SetAutoReconnect(false).SetProtocolVersion(4).SetConnectionLostHandler(func(mqtt3.Client, error) { lost() })
	c := mqtt3.NewClient(o)
	token3 := c.Connect().(*mqtt3.ConnectToken)
	if !token3.WaitTimeout(patience) {
		t.Fatal("no CONNACK")
	}
	if token3.Error() == nil {
		t.Cleanup(func() { c.Disconnect(0) })
	}
	return token3.ReturnCode()
}

// wait waits for something that is bound to happen.
func wait[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s: nothing has happened for %s", what, patience)
	}
	return v
}

// Clients come while the issuer rotates its keys, dies and is there again.
func TestWithABroker(t *testing.T) {
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process} {
		t.Run(string(rt), func(t *testing.T) {
			one, two, three := fresh(t, "one"), fresh(t, "two"), fresh(t, "three")
			s := newSite(t, one)
			addr := serve(t, s.spec(t, rt, `,"claims":{"permissions":"acl"}`)).listen("tcp")
			try := func(s *signer, want byte, more map[string]any) *client {
				t.Helper()
				token := s.token(t, claims(more))
				c, ack := connect5(t, "tcp", addr, "c", "", token)
				if ack.ReasonCode != want {
					t.Errorf("key %s %v: 0x%02X, want 0x%02X", s.id, more, ack.ReasonCode, want)
				}
				old := map[byte]byte{0: 0, 0x86: 4, 0x87: 5, 0x88: 3}[want]
				if got := connect3(t, "tcp", addr, "old", token, func() {}); got != old {
					t.Errorf("key %s %v, MQTT 3.1.1: %d, want %d", s.id, more, got, old)
				}
				return c
			}
			try(one, 0x86, map[string]any{"exp": 1})
			try(one, 0x87, map[string]any{"acl": "all"})
			c := try(one, 0, map[string]any{"acl": map[string]any{"pub": "up/${client_id}", "sub": "down/#"}})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for topic, want := range map[string]byte{"up/c": 0x10, "up/d": 0x87, "down/c": 0x87} {
				if ack, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1}); ack == nil || ack.ReasonCode != want {
					t.Errorf("publish to %s: %+v, %v", topic, ack, err)
				}
			}
			ack, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "down/x"}, {Topic: "up/#"}}})
			if ack == nil || ack.Reasons[0] != 0 || ack.Reasons[1] != 0x87 {
				t.Errorf("subscribe: %+v, %v", ack, err)
			}

			// until lets refetch_pause pass.
			until := func(s *signer, want byte) {
				t.Helper()
				for end := time.Now().Add(patience); ; {
					if _, ack := connect5(t, "tcp", addr, "c", "", s.token(t, claims(nil))); ack.ReasonCode == want {
						return
					}
					if time.Now().After(end) {
						t.Fatalf("key %s: never 0x%02X", s.id, want)
					}
				}
			}
			s.serves(two)
			until(two, 0)
			try(two, 0, nil)
			try(one, 0x86, nil)
			s.close()
			try(two, 0, nil)
			until(three, 0x88)
			s.serves(two, three)
			s.open()
			until(three, 0)
			try(two, 0, nil)
		})
	}
}

// A connection ends with its token, by DISCONNECT with 0x87.
func TestExpiryWithABroker(t *testing.T) {
	t.Parallel()
	one := fresh(t, "one")
	addr := serve(t, newSite(t, one).spec(t, pluginhost.Builtin, "")).listen("tcp")
	token := one.token(t, claims(map[string]any{"exp": time.Now().Add(2500 * time.Millisecond).Unix()}))
	c, ack := connect5(t, "tcp", addr, "c", "", token)
	if ack.ReasonCode != 0 {
		t.Fatalf("0x%02X", ack.ReasonCode)
	}
	lost := make(chan struct{})
	if code := connect3(t, "tcp", addr, "old", token, func() { close(lost) }); code != 0 {
		t.Fatal(code)
	}
	if d := wait(t, "DISCONNECT", c.ended); d.ReasonCode != 0x87 {
		t.Errorf("0x%02X", d.ReasonCode)
	}
	wait(t, "the end of the connection of MQTT 3.1.1", lost)
}

// A client that is asked authenticates again and stays; with the token of another it is
// sent away.
func TestReauthenticationWithABroker(t *testing.T) {
	t.Parallel()
	one := fresh(t, "one")
	addr := serve(t, newSite(t, one).spec(t, pluginhost.Builtin, `,"ask":{"before":"1500ms","topic":"auth/${client_id}"}`)).listen("tcp")
	first := time.Now().Add(4 * time.Second).Unix()
	c, ack := connect5(t, "tcp", addr, "c", "JWT", one.token(t, claims(map[string]any{"exp": first})))
	if want := fmt.Sprintf(`{"expires_at":%d}`, first); ack.ReasonCode != 0 || string(ack.Properties.AuthData) != want {
		t.Fatalf("%+v", ack)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "auth/c", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	m := wait(t, "being asked", c.messages)
	if !strings.Contains(string(m.Payload), fmt.Sprint(first)) {
		t.Errorf("asked with %s", m.Payload)
	}
	again := func(more map[string]any) *paho.AuthResponse {
		t.Helper()
		res, err := c.Client.Authenticate(ctx, &paho.Auth{
			ReasonCode: 0x19, Properties: &paho.AuthProperties{AuthMethod: "JWT", AuthData: []byte(one.token(t, claims(more)))},
		})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := again(map[string]any{"exp": first + 60}); !res.Success {
		t.Fatalf("%+v", res)
	}
	// It is there after the first token has expired.
	for time.Now().Unix() <= first {
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := c.Publish(ctx, &paho.Publish{Topic: "x", QoS: 1}); err != nil {
		t.Fatalf("after the first token: %v", err)
	}
	if res := again(map[string]any{"sub": "bob"}); res.Success || res.ReasonCode != 0x87 {
		t.Errorf("as another: %+v", res)
	}
}
