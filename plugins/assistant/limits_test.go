package assistant

import (
	"fmt"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fakeai"
)

// Limits are told by a code, with when it is worth trying again, and nothing is asked of
// the endpoint past them.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		fit    int // questions of ann that are answered
		code   string
		bob    bool // bob's next one is answered
	}{
		"requests of a client":     {`"limits":{"client":{"requests_per_minute":2}}`, 2, "rate_limited", true},
		"requests of a namespace":  {`"limits":{"namespace":{"requests_per_day":3}}`, 3, "rate_limited", false},
		"tokens of an assistant":   {`"max_answer_tokens":100,"limits":{"assistant":{"tokens_per_day":400}}`, 2, "rate_limited", false},
		"cost of a client":         {`"max_answer_tokens":100,"limits":{"client":{"cost_per_day":0.001}},"prices":[{"model":"fake-*","input":1,"output":5}]`, 4, "budget_exhausted", true},
		"cost of a month, all one": {`"max_answer_tokens":100,"limits":{"assistant":{"cost_per_month":0.001}},"prices":[{"model":"*","input":1,"output":5}]`, 4, "budget_exhausted", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, options{config: c.config + `,"conversations":{"keep":"0s"}`})
			ann, bob := connect(t, s.addr, "ann").conversation("a"), connect(t, s.addr, "bob").conversation("b")
			answered := 0
			var last string
			for range 50 {
				if last = ann.ask("hello"); code(last) != "" {
					break
				}
				answered++
			}
			b := body(t, last)
			if b.Error == nil || string(b.Error.Code) != c.code || b.Error.RetryAfter <= 0 {
				t.Fatalf("after %d answers: %s", answered, last)
			}
			if strings.HasPrefix(c.config, `"limits"`) && answered != c.fit || answered < 2 {
				t.Errorf("%d questions were answered", answered)
			}
			if n := len(s.ai.Requests()); n != answered {
				t.Errorf("%d requests for %d answers", n, answered)
			}
			if got := code(bob.ask("hello")); (got == "") != c.bob {
				t.Errorf("bob: %q", got)
			}
			if s.metric("refusals", "code="+c.code) == 0 {
				t.Error("the refusal is not counted")
			}
		})
	}
}

// The price table makes cost of tokens: in the answer and in the metrics.
func TestCost(t *testing.T) {
	s := start(t, options{config: `"prices":[{"model":"other","input":9,"output":9},{"model":"fake*","input":100,"output":1000}]`})
	b := body(t, connect(t, s.addr, "ann").conversation("a").ask(`{"message":"how are you"}`))
	want := float64(b.Usage.In)*100/1e6 + float64(b.Usage.Out)*1000/1e6
	if diff := b.Usage.Cost - want; b.Usage.Cost == 0 || diff > 1e-9 || diff < -1e-9 {
		t.Errorf("%+v, want %g", b.Usage, want)
	}
	eventually(t, "the metric", func() bool { m := s.metric("cost", "assistant=main") - want; return m < 1e-9 && m > -1e-9 })
}

// A restart of the broker does not give a client its day again.
func TestLimitsAfterRestart(t *testing.T) {
	kept := new(store.Memory)
	const config = `"limits":{"client":{"requests_per_day":2}}`
	s := start(t, options{config: config, store: kept})
	c := connect(t, s.addr, "ann").conversation("a")
	c.ask("1")
	c.ask("2")
	if err := s.host.Reload(t.Context(), "assistant"); err != nil {
		t.Fatal(err)
	}
	if got := code(c.ask("3")); got != "rate_limited" {
		t.Errorf("%q", got)
	}
}

