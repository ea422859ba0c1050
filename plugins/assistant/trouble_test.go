package assistant

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fakeai"
)

// quick makes trouble pass quickly.
const quick = `"endpoint":{"retries":2,"retry_min":"1ms","retry_max":"5ms","idle_timeout":"500ms","first_token_timeout":"10s","breaker_failures":0}`

// trouble is what an endpoint does wrong, by the question, and what a client sees of it.
var trouble = []struct {
	name  string
	wrong fakeai.Reply
	times int    // how often in a row; 0: always
	code  string // "": an answer
	// streamed is the code if pieces were wanted, where it is another.
	streamed string
}{
	{"well", fakeai.Text("fine"), 0, "", ""},
	{"429", fakeai.Reply{Status: 429, RetryAfter: "0.01"}, 2, "", ""},
	{"429-always", fakeai.Reply{Status: 429, RetryAfter: "0.01"}, 0, "upstream_rate_limited", ""},
	{"429-later", fakeai.Reply{Status: 429, RetryAfter: "7200"}, 0, "upstream_rate_limited", ""},
	{"500", fakeai.Reply{Status: 500}, 1, "", ""},
	{"500-always", fakeai.Reply{Status: 500}, 0, "unavailable", ""},
	{"401", fakeai.Reply{Status: 401, Message: "no such key: sk-very-secret-key"}, 0, "upstream_refused", ""},
	{"stall", fakeai.Reply{Chunks: []string{"a ", "b ", "c"}, Wrong: "stall", After: 1}, 1, "", "interrupted"},
	{"stall-always", fakeai.Reply{Chunks: []string{"a ", "b ", "c"}, Wrong: "stall", After: 1}, 0, "timeout", "interrupted"},
	{"cut", fakeai.Reply{Chunks: []string{"a ", "b ", "c"}, Wrong: "cut", After: 1}, 1, "", "interrupted"},
	{"cut-always", fakeai.Reply{Chunks: []string{"a ", "b ", "c"}, Wrong: "cut", After: 1}, 0, "interrupted", ""},
	{"malformed", fakeai.Reply{Chunks: []string{"a ", "b"}, Wrong: "raw", Raw: "data: {{{\n\n", After: 1}, 1, "", "interrupted"},
	{"malformed-always", fakeai.Reply{Chunks: []string{"a ", "b"}, Wrong: "raw", Raw: "data: {{{\n\n", After: 1}, 0, "bad_response", "interrupted"},
	{"filtered", fakeai.Reply{Finish: openai.FinishReasonContentFilter}, 0, "filtered", ""},
	{"refusal", fakeai.Reply{Refusal: "No."}, 0, "filtered", ""},
	{"tools-that-are-not-there", fakeai.Call("rm", `{}`), 0, "tool_limit", ""},
}

// troubled answers as the question says.
func troubled() func(*fakeai.Request) fakeai.Reply {
	var mu sync.Mutex
	tries := map[string]int{}
	return func(r *fakeai.Request) fakeai.Reply {
		question := fakeai.Plain(r.Last("user"))
		for _, c := range trouble {
			if question != c.name && question != c.name+" streamed" {
				continue
			}
			mu.Lock()
			tries[question]++
			n := tries[question]
			mu.Unlock()
			if c.times == 0 || n <= c.times {
				return c.wrong
			}
		}
		return fakeai.Text("in the end")
	}
}

// Whatever the endpoint does, the client sees an answer or an error with a code, streamed
// or not, and nothing is left of the question afterwards.
func TestTrouble(t *testing.T) {
	runtimes(t, func(t *testing.T, rt pluginhost.Runtime) {
		before := runtime.NumGoroutine()
		t.Cleanup(func() { goroutines(t, before) })
		kept := new(store.Memory)
		s := start(t, options{runtime: rt, store: kept, answer: troubled(), config: quick + `,"answers":{"stream_interval":"0s"}`})
		answered := 0
		defer func() { // what has failed leaves no conversation behind
			n := 0
			if err := kept.Values().Scan("plugin/assistant", "chat/", func(string, []byte, uint64) bool { n++; return true }); err != nil || n != answered {
				t.Errorf("%d conversations are stored, %d were answered, %v", n, answered, err)
			}
		}()
		c := connect(t, s.addr, "ann").subscribe("assistant/main/+/answer", "assistant/main/+/answer/stream")
		for _, streamed := range []bool{false, true} {
			for _, x := range trouble {
				conversation := "plain-" + x.name
				question, want := x.name, x.code
				if streamed {
					conversation = "stream-" + x.name
					question = x.name + " streamed"
					if x.streamed != "" {
						want = x.streamed
					}
				}
				if want == "" {
					answered++
				}
				c.say("assistant/main/"+conversation+"/ask", fmt.Sprintf(`{"message":%q,"stream":%t}`, question, streamed))
				defer func() {
					got := string(c.expect("assistant/main/"+conversation+"/answer", 1).Payload)
					if code(got) != want {
						t.Errorf("%s: %s, want %q", conversation, got, want)
					}
					if streamed {
						checkEnd(t, c, "assistant/main/"+conversation+"/answer/stream", want)
					}
					if strings.Contains(got, "secret") {
						t.Errorf("%s: the client sees the key: %s", conversation, got)
					}
				}()
			}
		}
		t.Cleanup(s.idle)
	})
}

