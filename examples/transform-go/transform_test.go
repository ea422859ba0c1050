package transform_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"go.yaml.in/yaml/v3"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
	transform "github.com/patchbay-mq/patchbay/examples/transform-go"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// The plugin as a program and as WebAssembly, made by TestMain's folder's first user.
var (
	work  string
	files = sync.OnceValues(func() (f struct{ program, module string }, err error) {
		f.program, f.module = filepath.Join(work, "transform"), filepath.Join(work, "transform.wasm")
		for _, args := range [][]string{{"-o", f.program}, {"-buildmode=c-shared", "-o", f.module}} {
			cmd := exec.Command("go", append(append([]string{"build"}, args...), "./cmd/transform")...)
			if strings.HasSuffix(args[len(args)-1], ".wasm") {
				cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				return f, fmt.Errorf("%w\n%s", err, out)
			}
		}
		return f, nil
	})
)

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "transform-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(work)
	os.Exit(code)
}

func runners(t testing.TB) []plugintest.Runner {
	t.Helper()
	f, err := files()
	if err != nil {
		t.Fatal(err)
	}
	return []plugintest.Runner{plugintest.Builtin(transform.Plugin()), plugintest.Process(f.program), plugintest.Wasm(f.module)}
}

const config = `{"rules":[
	{"topic":"plant/+/+/temperature","remove":["debug"],"set":{"site":"${topic[2]}","by":"${client_id}/${username}"},
	 "lookup_key":"${topic[3]}","lookup":{"t-17":{"room":"boiler <house>","unit":"°C"}},"to":"enriched/${topic}","invalid":"drop"},
	{"topic":"deny/#","set":{"at":"${topic[9]}x"},"invalid":"deny"},
	{"topic":"to/+","to":"${username}"},
	{"topic":"#","set":{"seen":"yes"}}
]}`

// message is one that is published, and what becomes of it: "drop", "deny 0x99",
// "continue", or "topic payload".
type message struct{ topic, payload, want string }

var messages = []message{
	{"plant/kiel/t-17/temperature", `{"v":21.5,"debug":7}`,
		`enriched/plant/kiel/t-17/temperature {"v":21.5,"by":"c1/ann","site":"kiel","room":"boiler <house>","unit":"°C"}`},
	{"plant/kiel/t-99/temperature", ` { "site" : [1, {"a":2}] , "v": 12345678901234567890.10 } `,
		`enriched/plant/kiel/t-99/temperature {"site":"kiel","v":12345678901234567890.10,"by":"c1/ann"}`},
	{"plant/kiel/t-17/temperature", `21.5`, "drop"},
	{"plant/kiel/t-17/temperature", `{"v":21.5} x`, "drop"},
	{"plant/kiel/t-17/temperature", `{"v":21.5`, "drop"},
	{"plant/kiel/t-17/temperature", ``, "drop"},
	{"deny/a", `[]`, "deny 0x99"},
	{"deny", `{}`, `deny {"at":"x"}`},
	{"to/x", `{"a":"b"}`, `ann {"a":"b"}`},
	{"to/x/y", `{"a":"\u003c"}`, `to/x/y {"a":"\u003c","seen":"yes"}`},
	{"other", `no JSON`, "continue"},
	{"deny/long", `{"a":"` + strings.Repeat("x", 4089) + `"}`, "deny 0x99"},
	{"deny/many", "{" + strings.Repeat(`"a":0,`, 256) + `"b":0}`, "deny 0x99"},
	{"x", `{"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83dx":[true,false,null,{"a":{}},[]],"seen":1,"s\u0065en":-0.5e+3}`,
		`x {"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83dx":[true,false,null,{"a":{}},[]],"seen":"yes"}`},
	{"$SYS/x", `{}`, "continue"}, // "#" does not match it
}

