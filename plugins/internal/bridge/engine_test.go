package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// far is the other side of a test's bridge.
type far struct {
	Engine
	mu    sync.Mutex
	calls [][]string
	send  func(ctx context.Context, b *Batch) error
}

type config struct {
	Routes []testRoute `json:"routes"`
}

type testRoute struct {
	Route
	Extra string `json:"extra"`
}

func (f *far) Start(_ context.Context, h *sdk.Host, c config) error {
	var problems []error
	var routes []*Route
	var names []string
	for i := range c.Routes {
		problems = append(problems, c.Routes[i].Check(fmt.Sprintf("/routes/%d", i))...)
		routes = append(routes, &c.Routes[i].Route)
		names = append(names, c.Routes[i].Name)
	}
	if err := sdk.Problems(append(problems, CheckNames("/routes", names)...)...); err != nil {
		return err
	}
	f.Setup(Options{
		Host: h, Kind: "bridge-test", Routes: routes, Send: f.sent, Sources: []string{"from"}, Fields: sdk.FieldUserProperties,
		Remotes: func() []Remote { return []Remote{{Name: "there", Error: "no route to host"}} },
	})
	return nil
}

func (f *far) sent(ctx context.Context, b *Batch) error {
	f.mu.Lock()
	var call []string
	for i := range b.Messages {
		call = append(call, string(b.Messages[i].Payload))
	}
	f.calls = append(f.calls, call)
	f.mu.Unlock()
	return f.send(ctx, b)
}

func open(t *testing.T, f *far, routes string) *plugintest.Instance {
	t.Helper()
	p := sdk.Plugin{
		Name: "bridge-test", Version: "1", Config: sdk.ConfigOf[config](), New: func() any { return f },
		Queues: Queues(sdk.FieldUserProperties), Hooks: Hooks(), Routes: Routes(),
	}
	in, res := plugintest.StartResponse(t, plugintest.Builtin(p), plugintest.NewHost(), `{"routes":`+routes+`}`)
	if len(res.Problems) > 0 {
		t.Fatalf("%+v", res.Problems)
	}
	return in
}

// batch is a ConsumeBatch of messages with these offsets; the id of a message is 100 more.
func batch(offsets ...uint64) *pluginv1.ConsumeBatch {
	b := &pluginv1.ConsumeBatch{Consumer: "r", DeadlineMs: 60_000}
	for _, o := range offsets {
		b.Deliveries = append(b.Deliveries, pluginv1.Delivery{Offset: o, Attempt: 1, Message: &pluginv1.Message{
			Topic: "a/b", Payload: fmt.Append(nil, o), QoS: 1, ID: 100 + o, ReceivedMs: time.Now().UnixMilli(),
		}})
	}
	return b
}

// said is a result in short: for each offset ok, again or dead.
func said(t *testing.T, in *plugintest.Instance, b *pluginv1.ConsumeBatch) string {
	t.Helper()
	r, err := in.ConsumeErr(b)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range b.Deliveries {
		word := "nothing"
		if d.Offset <= r.AcknowledgedOffset {
			word = "ok"
		}
		for _, x := range r.Results {
			if x.Offset == d.Offset {
				word = []string{"?", "ok", "again", "dead"}[x.Outcome]
			}
		}
		out = append(out, fmt.Sprint(d.Offset, " ", word))
	}
	return strings.Join(out, ", ")
}

var errAway = errors.New("away")

