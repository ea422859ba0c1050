package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// holder is a plugin that does nothing but have a Host.
type holder struct{ host *sdk.Host }

// Start implements sdk.Starter.
func (p *holder) Start(_ context.Context, h *sdk.Host, _ struct{}) error {
	p.host = h
	return nil
}

// set is a Set over a test host.
func set(t testing.TB, h *plugintest.Host, config string) *Set {
	t.Helper()
	h.State.Sessions = []pluginv1.Session{{Client: &pluginv1.Client{ClientID: ann.ClientID, Username: ann.Username}}}
	p := &holder{}
	plugintest.Start(t, plugintest.Builtin(sdk.Plugin{Name: "holder", Version: "1.0.0", Config: sdk.ConfigOf[struct{}](), New: func() any { return p }}), h, "{}")
	c, err := sdk.ParseConfig[Config](config)
	if err != nil {
		t.Fatal(err)
	}
	if list := c.Check(""); len(list) > 0 {
		t.Fatal(list)
	}
	return New(Options{Host: p.host, Config: &c, Prefix: "assistant"})
}

var ann = &tool.Ask{ID: "1", ClientID: "ann", Username: "ann@home", Assistant: "main"}

const everything = `{"use":["read_retained","read_recent","list_topics","publish","request","list_clients","broker_metrics","explain_drop"]}`

// stocked is a Set of all tools with a secret, 4711, wherever they look.
func stocked(t *testing.T) (*plugintest.Host, *Set) {
	h := plugintest.NewHost()
	h.State.Retained = []pluginv1.Message{{Topic: "secret/4711", Payload: []byte("4711")}, {Topic: "$SYS/broker/x", Payload: []byte("4711")}}
	h.State.Clients = []pluginv1.Client{{ClientID: "c-4711"}}
	s := set(t, h, everything)
	s.recent.add("", &sdk.Message{Topic: "secret/4711", Payload: []byte("4711")})
	s.drops.add(&sdk.Event{Event: &pluginv1.Event{Reason: "expired"}, Client: &sdk.Client{ClientID: "ann"}, Message: &sdk.Message{Topic: "secret/4711", Publisher: "bob"}})
	return h, s
}

// If the broker cannot be asked what a client may do, the client may not.
func TestFailsClosed(t *testing.T) {
	for name, screen := range map[string]func(*plugintest.Host){
		"failing": func(h *plugintest.Host) {
			h.Fail(pluginv1.HostOpScreen, slices.Repeat([]error{sdk.ErrUnavailable}, 20)...)
		},
		"without the grant": func(h *plugintest.Host) { h.Deny("clients") },
		"unsupported": func(h *plugintest.Host) {
			h.Fail(pluginv1.HostOpScreen, slices.Repeat([]error{sdk.ErrUnsupported}, 20)...)
		},
		"refusing": func(h *plugintest.Host) {
			h.State.Screen = func(string, *pluginv1.Message) pluginv1.ScreenResult { return pluginv1.ScreenResult{ReasonCode: 0x87} }
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, s := stocked(t)
			screen(h)
			if list, err := s.List(t.Context(), ann); err == nil && slices.ContainsFunc(list, func(x tool.Tool) bool { return x.Name == listClients }) {
				t.Error("list_clients is offered")
			}
			for call, args := range map[string]string{
				"read_retained": `{"topic_filter":"#"}`, "read_recent": `{"topic_filter":"#"}`, "list_topics": `{"topic_filter":"#"}`,
				"list_clients": `{}`, "broker_metrics": `{}`, "explain_drop": `{}`,
			} {
				r, err := s.Call(t.Context(), ann, call, json.RawMessage(args))
				if strings.Contains(fmt.Sprint(r.Text, err), "4711") {
					t.Errorf("%s: %s %v", call, r.Text, err)
				}
			}
			if m, err := s.One(t.Context(), ann, "secret/4711"); m != nil || err == nil {
				t.Errorf("%+v %v", m, err)
			}
		})
	}
}

// With a broker that lets the client see everything, the same calls show it: the test
// above can fail.
func TestShows(t *testing.T) {
	_, s := stocked(t)
	for call, args := range map[string]string{
		"read_retained": `{"topic_filter":"#"}`, "read_recent": `{"topic_filter":"#"}`, "list_topics": `{"topic_filter":"#"}`,
		"list_clients": `{}`, "broker_metrics": `{}`, "explain_drop": ``,
	} {
		if r, err := s.Call(t.Context(), ann, call, json.RawMessage(args)); err != nil || !strings.Contains(r.Text, "4711") {
			t.Errorf("%s: %s %v", call, r.Text, err)
		}
	}
}

