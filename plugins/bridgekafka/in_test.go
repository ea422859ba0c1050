package bridgekafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const shared = `{"remote":{"brokers":[%q]},"from":[{"name":"in","topics":["t"],"group":"g","topic":"in/${user_property.kafka_partition}","session_timeout":"2s","commit_interval":"100ms","retry_min":"20ms"}]}`

// Bridges in one group share the partitions; one that goes leaves its own to the others.
func TestGroup(t *testing.T) {
	t.Parallel()
	c, addr := startKafka(t, kfake.SeedTopics(4, "t"))
	a, b := startNode(t), startNode(t)
	subA, subB := connect(t, a.addr, "s").subscribe("#"), connect(t, b.addr, "s").subscribe("#")
	all := func() map[string]bool {
		got := map[string]bool{}
		for _, s := range []*client{subA, subB} {
			for _, p := range s.expect(0) {
				got[p.Topic+" "+string(p.Payload)] = true
			}
		}
		return got
	}
	n := 0
	send := func(k int) {
		for range k {
			for p := range int32(4) {
				produce(t, addr, &kgo.Record{Topic: "t", Partition: p, Value: []byte(fmt.Sprint(n))})
			}
			n++
		}
		eventually(t, "all is there", func() bool { return len(all()) == 4*n })
	}
	a.bridge(pluginhost.Builtin, fmt.Sprintf(shared, addr))
	send(10)
	b.bridge(pluginhost.Process, fmt.Sprintf(shared, addr))
	eventually(t, "both have partitions", func() bool {
		g := c.GroupInfo("g")
		return g != nil && len(g.Members) == 2 && g.Members[0].NumAssigned() == 2 && g.Members[1].NumAssigned() == 2
	})
	send(10)
	if len(subB.expect(1)) == 0 {
		t.Error("the second one got nothing")
	}
	if _, err := a.host.Apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	send(10)
	for _, s := range []*client{subA, subB} {
		next := map[string]int{}
		for _, p := range s.expect(0) {
			var i int
			if _, err := fmt.Sscan(string(p.Payload), &i); err != nil {
				t.Fatal(err)
			}
			if i < next[p.Topic] {
				t.Logf("%s: %d came again", p.Topic, i)
				continue
			}
			next[p.Topic] = i + 1
		}
	}
	eventually(t, "all is committed", func() bool {
		g := c.GroupInfo("g")
		for p := range int32(4) {
			if g == nil || g.Commits["t"][p].Offset != int64(n) {
				return false
			}
		}
		return true
	})
}

// What the grant does not cover is passed over, one by one, and the rest arrives.
func TestGrant(t *testing.T) {
	t.Parallel()
	_, addr := startKafka(t, kfake.SeedTopics(1, "t"))
	n := startNode(t)
	n.grant = []string{"in/even/#"}
	sub := connect(t, n.addr, "s").subscribe("#")
	var list []*kgo.Record
	for i := range 40 {
		list = append(list, &kgo.Record{Topic: "t", Key: []byte([]string{"even", "odd"}[i%2]), Value: []byte(fmt.Sprint(i))})
	}
	produce(t, addr, list...)
	n.bridge(pluginhost.Builtin, fmt.Sprintf(`{"remote":{"brokers":[%q]},"from":[{"name":"in","topics":["t"],"group":"g","topic":"in/${user_property.kafka_key}/x"}]}`, addr))
	for i, p := range sub.expect(20) {
		if string(p.Payload) != fmt.Sprint(2*i) {
			t.Errorf("%d: %s", i, p.Payload)
		}
	}
	eventually(t, "the others are given up", func() bool { return n.route("in").Refused == 20 })
	if text := n.log.String(); !strings.Contains(text, "offset=39") {
		t.Error("the log does not say which")
	}
}

