package bridgekafka

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

func eachRuntime(t *testing.T, test func(t *testing.T, rt pluginhost.Runtime)) {
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process} {
		t.Run(string(rt), func(t *testing.T) { test(t, rt) })
	}
}

func TestOut(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		_, addr := startKafka(t, kfake.SeedTopics(8, "plant.press", "json", "dead"))
		n := startNode(t)
		n.bridge(rt, fmt.Sprintf(`{"remote":{"brokers":[%q]},"routes":[
			{"name":"a","filters":["plant/#"],"topic":"plant.${topic[2]}","headers":{"who":"${client_id}","type":"${content_type}"}},
			{"name":"b","filters":["json/#"],"topic":"json","key":"${payload.id}","partition":"${payload.part}","codec":"json","user_properties":false,
			 "value":"{\"t\":\"${topic}\",\"v\":${payload.v}}","dead_letter_topic":"dead/b"},
			{"name":"c","filters":["raw/#"],"topic":"json","key":"","codec":"base64","tombstones":true}]}`, addr))
		p := connect(t, n.addr, "dev-1")
		if code := p.publish(&paho.Publish{Topic: "plant/press/1", Payload: []byte("hot"), QoS: 1, Properties: &paho.PublishProperties{
			User: paho.UserProperties{{Key: "site", Value: "7"}, {Key: "site", Value: "8"}},
		}}); code >= 0x80 {
			t.Fatalf("0x%02X", code)
		}
		r := read(t, addr, "plant.press").expect(1)[0]
		want := []string{"who=dev-1", "site=7", "site=8", "patchbay-path=here", "patchbay-topic=plant.press", "patchbay-hops=0"}
		if string(r.Key) != "plant/press/1" || string(r.Value) != "hot" || !slices.Equal(heads(r), want) || r.Timestamp.IsZero() {
			t.Errorf("%q %q %v", r.Key, r.Value, heads(r))
		}
		dead := connect(t, n.addr, "dead").subscribe("dead/#")
		p.say("json/1", `{"id":"x","part":5,"v":[1,2]}`)
		p.say("json/2", `{"id":"x","part":99,"v":3}`)
		p.say("json/3", `no JSON`)
		p.say("json/4", `{"id":"y","part":-2,"v":3}`)
		p.say("json/5", `{"id":"y","v":null}`)
		p.say("raw/1", "\x00\x01")
		p.say("raw/2", "")
		list := read(t, addr, "json").expect(4)
		var got []string
		for _, r := range list {
			part := fmt.Sprint(r.Partition)
			if string(r.Key) != "x" {
				part = "any"
			}
			got = append(got, fmt.Sprintf("%q %q %s %v", r.Key, r.Value, part, r.Value == nil))
		}
		slices.Sort(got)
		if want := []string{
			`"" "" any true`, `"" "AAE=" any false`, `"x" "{\"t\":\"json/1\",\"v\":[1,2]}" 5 false`, `"y" "{\"t\":\"json/5\",\"v\":null}" any false`,
		}; !slices.Equal(got, want) {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
		reasons := []string{"the topic json has 8 partitions, and none of the number 99", "the payload is no JSON", `"-2" is no number of a partition`}
		for i, p := range dead.expect(3) {
			if text := p.Properties.User.Get("patchbay-reason"); !strings.Contains(text, reasons[i]) {
				t.Errorf("%d: %s", i, text)
			}
		}
		if s := n.route("b"); s.Refused != 3 || s.Messages != 2 || s.Errors != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestIn(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		c, addr := startKafka(t, kfake.SeedTopics(3, "orders", "b64"))
		n := startNode(t)
		sub := connect(t, n.addr, "s").subscribe("#")
		n.bridge(rt, fmt.Sprintf(`{"remote":{"brokers":[%q]},"from":[
			{"name":"o","topics":["orders"],"group":"g","topic":"kafka/${topic}/${user_property.kafka_key}","qos":2,"metadata":true,"commit_interval":"100ms"},
			{"name":"b","pattern":"^b[0-9]+$","group":"g2","topic":"b/${payload.x}","codec":"base64","retain":true,"user_properties":false}]}`, addr))
		produce(t, addr,
			&kgo.Record{Topic: "orders", Partition: 2, Key: []byte("k1"), Value: []byte("one"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "bin", Value: []byte{0xFF}}, {Key: "kafka_key", Value: []byte("not this one")}}},
			&kgo.Record{Topic: "orders", Partition: 2, Key: []byte("bad/+"), Value: []byte("a wildcard")},
			&kgo.Record{Topic: "orders", Partition: 2, Value: []byte("no key")})
		got := sub.expect(2)
		if p := got[0]; p.Topic != "kafka/orders/k1" || string(p.Payload) != "one" || p.QoS != 2 || p.Retain {
			t.Errorf("%+v", p)
		}
		var props []string
		for _, u := range got[0].Properties.User {
			if u.Key != "kafka_timestamp" {
				props = append(props, u.Key+"="+u.Value)
			}
		}
		if want := []string{"h=v", "bin=/w==", "kafka_key=not this one", "kafka_topic=orders", "kafka_partition=2", "kafka_offset=0", "kafka_key=k1", "patchbay-path=kafka"}; !slices.Equal(props, want) {
			t.Errorf("%v", props)
		}
		if p := got[1]; p.Topic != "kafka/orders/" || string(p.Payload) != "no key" {
			t.Errorf("%+v", p)
		}
		produce(t, addr, &kgo.Record{Topic: "b64", Value: []byte("eyJ4Ijo3fQ==")}, &kgo.Record{Topic: "b64", Value: []byte("?")})
		if p := sub.expect(3)[2]; p.Topic != "b/7" || string(p.Payload) != `{"x":7}` || !p.Retain {
			t.Errorf("%+v", p)
		}
		eventually(t, "what is delivered is committed", func() bool {
			g := c.GroupInfo("g")
			return g != nil && g.Commits["orders"][2].Offset == 3
		})
		eventually(t, "two were given up", func() bool { return n.route("o").Refused == 1 && n.route("b").Refused == 1 })
		if s := n.route("o"); s.Messages != 2 || s.Direction != "in" {
			t.Errorf("%+v", s)
		}
	})
}

