package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/budget"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fair"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fakeai"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/model"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/prompt"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

const wait = time.Minute

// holder is a plugin that keeps its host.
type holder struct{ host *sdk.Host }

func (p *holder) Start(_ context.Context, h *sdk.Host, _ struct{}) error { p.host = h; return nil }

// host is that of a plugin in a test.
func host(t *testing.T) *sdk.Host {
	p := &holder{}
	plugintest.Start(t, plugintest.Builtin(sdk.Plugin{Name: "holder", Version: "1.0.0", New: func() any { return p }}), plugintest.NewHost(), "{}")
	return p.host
}

// box has tools that do as they are called, and writes down who called them.
type box struct{ calls []string }

func (b *box) List(context.Context, *tool.Ask) ([]tool.Tool, error) {
	schema := json.RawMessage(`{"type":"object","properties":{}}`)
	return []tool.Tool{{Name: "read", Description: "Reads.", Parameters: schema}, {Name: "deny", Parameters: schema}, {Name: "fail", Parameters: schema}, {Name: "long", Parameters: schema}}, nil
}

func (b *box) Call(_ context.Context, a *tool.Ask, name string, args json.RawMessage) (tool.Result, error) {
	b.calls = append(b.calls, a.ClientID+" "+name+string(args))
	switch name {
	case "deny":
		return tool.Result{}, tool.Refuse("the client may not")
	case "fail":
		return tool.Result{}, errors.New("the disk is on fire")
	case "long":
		return tool.Result{Text: strings.Repeat("x", 1000), Note: "a thousand"}, nil
	}
	return tool.Result{Text: "21 degrees"}, nil
}

// bench is an engine with an endpoint.
type bench struct {
	*Engine
	ai     *fakeai.Server
	mu     sync.Mutex
	events []tool.Event
}

func newBench(t *testing.T, answer func(*fakeai.Request) fakeai.Reply) *bench {
	b := &bench{ai: fakeai.New()}
	b.ai.Answer = answer
	t.Cleanup(b.ai.Close)
	client := model.New(model.Settings{BaseURL: b.ai.Base(), Transport: &http.Transport{}, FirstToken: wait, Idle: wait})
	b.Engine = New(Options{
		Host: host(t), Queue: fair.Options{Running: 2, Waiting: 10},
		Assistants: []*Assistant{{
			Name: "main", Client: client, Model: fakeai.Model, System: "Be brief.", MaxInput: 10000, MaxOutput: 100,
			Price: Price{1, 2}, ToolRounds: 3, ToolCalls: 5, ToolTimeout: wait, ToolResult: 100,
		}},
		Audit: func(e *tool.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, *e)
		},
	})
	t.Cleanup(func() { b.Close(context.Background(), false) })
	return b
}

func (b *bench) ask(t *testing.T, r *Request) (*Answer, error) {
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	r.Ask, r.Marks = &tool.Ask{ID: "1", ClientID: "ann", Assistant: "main"}, prompt.New()
	r.Messages = []openai.ChatCompletionMessage{{Role: "user", Content: r.Marks.Client("go")}}
	return b.Complete(ctx, r)
}

