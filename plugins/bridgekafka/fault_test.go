package bridgekafka

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// numbers publishes n messages to each of topics, with their number in front, without waiting
// for anything else.
func numbers(c *client, n int, topics ...string) {
	c.t.Helper()
	for i := range n {
		for _, topic := range topics {
			c.say(topic, fmt.Sprint(i))
		}
	}
}

// inOrder checks that each key has as many numbers as wanted, from 0 on and in order, and
// returns how often there was one again.
func inOrder(t *testing.T, list []*kgo.Record, want map[string]int) (again int) {
	t.Helper()
	next := map[string]int{}
	for _, r := range list {
		var i int
		if _, err := fmt.Sscan(string(r.Value), &i); err != nil {
			t.Fatalf("%s: %v", r.Value, err)
		}
		switch key := string(r.Key); {
		case i < next[key]:
			again++
		case i > next[key]:
			t.Fatalf("%s: %d came in place of %d", key, i, next[key])
		default:
			next[key]++
		}
	}
	if !maps.Equal(next, want) {
		t.Errorf("%v, want %v", next, want)
	}
	return again
}

// Whatever Kafka answers for a while, all records are there in the end, in order, and with
// the idempotent producer once: also where the answer to a record that was written is lost.
func TestFaults(t *testing.T) {
	for _, f := range []struct {
		name  string
		fault kfake.Fault
	}{
		{"not the leader", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: 3}},
		{"too few replicas", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 3}},
		{"written, to too few replicas", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 3}},
		{"written, and timed out", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: 3}},
		{"not allowed for a while", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: 3}},
		{"cluster authorization", kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.ClusterAuthorizationFailed, Count: 2}},
		{"an error that nobody knows", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.UnknownServerError, Count: 3}},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c, addr := startKafka(t, kfake.SeedTopics(4, "t"))
			h := c.Fault(f.fault)
			n := startNode(t)
			n.bridge(pluginhost.Builtin, fmt.Sprintf(`{"remote":{"brokers":[%q]},"routes":[{"name":"r","filters":["a/#"],"topic":"t","retry_min":"20ms","retry_max":"100ms","batch_messages":16}]}`, addr))
			const each = 30
			topics := []string{"a/1", "a/2", "a/3"}
			p := connect(t, n.addr, "p")
			numbers(p, each, topics...)
			list := read(t, addr, "t").expect(each * len(topics))
			eventually(t, "the route knows", func() bool { return n.route("r").Messages == int64(each*len(topics)) })
			if again := inOrder(t, list, map[string]int{"a/1": each, "a/2": each, "a/3": each}); again != 0 {
				t.Errorf("%d came again", again)
			}
			if h.Hits() < f.fault.Count {
				t.Errorf("%d faults", h.Hits())
			}
			if s := n.route("r"); s.Refused != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A record that fails is not overtaken by those behind it, in however many batches they are.
func TestOrder(t *testing.T) {
	t.Parallel()
	c, addr := startKafka(t, kfake.SeedTopics(2, "t"))
	n := startNode(t)
	n.bridge(pluginhost.Builtin, fmt.Sprintf(`{"remote":{"brokers":[%q]},"producer":{"max_batch":"50KB"},"routes":[{"name":"r","filters":["a/#"],"topic":"t","retry_min":"10ms","retry_max":"20ms"}]}`, addr))
	var requests atomic.Int64
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if requests.Add(1)%3 != 1 {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			res.Topics = append(res.Topics, rt)
		}
		return res, nil, true
	})
	const each = 100
	topics := []string{"a/1", "a/2", "a/3"}
	pad := strings.Repeat(" ", 4_000)
	p := connect(t, n.addr, "p")
	for i := range each {
		for _, topic := range topics {
			p.say(topic, fmt.Sprint(i, pad))
		}
	}
	list := read(t, addr, "t").expect(each * len(topics))
	eventually(t, "the route knows", func() bool { return n.route("r").Messages == int64(each*len(topics)) })
	if again := inOrder(t, list, map[string]int{"a/1": each, "a/2": each, "a/3": each}); again != 0 {
		t.Errorf("%d came again", again)
	}
	if s := n.route("r"); s.Errors < 3 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}

