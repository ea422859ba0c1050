package assistant

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fakeai"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// wait is how long anything may take.
const wait = time.Minute

func eventually(t testing.TB, what string, fn func() bool) {
	t.Helper()
	for until := time.Now().Add(wait); !fn(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s: not within %s", what, wait)
		}
	}
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

// program is the plugin as a program, built once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "assistant-test")
	if err != nil {
		return "", err
	}
	built = dir
	file := filepath.Join(dir, "assistant")
	out, err := exec.Command("go", "build", "-o", file, "./cmd/assistant").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return file, nil
})

// built is the folder that program has made.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// site is a broker with the plugin, and the endpoint that it asks.
type site struct {
	t      testing.TB
	ai     *fakeai.Server
	broker *broker.Broker
	host   *pluginhost.Host
	addr   string
	log    *logs
	spec   pluginhost.Spec
	more   []pluginhost.Spec
	grants []sdk.Grant

	mu        sync.Mutex
	instances []*plugin // of the builtin runtime
}

// plugin is the plugin as it is registered, its instances known to the test.
func (s *site) plugin() sdk.Plugin {
	p := Plugin()
	p.New = func() any {
		one := new(plugin)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.instances = append(s.instances, one)
		return one
	}
	return p
}

// held is the size of all questions that are still in memory, and running and waiting are
// how many questions there are.
func (s *site) held() (size int64, running, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.instances {
		size += p.held.Load()
		if p.engine != nil {
			r, w := p.engine.Load()
			running, waiting = running+r, waiting+w
		}
	}
	return size, running, waiting
}

// idle waits until nothing is left of any question.
func (s *site) idle() {
	s.t.Helper()
	eventually(s.t, "nothing is left of any question", func() bool {
		size, running, waiting := s.held()
		now, _ := s.ai.Active()
		return size == 0 && running == 0 && waiting == 0 && now == 0
	})
}

// options of a site.
type options struct {
	runtime pluginhost.Runtime
	// config beside base_url and model, as JSON members.
	config string
	// answer is what becomes of requests; nil repeats the question.
	answer func(*fakeai.Request) fakeai.Reply
	flag   func(string) string
	// grants beside kv and publish.
	grants []sdk.Grant
	// plugins that come before this one.
	plugins []sdk.Plugin
	store   *store.Memory
}

func start(t testing.TB, o options) *site {
	t.Helper()
	if o.store == nil {
		o.store = new(store.Memory)
	}
	s := &site{t: t, ai: fakeai.New(), log: new(logs), grants: append([]sdk.Grant{{Name: "kv"}, {Name: "publish"}}, o.grants...)}
	s.ai.Answer, s.ai.Flag = o.answer, o.flag
	b, err := broker.New(func(bo *broker.Options) { bo.Logger, bo.Store = slog.New(slog.DiscardHandler), o.store })
	if err != nil {
		t.Fatal(err)
	}
	s.broker = b
	s.host, err = pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: o.store.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) {
			for _, p := range append(slices.Clone(o.plugins), s.plugin()) {
				if p.Name == name {
					return p, true
				}
			}
			return sdk.Plugin{}, false
		},
		Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Node: "test", DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	for _, p := range o.plugins {
		s.more = append(s.more, pluginhost.Spec{Name: p.Name, Plugin: p.Name, Source: "test"})
	}
	s.spec = pluginhost.Spec{Name: "assistant", Plugin: "assistant", Source: "test", Runtime: o.runtime, Grants: s.grants}
	if o.runtime == pluginhost.Process {
		file, err := program()
		if err != nil {
			t.Fatal(err)
		}
		s.spec.Plugin, s.spec.Path, s.spec.Dev = "", file, true
	}
	s.configure(o.config)
	s.addr = s.listen("")
	return s
}

// listen opens a listener for a namespace.
func (s *site) listen(namespace string) string {
	s.t.Helper()
	l, err := s.broker.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true, Namespace: namespace})
	if err != nil {
		s.t.Fatal(err)
	}
	return l.Addr().String()
}

// configure puts a config into force.
func (s *site) configure(config string) {
	s.t.Helper()
	s.spec.Config = []byte(s.config(config))
	if _, err := s.host.Apply(s.t.Context(), append(slices.Clone(s.more), s.spec)); err != nil {
		s.t.Fatalf("%v\n%s", err, s.log)
	}
}

