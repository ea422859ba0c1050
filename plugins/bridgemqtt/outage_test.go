package bridgemqtt

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// complete checks that n messages "I" of each of the topics are there, in order if one leaves
// out those that come again, and returns how many came again.
func complete(t *testing.T, got []*paho.Publish, topics []string, n int) (again int) {
	t.Helper()
	next := map[string]int{}
	for _, p := range got {
		var i int
		if _, err := fmt.Sscan(strings.TrimRight(string(p.Payload), "."), &i); err != nil {
			t.Fatal(err)
		}
		switch want := next[p.Topic]; {
		case i == want:
			next[p.Topic]++
		case i > want:
			t.Fatalf("%s: %d came before %d", p.Topic, i, want)
		default:
			again++
		}
	}
	for _, topic := range topics {
		if next[topic] != n {
			t.Fatalf("%s: %d of %d are there", topic, next[topic], n)
		}
	}
	return again
}

// has reports whether all n messages of the topics are there.
func has(c *client, topics []string, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]bool{}
	for _, p := range c.in {
		seen[p.Topic+" "+string(p.Payload)] = true
	}
	return len(seen) >= len(topics)*n
}

// The network between the brokers is cut, half-open and slow while messages go both ways.
func TestOutages(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		here, there := startNode(t, "here"), startNode(t, "there")
		net := bridgetest.StartProxy(t, there.addr)
		far := connect(t, there.addr, "far").subscribe("up/#")
		near := connect(t, here.addr, "near").subscribe("down/#")
		here.bridge(rt, "b", fmt.Sprintf(`{"remote":{"name":"there","servers":["mqtt://%s"],"keep_alive":"2s","connect_timeout":"1s","retry_min":"20ms","retry_max":"200ms"},"routes":[
			{"name":"up","filters":["up/#"],"batch_messages":64},{"name":"down","direction":"in","filters":["down/#"]}]}`, net.Addr))
		here.connected("b") // and subscribed
		const n = 400
		up, down := []string{"up/1", "up/2"}, []string{"down/1", "down/2"}
		var sent atomic.Int32
		finished := make(chan struct{}, 2)
		load := func(c *client, topics []string) {
			defer func() { finished <- struct{}{} }()
			for i := range n {
				for _, topic := range topics {
					c.say(topic, fmt.Sprint(i)+strings.Repeat(".", 100), byte(1+i%2))
				}
				sent.Add(1)
				time.Sleep(2 * time.Millisecond) // so that there is load during all of it
			}
		}
		go load(connect(t, here.addr, "p1"), up)
		go load(connect(t, there.addr, "p2"), down)
		reach := func(k int32) { eventually(t, "load", func() bool { return sent.Load() >= k }) }
		for _, k := range []int32{80, 160, 240} {
			reach(k)
			net.Cut()
		}
		reach(300)
		net.HalfOpen(true) // half-open: found out by the Keep Alive
		reach(360)
		// What had passed the proxy by then may take its time on a busy machine.
		before, since := len(far.received()), time.Now()
		eventually(t, "nothing comes for a while", func() bool {
			if now := len(far.received()); now != before {
				before, since = now, time.Now()
			}
			return time.Since(since) > 200*time.Millisecond
		})
		time.Sleep(300 * time.Millisecond)
		if now := len(far.received()); now != before {
			t.Errorf("%d messages went through a network that stands", now-before)
		}
		net.Cut()
		net.HalfOpen(false)
		net.Slow(5 << 10)
		reach(2 * n)
		<-finished
		<-finished
		net.Slow(0)
		eventually(t, "all is there", func() bool { return has(far, up, n) && has(near, down, n) })
		t.Logf("came again: %d up, %d down", complete(t, far.received(), up, n), complete(t, near.received(), down, n))
	})
}

// While the other broker is away, what is published waits; a batch at a time is in memory.
func TestBacklog(t *testing.T) {
	here, there := startNode(t, "here"), startNode(t, "there")
	net := bridgetest.StartProxy(t, there.addr)
	net.Refuse(true)
	far := connect(t, there.addr, "far").subscribe("#")
	here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"servers":["mqtt://%s"],"retry_min":"20ms","retry_max":"100ms"},"routes":[{"name":"up","filters":["up/#"]}]}`, net.Addr))
	p := connect(t, here.addr, "p")
	const n = 3000
	for i := range n {
		p.say("up/1", fmt.Sprint(i), 1)
	}
	d, _ := here.host.Detail("b")
	if c := d.Consumers[0]; c.Name != "up" || c.Backlog != n {
		t.Errorf("consumer %+v", c)
	}
	net.Refuse(false)
	eventually(t, "the backlog is there", func() bool { return has(far, []string{"up/1"}, n) })
	if again := complete(t, far.received(), []string{"up/1"}, n); again != 0 {
		t.Errorf("%d came again", again)
	}
}

// A peer that has gone without a word is found out by the Keep Alive.
func TestHalfOpen(t *testing.T) {
	t.Parallel() // it waits, for the most part
	here, there := startNode(t, "here"), startNode(t, "there")
	net := bridgetest.StartProxy(t, there.addr)
	far := connect(t, there.addr, "far").subscribe("#")
	here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"servers":["mqtt://%s"],"keep_alive":"2s","retry_min":"20ms"},"routes":[{"name":"up","filters":["up/#"]}]}`, net.Addr))
	p := connect(t, here.addr, "p")
	p.say("up/1", "0", 1)
	far.expect(1)
	net.HalfOpen(true)
	p.say("up/1", "1", 1)
	eventually(t, "the connection is given up", func() bool { return strings.Contains(here.log.String(), "nothing was heard for") })
	net.HalfOpen(false)
	eventually(t, "all is there", func() bool { return has(far, []string{"up/1"}, 2) })
	complete(t, far.received(), []string{"up/1"}, 2)
}

// With several servers the next one is taken, and the first one again when it is back.
func TestFailover(t *testing.T) {
	t.Parallel() // it waits, for the most part
	here, one, two := startNode(t, "here"), startNode(t, "one"), startNode(t, "two")
	first, second := bridgetest.StartProxy(t, one.addr), bridgetest.StartProxy(t, two.addr)
	at1, at2 := connect(t, one.addr, "c").subscribe("#"), connect(t, two.addr, "c").subscribe("#")
	here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"servers":["mqtt://%s","mqtt://%s"],"retry_min":"20ms","retry_max":"100ms","failback":"100ms"},"routes":[{"name":"up","filters":["up/#"]}]}`,
		first.Addr, second.Addr))
	p := connect(t, here.addr, "p")
	p.say("up/1", "a", 1)
	at1.expect(1)
	first.Refuse(true)
	first.Cut()
	p.say("up/1", "b", 1)
	at2.expect(1)
	first.Refuse(false)
	eventually(t, "back", func() bool {
		p.say("up/1", "c", 1)
		return len(at1.received()) > 1
	})
	if text := here.log.String(); !strings.Contains(text, "the first server is back") {
		t.Errorf("no failback:\n%s", text)
	}
}