func TestConsume(t *testing.T) {
	f := &far{send: func(_ context.Context, _ *Batch) error { return nil }}
	in := open(t, f, `[{"name":"r","filters":["a/#"],"max_attempts":3}]`)
	expect := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	expect(said(t, in, batch(1, 2)), "1 ok, 2 ok")
	f.send = func(_ context.Context, b *Batch) error { b.Done(0); return errAway }
	expect(said(t, in, batch(3, 4, 5)), "3 ok, 4 again, 5 again")
	// What is done behind one that is not comes again, and is not sent again; its outcome is
	// told when it is its turn.
	f.send = func(_ context.Context, b *Batch) error {
		b.Fail(0, errors.New("too hot"))
		b.Refuse(1, errors.New("ugly"))
		return nil
	}
	expect(said(t, in, batch(4, 5, 6)), "4 again, 5 again, 6 again")
	f.calls = nil
	f.send = func(_ context.Context, _ *Batch) error { return nil }
	expect(said(t, in, batch(4, 5, 6, 7)), "4 ok, 5 dead, 6 ok, 7 ok")
	if got := fmt.Sprint(f.calls); got != "[[4 7]]" {
		t.Errorf("sent %s", got)
	}
	// Trouble counts, outages do not.
	var attempts []uint32
	f.send = func(_ context.Context, b *Batch) error {
		attempts = append(attempts, b.Messages[0].Attempt)
		b.Fail(0, errors.New("too hot"))
		return nil
	}
	expect(said(t, in, batch(8)), "8 again")
	f.send = func(_ context.Context, _ *Batch) error { return errAway }
	for range 5 {
		expect(said(t, in, batch(8)), "8 again")
	}
	f.send = func(_ context.Context, b *Batch) error {
		attempts = append(attempts, b.Messages[0].Attempt)
		b.Fail(0, errors.New("too hot"))
		return nil
	}
	expect(said(t, in, batch(8)), "8 again")
	expect(said(t, in, batch(8, 9)), "8 dead, 9 ok")
	if !slices.Equal(attempts, []uint32{1, 2, 3}) {
		t.Errorf("attempts %v", attempts)
	}
	s := f.Status()
	if r := s.Routes[0]; r.Messages != 7 || r.Refused != 2 || r.Errors == 0 || r.LastError == "" || r.InHand != 0 || r.Rate <= 0 {
		t.Errorf("status %+v", r)
	}
	if len(f.routes["r"].ahead) != 0 || len(f.routes["r"].attempts) != 0 {
		t.Errorf("left: %v %v", f.routes["r"].ahead, f.routes["r"].attempts)
	}
}

