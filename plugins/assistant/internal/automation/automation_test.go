package automation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/engine"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/model"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// parse reads an automation as a plugin's config has it.
func parse(t testing.TB, members string) Config {
	t.Helper()
	text := `{"name":"x","filters":["a/#"],"prompt":"p","output":{"topic":"out"}`
	if members != "" {
		text += "," + members
	}
	c, err := sdk.ParseConfig[Config](text + "}")
	if err != nil {
		t.Fatalf("%s: %v", members, err)
	}
	if list := c.Check(""); len(list) > 0 {
		t.Fatalf("%s: %v", members, list)
	}
	return c
}

// start makes an automation whose requests end as do says.
func start(t testing.TB, members string, do func(ctx context.Context, r *run) error) *automation {
	t.Helper()
	var a *automation
	p := sdk.Plugin{Name: "p", Version: "1.0.0", New: func() any {
		return &starter{begin: func(h *sdk.Host) {
			e := engine.New(engine.Options{Host: h, Assistants: nil})
			t.Cleanup(func() { e.Close(context.Background(), false) })
			o := &Options{Host: h, Engine: e, Redact: func(s string) string { return s }}
			m := &meters{messages: h.Counter("m", ""), requests: h.Counter("r", ""), cost: h.Counter("c", "")}
			a = newAutomation(o, &Rule{Config: parse(t, members)}, m)
		}}
	}}
	plugintest.Start(t, plugintest.Builtin(p), plugintest.NewHost(), "")
	a.do = func(ctx context.Context, r *run, _ int) error { return do(ctx, r) }
	return a
}

type starter struct{ begin func(*sdk.Host) }

func (s *starter) Start(_ context.Context, h *sdk.Host, _ struct{}) error {
	s.begin(h)
	return nil
}

// queue is the host's queue, as the contract has it.
type queue struct {
	list []*queued
	dead map[uint64]string
	done map[uint64]bool
}

type queued struct {
	offset  uint64
	message sdk.Message
}

// handed is a batch of a queue.
type handed struct {
	list  []*queued
	stop  int
	after time.Duration
	dead  map[int]string
}

func (b *handed) Len() int { return len(b.list) }
func (b *handed) At(i int) sdk.Delivery {
	return sdk.Delivery{Offset: b.list[i].offset, Message: &b.list[i].message, Client: &sdk.Client{}}
}
func (b *handed) DeadLetter(i int, reason string)             { b.dead[i] = reason }
func (b *handed) StopAt(i int, after time.Duration, _ string) { b.stop, b.after = i, after }

// give hands a batch to an automation, and acts on what it says. It returns the pause.
func (q *queue) give(ctx context.Context, a *automation, n int) time.Duration {
	b := &handed{list: q.list[:min(n, len(q.list))], stop: min(n, len(q.list)), dead: map[int]string{}}
	a.consume(ctx, b)
	if ctx.Err() != nil {
		return 0 // nobody has heard what the batch has said
	}
	for i, m := range b.list[:b.stop] {
		if why, dead := b.dead[i]; dead {
			q.dead[m.offset] = why
		}
		q.done[m.offset] = true
	}
	q.list = q.list[b.stop:]
	return b.after
}