func outcome(topic string, v *pluginv1.Verdict) string {
	switch v.Action {
	case pluginv1.ActionContinue:
		return "continue"
	case pluginv1.ActionDrop:
		return "drop"
	case pluginv1.ActionDeny:
		return fmt.Sprintf("deny 0x%x", v.ReasonCode)
	case pluginv1.ActionReplace:
		if v.Changed&uint32(pluginv1.ChangeTopic) != 0 {
			topic = v.Replacement.Topic
		}
		if v.Changed&uint32(pluginv1.ChangeContentType) == 0 || v.Replacement.ContentType != "application/json" {
			return "no content type"
		}
		return topic + " " + string(v.Replacement.Payload)
	}
	return fmt.Sprintf("%+v", v)
}

func TestMessages(t *testing.T) {
	for _, r := range runners(t) {
		t.Run(r.Name, func(t *testing.T) {
			p := plugintest.Start(t, r, plugintest.NewHost(), config)
			for _, m := range messages {
				v := p.Publish(t, &sdk.Client{ClientID: "c1", Username: "ann"}, &sdk.Message{Topic: m.topic, Payload: []byte(m.payload)})
				if got := outcome(m.topic, v); got != m.want {
					t.Errorf("%s %s: %s\nwant %s", m.topic, m.payload, got, m.want)
				}
			}
			// Nobody to name the topic after.
			v := p.Publish(t, &sdk.Client{ClientID: "c2"}, &sdk.Message{Topic: "to/x", Payload: []byte("{}")})
			if got := outcome("to/x", v); got != "deny 0x90" {
				t.Errorf("no topic: %s", got)
			}
		})
	}
}

// The three runtimes give the same bytes for batches of all messages.
func TestConformance(t *testing.T) {
	var cases []plugintest.Case
	for _, n := range []int{1, 5, 64} {
		b := &pluginv1.Batch{Point: sdk.PointInterceptPublish, Clients: []pluginv1.Client{{ClientID: "c1", Username: "ann"}}}
		for i := range n {
			m := messages[i%len(messages)]
			b.Events = append(b.Events, pluginv1.Event{Client: 1, Message: &pluginv1.Message{Topic: m.topic, Payload: []byte(m.payload)}})
		}
		cases = append(cases, plugintest.Batch(fmt.Sprintf("batch of %d", n), b))
	}
	plugintest.Conformance(t, config, cases, runners(t)...)
}

