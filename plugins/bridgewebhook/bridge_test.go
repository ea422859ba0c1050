package bridgewebhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

func eachRuntime(t *testing.T, test func(t *testing.T, rt pluginhost.Runtime)) {
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process} {
		t.Run(string(rt), func(t *testing.T) { test(t, rt) })
	}
}

func TestSingle(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		s := newServer(t)
		n := startNode(t, rt, local(s.URL+"/in/${topic[2]}?c=${client_id}", `,"method":"PUT","headers":{"X-Topic":"${topic}","x-site":"${user_property.site}","Authorization":"Bearer hush"}`))
		p := n.connect("the client")
		p.publish(&paho.Publish{Topic: "a/ö ?&/x", Payload: []byte("\x00\xff"), QoS: 1, Properties: &paho.PublishProperties{
			ContentType: "image/x", User: paho.UserProperties{{Key: "site", Value: "7"}},
		}})
		p.publish(&paho.Publish{Topic: "a/b", Payload: []byte("two"), QoS: 0})
		list := s.expect(t, 2)
		r := list[0]
		if r.Method != "PUT" || r.RequestURI != "/in/%C3%B6%20%3F%26?c=the%20client" || r.body != "\x00\xff" {
			t.Errorf("%s %s %q", r.Method, r.RequestURI, r.body)
		}
		for name, want := range map[string]string{
			"X-Topic": "a/ö ?&/x", "X-Site": "7", "Authorization": "Bearer hush", "Content-Type": "image/x", "User-Agent": "patchbay",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q", name, got)
			}
		}
		if r = list[1]; r.body != "two" || r.Header.Get("Content-Type") != "application/octet-stream" || r.Header["X-Site"] != nil {
			t.Errorf("%q %v", r.body, r.Header)
		}
		eventually(t, "the status", func() bool { return n.status().Routes[0].Messages == 2 })
		st := n.status()
		if x := st.Remotes[0]; !x.Connected || x.Address != s.URL || st.Bridge != "bridge-webhook" {
			t.Errorf("%+v", st)
		}
		if strings.Contains(n.log.String(), "hush") {
			t.Error("the log has the token")
		}
	})
}

func TestBodies(t *testing.T) {
	for _, c := range []struct{ route, payload, body, kind string }{
		{`,"body":"{\"t\":${payload.t},\"who\":\"is ${client_id}\",\"topic\":${topic}}"`, `{"t":21.5}`, `{"t":21.5,"who":"is p","topic":"a/b"}`, "application/json"},
		{`,"text":"${topic};${payload.t|int}"`, `{"t":"7"}`, "a/b;7", "text/plain; charset=utf-8"},
		{`,"codec":"base64"`, "hi", "aGk=", "text/plain; charset=utf-8"},
		{`,"codec":"json"`, `[1]`, "[1]", "application/json"},
		{`,"codec":"json","headers":{"content-type":"application/cloudevents+json"}`, `[1]`, "[1]", "application/cloudevents+json"},
	} {
		s := newServer(t)
		n := startNode(t, pluginhost.Builtin, local(s.URL, c.route))
		n.connect("p").say("a/b", c.payload)
		if r := s.expect(t, 1)[0]; r.body != c.body || r.Header.Get("Content-Type") != c.kind {
			t.Errorf("%s: %s %q", c.route, r.body, r.Header.Get("Content-Type"))
		}
	}
}

// held keeps the server busy until the test has published everything, so that the batches
// after the first one are full.
func held(s *server) (release func()) {
	gate := make(chan struct{})
	s.respond(func(http.ResponseWriter, got, int) { <-gate })
	return sync.OnceFunc(func() { close(gate) })
}

func TestBatches(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		for _, kind := range []string{"array", "lines"} {
			s := newServer(t)
			release := held(s)
			t.Cleanup(release)
			n := startNode(t, rt, local(s.URL+"/${topic[2]}", fmt.Sprintf(`,"batch":%q,"codec":"json","batch_messages":10`, kind)))
			p := n.connect("p")
			p.say("a/x", "0")
			s.expect(t, 1)
			for i := 1; i <= 12; i++ {
				p.say("a/x", strconv.Itoa(i))
			}
			p.say("a/y", "13")
			release()
			var sizes []int
			next := 0
			for _, r := range s.expect(t, 4) {
				list := elements(t, kind, r)
				sizes = append(sizes, len(list))
				for _, e := range list {
					if e.Payload != next || e.Topic != "a/"+r.URL.Path[1:] || e.QoS != 1 || e.ClientID != "p" || e.ID == "" || e.Retain {
						t.Errorf("%s %d: %+v at %s", kind, next, e, r.URL)
					}
					if _, err := time.Parse(time.RFC3339, e.Timestamp); err != nil {
						t.Error(err)
					}
					next++
				}
			}
			if !slices.Equal(sizes, []int{1, 10, 2, 1}) {
				t.Errorf("%s: requests of %v", kind, sizes)
			}
		}
	})
}