func TestHold(t *testing.T) {
	f := &far{send: func(context.Context, *Batch) error { return Hold(errAway, 250*time.Millisecond) }}
	in := open(t, f, `[{"name":"r","filters":["a/#"]}]`)
	r, err := in.ConsumeErr(batch(1))
	if err != nil || r.Error != "" || len(r.Results) != 1 || r.Results[0].RetryAfterMs != 250 || r.Results[0].Reason != "away" {
		t.Errorf("%+v, %v", r, err)
	}
	// At once is not the queue's own pause, which grows with an outage.
	f.send = func(context.Context, *Batch) error { return Hold(errAway, 0) }
	if r, err = in.ConsumeErr(batch(1)); err != nil || len(r.Results) != 1 || r.Results[0].RetryAfterMs != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	f.send = func(context.Context, *Batch) error { return errAway }
	var last uint32
	for i := range 4 {
		r, err = in.ConsumeErr(batch(1))
		if err != nil || r.Error != "away" {
			t.Fatalf("%+v, %v", r, err)
		}
		after := r.Results[0].RetryAfterMs
		if i > 0 && after < last/2 || after > 30_000 {
			t.Errorf("pause %d after %d", after, last)
		}
		last = after
	}
	if res, err := in.Plugin.Health(t.Context(), &pluginv1.HealthRequest{}); err != nil || res.Status != pluginv1.HealthStatusDegraded ||
		!strings.Contains(res.Message, "remote there does not answer: no route to host") || !strings.Contains(res.Message, "route r: away") {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestNarrow(t *testing.T) {
	f := &far{send: func(context.Context, *Batch) error { return nil }}
	in := open(t, f, `[{"name":"r","filters":["a/#"]},{"name":"s","filters":["b"],"ack":"after_remote","min_qos":1,"namespaces":["x"]}]`)
	n := f.Narrow()
	if len(n.Queues) != 2 || n.Queues[1].Name != "s" || n.Queues[1].MinQoS != 1 || !slices.Equal(n.Queues[1].Namespaces, []string{"x"}) || n.Queues[0].Fields&sdk.FieldUserProperties == 0 {
		t.Errorf("queues %+v", n.Queues)
	}
	if len(n.Hooks) != 1 || !slices.Equal(n.Hooks[0].TopicFilters, []string{"b"}) {
		t.Errorf("hooks %+v", n.Hooks)
	}
	if !slices.Contains(in.Manifest.NeededFeatures, "consumer_patterns") {
		t.Errorf("features %v", in.Manifest.NeededFeatures)
	}
	for _, c := range []struct {
		topic, namespace string
		qos              uint32
		want             int
	}{{"b", "x", 1, 1}, {"b", "", 1, 0}, {"b", "x", 0, 0}, {"a/b", "x", 1, 0}} {
		if got := f.gates(&sdk.Message{Topic: c.topic, QoS: c.qos}, &sdk.Client{Namespace: c.namespace}); len(got) != c.want {
			t.Errorf("%+v: %d gates", c, len(got))
		}
	}
}

// gate asks about messages of these offsets, as batch makes them.
func gate(in *plugintest.Instance, old time.Duration, offsets ...uint64) (chan *pluginv1.Answer, *pluginv1.Batch) {
	b := &pluginv1.Batch{Point: sdk.PointGatePublish, DeadlineMs: 60_000, Clients: []pluginv1.Client{{ClientID: "c", Connection: 1}}}
	for _, o := range offsets {
		b.Events = append(b.Events, pluginv1.Event{Client: 1, Message: &pluginv1.Message{
			Topic: "a/b", QoS: 1, ID: 100 + o, ReceivedMs: time.Now().Add(-old).UnixMilli(), Payload: fmt.Append(nil, o),
		}})
	}
	out := make(chan *pluginv1.Answer, 1)
	go func() {
		a, err := in.ProcessErr(b)
		if err != nil {
			a = &pluginv1.Answer{Error: err.Error()}
		}
		out <- a
	}()
	return out, b
}

func denied(a *pluginv1.Answer) string {
	s := a.Error
	for _, v := range a.Verdicts {
		if v.Action == pluginv1.ActionDeny {
			s += fmt.Sprintf("%d %#x %s;", v.Event, v.ReasonCode, v.Reason)
		}
	}
	return s
}

const gated = `[{"name":"r","filters":["a/#"],"ack":"after_remote","ack_timeout":"1s"}]`

func waits(t *testing.T, f *far, n int) {
	t.Helper()
	w := &f.routes["r"].waiting
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		have := len(w.waiters)
		w.mu.Unlock()
		if have == n {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%d messages wait, not %d", have, n)
		}
	}
}

func TestGate(t *testing.T) {
	f := &far{send: func(_ context.Context, b *Batch) error {
		for i := range b.Messages {
			if string(b.Messages[i].Payload) == "3" {
				b.Refuse(i, errors.New("ugly"))
			}
		}
		return nil
	}}
	in := open(t, f, gated)
	// The gate is asked before, and after, the queue has brought a message over.
	answer, _ := gate(in, 0, 1, 2)
	waits(t, f, 2)
	select {
	case a := <-answer:
		t.Fatalf("answered before: %+v", a)
	default:
	}
	if got := said(t, in, batch(1)); got != "1 ok" {
		t.Fatal(got)
	}
	waits(t, f, 1)
	if got := said(t, in, batch(2, 3)); got != "2 ok, 3 dead" {
		t.Fatal(got)
	}
	if d := denied(<-answer); d != "" {
		t.Errorf("denied %s", d)
	}
	answer, _ = gate(in, 0, 1, 3)
	if d := denied(<-answer); !strings.Contains(d, "0x83") || !strings.Contains(d, "ugly") || strings.Count(d, ";") != 1 {
		t.Errorf("a dead letter: %s", d)
	}
}

func TestGateInTime(t *testing.T) {
	f := &far{send: func(context.Context, *Batch) error { return errAway }}
	in := open(t, f, gated)
	if got := said(t, in, batch(1)); got != "1 again" {
		t.Fatal(got)
	}
	answer, _ := gate(in, 0, 1)
	began := time.Now()
	if d := denied(<-answer); !strings.Contains(d, "0x83 the other side has not got it: not in time") {
		t.Errorf("%s", d)
	}
	if took := time.Since(began); took < 900*time.Millisecond || took > 5*time.Second {
		t.Errorf("after %s", took)
	}
	waits(t, f, 0)
}

// A message that the queue does not bring, since it is not routed again, is sent by the gate.
func TestGateAlone(t *testing.T) {
	f := &far{send: func(context.Context, *Batch) error { return nil }}
	in := open(t, f, strings.Replace(gated, `"1s"`, `"10s"`, 1))
	b := batch(1)
	if got := said(t, in, b); got != "1 ok" {
		t.Fatal(got)
	}
	answer, _ := gate(in, time.Minute, 7)
	if d := denied(<-answer); d != "" {
		t.Error(d)
	}
	if got := fmt.Sprint(f.calls); got != "[[1] [7]]" {
		t.Errorf("sent %s", got)
	}
}

// A batch that takes long keeps its order: the gate does not send what is in it, and
// answers for each message as soon as that is on the other side.
func TestGateSlowBatch(t *testing.T) {
	step := make(chan struct{})
	f := &far{send: func(_ context.Context, b *Batch) error {
		<-step
		b.Done(0)
		<-step
		return nil
	}}
	in := open(t, f, strings.Replace(gated, `"1s"`, `"20s"`, 1))
	b := batch(1, 2)
	for i := range b.Deliveries { // a backlog: received at very different times, all of them long ago
		b.Deliveries[i].Message.ReceivedMs -= 60_000 - int64(i)*30_000
	}
	result := make(chan string, 1)
	go func() { result <- said(t, in, b) }()
	answer, _ := gate(in, time.Minute, 1, 2)
	waits(t, f, 2)
	time.Sleep(3 * look) // for what must not be sent
	step <- struct{}{}
	waits(t, f, 1) // the first one is there
	step <- struct{}{}
	if d := denied(<-answer); d != "" {
		t.Error(d)
	}
	if got := <-result; got != "1 ok, 2 ok" {
		t.Error(got)
	}
	if got := fmt.Sprint(f.calls); got != "[[1 2]]" {
		t.Errorf("sent %s", got)
	}
}

// So is one that is as new as what the queue has brought, when that has had nothing for a
// while; but not while the queue has more to bring.
func TestGateAfterQueue(t *testing.T) {
	t.Parallel()
	f := &far{send: func(context.Context, *Batch) error { return nil }}
	in := open(t, f, strings.Replace(gated, `"1s"`, `"20s","batch_messages":2`, 1))
	if got := said(t, in, batch(1)); got != "1 ok" {
		t.Fatal(got)
	}
	answer, _ := gate(in, 0, 7, 8)
	if d := denied(<-answer); d != "" {
		t.Error(d)
	}
	if got := fmt.Sprint(f.calls); got != "[[1] [7] [8]]" {
		t.Errorf("sent %s", got)
	}
	said(t, in, batch(9, 10)) // full
	w := &f.routes["r"].waiting
	if w.misses(&sdk.Message{ReceivedMs: time.Now().UnixMilli()}, &waiter{}, time.Now().Add(time.Hour)) {
		t.Error("a message is missed while the queue has more")
	}
}

func TestSettledIsBounded(t *testing.T) {
	w := &newProgress().waiting
	w.enable(true)
	for i := range uint64(remembered + 10) {
		w.settle(&sdk.Message{QoS: 1, ID: i + 1}, nil)
	}
	_, first := w.settled[1]
	_, last := w.settled[remembered+10]
	if len(w.settled) != remembered || first || !last {
		t.Errorf("%d remembered, first %v, last %v", len(w.settled), first, last)
	}
}

func TestStatusPage(t *testing.T) {
	f := &far{send: func(context.Context, *Batch) error { return nil }}
	in := open(t, f, gated)
	f.Received("from", 3, 30)
	f.Trouble("from", errAway, true)
	res, err := in.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Method: "GET", Path: "status"})
	var s Status
	if err != nil || json.Unmarshal(res.Body, &s) != nil {
		t.Fatalf("%+v, %v", res, err)
	}
	if len(s.Routes) != 2 || s.Routes[0].Ack != "after_remote" || s.Routes[1].Direction != "in" || s.Routes[1].Messages != 3 || s.Routes[1].Refused != 1 ||
		len(s.Remotes) != 1 || s.Bridge != "bridge-test" {
		t.Errorf("%s", res.Body)
	}
	if res, err := in.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Method: "GET", Path: "x"}); err != nil || res.Status != 404 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestRefusedRoutes(t *testing.T) {
	p := sdk.Plugin{
		Name: "bridge-test", Version: "1", Config: sdk.ConfigOf[config](), New: func() any { return new(far) },
		Queues: Queues(0), Hooks: Hooks(), Routes: Routes(),
	}
	for routes, want := range map[string]string{
		`[{"filters":["a"]}]`:                                           "/routes/0/name is required",
		`[{"name":"A","filters":["a"]}]`:                                `/routes/0/name "A" has characters`,
		`[{"name":"a"}]`:                                                "/routes/0/filters a route needs",
		`[{"name":"a","filters":["a","a/#/b"]}]`:                        `/routes/0/filters/1 "a/#/b"`,
		`[{"name":"a","filters":["a"],"codec":"xml"}]`:                  "/routes/0/codec ",
		`[{"name":"a","filters":["a"],"ack":"never"}]`:                  "/routes/0/ack ",
		`[{"name":"a","filters":["a"],"dead_letter_topic":"x/+"}]`:      "/routes/0/dead_letter_topic ",
		`[{"name":"a","filters":["a/#"],"dead_letter_topic":"a/dead"}]`: "/routes/0/dead_letter_topic it is matched",
		`[{"name":"a","filters":["a"],"retry_min":"1m"}]`:               "/routes/0/retry_max it is shorter",
		`[{"name":"a","filters":["a"]},{"name":"a","filters":["b"]}]`:   "/routes/1/name the route 0 has",
		`[{"name":"a","filters":["a"],"min_qos":3}]`:                    "/routes/0/min_qos",
		`[{"name":"a","filters":["a"],"batch_messages":2000}]`:          "/routes/0/batch_messages",
		`[{"name":"a","filters":["$SYS/#","$x/a"]}]`:                    "/routes/0/filters/1 \"$x/a\"",
		`[{"name":"a","filters":["$share/g/a"]}]`:                       "/routes/0/filters/0",
	} {
		_, res := plugintest.StartResponse(t, plugintest.Builtin(p), plugintest.NewHost(), `{"routes":`+routes+`}`)
		if len(res.Problems) == 0 || !strings.HasPrefix(res.Problems[0].Pointer+" "+res.Problems[0].Message, want) {
			t.Errorf("%s: %+v", routes, res.Problems)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/+", "a/b", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"#", "a/b", true}, {"+/+", "a/b", true},
		{"+", "a/b", false}, {"a", "a/b", false}, {"a/b", "a", false}, {"#", "$SYS/a", false}, {"+/a", "$SYS/a", false}, {"$SYS/#", "$SYS/a", true},
		{"a/+/c", "a//c", true}, {"a/+", "a/", true}, {"a/+", "a", false},
	} {
		if Match(c.filter, c.topic) != c.want {
			t.Errorf("%s %s: not %v", c.filter, c.topic, c.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{Min: time.Second, Max: 8 * time.Second}
	for i, want := range []time.Duration{1, 2, 4, 8, 8, 8} {
		got := b.Next()
		if want *= time.Second; got < want*3/4 || got > want*5/4 {
			t.Errorf("%d: %s, want about %s", i, got, want)
		}
	}
	b.Reset()
	if got := b.Next(); got > 2*time.Second {
		t.Errorf("after a reset %s", got)
	}
}
