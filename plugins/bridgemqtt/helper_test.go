package bridgemqtt

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// wait is how long anything may take.
const wait = time.Minute

func eventually(t testing.TB, what string, fn func() bool) {
	t.Helper()
	for until := time.Now().Add(wait); !fn(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s: not within %s", what, wait)
		}
	}
}

// logs keeps what is logged for a test that fails.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// node is a Patchbay.
type node struct {
	t      testing.TB
	name   string
	broker *broker.Broker
	host   *pluginhost.Host
	addr   string
	log    *logs
	specs  []pluginhost.Spec
	grants []string // Topic Filters that bridges may publish to; none: all
}

func TestMain(m *testing.M) { os.Exit(bridgetest.Main(m, nil)) }

func startNode(t testing.TB, name string) *node {
	t.Helper()
	return startNodeAt(t, name, "127.0.0.1:0", new(store.Memory))
}

func startNodeAt(t testing.TB, name, addr string, st *store.Memory) *node {
	t.Helper()
	n := &node{t: t, name: name, log: new(logs)}
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = slog.New(slog.DiscardHandler), st })
	if err != nil {
		t.Fatal(err)
	}
	n.broker = b
	n.host, err = pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: st.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) { return Plugin(), name == "bridge-mqtt" },
		Logger:  slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Node: name, DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: addr}, AllowAnonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	n.addr = l.Addr().String()
	t.Cleanup(func() {
		n.close()
		if t.Failed() {
			t.Logf("log of %s:\n%.8000s", name, n.log)
		}
	})
	return n
}

func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if n.host == nil {
		return
	}
	if err := n.host.Close(ctx); err != nil {
		n.t.Errorf("close the host of %s: %v", n.name, err)
	}
	if err := n.broker.Close(ctx); err != nil {
		n.t.Errorf("close the broker of %s: %v", n.name, err)
	}
	n.host = nil
}

// bridge adds a bridge, or changes one of that name.
func (n *node) bridge(rt pluginhost.Runtime, name, config string) {
	n.t.Helper()
	s := pluginhost.Spec{
		Name: name, Plugin: "bridge-mqtt", Source: "plugins[0]", Runtime: rt, Config: []byte(config),
		Grants: []pluginv1.Grant{{Name: "publish", TopicFilters: n.grants}, {Name: "retained"}},
	}
	if rt == pluginhost.Process {
		s.Plugin, s.Path, s.Dev = "", bridgetest.Build(n.t, "./cmd/bridge-mqtt"), true
	}
	found := false
	for i := range n.specs {
		if n.specs[i].Name == name {
			n.specs[i], found = s, true
		}
	}
	if !found {
		n.specs = append(n.specs, s)
	}
	if _, err := n.host.Apply(n.t.Context(), slices.Clone(n.specs)); err != nil {
		n.t.Fatalf("%v\n%s", err, n.log)
	}
}

// connected waits until a bridge has its connection.
func (n *node) connected(name string) {
	n.t.Helper()
	eventually(n.t, n.name+"'s bridge "+name+" is connected", func() bool {
		r := n.status(name).Remotes
		return len(r) == 1 && r[0].Connected
	})
}

// client is a client of any broker.
type client struct {
	t  testing.TB
	c  *paho.Client
	mu sync.Mutex
	in []*paho.Publish
}

func connect(t testing.TB, addr, id string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t}
	c.c = paho.NewClient(paho.ClientConfig{Conn: nc, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.in = append(c.in, p.Packet)
			return true, nil
		},
	}})
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	if _, err := c.c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.c.Disconnect(&paho.Disconnect{}) })
	return c
}

func (c *client) subscribe(filters ...string) *client {
	c.t.Helper()
	s := &paho.Subscribe{}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: 2, RetainAsPublished: true})
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), wait)
	defer cancel()
	if _, err := c.c.Subscribe(ctx, s); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// publish publishes, and returns the Reason Code.
func (c *client) publish(m *paho.Publish) byte {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), wait)
	defer cancel()
	r, err := c.c.Publish(ctx, m)
	if r == nil {
		if err != nil {
			c.t.Fatal(err)
		}
		return 0
	}
	return r.ReasonCode
}

func (c *client) say(topic, payload string, qos byte) byte {
	c.t.Helper()
	return c.publish(&paho.Publish{Topic: topic, Payload: []byte(payload), QoS: qos})
}

func (c *client) received() []*paho.Publish {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*paho.Publish(nil), c.in...)
}

// expect waits for n messages and returns them; more of them are an error.
func (c *client) expect(n int) []*paho.Publish {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d messages", n), func() bool { return len(c.received()) >= n })
	got := c.received()
	if len(got) > n {
		c.t.Fatalf("%d messages in place of %d, the last one %s %s", len(got), n, got[len(got)-1].Topic, got[len(got)-1].Payload)
	}
	return got
}

// short is messages as "topic payload".
func short(list []*paho.Publish) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.Topic+" "+string(p.Payload))
	}
	return out
}

// status is the bridge's page "status".
func (n *node) status(name string) (s bridge.Status) {
	n.t.Helper()
	w := httptest.NewRecorder()
	n.host.ServeHTTP(w, httptest.NewRequest("GET", "/plugins/"+name+"/status", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		n.t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return s
}

// refusal is the first problem of a config.
func refusal(t testing.TB, config string) string {
	t.Helper()
	_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
	if len(res.Problems) == 0 {
		return "taken"
	}
	return res.Problems[0].Pointer + " " + res.Problems[0].Message
}
