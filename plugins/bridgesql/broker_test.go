package bridgesql

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

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

// node is a broker with the bridge.
type node struct {
	t    testing.TB
	host *pluginhost.Host
	addr string
}

// serve starts a broker in which the entry "b" is the bridge.
func (d *database) serve(rt pluginhost.Runtime, routes string) *node {
	t := d.t
	t.Helper()
	quiet, st := slog.New(slog.DiscardHandler), new(store.Memory)
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = quiet, st })
	if err != nil {
		t.Fatal(err)
	}
	h, err := pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: st.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) { return Plugin(), name == "bridge-sql" }, Logger: quiet, Node: "n", DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bridgetest.Patience)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	s := pluginhost.Spec{Name: "b", Plugin: "bridge-sql", Source: "plugins[0]", Runtime: rt, Config: []byte(d.text(routes))}
	if rt == pluginhost.Process {
		s.Plugin, s.Path, s.Dev = "", bridgetest.Build(t, "./cmd/bridge-sql"), true
	}
	if _, err := h.Apply(t.Context(), []pluginhost.Spec{s}); err != nil {
		t.Fatal(err)
	}
	return &node{t, h, l.Addr().String()}
}

// status is the bridge's page "status".
func (n *node) status() (s bridge.Status) {
	n.t.Helper()
	w := httptest.NewRecorder()
	n.host.ServeHTTP(w, httptest.NewRequest("GET", "/plugins/b/status", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		n.t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return s
}

// client is a client of the broker; what it gets goes to the channel.
func (n *node) client(id string) (*paho.Client, chan *paho.Publish) {
	n.t.Helper()
	nc, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	got := make(chan *paho.Publish, 100)
	c := paho.NewClient(paho.ClientConfig{Conn: nc, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) { got <- p.Packet; return true, nil },
	}})
	ctx, cancel := context.WithTimeout(n.t.Context(), bridgetest.Patience)
	defer cancel()
	if _, err := c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return c, got
}

// publish publishes, and returns the Reason Code.
func publish(t testing.TB, c *paho.Client, topic, payload string, qos byte) byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Patience)
	defer cancel()
	r, err := c.Publish(ctx, &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: qos})
	if r == nil {
		if err != nil {
			t.Fatal(err)
		}
		return 0
	}
	return r.ReasonCode
}

func eachRuntime(t *testing.T, test func(t *testing.T, rt pluginhost.Runtime)) {
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process} {
		t.Run(string(rt), func(t *testing.T) { test(t, rt) })
	}
}

// A row is there when its PUBACK is; a bad one is refused, and becomes a dead letter; one that
// cannot be written in time is refused, and is written nevertheless.
func TestAfterRemote(t *testing.T) {
	t.Parallel() // it waits, for the most part
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		d := freshFile(t)
		d.exec("CREATE TABLE t (v INT CHECK (v < 100))")
		n := d.with("options", map[string]string{"busy_timeout": "20"}).serve(rt, `[{"name":"r","filters":["m/#"],"ack":"after_remote","ack_timeout":"2s","statement":"INSERT INTO t VALUES (${payload.v})",
			"dead_letter_topic":"dead","retry_min":"10ms","retry_max":"50ms"},{"name":"other","filters":["n/#"],"statement":"INSERT INTO t VALUES (${payload.v|int})"}]`)
		c, _ := n.client("c")
		far, dead := n.client("far")
		if _, err := far.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "dead", QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if code := publish(t, c, "m/x", fmt.Sprintf(`{"v":%d}`, i), byte(1+i%2)); code >= 0x80 {
				t.Fatalf("%d: 0x%02X", i, code)
			}
			d.expect("SELECT count(*) FROM t", fmt.Sprint(i+1))
		}
		if code := publish(t, c, "m/x", `{"v":100}`, 1); code != 0x83 {
			t.Errorf("bad: 0x%02X", code)
		}
		letter := <-dead
		if string(letter.Payload) != `{"v":100}` || letter.Properties.User.Get("patchbay-topic") != "m/x" || !strings.Contains(letter.Properties.User.Get("patchbay-reason"), "CHECK constraint failed") {
			t.Errorf("%+v %v", letter, letter.Properties.User)
		}
		publish(t, c, "n/x", `{"v":"21"}`, 0)
		eventually(t, "of QoS 0", func() bool { return d.rows("SELECT count(*) FROM t WHERE v = 21") == "1" })

		lock, err := d.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if _, err := lock.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
			t.Fatal(err)
		}
		if code := publish(t, c, "m/x", `{"v":22}`, 1); code != 0x83 {
			t.Errorf("late: 0x%02X", code)
		}
		if _, err := lock.ExecContext(t.Context(), "COMMIT"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is there", func() bool { return d.rows("SELECT count(*) FROM t WHERE v = 22") == "1" })
		eventually(t, "the status knows", func() bool {
			s := n.status()
			return s.Bridge == "bridge-sql" && len(s.Remotes) == 1 && s.Remotes[0].Connected && strings.HasPrefix(s.Remotes[0].Address, "sqlite:") &&
				len(s.Routes) == 2 && s.Routes[0].Messages == 21 && s.Routes[0].Refused == 1 && s.Routes[1].Messages == 1
		})
	})
}