// The model calls tools until it answers; what they say comes to it as data, and each call
// is written down with what came of it.
func TestTools(t *testing.T) {
	b := newBench(t, func(r *fakeai.Request) fakeai.Reply {
		switch r.N {
		case 1:
			a := fakeai.Call("read", `{"topic":"t"}`)
			a.Chunks = []string{"Let me see."}
			return a
		case 2:
			a := fakeai.Call("deny", `{}`)
			a.Calls = append(a.Calls, fakeai.Call("fail", "not JSON").Calls...)
			a.Calls = append(a.Calls, fakeai.Call("invented", `{}`).Calls...)
			return a
		}
		return fakeai.Text("It is 21.")
	})
	tools := &box{}
	var parts []string
	a, err := b.ask(t, &Request{Tools: tools, Part: func(s string) error { parts = append(parts, s); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if a.Text != "Let me see.\n\nIt is 21." || strings.Join(parts, "") != a.Text || a.ToolCalls != 4 || a.Cost <= 0 {
		t.Errorf("%+v, %q", a, parts)
	}
	if !slices.Equal(tools.calls, []string{`ann read{"topic":"t"}`, "ann deny{}", "ann failnot JSON"}) {
		t.Errorf("%q", tools.calls)
	}
	var got []string
	for _, e := range b.events {
		got = append(got, e.Tool+" "+e.Outcome+" "+e.Result)
	}
	want := []string{"read ok 21 degrees", "deny refused the client may not", "fail failed the disk is on fire", "invented unknown_tool there is no such tool"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	told := b.ai.Requests()[1].Last("tool")
	if !strings.HasPrefix(told, "<data-") || fakeai.Plain(told) != "21 degrees" {
		t.Errorf("the model is told %q", told)
	}
	if r := b.ai.Requests()[0]; len(r.Tools) != 4 || r.Tools[0].Function.Name != "read" {
		t.Errorf("%+v", r.Tools)
	}
}

// What a tool tells is cut, and the note goes into the event.
func TestLongResult(t *testing.T) {
	b := newBench(t, func(r *fakeai.Request) fakeai.Reply {
		if r.N == 1 {
			return fakeai.Call("long", `{}`)
		}
		return fakeai.Text("done")
	})
	if _, err := b.ask(t, &Request{Tools: &box{}}); err != nil {
		t.Fatal(err)
	}
	if told := b.ai.Requests()[1].Last("tool"); len(told) > 300 || !strings.Contains(told, "cut after 100 bytes") {
		t.Errorf("%q", told)
	}
	if b.events[0].Result != "a thousand" {
		t.Errorf("%+v", b.events[0])
	}
}

// A model that goes on calling is stopped, by rounds and by calls, and so is one that
// calls without having been offered anything.
func TestToolLimit(t *testing.T) {
	for name, c := range map[string]struct {
		tools tool.Source
		calls int // in each round
		done  int // calls that are made
	}{
		"rounds": {&box{}, 1, 3}, "calls": {&box{}, 4, 4}, "no tools": {nil, 1, 3},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(*fakeai.Request) fakeai.Reply {
				a := fakeai.Reply{}
				for i := range c.calls {
					call := fakeai.Call("read", `{}`).Calls[0]
					call.ID += string(rune('a' + i))
					a.Calls = append(a.Calls, call)
				}
				return a
			})
			a, err := b.ask(t, &Request{Tools: c.tools})
			if !fault.Is(err, fault.ToolLimit) || a.ToolCalls != c.done || len(b.events) != c.done+c.calls {
				t.Errorf("%v, %+v, %d events", err, a, len(b.events))
			}
			if last := b.events[len(b.events)-1]; last.Outcome != tool.Denied || !strings.Contains(last.Result, "limit") {
				t.Errorf("%+v", last)
			}
		})
	}
}

// A further account ends the rounds too: an automation's ceiling holds for its tools.
func TestScopes(t *testing.T) {
	b := newBench(t, func(*fakeai.Request) fakeai.Reply { return fakeai.Call("read", `{}`) })
	scope := budget.Scope{Kind: "automation", Name: "x", Limits: budget.Limits{CostPerDay: 0.001}}
	var err error
	for range 20 {
		if _, err = b.ask(t, &Request{Tools: &box{}, Scopes: []budget.Scope{scope}}); fault.Is(err, fault.Exhausted) {
			break
		}
	}
	if !fault.Is(err, fault.Exhausted) || !strings.Contains(err.Error(), "automation") {
		t.Error(err)
	}
}

func TestSubmit(t *testing.T) {
	b := newBench(t, nil)
	ran, dropped := make(chan bool, 1), make(chan error, 1)
	ask := &tool.Ask{Assistant: "main"}
	b.Submit(&Job{Ask: ask, Deadline: time.Now().Add(wait), Run: func(ctx context.Context) { _, is := ctx.Deadline(); ran <- is }})
	if !<-ran {
		t.Error("no deadline")
	}
	b.Close(context.Background(), false)
	b.Submit(&Job{Ask: ask, Deadline: time.Now().Add(wait), Drop: func(err error) { dropped <- err }})
	if err := <-dropped; !fault.Is(err, fault.Stopping) {
		t.Error(err)
	}
}