// While the broker takes nothing, nothing is committed; nothing is left out afterwards.
func TestPublishFails(t *testing.T) {
	t.Parallel()
	c, addr := startKafka(t, kfake.SeedTopics(1, "t"))
	h := plugintest.NewHost()
	h.Fail(pluginv1.HostOpPublish, errors.New("the store is full"), errors.New("the store is full"), errors.New("the store is full"))
	var list []*kgo.Record
	for i := range 2000 { // more than one request
		list = append(list, &kgo.Record{Topic: "t", Value: []byte(fmt.Sprint(i))})
	}
	produce(t, addr, list...)
	plugintest.Start(t, plugintest.Builtin(Plugin()), h, fmt.Sprintf(shared, addr))
	eventually(t, "it was tried", func() bool { return len(h.Calls(pluginv1.HostOpPublish)) > 0 })
	if g := c.GroupInfo("g"); g != nil && len(h.Published()) == 0 && g.Commits["t"][0].Offset > 0 {
		t.Errorf("%+v is committed", g.Commits)
	}
	eventually(t, "all is published", func() bool {
		list := h.Published()
		return len(list) > 0 && string(list[len(list)-1].Payload) == "1999"
	})
	next := 0
	for _, m := range h.Published() { // also what has failed
		var i int
		if _, err := fmt.Sscan(string(m.Payload), &i); err != nil || i > next {
			t.Fatalf("%s in place of %d", m.Payload, next)
		}
		next = max(next, i+1)
	}
	eventually(t, "all is committed", func() bool { return c.GroupInfo("g").Commits["t"][0].Offset == 2000 })
}

// What the broker says while it ends, or is full, is no reason to give a record up.
func TestHopeless(t *testing.T) {
	for code, want := range map[sdk.ReasonCode]bool{
		0x80: false, 0x83: false, sdk.ServerUnavailable: false, sdk.ServerBusy: false, 0x8B: false, sdk.QuotaExceeded: false, sdk.MessageRateTooHigh: false,
		sdk.NotAuthorized: true, sdk.TopicNameInvalid: true, sdk.PacketTooLarge: true, sdk.PayloadFormatInvalid: true,
	} {
		if hopeless(code) != want {
			t.Errorf("0x%02X: %v", code, !want)
		}
	}
}

// A group begins where the config says.
func TestStartLatest(t *testing.T) {
	t.Parallel()
	_, addr := startKafka(t, kfake.SeedTopics(1, "t"))
	n := startNode(t)
	sub := connect(t, n.addr, "s").subscribe("#")
	produce(t, addr, &kgo.Record{Topic: "t", Value: []byte("old")})
	n.bridge(pluginhost.Builtin, strings.Replace(fmt.Sprintf(shared, addr), `"group"`, `"start":"latest","group"`, 1))
	eventually(t, "something new comes", func() bool {
		produce(t, addr, &kgo.Record{Topic: "t", Value: []byte("new")})
		return len(sub.expect(0)) > 0
	})
	if p := sub.expect(1)[0]; string(p.Payload) != "new" {
		t.Errorf("%s", p.Payload)
	}
}

// What keeps records from coming is in the status, and said once; when it is over they come.
func TestTroubleFrom(t *testing.T) {
	for _, f := range []struct {
		name  string
		fault kfake.Fault
	}{
		{"GROUP_AUTHORIZATION_FAILED", kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, TopLevel: true, Err: kerr.GroupAuthorizationFailed, Count: -1}},
		{"TOPIC_AUTHORIZATION_FAILED", kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed, Count: -1}},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c, addr := startKafka(t, kfake.SeedTopics(1, "t"))
			h := c.Fault(f.fault)
			n := startNode(t)
			n.bridge(pluginhost.Builtin, fmt.Sprintf(shared, addr))
			sub := connect(t, n.addr, "s").subscribe("#")
			produce(t, addr, &kgo.Record{Topic: "t", Value: []byte("x")})
			group := func() bridge.Remote { return n.status().Remotes[1] }
			eventually(t, "it is said", func() bool { return !group().Connected && strings.Contains(group().Error, f.name) })
			if r := n.status().Remotes[0]; !r.Connected {
				t.Errorf("%+v", r)
			}
			hits := h.Hits()
			eventually(t, "it is tried again", func() bool { return h.Hits() > hits+1 })
			if n := strings.Count(n.log.String(), "records cannot be had"); n != 1 {
				t.Errorf("it is said %d times", n)
			}
			h.Remove()
			sub.expect(1)
			eventually(t, "all is well", func() bool { return group().Connected && group().Error == "" })
		})
	}
}