// Who comes by the same Client Identifier after the question is not who has asked.
func TestAnotherClientOfThatName(t *testing.T) {
	for what, list := range map[string][]pluginv1.Session{
		"another user": {{Client: &pluginv1.Client{ClientID: "ann", Username: "root"}}}, "no user": {{Client: &pluginv1.Client{ClientID: "ann"}}},
		"nobody": nil, "elsewhere": {{Client: &pluginv1.Client{ClientID: "ann", Username: "ann@home", Namespace: "x"}}},
	} {
		h, s := stocked(t)
		h.State.Sessions = list
		for call, args := range map[string]string{
			"read_retained": `{"topic_filter":"#"}`, "read_recent": `{"topic_filter":"#"}`, "list_topics": `{"topic_filter":"#"}`, "list_clients": `{}`,
			"broker_metrics": `{}`, "explain_drop": `{}`, "publish": `{"topic":"a","payload":"b"}`, "request": `{"topic":"a","payload":"b"}`,
		} {
			if r, err := s.Call(t.Context(), ann, call, json.RawMessage(args)); !errors.As(err, new(*tool.Refused)) {
				t.Errorf("%s, %s: %s %v", what, call, r.Text, err)
			}
		}
		if n := len(h.Published()); n != 0 {
			t.Errorf("%s: %d messages", what, n)
		}
	}
}