// One record that Kafka does not take fails all those that are written with it: the others
// are written without it, in order.
func TestPoison(t *testing.T) {
	t.Parallel()
	_, addr := startKafka(t)
	c := kafkaClient(t, addr)
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "small", 2, 1
	limit := "20000"
	topic.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "max.message.bytes", Value: &limit}}
	req.Topics = append(req.Topics, topic)
	if res, err := req.RequestWith(t.Context(), c); err != nil || res.Topics[0].ErrorCode != 0 {
		t.Fatal(err, res)
	}
	n := startNode(t)
	dead := connect(t, n.addr, "dead").subscribe("dead")
	p := connect(t, n.addr, "p")
	config := `{"remote":{"brokers":[%q]},"producer":{"max_batch":%q},"routes":[{"name":"r","filters":["a/#"],"topic":"small","dead_letter_topic":"dead"}]}`
	for round, c := range []struct {
		batch string
		pad   int
	}{
		{"1MB", 0},       // all go together
		{"35KB", 9_000},  // some at once are too large together
		{"35KB", 18_000}, // each has a batch of its own
	} {
		// Kafka comes when all is there already.
		n.bridge(pluginhost.Builtin, fmt.Sprintf(config, "127.0.0.1:1", c.batch))
		for i := range 40 {
			pad := c.pad
			if i%20 == 7 {
				pad = 30_000
			}
			p.say("a/1", fmt.Sprint(i, " ", strings.Repeat("x", pad)))
		}
		n.bridge(pluginhost.Builtin, fmt.Sprintf(config, addr, c.batch))
		var got, want []string
		for _, r := range read(t, addr, "small").expect(38 * (round + 1))[38*round:] {
			number, _, _ := strings.Cut(string(r.Value), " ")
			got = append(got, number)
		}
		for i := range 40 {
			if i%20 != 7 {
				want = append(want, fmt.Sprint(i))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", c.batch, got)
		}
		for i, d := range dead.expect(2 * (round + 1))[2*round:] {
			if !strings.HasPrefix(string(d.Payload), fmt.Sprint(7+20*i)) || !strings.Contains(d.Properties.User.Get("patchbay-reason"), "MESSAGE_TOO_LARGE") {
				t.Errorf("%s: %.5s %s", c.batch, d.Payload, d.Properties.User)
			}
		}
		// What Kafka has, and the broker does not know of, would come again with the next config.
		eventually(t, "the broker knows what Kafka has", func() bool {
			d, ok := n.host.Detail("k")
			return ok && d.Consumers[0].Backlog == 0
		})
	}
	// What max_batch says is known without Kafka.
	n.bridge(pluginhost.Builtin, fmt.Sprintf(config, addr, "10KiB"))
	p.say("a/1", strings.Repeat("y", 11_000))
	if d := dead.expect(7)[6]; !strings.Contains(d.Properties.User.Get("patchbay-reason"), "max_batch is 10240") {
		t.Errorf("%s", d.Properties.User)
	}
}

// A topic that there is not holds its route up and no other; when it is made, all is there.
func TestUnknownTopic(t *testing.T) {
	t.Parallel()
	c, addr := startKafka(t, kfake.SeedTopics(1, "there"))
	n := startNode(t)
	n.bridge(pluginhost.Builtin, fmt.Sprintf(`{"remote":{"brokers":[%q]},"routes":[{"name":"late","filters":["late/#"],"topic":"late","retry_min":"20ms","retry_max":"100ms"},
		{"name":"there","filters":["there/#"],"topic":"there"},{"name":"few","filters":["few/#"],"topic":"none","max_attempts":1,"dead_letter_topic":"dead"}]}`, addr))
	dead := connect(t, n.addr, "dead").subscribe("dead")
	p := connect(t, n.addr, "p")
	numbers(p, 10, "late/1", "there/1")
	p.say("few/1", "x")
	inOrder(t, read(t, addr, "there").expect(10), map[string]int{"there/1": 10})
	eventually(t, "it is said", func() bool {
		s := n.route("late")
		return s.InHand > 0 && strings.Contains(s.LastError, "UNKNOWN_TOPIC_OR_PARTITION")
	})
	if err := c.CreateTopic("late", 2, nil); err != nil {
		t.Fatal(err)
	}
	if again := inOrder(t, read(t, addr, "late").expect(10), map[string]int{"late/1": 10}); again != 0 {
		t.Errorf("%d came again", again)
	}
	if d := dead.expect(1)[0]; !strings.Contains(d.Properties.User.Get("patchbay-reason"), "given up after 1 attempts") {
		t.Errorf("%s", d.Properties.User)
	}
}

