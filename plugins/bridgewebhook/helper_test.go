package bridgewebhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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
)

var errNotYet = errors.New("not so")

func eventually(t testing.TB, what string, fn func() bool) {
	t.Helper()
	bridgetest.Eventually(t, what, func() error {
		if !fn() {
			return errNotYet
		}
		return nil
	})
}

// got is a request that has come.
type got struct {
	*http.Request
	body string
	at   time.Time
}

// server keeps what comes, and answers as a test says.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	list   []got
	answer func(w http.ResponseWriter, r got, n int) // nil: 204
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	x := got{r, string(body), time.Now()}
	s.mu.Lock()
	s.list = append(s.list, x)
	n, answer := len(s.list), s.answer
	s.mu.Unlock()
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, x, n)
}

func (s *server) respond(fn func(w http.ResponseWriter, r got, n int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = fn
}

func (s *server) requests() []got {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]got(nil), s.list...)
}

// expect waits for n requests.
func (s *server) expect(t testing.TB, n int) []got {
	t.Helper()
	eventually(t, fmt.Sprintf("%d requests", n), func() bool { return len(s.requests()) >= n })
	return s.requests()
}

func bodies(list []got) (out []string) {
	for _, r := range list {
		out = append(out, r.body)
	}
	return out
}

// logs keeps what is logged.
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

// node is a Patchbay with the plugin.
type node struct {
	t    testing.TB
	host *pluginhost.Host
	addr string
	log  *logs
}

func TestMain(m *testing.M) {
	os.Exit(bridgetest.Main(m, map[string]func(args []string) error{"server": serve}))
}

func startNode(t testing.TB, rt pluginhost.Runtime, config string) *node {
	t.Helper()
	n := &node{t: t, log: new(logs)}
	st := new(store.Memory)
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = slog.New(slog.DiscardHandler), st })
	if err != nil {
		t.Fatal(err)
	}
	n.host, err = pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: st.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) { return Plugin(), name == "bridge-webhook" },
		Logger:  slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Node: "here", DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	n.addr = l.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bridgetest.Patience)
		defer cancel()
		if err := n.host.Close(ctx); err != nil {
			t.Errorf("close the host: %v", err)
		}
		if err := b.Close(ctx); err != nil {
			t.Errorf("close the broker: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%.8000s", n.log)
		}
	})
	n.apply(rt, config)
	return n
}

// apply starts the plugin, or gives it another config.
func (n *node) apply(rt pluginhost.Runtime, config string) {
	n.t.Helper()
	s := pluginhost.Spec{Name: "hook", Plugin: "bridge-webhook", Source: "plugins[0]", Runtime: rt, Config: []byte(config)}
	if rt == pluginhost.Process {
		s.Plugin, s.Path, s.Dev = "", bridgetest.Build(n.t, "./cmd/bridge-webhook"), true
	}
	if _, err := n.host.Apply(n.t.Context(), []pluginhost.Spec{s}); err != nil {
		n.t.Fatalf("%v\n%s", err, n.log)
	}
}

// status is the bridge's page "status".
func (n *node) status() (s bridge.Status) {
	n.t.Helper()
	w := httptest.NewRecorder()
	n.host.ServeHTTP(w, httptest.NewRequest("GET", "/plugins/hook/status", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		n.t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return s
}

// client is a client of the broker.
type client struct {
	t  testing.TB
	c  *paho.Client
	mu sync.Mutex
	in []*paho.Publish
}

func (n *node) connect(id string, filters ...string) *client {
	n.t.Helper()
	nc, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	c := &client{t: n.t}
	c.c = paho.NewClient(paho.ClientConfig{Conn: nc, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.in = append(c.in, p.Packet)
			return true, nil
		},
	}})
	ctx, cancel := context.WithTimeout(n.t.Context(), bridgetest.Patience)
	defer cancel()
	if _, err := c.c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.c.Disconnect(&paho.Disconnect{}) })
	for _, f := range filters {
		if _, err := c.c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: f, QoS: 1}}}); err != nil {
			n.t.Fatal(err)
		}
	}
	return c
}

// publish publishes, and returns the Reason Code.
func (c *client) publish(m *paho.Publish) byte {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), bridgetest.Patience)
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

func (c *client) say(topic, payload string) byte {
	c.t.Helper()
	return c.publish(&paho.Publish{Topic: topic, Payload: []byte(payload), QoS: 1})
}

func (c *client) received() []*paho.Publish {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*paho.Publish(nil), c.in...)
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

// local is a config with one route to a test's server.
func local(url, route string) string {
	return fmt.Sprintf(`{"allow_private":["127.0.0.1"],"routes":[{"name":"r","filters":["a/#"],"url":%q,"retry_min":"10ms","retry_max":"50ms"%s}]}`, url, route)
}