// checkEnd looks for the mark of the end, with the code that it has to have.
func checkEnd(t *testing.T, c *client, topic, want string) {
	t.Helper()
	parts := c.received(topic)
	if len(parts) == 0 {
		t.Errorf("%s: no end", topic)
		return
	}
	var last partBody
	if err := json.Unmarshal(parts[len(parts)-1].Payload, &last); err != nil || !last.End || last.Seq != len(parts)-1 {
		t.Errorf("%s: the last of %d pieces is %s", topic, len(parts), parts[len(parts)-1].Payload)
	}
	if (last.Error == nil) != (want == "") || last.Error != nil && string(last.Error.Code) != want {
		t.Errorf("%s: it ends with %s", topic, parts[len(parts)-1].Payload)
	}
}

// goroutines waits until there are as many as before, and shows those that are not gone.
func goroutines(t *testing.T, before int) {
	t.Helper()
	for until := time.Now().Add(wait); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
	}
}

// A failed question is not remembered: the conversation goes on as if it had not been.
func TestFailureIsForgotten(t *testing.T) {
	s := start(t, options{config: quick, answer: func(r *fakeai.Request) fakeai.Reply {
		if strings.Contains(r.Last("user"), "fail") {
			return fakeai.Reply{Status: 400}
		}
		return transcript(r)
	}})
	c := connect(t, s.addr, "ann").conversation("c1")
	c.ask("one")
	if got := code(c.ask("fail")); got != "upstream_refused" {
		t.Error(got)
	}
	if got := c.ask("two"); got != "one|two" {
		t.Errorf("%q", got)
	}
}

// The time of a question is bounded, its waiting included.
func TestDeadline(t *testing.T) {
	s := start(t, options{
		config: `"answers":{"timeout":"300ms"},"limits":{"max_running":1}`,
		answer: func(r *fakeai.Request) fakeai.Reply { return fakeai.Reply{First: wait} },
	})
	c := connect(t, s.addr, "ann").subscribe("assistant/main/+/answer")
	for i := range 3 {
		c.say(fmt.Sprintf("assistant/main/%d/ask", i), "hello")
	}
	for i := range 3 {
		if got := code(string(c.expect(fmt.Sprintf("assistant/main/%d/answer", i), 1).Payload)); got != "timeout" {
			t.Errorf("question %d: %s", i, got)
		}
	}
	s.idle()
}

// An endpoint that is down is left alone, and the health says so.
func TestBreaker(t *testing.T) {
	s := start(t, options{
		config: `"endpoint":{"retries":0,"breaker_failures":3,"breaker_pause":"1h"}`,
		answer: func(*fakeai.Request) fakeai.Reply { return fakeai.Reply{Status: 503} },
	})
	c := connect(t, s.addr, "ann").conversation("c1")
	for range 6 {
		b := body(t, c.ask("hello"))
		if b.Error == nil || b.Error.Code != "unavailable" {
			t.Fatalf("%+v", b)
		}
	}
	if n := len(s.ai.Requests()); n != 3 {
		t.Errorf("%d requests were made", n)
	}
	if b := body(t, c.ask("hello")); b.Error.RetryAfter < 3000 {
		t.Errorf("try again in %d s", b.Error.RetryAfter)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.instances, func(p *plugin) bool { return p.engine != nil }) // others were only described
	if err := s.instances[i].Health(t.Context()); err == nil || !strings.Contains(err.Error(), "assistant main") {
		t.Errorf("health: %v", err)
	}
}