type entry struct {
	ID, Topic, Timestamp string
	ClientID             string `json:"client_id"`
	QoS, Payload         int
	Retain               bool
}

// elements are the messages of a request.
func elements(t *testing.T, kind string, r got) (list []entry) {
	t.Helper()
	text, want := r.body, "application/json"
	if kind == "lines" {
		want = "application/x-ndjson"
		text = "[" + strings.Join(strings.Split(strings.TrimSuffix(text, "\n"), "\n"), ",") + "]"
	}
	if got := r.Header.Get("Content-Type"); got != want {
		t.Errorf("content type %q", got)
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	return list
}

// With several requests at once each key keeps its order, and a key whose server is slow
// does not hold up the others.
func TestOrderPerKey(t *testing.T) {
	s := newServer(t)
	var now, most atomic.Int32
	s.respond(func(w http.ResponseWriter, r got, n int) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		if n%7 == 0 { // some have to come again
			w.WriteHeader(500)
			return
		}
		time.Sleep(time.Millisecond)
	})
	n := startNode(t, pluginhost.Builtin, local(s.URL+"/${topic[2]}", `,"parallel":8,"key":"${topic[2]}"`))
	p := n.connect("p")
	const keys, each = 12, 40
	for i := range each {
		for k := range keys {
			p.say(fmt.Sprintf("a/k%d/x%d", k, i%3), strconv.Itoa(i))
		}
	}
	eventually(t, "all of it", func() bool { return n.status().Routes[0].Messages == keys*each })
	last, arrived := map[string]int{}, map[string]bool{}
	for _, r := range s.requests() {
		i, _ := strconv.Atoi(r.body)
		if i < last[r.URL.Path] {
			t.Errorf("%s: %d came after %d", r.URL.Path, i, last[r.URL.Path])
		}
		last[r.URL.Path] = i
		arrived[r.URL.Path+" "+r.body] = true
	}
	if len(arrived) != keys*each {
		t.Errorf("%d of %d are there", len(arrived), keys*each)
	}
	if most.Load() < 2 || most.Load() > 8 {
		t.Errorf("%d requests at once", most.Load())
	}
}

// What a response means, by its status.
func TestStatuses(t *testing.T) {
	t.Parallel() // it waits, for the most part
	s := newServer(t)
	n := startNode(t, pluginhost.Builtin, local(s.URL, `,"max_attempts":3,"dead_letter_topic":"dead/r","statuses":{"409":"done","4xx":"give_up","418":"retry"}`))
	p, dead := n.connect("p"), n.connect("d", "dead/#")
	for _, c := range []struct {
		status   int
		requests int // 0: as long as the server says so
		dead     bool
	}{{200, 1, false}, {299, 1, false}, {409, 1, false}, {404, 1, true}, {422, 1, true}, {418, 3, true}, {500, 3, true}, {503, 0, false}, {304, 0, false}, {302, 0, false}} {
		before, deadBefore := len(s.requests()), len(dead.received())
		s.respond(func(w http.ResponseWriter, _ got, n int) {
			if c.requests == 0 && n > before+4 {
				return // it is well again
			}
			w.WriteHeader(c.status)
		})
		settled := n.status().Routes[0].Messages + n.status().Routes[0].Refused
		p.say("a/b", strconv.Itoa(c.status))
		eventually(t, fmt.Sprintf("%d is over", c.status), func() bool { r := n.status().Routes[0]; return r.Messages+r.Refused > settled })
		want := c.requests
		if want == 0 {
			want = 5
		}
		if got := len(s.requests()) - before; got != want {
			t.Errorf("%d: %d requests, want %d", c.status, got, want)
		}
		if c.dead {
			eventually(t, "the dead letter", func() bool { return len(dead.received()) == deadBefore+1 })
			got := dead.received()[deadBefore]
			if reason := got.Properties.User.Get("patchbay-reason"); string(got.Payload) != strconv.Itoa(c.status) || !strings.Contains(reason, strconv.Itoa(c.status)) {
				t.Errorf("%d: dead letter %s: %s", c.status, got.Payload, reason)
			}
		}
	}
	if n := len(dead.received()); n != 4 {
		t.Errorf("%d dead letters", n)
	}
}