// For nobody there are no tools, and nothing is done.
func TestForNobody(t *testing.T) {
	h := plugintest.NewHost()
	s := set(t, h, everything)
	nobody := &tool.Ask{ID: "1", Assistant: "main", Automation: "rule"}
	if list, err := s.List(t.Context(), nobody); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := s.Call(t.Context(), nobody, "publish", json.RawMessage(`{"topic":"a","payload":"b"}`)); !errors.As(err, new(*tool.Refused)) {
		t.Errorf("%v", err)
	}
	if n := len(h.Published()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// Many calls wait at once, each gets its own answer, and nothing is left of them.
func TestDesk(t *testing.T) {
	var d desk
	at := place{"ns", "reply/1"}
	const n = 50
	var waiters []*waiter
	for i := range n {
		w := &waiter{correlation: []byte(fmt.Sprint(i))}
		waiters = append(waiters, w)
		defer d.wait(at, w)()
	}
	d.hand(&sdk.Message{Topic: "reply/1", Namespace: "other"}, &sdk.Client{})
	d.hand(&sdk.Message{Topic: "reply/2", Namespace: "ns"}, &sdk.Client{})
	d.hand(&sdk.Message{Topic: "reply/1", CorrelationData: []byte("nobody")}, &sdk.Client{Namespace: "ns"})
	for _, i := range rand.Perm(n) {
		d.hand(&sdk.Message{Topic: "reply/1", CorrelationData: []byte(fmt.Sprint(i)), Payload: []byte(fmt.Sprint(i))}, &sdk.Client{Namespace: "ns"})
		d.hand(&sdk.Message{Topic: "reply/1", CorrelationData: []byte(fmt.Sprint(i)), Payload: []byte("again")}, &sdk.Client{Namespace: "ns"})
	}
	for i, w := range waiters {
		if g, err := w.get(t.Context()); err != nil || string(g.Payload) != fmt.Sprint(i) {
			t.Fatalf("%d: %+v %v", i, g, err)
		}
	}
	if len(d.waiting) != 0 {
		t.Errorf("%d places are left", len(d.waiting))
	}
	// Without Correlation Data the one that has waited longest gets it; one that has gone does not.
	first, second := &waiter{}, &waiter{}
	gone := d.wait(at, first)
	defer d.wait(at, second)()
	gone()
	d.hand(&sdk.Message{Topic: "reply/1", Namespace: "ns", Payload: []byte("x")}, &sdk.Client{})
	if g, err := second.get(t.Context()); err != nil || string(g.Payload) != "x" {
		t.Errorf("%+v %v", g, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := first.get(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// recent holds what a naive memory holds: of each topic the last messages, without those of
// topics that had to go; and it keeps its bounds.
func TestRecentAgainstNaive(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := &Recent{PerTopic: 1 + r.IntN(4), MaxBytes: sdk.Size(4096 + r.IntN(20_000)), MaxPayload: 64}
		m := newRecent(c)
		naive := map[place][]string{}
		for i := range 2000 {
			at := place{fmt.Sprint("n", r.IntN(3)), fmt.Sprintf("t/%d", r.IntN(30))}
			payload := fmt.Sprint(i, strings.Repeat("x", r.IntN(200)))
			m.add(at.namespace, &sdk.Message{Topic: at.topic, Payload: []byte(payload), ReceivedMs: int64(i)})
			if len(payload) > int(c.MaxPayload) {
				payload = ""
			}
			naive[at] = append(naive[at], payload)
			if n := len(naive[at]); n > c.PerTopic {
				naive[at] = naive[at][n-c.PerTopic:]
			}
			bytes := 0
			for ns, sp := range m.spaces {
				sum := 0
				for topic, e := range sp.topics {
					l := e.Value.(*line)
					sum += l.bytes
					var got []string
					for _, x := range l.list {
						got = append(got, string(x.Payload))
					}
					if all := naive[place{ns, topic}]; !slices.Equal(got, all) {
						t.Fatalf("seed %d, %s %s: %q, want %q", seed, ns, topic, got, all)
					}
				}
				if sum != sp.bytes || sp.order.Len() != len(sp.topics) || len(sp.topics) == 0 {
					t.Fatalf("seed %d: %d bytes are counted as %d", seed, sum, sp.bytes)
				}
				bytes += sum
			}
			if bytes != m.bytes || bytes > int(c.MaxBytes) {
				t.Fatalf("seed %d: %d bytes, counted as %d, of %d", seed, bytes, m.bytes, c.MaxBytes)
			}
			for old := range naive { // what had to go begins anew
				if sp := m.spaces[old.namespace]; sp == nil || sp.topics[old.topic] == nil {
					delete(naive, old)
				}
			}
			if len(m.find(at.namespace, at.topic)) == 0 {
				t.Fatalf("seed %d: the newest is not there", seed)
			}
		}
	}
}

// The memory of drops is bounded too, by namespace and in all.
func TestDropsAreBounded(t *testing.T) {
	var d drops
	for i := range 3 * maxAllDrops {
		d.add(&sdk.Event{
			Event: &pluginv1.Event{Reason: "expired", TimeMs: int64(i)}, Client: &sdk.Client{ClientID: "c", Namespace: fmt.Sprint(i % 100)}, Message: &sdk.Message{Topic: "t"},
		})
		list := d.newest(fmt.Sprint(i % 100))
		if len(list) == 0 || len(list) > maxDrops || list[0].at != int64(i) || d.total > maxAllDrops {
			t.Fatalf("%d: %d, %d in all", i, len(list), d.total)
		}
	}
}

// Whatever a model says, what comes of a template is one topic of as many levels as the template has,
// and the literal levels stay where they are.
func FuzzTopicOf(f *testing.F) {
	for _, s := range []string{"hall", "a/b", "+", "#", "", "..", "\x00", "${payload.x}", "/"} {
		f.Add(s)
	}
	var t3 template.Text
	if err := t3.UnmarshalText([]byte("home/${payload.x}/lamp-${payload.x}/set")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, x string) {
		args, err := json.Marshal(map[string]string{"x": x})
		if err != nil {
			t.Skip()
		}
		var from template.Source
		from.Reset(nil, &sdk.Message{Payload: args}, nil)
		topic, err := topicOf(&t3, &from)
		if err != nil {
			return
		}
		levels := strings.Split(topic, "/")
		if len(levels) != 4 || levels[0] != "home" || levels[3] != "set" || levels[1] == "" || !bridge.Match("home/+/+/set", topic) || bridge.CheckFilter(topic) == nil && wild(topic) {
			t.Errorf("%q", topic)
		}
	})
}

// Arguments of any shape are refused or taken, never half.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{`{}`, `{"topic":"a","payload":"b"}`, `{"topic_filter":"a/#"}`, `null`, `[]`, `{"topic":"a","payload":"b"} x`, "{\"topic\":\"a\\u0000\",\"payload\":\"b\"}"} {
		f.Add(s)
	}
	h := plugintest.NewHost()
	s := set(f, h, everything)
	f.Fuzz(func(t *testing.T, args string) {
		for _, e := range s.list {
			do, err := e.prepare(t.Context(), ann, json.RawMessage(args))
			if (do == nil) != (err != nil) {
				t.Errorf("%s: %v", e.Name, err)
			}
		}
		var w writeArgs
		if m, err := w.message(s, json.RawMessage(args)); err == nil && (bridge.CheckTopic(m.Topic) != nil || s.own(m.Topic)) {
			t.Errorf("%q may be published to", m.Topic)
		}
	})
}

// Only a clear yes is a yes.
func FuzzDecision(f *testing.F) {
	for _, s := range []string{"yes", "no", " YES\n", `{"approve":true}`, `{"approve":"true"}`, `{"approve":false}`, "{}", "null", "yes please", "", "true", `{"Approve":true}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d decision
		err := d.read(b)
		if err != nil && d.Approve {
			t.Errorf("%q is an error and a yes", b)
		}
		text := strings.ToLower(strings.TrimSpace(string(b)))
		if d.Approve && text != "yes" && text != "approve" && text != "approved" && text != "true" && !strings.Contains(text, "approve") {
			t.Errorf("%q is a yes", b)
		}
	})
}