// Whatever requests end with, also if the host gives batches up, every message that is to be
// answered is answered once, or is a dead letter for its own sake; and without concurrency
// the order stays.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { play(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func play(t *testing.T, rnd *rand.Rand) {
	const n = 60
	concurrency := 1 + rnd.IntN(2)*rnd.IntN(5)
	members := fmt.Sprintf(`"concurrency":%d,"max_attempts":3`, concurrency)
	windowed := rnd.IntN(2) == 0
	if windowed {
		members += fmt.Sprintf(`,"window":"10s","max_messages":%d`, 1+rnd.IntN(8))
	}
	poison, sick := map[uint64]bool{}, map[uint64]bool{}
	var mu sync.Mutex
	published := map[uint64]int{}
	var order []uint64
	var giveUp func() // set: the host gives the batch up while it is under way
	a := start(t, members, func(ctx context.Context, r *run) error {
		mu.Lock()
		defer mu.Unlock()
		if giveUp != nil && rnd.IntN(3) == 0 {
			giveUp()
		}
		if ctx.Err() != nil && rnd.IntN(2) == 0 { // else it was quicker
			return fault.New(fault.Stopping, "stopped")
		}
		switch rnd.IntN(6) {
		case 0:
			return fault.New(fault.Unavailable, "away").After(time.Duration(rnd.IntN(3)) * time.Second)
		case 1:
			return fault.New(fault.Exhausted, "no money")
		}
		for _, it := range r.items {
			if poison[it.offset] {
				return fault.New(fault.Filtered, "no")
			}
			if sick[it.offset] {
				return errors.New("disk on fire")
			}
		}
		for _, it := range r.items {
			published[it.offset]++
			order = append(order, it.offset)
		}
		return nil
	})
	a.engine = engineWith(t, a.host)
	q := &queue{dead: map[uint64]string{}, done: map[uint64]bool{}}
	add := func() {
		offset := uint64(1000 + 7*len(q.done) + 7*len(q.list))
		switch rnd.IntN(12) {
		case 0:
			poison[offset] = true
		case 1:
			sick[offset] = true
		}
		q.list = append(q.list, &queued{offset: offset, message: sdk.Message{Topic: "a/b", ReceivedMs: time.Now().UnixMilli()}})
	}
	added := 0
	for rounds := 0; added < n || len(q.list) > 0; rounds++ {
		if rounds > 20_000 {
			t.Fatalf("%d messages are left", len(q.list))
		}
		for range rnd.IntN(4) {
			if added < n {
				add()
				added++
			}
		}
		if len(q.list) == 0 {
			time.Sleep(time.Second)
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		giveUp = nil
		if rnd.IntN(10) == 0 {
			giveUp = cancel
		}
		time.Sleep(q.give(ctx, a, 1+rnd.IntN(20)))
		cancel()
	}
	for offset := range q.done {
		_, dead := q.dead[offset]
		if hopeless := poison[offset] || sick[offset]; dead != hopeless || !dead && published[offset] == 0 || dead && published[offset] > 0 {
			t.Errorf("%d: poison %t, sick %t, dead %q, published %d times", offset, poison[offset], sick[offset], q.dead[offset], published[offset])
		}
		if published[offset] > 1 {
			t.Errorf("%d was published %d times", offset, published[offset])
		}
	}
	if concurrency == 1 && !slices.IsSorted(order) {
		t.Errorf("the order is %v", order)
	}
	if len(a.settled) > 20 || len(a.attempts) > 20 {
		t.Errorf("%d and %d messages are remembered", len(a.settled), len(a.attempts))
	}
}

// engineWith is an engine with an assistant, for its size.
func engineWith(t testing.TB, h *sdk.Host) *engine.Engine {
	e := engine.New(engine.Options{Host: h, Assistants: []*engine.Assistant{{Name: "", Client: model.New(model.Settings{BaseURL: "http://127.0.0.1:1/v1", Transport: http.DefaultTransport}), MaxInput: 10_000}}})
	t.Cleanup(func() { e.Close(context.Background(), false) })
	return e
}

func TestConditions(t *testing.T) {
	const payload = `{"n":3.5,"s":"on fire","b":true,"nan":"NaN","neg":-1}`
	for when, want := range map[string]bool{
		`{"value":"${payload.n}","min":3}`:                               true,
		`{"value":"${payload.n}","min":3.5,"max":3.5}`:                   true,
		`{"value":"${payload.n}","min":4}`:                               false,
		`{"value":"${payload.n}","max":3}`:                               false,
		`{"value":"${payload.neg}","min":0}`:                             false,
		`{"value":"${payload.s}","min":0}`:                               false,
		`{"value":"${payload.nan}","min":0}`:                             false,
		`{"value":"${payload.nan}","max":0}`:                             false,
		`{"value":"${payload.none}","max":0}`:                            false,
		`{"value":"${payload.s}","is":["off","on fire"]}`:                true,
		`{"value":"${payload.s}","is":["on"]}`:                           false,
		`{"value":"${payload.b}","is":["true"]}`:                         true,
		`{"value":"${payload.none}","is":[""]}`:                          true,
		`{"value":"${payload.none}","is_not":[""]}`:                      false,
		`{"value":"${payload.s}","is_not":["","off"]}`:                   true,
		`{"value":"${payload.s}","matches":"(?i)FIRE$"}`:                 true,
		`{"value":"${payload.s}","matches":"^fire"}`:                     false,
		`{"value":"${payload.s}","matches":"fire","is_not":["on fire"]}`: false,
		`{"value":"${topic[2]}-${qos}","is":["b-1"]}`:                    true,
		`{"value":"${payload.n}","min":3},{"value":"${qos}","max":0}`:    false,
	} {
		c := parse(t, `"when":[`+when+`]`)
		var s template.Source
		s.Reset(nil, &sdk.Message{Topic: "a/b", QoS: 1, Payload: []byte(payload)}, nil)
		if got := newChooser(&c).met(&s); got != want {
			t.Errorf("%s: %t", when, got)
		}
		s.Reset(nil, &sdk.Message{Topic: "a/b", QoS: 1, Payload: []byte("{")}, nil)
		if newChooser(&c).met(&s) && strings.Contains(when, "payload") {
			t.Errorf("%s is met by what is no JSON", when)
		}
	}
}