// While Kafka is away messages wait in the broker, and the health says so; then all are there,
// once. What was under way when it went is not written twice.
func TestBacklog(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		f := kafkaProcess(t, fake(t))
		n := startNode(t)
		n.bridge(rt, fmt.Sprintf(`{"remote":{"brokers":[%q],"connect_timeout":"1s","request_timeout":"1s"},"routes":[{"name":"r","filters":["a/#"],"topic":"out","retry_min":"20ms","retry_max":"100ms","batch_messages":64}]}`, f.net.Addr))
		p := connect(t, n.addr, "p")
		numbers(p, 20, "a/0")
		f.net.HalfOpen(true)
		numbers(p, 20, "a/1")
		f.net.Refuse(true)
		f.net.Cut()
		numbers(p, 500, "a/2")
		eventually(t, "the health says it", func() bool {
			s := n.status()
			return !s.Remotes[0].Connected && s.Remotes[0].Error != "" && s.Routes[0].OldestUnsent > 0
		})
		d, ok := n.host.Detail("k")
		if !ok || d.Consumers[0].Backlog < 500 {
			t.Errorf("%+v", d.Consumers)
		}
		f.net.HalfOpen(false)
		f.net.Refuse(false)
		list := read(t, f.net.Addr, "out").expect(540)
		if again := inOrder(t, list, map[string]int{"a/0": 20, "a/1": 20, "a/2": 500}); again != 0 {
			t.Errorf("%d came again", again)
		}
		eventually(t, "the route knows", func() bool { return n.route("r").Messages == 540 && n.status().Remotes[0].Connected })
	})
}

// A config that is changed while messages are under way loses none.
func TestConfigure(t *testing.T) {
	t.Parallel()
	_, addr := startKafka(t, kfake.SeedTopics(4, "t"))
	n := startNode(t)
	config := `{"remote":{"brokers":[%q]},"producer":{"compression":%q,"acks":%q},"routes":[{"name":"r","filters":["a/#"],"topic":"t","retry_min":"20ms","retry_max":"50ms"}]}`
	n.bridge(pluginhost.Builtin, fmt.Sprintf(config, addr, "none", "all"))
	p := connect(t, n.addr, "p")
	const each = 200
	done := make(chan struct{})
	go func() {
		defer close(done)
		numbers(p, each, "a/1", "a/2")
	}()
	for i, c := range []string{"gzip", "lz4", "zstd", "snappy"} {
		n.bridge(pluginhost.Builtin, fmt.Sprintf(config, addr, c, []string{"all", "leader"}[i%2]))
		eventually(t, "some more are there", func() bool { return n.route("r").Messages > int64(i*40) })
	}
	<-done
	eventually(t, "all are there", func() bool { return n.route("r").Messages == 2*each })
	// Some may have come again, so that the last ones are behind.
	r, last := read(t, addr, "t"), map[string]bool{}
	for n := 2 * each; len(last) < 2; n++ {
		last = map[string]bool{}
		for _, x := range r.expect(n) {
			if string(x.Value) == fmt.Sprint(each-1) {
				last[string(x.Key)] = true
			}
		}
	}
	t.Logf("%d came again", inOrder(t, r.list, map[string]int{"a/1": each, "a/2": each}))
}