func (s *site) config(more string) string {
	c := `{"base_url":"` + s.ai.Base() + `","model":"` + fakeai.Model + `","api_key":"sk-very-secret-key"`
	if more != "" {
		c += "," + more
	}
	return c + "}"
}

func (s *site) close() {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := s.host.Close(ctx); err != nil {
		s.t.Errorf("close the host: %v", err)
	}
	if err := s.broker.Close(ctx); err != nil {
		s.t.Errorf("close the broker: %v", err)
	}
	s.ai.CloseClientConnections()
	s.ai.Close()
	if strings.Contains(s.log.String(), "sk-very-secret-key") {
		s.t.Error("the key is in the log")
	}
	if s.t.Failed() {
		s.t.Logf("log:\n%.8000s", s.log)
	}
}

// client is an MQTT 5 client.
type client struct {
	t  testing.TB
	c  *paho.Client
	mu sync.Mutex
	in []*paho.Publish
	// came gets something with each message, unless there is something in it.
	came chan struct{}
}

func connect(t testing.TB, addr, id string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, came: make(chan struct{}, 1)}
	c.c = paho.NewClient(paho.ClientConfig{Conn: nc, PacketTimeout: wait, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.in = append(c.in, p.Packet)
			select {
			case c.came <- struct{}{}:
			default:
			}
			return true, nil
		},
	}})
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	if _, err := c.c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 600}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.c.Disconnect(&paho.Disconnect{}) })
	return c
}

func (c *client) subscribe(filters ...string) *client {
	c.t.Helper()
	s := &paho.Subscribe{}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: 1, RetainAsPublished: true})
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), wait)
	defer cancel()
	if _, err := c.c.Subscribe(ctx, s); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// publish publishes with QoS 1, and returns the Reason Code.
func (c *client) publish(m *paho.Publish) byte {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), wait)
	defer cancel()
	m.QoS = 1
	r, err := c.c.Publish(ctx, m)
	if r == nil {
		c.t.Fatal(err)
	}
	return r.ReasonCode
}

func (c *client) say(topic, payload string) {
	c.t.Helper()
	c.publish(&paho.Publish{Topic: topic, Payload: []byte(payload)})
}

func (c *client) received(topic string) (list []*paho.Publish) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.in {
		if p.Topic == topic {
			list = append(list, p)
		}
	}
	return list
}

// expect waits for the n-th message on a topic, from 1.
func (c *client) expect(topic string, n int) *paho.Publish {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("message %d on %s", n, topic), func() bool { return len(c.received(topic)) >= n })
	return c.received(topic)[n-1]
}

// conversation asks in one conversation, one question after the other.
type conversation struct {
	*client
	name string
}

func (c *client) conversation(name string) *conversation {
	c.t.Helper()
	c.subscribe("assistant/+/"+name+"/answer", "assistant/+/"+name+"/answer/stream")
	return &conversation{client: c, name: name}
}

// ask returns the payload of the answer.
func (c *conversation) ask(payload string) string {
	c.t.Helper()
	return c.askOf("main", payload)
}

func (c *conversation) askOf(assistant, payload string) string {
	c.t.Helper()
	to := "assistant/" + assistant + "/" + c.name
	n := len(c.received(to+"/answer")) + 1
	c.say(to+"/ask", payload)
	return string(c.expect(to+"/answer", n).Payload)
}

// body is an answer in JSON.
func body(t testing.TB, s string) (b answerBody) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &b); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}

// code is the code of an answer that is an error; "" if it is none.
func code(s string) string {
	var b answerBody
	if json.Unmarshal([]byte(s), &b) != nil || b.Error == nil {
		return ""
	}
	return string(b.Error.Code)
}

// runtimes are those in which the plugin runs.
func runtimes(t *testing.T, test func(t *testing.T, rt pluginhost.Runtime)) {
	for name, rt := range map[string]pluginhost.Runtime{"builtin": pluginhost.Builtin, "process": pluginhost.Process} {
		t.Run(name, func(t *testing.T) { test(t, rt) })
	}
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

// metric is the sum of the plugin's series of a name with all of these labels, "name=value".
func (s *site) metric(name string, labels ...string) (sum float64) {
	s.host.Metrics(func(m pluginhost.Metric) {
		if m.Name != "patchbay_plugin_assistant_"+name {
			return
		}
		found := 0
		for _, l := range m.Labels {
			if slices.Contains(labels, l.Name+"="+l.Value) {
				found++
			}
		}
		if found == len(labels) {
			sum += m.Value
		}
	})
	return sum
}