// What a record becomes in full: a header that is none of MQTT's texts is left out, a record
// without a value takes a retained message back, and how often it has come is kept.
func TestPublished(t *testing.T) {
	t.Parallel()
	_, addr := startKafka(t, kfake.SeedTopics(1, "t"))
	h := plugintest.NewHost()
	produce(t, addr,
		&kgo.Record{Topic: "t", Key: []byte("k"), Value: []byte("v"), Headers: []kgo.RecordHeader{
			{Key: "h", Value: []byte("1")}, {Key: "\xFF", Value: []byte("2")}, {Key: "long", Value: []byte(strings.Repeat("x", maxProperty+1))}, {Key: hopsName, Value: []byte("2")},
		}},
		&kgo.Record{Topic: "t", Key: []byte("k")})
	plugintest.Start(t, plugintest.Builtin(Plugin()), h, fmt.Sprintf(`{"remote":{"brokers":[%q]},"from":[
		{"name":"in","topics":["t"],"group":"g","topic":"in/${user_property.kafka_key}","qos":2,"retain":true,"namespace":"plant"}]}`, addr))
	eventually(t, "both are published", func() bool { return len(h.Published()) == 2 })
	list := h.Published()
	want := []sdk.Pair{{Name: "h", Value: "1"}, {Name: pathName, Value: "kafka"}}
	if m := list[0]; m.Topic != "in/k" || string(m.Payload) != "v" || m.QoS != 2 || !m.Retain || m.Namespace != "plant" || m.Hops != 2 || !slices.Equal(m.UserProperties, want) {
		t.Errorf("%+v", m)
	}
	if m := list[1]; m.Topic != "in/k" || len(m.Payload) != 0 || !m.Retain || m.Hops != 0 {
		t.Errorf("%+v", m)
	}
}

// Records of transactions come when they are committed, those of aborted ones never.
func TestTransactions(t *testing.T) {
	t.Parallel()
	c, addr := startKafka(t, kfake.SeedTopics(1, "t"))
	n := startNode(t)
	n.bridge(pluginhost.Builtin, fmt.Sprintf(shared, addr))
	sub := connect(t, n.addr, "s").subscribe("#")
	p := kafkaClient(t, addr, kgo.TransactionalID("x"))
	transaction := func(end kgo.TransactionEndTry, value string) {
		t.Helper()
		if err := p.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := p.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := p.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	transaction(kgo.TryCommit, "a")
	transaction(kgo.TryAbort, "b")
	transaction(kgo.TryCommit, "c")
	if text := payloads(sub.expect(2)); text != "ac" {
		t.Errorf("%s", text)
	}
	eventually(t, "the offset is behind all of it", func() bool {
		g := c.GroupInfo("g")
		return g != nil && g.Commits["t"][0].Offset >= 5 // each transaction has a mark at its end
	})
	if text := payloads(sub.expect(2)); text != "ac" {
		t.Errorf("%s", text)
	}
}

// A bridge with an instance has its partitions again after a restart without the group
// sharing them anew, and what it had delivered does not come again.
func TestInstance(t *testing.T) {
	t.Parallel()
	c, addr := startKafka(t, kfake.SeedTopics(2, "t"))
	n := startNode(t)
	sub := connect(t, n.addr, "s").subscribe("#")
	config := strings.Replace(fmt.Sprintf(shared, addr), `"session_timeout":"2s"`, `"session_timeout":"1m","instance":"bridge-1"`, 1)
	produce(t, addr, &kgo.Record{Topic: "t", Value: []byte("a")})
	n.bridge(pluginhost.Builtin, config)
	sub.expect(1)
	before := c.GroupInfo("g")
	if _, err := n.host.Apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if g := c.GroupInfo("g"); len(g.Members) != 1 || g.Commits["t"][0].Offset != 1 {
		t.Errorf("while it was away: %+v", g)
	}
	produce(t, addr, &kgo.Record{Topic: "t", Value: []byte("b")})
	n.bridge(pluginhost.Builtin, config)
	if text := payloads(sub.expect(2)); text != "ab" {
		t.Errorf("%s", text)
	}
	if g := c.GroupInfo("g"); g.Epoch != before.Epoch || len(g.Members) != 1 {
		t.Errorf("generation %d in place of %d, %d members", g.Epoch, before.Epoch, len(g.Members))
	}
}
