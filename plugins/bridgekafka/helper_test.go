package bridgekafka

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func TestMain(m *testing.M) {
	os.Exit(bridgetest.Main(m, map[string]func([]string) error{"kafka": serveKafka}))
}

func eventually(t testing.TB, what string, fn func() bool) {
	t.Helper()
	bridgetest.Eventually(t, what, func() error {
		if !fn() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

// logs keeps what is logged, for tests that fail and those that look for a line.
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

// node is a broker with the bridge "k".
type node struct {
	t     testing.TB
	host  *pluginhost.Host
	addr  string
	log   *logs
	store *store.Memory
	grant []string // Topic Filters that the bridge may publish to; none: all
}

func startNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, log: new(logs), store: new(store.Memory)}
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = slog.New(slog.DiscardHandler), n.store })
	if err != nil {
		t.Fatal(err)
	}
	n.host, err = pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: n.store.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) { return Plugin(), name == "bridge-kafka" },
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
	return n
}

// bridge starts the bridge, or changes its config.
func (n *node) bridge(rt pluginhost.Runtime, config string) {
	n.t.Helper()
	s := pluginhost.Spec{
		Name: "k", Plugin: "bridge-kafka", Source: "plugins[0]", Runtime: rt, Config: []byte(config),
		Grants: []pluginv1.Grant{{Name: "publish", TopicFilters: n.grant}},
	}
	if rt == pluginhost.Process {
		s.Plugin, s.Path, s.Dev = "", bridgetest.Build(n.t, "./cmd/bridge-kafka"), true
	}
	if _, err := n.host.Apply(n.t.Context(), []pluginhost.Spec{s}); err != nil {
		n.t.Fatalf("%v\n%s", err, n.log)
	}
}

// status is the bridge's page "status".
func (n *node) status() (s bridge.Status) {
	n.t.Helper()
	w := httptest.NewRecorder()
	n.host.ServeHTTP(w, httptest.NewRequest("GET", "/plugins/k/status", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		n.t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return s
}

func (n *node) route(name string) bridge.RouteStatus {
	n.t.Helper()
	for _, r := range n.status().Routes {
		if r.Name == name {
			return r
		}
	}
	n.t.Fatalf("no route %s", name)
	return bridge.RouteStatus{}
}

// client is a client of the broker.
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
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Patience)
	defer cancel()
	if _, err := c.c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.c.Disconnect(&paho.Disconnect{}) })
	return c
}

func (c *client) subscribe(filter string) *client {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), bridgetest.Patience)
	defer cancel()
	if _, err := c.c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 2, RetainAsPublished: true}}}); err != nil {
		c.t.Fatal(err)
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

// expect waits for n messages and returns what there is.
func (c *client) expect(n int) []*paho.Publish {
	c.t.Helper()
	var list []*paho.Publish
	eventually(c.t, fmt.Sprintf("%d messages", n), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		list = append(list[:0], c.in...)
		return len(list) >= n
	})
	return list
}

// startKafka starts a cluster in this process, and returns it with its first broker.
func startKafka(t testing.TB, o ...kfake.Opt) (*kfake.Cluster, string) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, c.ListenAddrs()[0]
}

// kafkaClient is a client of its own of a cluster.
func kafkaClient(t testing.TB, addr string, o ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.MetadataMinAge(100 * time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner())}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// reader reads topics from their beginning.
type reader struct {
	t    testing.TB
	c    *kgo.Client
	list []*kgo.Record
}

func read(t testing.TB, addr string, topics ...string) *reader {
	t.Helper()
	return readWith(t, addr, kgo.WithLogger(nil), topics...)
}

func readWith(t testing.TB, addr string, o kgo.Opt, topics ...string) *reader {
	t.Helper()
	return &reader{t: t, c: kafkaClient(t, addr, o, kgo.ConsumeTopics(topics...), kgo.FetchMaxWait(100*time.Millisecond))}
}

// expect waits for n records and returns what there is.
func (r *reader) expect(n int) []*kgo.Record {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), bridgetest.Patience)
	defer cancel()
	for len(r.list) < n {
		f := r.c.PollFetches(ctx)
		if ctx.Err() != nil {
			r.t.Fatalf("%d records in place of %d", len(r.list), n)
		}
		r.list = append(r.list, f.Records()...)
	}
	return r.list
}

// heads are the headers of a record as "name=value".
func heads(r *kgo.Record) (list []string) {
	for _, h := range r.Headers {
		list = append(list, h.Key+"="+string(h.Value))
	}
	return list
}

func produce(t testing.TB, addr string, records ...*kgo.Record) {
	t.Helper()
	produceWith(t, addr, kgo.WithLogger(nil), records...)
}

func produceWith(t testing.TB, addr string, o kgo.Opt, records ...*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Patience)
	defer cancel()
	if err := kafkaClient(t, addr, o).ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// serveKafka is a cluster of one broker as a process of its own, which keeps everything in
// a folder. Its arguments are the folder, the port, and the address to tell clients.
func serveKafka(args []string) error {
	advertised, err := net.ResolveTCPAddr("tcp", args[2])
	if err != nil {
		return err
	}
	_, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(args[0]), kfake.SyncWrites(), kfake.SeedTopics(4, "out"), kfake.SeedTopics(4, "in"),
		kfake.GroupMinSessionTimeout(time.Second), kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			l, err := net.Listen(network, args[1])
			return listener{l, advertised}, err
		}))
	if err != nil {
		return err
	}
	select {}
}

// listener has the address that is told to clients.
type listener struct {
	net.Listener
	addr net.Addr
}

func (l listener) Addr() net.Addr { return l.addr }