// A message that comes again is judged as before, and what is remembered is bounded.
func TestDuplicates(t *testing.T) {
	s := newSeen(10 * time.Second)
	for _, x := range []struct {
		text   string
		offset uint64
		ms     int64
		want   bool
	}{
		{"a", 1, 0, false}, {"a", 1, 0, false}, {"b", 2, 0, false}, {"a", 3, 9_999, true}, {"a", 1, 0, false},
		{"a", 4, 10_000, false}, {"a", 4, 10_000, false}, {"a", 5, 19_999, true}, {"b", 6, 10_001, false},
	} {
		if got := s.before(x.text, x.offset, x.ms); got != x.want {
			t.Errorf("%+v: %t", x, got)
		}
	}
	for i := range uint64(maxSeen + 1000) {
		s.before(fmt.Sprint(i), i, 0)
	}
	if s.age.Len() != maxSeen || len(s.all) != maxSeen {
		t.Errorf("%d and %d texts are remembered", s.age.Len(), len(s.all))
	}
}

// The share that is taken is what it is said to be, whatever offsets are like.
func TestChance(t *testing.T) {
	for _, step := range []uint64{1, 2, 64, 1 << 20} {
		const n = 10_000
		taken := 0
		for i := range uint64(n) {
			if x := chance(i * step); x < 0 || x >= 1 {
				t.Fatal(x)
			} else if x < 0.3 {
				taken++
			}
		}
		if taken < 2800 || taken > 3200 {
			t.Errorf("step %d: %d of %d", step, taken, n)
		}
	}
}

// Requests stay within what the model may read.
func TestRoom(t *testing.T) {
	a := start(t, `"window":"10s","max_messages":1000`, nil)
	a.engine = engineWith(t, a.host)
	var items []*item
	for i := range 30 {
		items = append(items, &item{offset: uint64(i), message: &sdk.Message{}, client: &sdk.Client{}, text: strings.Repeat("word ", 800)})
	}
	runs := a.group(items)
	if len(runs) < 3 || len(runs) > 6 {
		t.Errorf("%d requests", len(runs))
	}
	n := 0
	for _, r := range runs {
		n += len(r.items)
		if r.size > 10_000 {
			t.Errorf("%d tokens", r.size)
		}
	}
	if n != 30 {
		t.Errorf("%d messages", n)
	}
}

// What a batch has no time for is not begun, and comes again.
func TestNoTime(t *testing.T) {
	a := start(t, "", func(context.Context, *run) error { return nil })
	a.engine = engineWith(t, a.host)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // less than a request may take
	defer cancel()
	q := &queue{list: []*queued{{offset: 1, message: sdk.Message{Topic: "a"}}}, done: map[uint64]bool{}}
	if q.give(ctx, a, 1); len(q.list) != 1 {
		t.Error("a request was begun that may end too late")
	}
}

func TestFit(t *testing.T) {
	var s Schema
	if err := s.UnmarshalText([]byte(`{"$defs":{"k":{"enum":["a","b"]}},"type":"object","required":["k"],"properties":{"k":{"$ref":"#/$defs/k"},"n":{"type":"integer"}}}`)); err != nil {
		t.Fatal(err)
	}
	for answer, want := range map[string]string{
		`{"k":"a"}`: `{"k":"a"}`, " {\n \"k\" : \"b\", \"n\": 12345678901234567890 }\n": `{"k":"b","n":12345678901234567890}`,
		"```json\n{\"k\":\"a\"}\n```": `{"k":"a"}`, "```\n{\"k\":\"a\"}\n```\n": `{"k":"a"}`,
		`{"k":"c"}`: "", `{}`: "", ``: "", `{"k":"a"} {"k":"a"}`: "", `{"k":"a"`: "", `Sure! {"k":"a"}`: "", "```": "", "``````": "",
	} {
		got, err := s.fit(answer)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v", answer, got, err)
		}
	}
}

// Whatever a model answers, what comes of it is JSON that fits, or an error.
func FuzzFit(f *testing.F) {
	for _, s := range []string{`{"k":"a"}`, "```json\n{}\n```", "", "```", `{"k":1e999}`, `{"k":"a","k":3}`, "\xff", `{"k":"\ud800"}`} {
		f.Add(s)
	}
	var s Schema
	if err := s.UnmarshalText([]byte(`{"type":"object","properties":{"k":{"type":"string"}},"additionalProperties":false}`)); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		b, err := s.fit(answer)
		if err != nil {
			return
		}
		var v map[string]any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%q became %q: %v", answer, b, err)
		}
		if _, text := v["k"].(string); len(v) > 1 || len(v) == 1 && !text {
			t.Errorf("%q became %q", answer, b)
		}
	})
}

// A schema is compiled or refused, whatever it is.
func FuzzSchema(f *testing.F) {
	for _, s := range []string{`{}`, `{"$ref":"#"}`, `{"type":"object"}`, `[]`, `{"$ref":"http://x/y"}`, `{"pattern":"("}`, `{"$id":"file:///etc/passwd","$ref":"x"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Schema
		if err := s.UnmarshalText(b); err == nil && s.there() && !json.Valid(s.source) {
			t.Errorf("%q", s.source)
		}
	})
}