// Retry-After is kept to, up to its bound, and the status says what is the matter.
func TestRetryAfter(t *testing.T) {
	t.Parallel() // it waits, for the most part
	s := newServer(t)
	s.respond(func(w http.ResponseWriter, _ got, n int) {
		switch n {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
			fmt.Fprint(w, "not so\n fast\x00")
		case 2:
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(503)
		}
	})
	n := startNode(t, pluginhost.Builtin, local(s.URL, `,"retry_after_max":"1s"`))
	n.connect("p").say("a/b", "x")
	s.expect(t, 1)
	eventually(t, "the status has it", func() bool {
		return n.status().Remotes[0].Error == "the server answers 429 Too Many Requests: not so fast"
	})
	list := s.expect(t, 3)
	for i := range 2 {
		if d := list[i+1].at.Sub(list[i].at); d < 900*time.Millisecond {
			t.Errorf("it came again after %s", d)
		}
	}
	eventually(t, "it is well again", func() bool { x := n.status().Remotes[0]; return x.Connected && x.Error == "" })
}

// In a batch the one message is found that the server does not like, and no other is
// given up or overtaken.
func TestPoison(t *testing.T) {
	for _, status := range []int{422, 500} {
		s := newServer(t)
		release := held(s)
		t.Cleanup(release)
		n := startNode(t, pluginhost.Builtin, local(s.URL, `,"batch":"array","body":"${payload}","codec":"json","max_attempts":2,"dead_letter_topic":"dead"`))
		p, dead := n.connect("p"), n.connect("d", "dead")
		p.say("a/b", "0")
		s.expect(t, 1)
		const bad1, bad2 = "17", "18"
		for i := 1; i < 50; i++ {
			p.say("a/b", strconv.Itoa(i))
		}
		var order []string
		var mu sync.Mutex
		s.respond(func(w http.ResponseWriter, r got, _ int) {
			list := strings.Split(strings.Trim(r.body, "[]"), ",")
			if slices.Contains(list, bad1) || slices.Contains(list, bad2) {
				w.WriteHeader(status)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			order = append(order, list...)
		})
		release()
		eventually(t, "all of it", func() bool { r := n.status().Routes[0]; return r.Messages == 48 && r.Refused == 2 })
		var want []string
		for i := 1; i < 50; i++ {
			if x := strconv.Itoa(i); x != bad1 && x != bad2 {
				want = append(want, x)
			}
		}
		mu.Lock()
		if !slices.Equal(order, want) {
			t.Errorf("%d: the server took %v", status, order)
		}
		mu.Unlock()
		if k := len(s.requests()); k > 60 {
			t.Errorf("%d: %d requests", status, k)
		}
		eventually(t, "dead letters", func() bool { return len(dead.received()) == 2 })
		if got := dead.received(); string(got[0].Payload) != bad1 || string(got[1].Payload) != bad2 {
			t.Errorf("%s %s", got[0].Payload, got[1].Payload)
		}
	}
}

// Where a whole batch takes longer than timeout, smaller ones are tried.
func TestSlowNetwork(t *testing.T) {
	t.Parallel() // it waits, for the most part
	s := newServer(t)
	s.respond(func(w http.ResponseWriter, _ got, _ int) { w.WriteHeader(503) })
	n := startNode(t, pluginhost.Builtin, strings.Replace(local(s.URL, `,"batch":"array","body":"${payload}","codec":"json"`), "{", `{"timeout":"1s",`, 1))
	p := n.connect("p")
	for i := range 64 {
		p.say("a/b", strconv.Itoa(i))
	}
	var mu sync.Mutex
	taken, largest := map[string]bool{}, 0
	s.respond(func(_ http.ResponseWriter, r got, _ int) {
		list := strings.Split(strings.Trim(r.body, "[]"), ",")
		mu.Lock()
		largest = max(largest, len(list))
		mu.Unlock()
		if len(list) > 16 {
			<-r.Context().Done()
			return
		}
		time.Sleep(250 * time.Millisecond) // no sign that there is room for more
		mu.Lock()
		defer mu.Unlock()
		for _, x := range list {
			taken[x] = true
		}
	})
	eventually(t, "all of it", func() bool { return n.status().Routes[0].Messages == 64 })
	mu.Lock()
	defer mu.Unlock()
	if len(taken) != 64 || largest <= 16 {
		t.Errorf("%d are there, %d at most in a request", len(taken), largest)
	}
}

// A message of which PUBACK has come has been taken by the server, and one that it has not
// taken is refused.
func TestAfterRemote(t *testing.T) {
	t.Parallel() // it waits, for the most part
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		s := newServer(t)
		config := func(timeout string) string { return local(s.URL, `,"ack":"after_remote","ack_timeout":"`+timeout+`"`) }
		n := startNode(t, rt, config("50s"))
		p := n.connect("p")
		for i := range 30 {
			if code := p.say("a/b", strconv.Itoa(i)); code >= 0x80 {
				t.Fatalf("%d: 0x%02X", i, code)
			}
			if k := len(s.requests()); k <= i {
				t.Fatalf("%d: acknowledged, and %d are there", i, k)
			}
		}
		s.respond(func(w http.ResponseWriter, _ got, _ int) { w.WriteHeader(422) })
		if code := p.say("a/b", "bad"); code != 0x83 {
			t.Errorf("a message that the server refuses: 0x%02X", code)
		}
		n.apply(rt, config("1s"))
		s.respond(func(w http.ResponseWriter, _ got, _ int) { w.WriteHeader(503) })
		if code := p.say("a/b", "late"); code != 0x83 {
			t.Errorf("a message that the server cannot take: 0x%02X", code)
		}
		s.respond(nil)
		before := len(s.requests())
		if got := s.expect(t, before+1); got[before].body != "late" {
			t.Errorf("%q", bodies(got[before:]))
		}
	})
}