// Clients of 3.1.1 have it all by topics alone.
func TestMQTT3(t *testing.T) {
	s := start(t, options{})
	in := make(chan mqtt3.Message, 100)
	o := mqtt3.NewClientOptions().AddBroker("tcp://" + s.addr).SetClientID("old").SetProtocolVersion(4).SetAutoReconnect(false)
	c := mqtt3.NewClient(o)
	must := func(token mqtt3.Token) {
		t.Helper()
		if !token.WaitTimeout(wait) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	must(c.Connect())
	defer c.Disconnect(0)
	must(c.Subscribe("assistant/main/c/#", 1, func(_ mqtt3.Client, m mqtt3.Message) { in <- m }))
	next := func(topic string) string {
		t.Helper()
		for {
			select {
			case m := <-in:
				if m.Topic() == topic {
					return string(m.Payload())
				}
			case <-time.After(wait):
				t.Fatalf("nothing on %s", topic)
			}
		}
	}
	must(c.Publish("assistant/main/c/ask", 0, false, "hello"))
	if got := next("assistant/main/c/answer"); got != "You said: hello" {
		t.Errorf("%q", got)
	}
	must(c.Publish("assistant/main/c/ask", 1, false, `{"message":"hello","stream":true}`))
	if got := next("assistant/main/c/answer/stream"); !strings.Contains(got, `"seq":0`) {
		t.Errorf("%q", got)
	}
	if got := body(t, next("assistant/main/c/answer")); *got.Text != "You said: hello" {
		t.Errorf("%+v", got)
	}
	must(c.Publish("assistant/main/c/ask", 2, false, `{"x":1}`))
	if got := next("assistant/main/c/answer"); code(got) != "bad_request" {
		t.Errorf("%q", got)
	}
	must(c.Publish("assistant/main/c/reset", 1, false, ""))
	if got := body(t, next("assistant/main/c/answer")); !got.Reset {
		t.Errorf("%+v", got)
	}
}

// While the plugin is being replaced, questions are answered by the old instance or the
// new one; when it is stopped, what waits is told.
func TestReload(t *testing.T) {
	runtimes(t, func(t *testing.T, rt pluginhost.Runtime) {
		s := start(t, options{runtime: rt, answer: func(r *fakeai.Request) fakeai.Reply {
			a := fakeai.Echo(r)
			a.First = 20 * time.Millisecond
			return a
		}})
		c := connect(t, s.addr, "ann").subscribe("assistant/main/+/answer")
		const n = 60
		for i := range n {
			c.say(fmt.Sprintf("assistant/main/%d/ask", i), fmt.Sprint(i))
			if i%20 == 10 {
				if err := s.host.Reload(t.Context(), "assistant"); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := range n {
			if got := string(c.expect(fmt.Sprintf("assistant/main/%d/answer", i), 1).Payload); got != fmt.Sprintf("You said: %d", i) {
				t.Errorf("question %d: %s", i, got)
			}
		}
	})
}

// An endpoint that is restarted in the middle of an answer is asked again.
func TestEndpointRestarts(t *testing.T) {
	s := start(t, options{
		config: `"endpoint":{"retries":20,"retry_min":"10ms","retry_max":"100ms","breaker_failures":0}`,
		answer: func(r *fakeai.Request) fakeai.Reply {
			return fakeai.Reply{Chunks: []string{"never ", "whole"}, Between: wait}
		},
	})
	c := connect(t, s.addr, "ann").subscribe("assistant/main/+/answer")
	for i := range 20 {
		c.say(fmt.Sprintf("assistant/main/%d/ask", i), fmt.Sprint(i))
	}
	eventually(t, "all are being answered", func() bool { now, _ := s.ai.Active(); return now == 20 })
	addr := s.ai.Listener.Addr().String()
	s.ai.CloseClientConnections()
	s.ai.Close()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.ai = fakeai.NewAt(l)
	for i := range 20 {
		if got := string(c.expect(fmt.Sprintf("assistant/main/%d/answer", i), 1).Payload); got != fmt.Sprintf("You said: %d", i) {
			t.Errorf("%d: %s", i, got)
		}
	}
}

// A plugin that is killed comes back, and its conversations with it.
func TestKilled(t *testing.T) {
	kept := new(store.Memory)
	s := start(t, options{runtime: pluginhost.Process, answer: transcript, store: kept, config: `"limits":{"client":{"requests_per_day":3}}`})
	c := connect(t, s.addr, "ann").conversation("c")
	c.ask("one")
	eventually(t, "the account is stored", func() (found bool) {
		err := kept.Values().Scan("plugin/assistant", "budget/", func(string, []byte, uint64) bool { found = true; return false })
		if err != nil {
			t.Fatal(err)
		}
		return found
	})
	pid := func() int {
		for _, i := range s.host.List() {
			return i.PID
		}
		return 0
	}
	old := pid()
	p, err := os.FindProcess(old)
	if err != nil || old == 0 {
		t.Fatal(old, err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { return pid() != old && pid() != 0 })
	if got := c.ask("two"); got != "one|two" {
		t.Errorf("%q", got)
	}
	c.ask("three")
	if got := code(c.ask("four")); got != "rate_limited" {
		t.Errorf("what was spent is forgotten: %q", got)
	}
}
