package pluginhost

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// taken is what a tap was told, one JSON text for each batch.
type taken struct {
	mu    sync.Mutex
	texts []string
}

func (x *taken) tell(b *pluginv1.Batch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.texts = append(x.texts, string(v1json.AppendJSON(nil, b)))
}

func (x *taken) take() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := x.texts
	x.texts = nil
	return list
}

// goThrough goes through everything that can be tapped, and returns what came of it.
func goThrough(t *testing.T, h *Host) []any {
	t.Helper()
	client := &hook.Client{ID: "c1", Username: "ann", Connection: 1}
	never := func() { t.Error("the host has put an answer off") }
	auth := &hook.AuthRequest{Client: client, Data: []byte("sesame"), Connect: &packet.Connect{HasPassword: true, Password: []byte("sesame")}}
	publish := &hook.AuthorizeRequest{Point: hook.AuthorizePublish, Client: client, Topic: "a/b", QoS: 1}
	subscribe := &hook.AuthorizeRequest{Point: hook.AuthorizeSubscribe, Client: client, Topic: "a/#", QoS: 1}
	message := &hook.PublishRequest{Client: client, Message: keep("a/b", "text", 1)}
	other := &hook.PublishRequest{Client: client, Message: keep("$other", "text", 0)}
	sub := &hook.SubscribeRequest{Client: client, Subscriptions: []packet.Subscription{{Filter: "a/#"}}, Codes: make([]packet.ReasonCode, 1)}
	for _, ok := range []bool{
		h.Authenticate(auth, never), h.Authorize(publish, never), h.Authorize(subscribe, never),
		h.Publish([]*hook.PublishRequest{message, other}, never), h.Subscribe(sub, never),
		h.Will(&hook.PublishRequest{Client: client, Message: keep("a/will", "x", 0)}, never),
	} {
		if !ok {
			t.Error("the host has put an answer off")
		}
	}
	h.Observe(&hook.Event{Point: hook.Connected, Client: client, Time: 7})
	h.Observe(&hook.Event{Point: hook.Published, Client: client, Message: message.Message})
	return []any{auth.Result.Accept, auth.Result.Undecided, auth.Result.Code, publish.Allow, subscribe.Allow, message.Verdict, other.Verdict, sub.Codes[0]}
}

// TestTapDecidesNothing: with a tap the answers are those without it, and the tap is told
// what plugins would be.
func TestTapDecidesNothing(t *testing.T) {
	h, b := newTestHost(t)
	h.o.DefaultAllow = false // what nobody was asked about is allowed all the same
	before := goThrough(t, h)
	var x taken
	closed, err := h.Tap(Tap{Points: TapPoints(), TopicFilters: []string{"#"}, Tell: x.tell})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []hook.Point{hook.Authenticate, hook.AuthorizePublish, hook.InterceptPublish, hook.Published} {
		if b.wants&hook.SetOf(p) == 0 {
			t.Errorf("the broker is not asked for %v", p)
		}
	}
	if b.wants&hook.SetOf(hook.GatePublish, hook.AuthorizeReceive, hook.InterceptDeliver) != 0 {
		t.Error("the broker is asked for what cannot be tapped")
	}
	if after := goThrough(t, h); !slices.Equal(before, after) {
		t.Errorf("%v, without a tap %v", after, before)
	}
	got := x.take()
	want := []string{
		"AUTHENTICATE", "PERMIT", "AUTHORIZE_PUBLISH", "AUTHORIZE_SUBSCRIBE", "INTERCEPT_PUBLISH", "INTERCEPT_SUBSCRIBE",
		"INTERCEPT_WILL", "CONNECTED", "PUBLISHED",
	}
	if len(got) != len(want) {
		t.Fatalf("%d batches, want %d: %s", len(got), len(want), got)
	}
	for i, point := range want {
		if !strings.HasPrefix(got[i], `{"point":"POINT_`+point+`"`) || !strings.Contains(got[i], `"clientId":"c1"`) {
			t.Errorf("batch %d, want %s: %s", i, point, got[i])
		}
	}
	if text := strings.Join(got, "\n"); strings.Contains(text, "c2VzYW1l") || strings.Contains(text, "$other") {
		t.Errorf("a password, or a topic that does not match, is told:\n%s", text)
	}
	if _, err := h.Tap(Tap{}); !errors.Is(err, ErrTapped) {
		t.Errorf("a second tap: %v", err)
	}
	closed()
	closed()
	if goThrough(t, h); len(x.take()) > 0 || b.wants != 0 {
		t.Errorf("after the end of the tap: wants %v", b.wants)
	}
	if closed, err = h.Tap(Tap{Points: []pluginv1.Point{pluginv1.PointAuthenticate}, Passwords: true, Tell: x.tell}); err != nil {
		t.Fatal(err)
	}
	defer closed()
	goThrough(t, h)
	if got := x.take(); len(got) != 1 || strings.Count(got[0], "c2VzYW1l") != 2 {
		t.Errorf("with passwords: %s", got)
	}
}

func TestTapRefuses(t *testing.T) {
	h, _ := newTestHost(t)
	if _, err := h.Tap(Tap{Points: []pluginv1.Point{pluginv1.PointGatePublish}}); err == nil || !strings.Contains(err.Error(), "gate_publish cannot be recorded") {
		t.Errorf("%v", err)
	}
}

// TestNoTapCostsNothing: where nobody taps nothing is allocated.
func TestNoTapCostsNothing(t *testing.T) {
	h, _ := newTestHost(t)
	e := &hook.Event{Point: hook.Published, Client: &hook.Client{ID: "c1"}, Message: keep("a/b", "text", 1)}
	w := new(publishing)
	n := testing.AllocsPerRun(100, func() {
		h.tapped(w, pluginv1.PointInterceptPublish)
		h.Observe(e)
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestWatched: who watches sees calls with their answers, and only that.
func TestWatched(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	h, _ := newTestHost(t)
	h.o.Watch = func(s Seen) {
		mu.Lock()
		defer mu.Unlock()
		if s.Err == nil {
			seen = append(seen, s.Plugin+" "+string(v1json.AppendJSON(nil, s.Out)))
		} else {
			seen = append(seen, s.Plugin+" "+s.Err.Error())
		}
	}
	inst := newFake(func(b *pluginv1.Batch, a *pluginv1.Answer, _ func(error)) (bool, error) {
		if b.Events[0].Message.Topic == "bad" {
			return true, errors.New("out of order")
		}
		a.Verdicts = append(a.Verdicts, pluginv1.Verdict{Action: pluginv1.ActionDrop})
		return true, nil
	})
	w := h.watched("one", inst)
	for _, name := range []string{"good", "bad"} {
		b := &pluginv1.Batch{Point: pluginv1.PointInterceptPublish, Events: []pluginv1.Event{{Message: &pluginv1.Message{Topic: name}}}}
		if answered, _ := w.Process(b, new(pluginv1.Answer), nil); !answered {
			t.Error("not answered")
		}
	}
	if want := []string{`one {"verdicts":[{"action":"ACTION_DROP"}]}`, "one out of order"}; !slices.Equal(seen, want) {
		t.Errorf("seen: %q", seen)
	}
	if bare(w) != inst || w.(*watched).Exited() != inst.exited {
		t.Error("the instance is not the fake's")
	}
	h.o.Watch = nil
	if h.watched("one", inst) != inst {
		t.Error("watched by nobody")
	}
}