func TestTooLong(t *testing.T) {
	s := start(t, options{config: `"max_input_tokens":1000,"conversations":{"max_tokens":500}`})
	c := connect(t, s.addr, "ann").conversation("a")
	if got := code(c.ask(strings.Repeat("word ", 1000))); got != "too_large" {
		t.Errorf("%q", got)
	}
	if n := len(s.ai.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// Questions beyond what may wait are refused, not kept.
func TestBusy(t *testing.T) {
	gate := make(chan struct{})
	defer close(gate)
	s := start(t, options{config: `"limits":{"max_running":1,"max_waiting":2}`, answer: func(*fakeai.Request) fakeai.Reply {
		<-gate
		return fakeai.Text("in the end")
	}})
	c := connect(t, s.addr, "ann").subscribe("assistant/main/+/answer")
	for i := range 6 {
		c.say(fmt.Sprintf("assistant/main/%d/ask", i), "hello")
	}
	busy := func() (n int) {
		for i := range 6 {
			for _, p := range c.received(fmt.Sprintf("assistant/main/%d/answer", i)) {
				if code(string(p.Payload)) == "busy" {
					n++
				}
			}
		}
		return n
	}
	eventually(t, "three are refused", func() bool { return busy() == 3 })
	if _, running, waiting := s.held(); running != 1 || waiting != 2 {
		t.Errorf("%d run and %d wait", running, waiting)
	}
}

func TestModeration(t *testing.T) {
	flagged := func(text string) string {
		if strings.Contains(text, "bomb") {
			return "violence"
		}
		return ""
	}
	answer := func(r *fakeai.Request) fakeai.Reply {
		if strings.Contains(r.Last("user"), "tempt") {
			return fakeai.Text("a bomb is")
		}
		return fakeai.Echo(r)
	}
	t.Run("questions", func(t *testing.T) {
		s := start(t, options{config: `"moderation":{"check":"questions"}`, flag: flagged, answer: answer})
		c := connect(t, s.addr, "ann").conversation("a")
		if b := body(t, c.ask("a bomb please")); b.Error == nil || b.Error.Code != "moderated" || !strings.Contains(b.Error.Message, "violence") {
			t.Errorf("%+v", b)
		}
		if got := c.ask("tempt"); got != "a bomb is" {
			t.Errorf("%q", got)
		}
		if n := len(s.ai.Requests()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("both", func(t *testing.T) {
		s := start(t, options{config: `"moderation":{"check":"both"}`, flag: flagged, answer: answer})
		c := connect(t, s.addr, "ann").conversation("a")
		if got := code(c.ask(`{"message":"tempt","stream":true}`)); got != "moderated" {
			t.Errorf("%q", got)
		}
		for _, p := range c.received("assistant/main/a/answer/stream") {
			if strings.Contains(string(p.Payload), "bomb") {
				t.Errorf("a piece got out: %s", p.Payload)
			}
		}
		if got := body(t, c.ask(`{"message":"hello","stream":true}`)); *got.Text != "You said: hello" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("away", func(t *testing.T) {
		gone := fakeai.New()
		gone.Close()
		for policy, want := range map[string]string{"refuse": "unavailable", "allow": ""} {
			s := start(t, options{config: `"endpoint":{"retries":0},"moderation":{"check":"questions","base_url":"` + gone.Base() + `","if_unavailable":"` + policy + `"}`})
			if got := code(connect(t, s.addr, "ann").conversation("a").ask("hello")); got != want {
				t.Errorf("%s: %q", policy, got)
			}
		}
	})
}

// Prompts are logged when the operator wants them, and then redacted or not.
func TestLog(t *testing.T) {
	const question = "my mail is ann@example.com, card 4111 1111 1111 1111, key sk-abcdef1234567890, password: hunter2, patient X-77"
	for prompts, c := range map[string]struct{ in, out []string }{
		"off":      {nil, []string{"my mail", "ann@example.com"}},
		"redacted": {[]string{"my mail is ***"}, []string{"ann@example.com", "4111", "sk-abcdef", "hunter2", "X-77"}},
		"whole":    {[]string{"ann@example.com", "X-77"}, nil},
	} {
		s := start(t, options{config: `"log":{"prompts":"` + prompts + `","redact":["X-[0-9]+"]}`})
		connect(t, s.addr, "ann").conversation("a").ask(question)
		if err := s.host.Reload(t.Context(), "assistant"); err != nil { // the log is flushed
			t.Fatal(err)
		}
		text := s.log.String()
		for _, want := range c.in {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in the log", prompts, want)
			}
		}
		for _, not := range c.out {
			if strings.Contains(text, not) {
				t.Errorf("%s: %q is in the log", prompts, not)
			}
		}
	}
}