func TestTime(t *testing.T) {
	for _, r := range runners(t) {
		t.Run(r.Name, func(t *testing.T) {
			p := plugintest.Start(t, r, plugintest.NewHost(), `{"rules":[{"topic":"a","set":{"time":"${time}"}}]}`)
			before := time.Now().Add(-time.Second)
			v := p.Publish(t, nil, &sdk.Message{Topic: "a", Payload: []byte("{}")})
			var got struct{ Time time.Time }
			if v.Replacement == nil || json.Unmarshal(v.Replacement.Payload, &got) != nil || got.Time.Before(before) || got.Time.After(time.Now().Add(time.Second)) {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestNarrowed(t *testing.T) {
	for _, r := range runners(t)[:2] {
		_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), `{"rules":[{"topic":"a/+"},{"topic":"b"}]}`)
		if n := res.Narrowed; n == nil || len(n.Hooks) != 1 || strings.Join(n.Hooks[0].TopicFilters, " ") != "a/+ b" {
			t.Errorf("%s: %+v", r.Name, n)
		}
	}
}

func TestRefusedConfigs(t *testing.T) {
	for text, want := range map[string]string{
		`{"rules":[{"topic":"a","set":{"x":"${topic[0]}"}}]}`: "/rules/0/set/x has ${topic[0]}; there are ${topic}, ${topic[1]} and so on, ${client_id}, ${username}, ${time}",
		`{"rules":[{"topic":"a"},{"topic":"b","to":"${x"}]}`:  "/rules/1/to has ${x without a }",
		`{"rules":[{"topic":"a","lookup":{"k":{"x":"y"}}}]}`:  "/rules/0/lookup_key is needed to find an entry of lookup; try ${topic[2]}",
	} {
		for _, r := range runners(t)[:2] {
			_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), text)
			if len(res.Problems) != 1 || res.Problems[0].Pointer+" "+res.Problems[0].Message != want {
				t.Errorf("%s: %s: %v, want %s", r.Name, text, res.Problems, want)
			}
		}
	}
}

// TestFuel: no payload that is not too large makes a sandbox run out of fuel.
func TestFuel(t *testing.T) {
	f, err := files()
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.LoadFile(t.Context(), f.module, wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p, err := m.Open(t.Context(), plugintest.NewHost())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	manifest, err := p.Describe(t.Context(), &pluginv1.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := p.Start(t.Context(), &pluginv1.StartRequest{Config: config}); err != nil || len(res.Problems) > 0 {
		t.Fatal(res, err)
	}
	const size = 4096
	list := func(begin, one, end string) string {
		n := (size - len(begin) - len(end) + 1) / (len(one) + 1)
		return begin + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + end
	}
	for _, payload := range []string{
		list("{", `"":0`, "}"), list(`{"":[`, "0", "]}"), list(`{"":[`, "{}", "]}"), list(`{"":[`, "[0]", "]}"), list(`{"":[`, `""`, "]}"),
		list(`{"":[`, strings.Repeat("[", 90)+strings.Repeat("]", 90), "]}"), list(`{"`, `\n`, `":0}`), list(`{"":"`, `\u0041`, `"}`),
		list(`{"`, `\u0041`, `":0}`), "{" + strings.Repeat(" ", size-2) + "}", strings.Repeat(`{"":`, size/4),
		`{"":"` + strings.Repeat(`\"`, 2000) + `"}`,
	} {
		b := &pluginv1.Batch{Point: sdk.PointInterceptPublish}
		for range manifest.Hooks[0].MaxBatch {
			b.Events = append(b.Events, pluginv1.Event{Message: &pluginv1.Message{Topic: "x", Payload: []byte(payload)}})
		}
		for range 50 { // the garbage collector works in some
			if _, err := p.Process(b, new(pluginv1.Answer), func(error) {}); err != nil {
				t.Fatalf("%.20s: %v", payload, err)
			}
		}
	}
}

// readme returns the config, the message and its outcome that README.md shows.
func readme(t *testing.T) (config []byte, message, result string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```(yaml|json)\n(.*?)```").FindAllStringSubmatch(string(text), 2)
	var c struct {
		Plugins []struct{ Config map[string]any }
	}
	if err := yaml.Unmarshal([]byte(blocks[0][2]), &c); err != nil {
		t.Fatal(err)
	}
	if config, err = json.Marshal(c.Plugins[0].Config); err != nil {
		t.Fatal(err)
	}
	message = regexp.MustCompile("(?m)^`(\\{.*?\\})` published").FindStringSubmatch(string(text))[1]
	return config, message, strings.TrimSpace(blocks[1][2])
}

// TestWithABroker: real clients see what the README says, in each runtime.
func TestWithABroker(t *testing.T) {
	f, err := files()
	if err != nil {
		t.Fatal(err)
	}
	config, sent, want := readme(t)
	for name, s := range map[string]pluginhost.Spec{
		"builtin": {Runtime: pluginhost.Builtin}, "process": {Path: f.program, Dev: true}, "wasm": {Path: f.module},
	} {
		t.Run(name, func(t *testing.T) {
			s.Name, s.Source, s.Config = "transform", "test", config
			addr := start(t, s)
			got := make(chan *paho.Publish, 64)
			c := connect(t, addr, got)
			const topic = "plant/kiel/t-17/temperature"
			if _, err := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "#", QoS: 1}}}); err != nil {
				t.Fatal(err)
			}
			// One that is dropped, ten that are enriched, one that nobody asks about.
			payloads := []string{"not JSON"}
			for range 10 {
				payloads = append(payloads, sent)
			}
			for _, p := range payloads {
				publish(t, c, topic, p)
			}
			publish(t, c, "end", "x")
			at := regexp.MustCompile(`"received":"[^"]*"`)
			for i := range 10 {
				m := receive(t, got)
				if text := at.ReplaceAllString(string(m.Payload), at.FindString(want)); m.Topic != "enriched/"+topic || text != want || m.Properties.ContentType != "application/json" {
					t.Fatalf("message %d: %s %s, want %s", i, m.Topic, m.Payload, want)
				}
			}
			if m := receive(t, got); m.Topic != "end" || string(m.Payload) != "x" {
				t.Errorf("%s %s", m.Topic, m.Payload)
			}
		})
	}
}