// A server that is away is waited for; nothing gets lost, and it does not matter how often
// it has to be tried.
func TestOutage(t *testing.T) {
	t.Parallel() // it waits, for the most part
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		s := newServer(t)
		n := startNode(t, rt, strings.Replace(local(s.URL, `,"max_attempts":1,"batch":"lines"`), "{", `{"timeout":"500ms",`, 1))
		p := n.connect("p")
		s.respond(func(w http.ResponseWriter, r got, k int) {
			if k > 9 {
				return
			}
			switch k % 3 {
			case 1:
				panic(http.ErrAbortHandler) // the connection breaks
			case 2:
				w.WriteHeader(502)
			case 0:
				<-r.Context().Done() // nothing comes
			}
		})
		for i := range 20 {
			p.say("a/b", strconv.Itoa(i))
		}
		eventually(t, "all of it", func() bool { return n.status().Routes[0].Messages == 20 })
		if r := n.status().Routes[0]; r.Refused != 0 || r.Errors == 0 {
			t.Errorf("%+v", r)
		}
		if text := n.log.String(); !strings.Contains(text, "a server does not take messages") || !strings.Contains(text, "a server takes messages again") {
			t.Errorf("log:\n%s", text)
		}
	})
}

// Messages of which no request can be made become dead letters, and hold up nothing.
func TestHopeless(t *testing.T) {
	s := newServer(t)
	n := startNode(t, pluginhost.Builtin, local(s.URL+"/${topic[2]}", `,"dead_letter_topic":"dead","headers":{"X-Name":"${user_property.name}"},"body":"{\"v\":${payload.v|required}}"`))
	p, dead := n.connect("p"), n.connect("d", "dead")
	p.say("a/..", `{"v":1}`)
	p.say("a/b", "no json")
	p.say("a/b", "{}")
	p.publish(&paho.Publish{Topic: "a/b", Payload: []byte(`{"v":1}`), QoS: 1, Properties: &paho.PublishProperties{User: paho.UserProperties{{Key: "name", Value: "x\r\nEvil: 1"}}}})
	p.say("a/b", `{"v":2}`)
	if list := s.expect(t, 1); len(list) != 1 || list[0].body != `{"v":2}` {
		t.Errorf("%q", bodies(list))
	}
	eventually(t, "dead letters", func() bool { return len(dead.received()) == 4 })
	for i, want := range []string{"url: ", "body: ", "body: ", "header X-Name: "} {
		if got := dead.received()[i].Properties.User.Get("patchbay-reason"); !strings.HasPrefix(got, want) {
			t.Errorf("%d: %q", i, got)
		}
	}
}