// A message of which PUBACK has come is in Kafka, and one that is not there is refused.
func TestAfterRemote(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		c, addr := startKafka(t, kfake.SeedTopics(1, "sure"))
		n := startNode(t)
		config := `{"remote":{"brokers":[%q]},"routes":[{"name":"sure","filters":["a/#"],"topic":"sure","ack":"after_remote","ack_timeout":"%s","retry_min":"20ms"}]}`
		n.bridge(rt, fmt.Sprintf(config, addr, "30s"))
		p := connect(t, n.addr, "p")
		for i := range 30 {
			if code := p.say("a/b", fmt.Sprint(i)); code >= 0x80 {
				t.Fatalf("%d: 0x%02X", i, code)
			}
			if high := c.PartitionInfo("sure", 0).HighWatermark; high <= int64(i) {
				t.Fatalf("%d: acknowledged, and %d are there", i, high)
			}
		}
		n.bridge(rt, fmt.Sprintf(config, "127.0.0.1:1", "1s"))
		if code := p.say("a/b", "30"); code != 0x83 {
			t.Errorf("0x%02X", code)
		}
		n.bridge(rt, fmt.Sprintf(config, addr, "30s"))
		if list := read(t, addr, "sure").expect(31); string(list[30].Value) != "30" {
			t.Errorf("%s", list[30].Value)
		}
	})
}

// What this broker has written does not come back, what a program has made of it does, and
// not for ever.
func TestLoops(t *testing.T) {
	t.Parallel()
	_, addr := startKafka(t, kfake.SeedTopics(1, "x", "y"))
	n := startNode(t)
	sub := connect(t, n.addr, "s").subscribe("#")
	n.bridge(pluginhost.Builtin, fmt.Sprintf(`{"remote":{"brokers":[%q]},"routes":[{"name":"out","filters":["t/#"],"topic":"x"}],
		"from":[{"name":"back","topics":["x"],"group":"g","topic":"t/back"},{"name":"made","topics":["y"],"group":"g2","topic":"t/made"}]}`, addr))
	connect(t, n.addr, "p").say("t/1", "a")
	r := read(t, addr, "x").expect(1)[0]
	made := func(hops string) *kgo.Record {
		out := &kgo.Record{Topic: "y", Value: []byte("made " + hops), Headers: slices.Clone(r.Headers)}
		for i := range out.Headers {
			if out.Headers[i].Key == hopsName {
				out.Headers[i].Value = []byte(hops)
			}
		}
		return out
	}
	produce(t, addr, made("0"), made("8"), made("1"), &kgo.Record{Topic: "x", Value: []byte("another's")})
	var got []string
	for _, p := range sub.expect(4) {
		got = append(got, p.Topic+" "+string(p.Payload))
	}
	slices.Sort(got)
	if want := []string{"t/1 a", "t/back another's", "t/made made 0", "t/made made 1"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	eventually(t, "one was given up", func() bool { return n.route("made").Refused == 1 })
	// What came from Kafka does not go there, though the filter is that of the route.
	connect(t, n.addr, "p2").say("t/2", "b")
	got = nil
	for _, r := range read(t, addr, "x").expect(3) {
		got = append(got, string(r.Value))
	}
	if want := []string{"a", "another's", "b"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