// What is published while the database is away waits, and arrives in order.
func TestOutage(t *testing.T) {
	for _, kind := range []string{"postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) {
			s := startServer(t, kind)
			d := s.fresh(t)
			d.chaosTables()
			net := bridgetest.StartProxy(t, s.addr)
			n := d.with("addresses", []string{net.Addr}).serve(pluginhost.Builtin, `[{"name":"r","filters":["#"],"statement":"INSERT INTO plain (n) VALUES (${payload.n})","retry_min":"10ms","retry_max":"100ms"}]`)
			c, _ := n.client("c")
			var want []string
			say := func(count int) {
				for range count {
					want = append(want, fmt.Sprint(len(want)))
					if code := publish(t, c, "t", fmt.Sprintf(`{"n":%d}`, len(want)-1), 1); code >= 0x80 {
						t.Fatalf("0x%02X", code)
					}
				}
			}
			arrived := func() {
				t.Helper()
				eventually(t, "all are there", func() bool {
					got, err := d.query("SELECT n FROM plain ORDER BY seq")
					return err == nil && got == strings.Join(want, "\n") // nothing was under way that could come twice
				})
			}
			say(10)
			arrived()
			net.Refuse(true)
			net.Cut()
			say(500)
			eventually(t, "the status says so", func() bool { s := n.status(); return !s.Remotes[0].Connected && s.Remotes[0].Error != "" })
			if got := d.rows("SELECT count(*) FROM plain"); got != "10" {
				t.Errorf("%s rows", got)
			}
			net.Refuse(false)
			arrived()
			s.Kill()
			say(20)
			s.Start()
			arrived()
			if kind == "postgres" { // an administrator ends the session
				d.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'patchbay'")
			} else {
				for _, id := range strings.Fields(d.rows("SELECT id FROM information_schema.processlist WHERE user = 'patchbay'")) {
					d.exec("KILL " + id)
				}
			}
			say(10)
			arrived()
		})
	}
}

// The same in both runtimes, without a broker.
func TestRuntimes(t *testing.T) {
	d := freshFile(t)
	d.exec("CREATE TABLE t (v INT CHECK (v < 100))")
	for _, runner := range []plugintest.Runner{plugintest.Builtin(Plugin()), plugintest.Process(bridgetest.Build(t, "./cmd/bridge-sql"))} {
		t.Run(runner.Name, func(t *testing.T) {
			d.exec("DELETE FROM t")
			r := &running{plugintest.Start(t, runner, plugintest.NewHost(), d.text(plain)), t, 0}
			if got := r.say(`t {"v":1}`, `t {"v":100}`, `t {"v":2}`, "t no JSON"); got != "ok dead ok dead" {
				t.Errorf("%s: %s", got, r.health())
			}
			d.expect("SELECT v FROM t ORDER BY v", "1\n2")
		})
	}
}