func publish(t *testing.T, c *paho.Client, topic, payload string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(payload)}); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, from <-chan *paho.Publish) *paho.Publish {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(time.Minute):
		t.Fatal("no message within a minute")
		return nil
	}
}

func connect(t *testing.T, addr string, got chan<- *paho.Publish) *paho.Client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{Conn: nc, PacketTimeout: time.Minute, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) { got <- p.Packet; return true, nil },
	}})
	if _, err := c.Connect(t.Context(), &paho.Connect{ClientID: "c1", CleanStart: true, KeepAlive: 60}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return c
}

// start runs a broker with the plugin.
func start(t *testing.T, s pluginhost.Spec) string {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	st := new(store.Memory)
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = quiet, st })
	if err != nil {
		t.Fatal(err)
	}
	h, err := pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: st.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) { return transform.Plugin(), name == "transform" }, Logger: quiet, DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if _, err := h.Apply(t.Context(), []pluginhost.Spec{s}); err != nil {
		t.Fatal(err)
	}
	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// FuzzPayload: whatever the payload is, what comes out of an object is one, with the
// member that was to be set and everything else as it was.
func FuzzPayload(f *testing.F) {
	for _, m := range messages {
		f.Add([]byte(m.payload))
	}
	f.Add([]byte(`{"seen":1,"seen":2,"a\n":"\ud800"}`))
	p := plugintest.Start(f, plugintest.Builtin(transform.Plugin()), plugintest.NewHost(), `{"rules":[{"topic":"#","set":{"seen":"yes"}}]}`)
	f.Fuzz(func(t *testing.T, payload []byte) {
		v := p.Publish(t, nil, &sdk.Message{Topic: "x", Payload: payload})
		var before, after map[string]any
		if len(payload) > 4096 || bytes.Count(payload, []byte(":")) > 256 || bytes.Count(payload, []byte("["))+bytes.Count(payload, []byte("{")) > 100 {
			return // there are limits
		}
		if err := json.Unmarshal(payload, &before); err != nil || before == nil {
			if got := outcome("x", v); got != "continue" {
				t.Fatalf("%q: %s", payload, got)
			}
			return
		}
		if v.Replacement == nil || json.Unmarshal(v.Replacement.Payload, &after) != nil || after["seen"] == nil {
			t.Fatalf("%q: %+v", payload, v)
		}
		delete(before, "seen")
		delete(after, "seen")
		if want, got := fmt.Sprint(before), fmt.Sprint(after); got != want {
			t.Fatalf("%q: %s, want %s", payload, got, want)
		}
	})
}

// BenchmarkPublish is the time per message of a batch, in each runtime. The process and
// the sandbox are those of plugintest, without the broker's metering.
func BenchmarkPublish(b *testing.B) {
	for _, r := range runners(b) {
		p := plugintest.Start(b, r, plugintest.NewHost(), config)
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", r.Name, n), func(b *testing.B) {
				batch := &pluginv1.Batch{Point: sdk.PointInterceptPublish, Clients: []pluginv1.Client{{ClientID: "c1"}}}
				for range n {
					batch.Events = append(batch.Events, pluginv1.Event{Client: 1, Message: &pluginv1.Message{Topic: messages[0].topic, Payload: []byte(messages[0].payload)}})
				}
				b.ReportAllocs()
				for b.Loop() {
					p.Process(b, batch)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/message")
			})
		}
	}
}
