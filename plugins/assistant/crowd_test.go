package assistant

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fakeai"
)

// A thousand conversations at once, at an endpoint that does not answer: other clients do
// not notice, memory is bounded, and when the endpoint answers, the small namespaces do
// not wait for the large one. Figures are in the log of the test.
func TestCrowd(t *testing.T) {
	const running, small = 8, 30
	crowd := map[string]int{"loud": 1000 - 3*small, "a": small, "b": small, "c": small}
	gate := make(chan struct{})
	var mu sync.Mutex
	var order []string
	s := start(t, options{
		config: fmt.Sprintf(`"limits":{"max_running":%d},"answers":{"timeout":"30m"},"endpoint":{"first_token_timeout":"20m"}`, running),
		answer: func(r *fakeai.Request) fakeai.Reply {
			<-gate
			text := fakeai.Plain(r.Last("user"))
			mu.Lock()
			defer mu.Unlock()
			order = append(order, text)
			return fakeai.Text(text)
		},
	})
	ping := connect(t, s.addr, "pinger").subscribe("ping")
	quiet := roundTrips(ping, 0, 200)

	before := heap()
	clients := map[string]*client{}
	for namespace, n := range crowd {
		c := connect(t, s.listen(namespace), "asker").subscribe("assistant/main/+/answer")
		clients[namespace] = c
		for i := range n {
			c.say(fmt.Sprintf("assistant/main/%d/ask", i), namespace)
		}
	}
	eventually(t, "all questions wait", func() bool {
		_, r, w := s.held()
		return r == running && r+w == 1000
	})
	grown := heap() - before
	busy := roundTrips(ping, 200, 200) // not one question is answered meanwhile
	if now, _ := s.ai.Active(); now != running {
		t.Errorf("%d questions are at the endpoint", now)
	}
	close(gate)
	for namespace, n := range crowd {
		for i := range n {
			if got := string(clients[namespace].expect(fmt.Sprintf("assistant/main/%d/answer", i), 1).Payload); got != namespace {
				t.Fatalf("%s, conversation %d: %s", namespace, i, got)
			}
		}
	}
	if _, peak := s.ai.Active(); peak != running {
		t.Errorf("%d questions were at the endpoint at once", peak)
	}
	mu.Lock()
	defer mu.Unlock()
	for namespace := range crowd {
		last := len(order) - 1 - slices.Index(reversed(order), namespace)
		// In turn it would be the 120th; on a busy machine some requests take their time to get there.
		if namespace != "loud" && last > 4*len(crowd)*small {
			t.Errorf("the last of %s's %d questions was number %d to be answered", namespace, small, last)
		}
	}
	if grown > 64<<20 {
		t.Errorf("1,000 waiting questions take %d MiB", grown>>20)
	}
	t.Logf("round trip of another client: p50 %s, p99 %s before; p50 %s, p99 %s while 1,000 questions wait (%.1f MiB of heap)",
		quiet[100], quiet[197], busy[100], busy[197], float64(grown)/(1<<20))
	s.idle()
}

// A thousand conversations, all of them being answered at once, word by word, by an endpoint
// that takes its time: all come, whole and in order, and other clients go on. The endpoint is
// in this process too, and so in the figures.
func TestCrowdOfStreams(t *testing.T) {
	const n, words = 1000, 12
	gate := make(chan struct{})
	text := strings.TrimSpace(strings.Repeat("word ", words))
	s := start(t, options{
		config: `"limits":{"max_running":1000},"answers":{"timeout":"30m"},"endpoint":{"first_token_timeout":"20m","idle_timeout":"10m"}`,
		answer: func(*fakeai.Request) fakeai.Reply {
			<-gate
			a := fakeai.Text(text)
			a.Between = 150 * time.Millisecond
			return a
		},
	})
	ping := connect(t, s.addr, "pinger").subscribe("ping")
	quiet := roundTrips(ping, 0, 200)
	before := heap()
	c := connect(t, s.addr, "asker").subscribe("assistant/main/+/answer", "assistant/main/+/answer/stream")
	for i := range n {
		c.say(fmt.Sprintf("assistant/main/%d/ask", i), `{"message":"hello","stream":true}`)
	}
	eventually(t, "all are at the endpoint", func() bool { now, _ := s.ai.Active(); return now == n })
	grown := heap() - before
	close(gate)
	busy := roundTrips(ping, 200, 500)
	sent := 500
	for len(c.all("/answer")) < n && sent < 100_000 {
		busy = append(busy, roundTrips(ping, 200+sent, 50)...)
		sent += 50
	}
	slices.Sort(busy)
	eventually(t, "all are answered", func() bool { return len(c.all("/answer")) == n })
	for _, p := range c.all("/answer") {
		if b := body(t, string(p.Payload)); b.Text == nil || *b.Text != text {
			t.Fatalf("%s: %s", p.Topic, p.Payload)
		}
	}
	pieces := map[string]string{}
	for _, p := range c.all("/stream") {
		var part partBody
		if err := json.Unmarshal(p.Payload, &part); err != nil {
			t.Fatal(err)
		}
		pieces[p.Topic] += part.Text
	}
	for topic, got := range pieces {
		if got != text {
			t.Fatalf("%s: %q", topic, got)
		}
	}
	if len(pieces) != n {
		t.Errorf("%d streams", len(pieces))
	}
	if grown > 512<<20 {
		t.Errorf("1,000 questions at the endpoint take %d MiB", grown>>20)
	}
	t.Logf("round trip of another client: p50 %s, p99 %s before; p50 %s, p99 %s while 1,000 answers are streamed (%.1f MiB of heap, endpoint included)",
		quiet[100], quiet[197], busy[len(busy)/2], busy[len(busy)*99/100], float64(grown)/(1<<20))
	s.idle()
}

// all are the messages on topics with an ending.
func (c *client) all(ending string) (list []*paho.Publish) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.in {
		if strings.HasSuffix(p.Topic, ending) {
			list = append(list, p)
		}
	}
	return list
}

func reversed(list []string) []string {
	out := slices.Clone(list)
	slices.Reverse(out)
	return out
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// roundTrips sends messages to itself, one after the other, and returns the times in order
// of length.
func roundTrips(c *client, sent, n int) (took []time.Duration) {
	c.t.Helper()
	for i := range n {
		began := time.Now()
		c.say("ping", strings.Repeat("x", 100))
		for len(c.received("ping")) <= sent+i {
			select {
			case <-c.came:
			case <-time.After(wait):
				c.t.Fatal("a message does not come")
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}
