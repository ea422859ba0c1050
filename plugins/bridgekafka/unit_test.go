package bridgekafka

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

func TestPaths(t *testing.T) {
	l := loops{node: "here", remote: "kafka", maxHops: 3}
	for _, c := range []struct {
		path, want string
		ok         bool
	}{
		{"", "here", true}, {"a", "a,here", true}, {"a,b", "a,b,here", true}, {"a,b,c", "", false}, {"kafka", "", false}, {"a,here", "", false},
	} {
		if got, ok := l.leaving(c.path); got != c.want || ok != c.ok {
			t.Errorf("leaving %q: %q, %v", c.path, got, ok)
		}
	}
	for _, c := range []struct {
		marks
		way  string
		hops uint32
		v    verdict
	}{
		{marks{}, "kafka", 0, taken},
		{marks{path: "a", topic: "t", hops: "1"}, "a,kafka", 1, taken},
		{marks{path: "a,kafka,b", topic: "t"}, "", 0, looped},
		{marks{path: "a,kafka", topic: "t"}, "a,kafka", 0, taken},
		{marks{path: "here", topic: "t", hops: "0"}, "", 0, echo},
		{marks{path: "x,here", topic: "t", hops: "9"}, "", 0, echo},
		{marks{path: "here", topic: "other", hops: "2"}, "kafka", 2, taken},
		{marks{path: "here", topic: "other", hops: "3"}, "", 0, looped},
		{marks{hops: "-1"}, "kafka", 0, taken},
		{marks{hops: "many"}, "kafka", 0, taken},
	} {
		if way, hops, v := l.coming(c.marks, "t"); way != c.way || hops != c.hops || v != c.v {
			t.Errorf("coming %+v: %q %d %d", c.marks, way, hops, v)
		}
	}
	off := loops{off: true, node: "here"}
	if _, ok := off.leaving("here"); !ok {
		t.Error("off, and it does not leave")
	}
	if _, _, v := off.coming(marks{path: "here", topic: "t"}, "t"); v != taken {
		t.Error("off, and it does not come")
	}
}

func parsed(t testing.TB, s string) template.Text {
	t.Helper()
	x, err := template.ParseText(s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// idle is a bridge that is connected to nothing, for what is done without Kafka.
func idle() *work {
	c := &Config{}
	c.Producer.MaxBatch = 1 << 20
	return &work{p: &plugin{}, c: c, loops: loops{node: "here", remote: "kafka", maxHops: 8}}
}

// Whatever a record has, what is published is what MQTT allows, and whatever a message has,
// what is written is what Kafka allows.
func FuzzRecords(f *testing.F) {
	f.Add("t", []byte("k"), []byte("v"), "h", []byte("x"), "here", "t", "1")
	f.Add("a/b", []byte{0xFF}, []byte(nil), "\x00", []byte{0}, "a,b", "", "300")
	f.Add(strings.Repeat("x", 300), []byte("+/#"), []byte(`{"a":1}`), "patchbay-path", []byte("here"), "\xFF", "u", "-1")
	in := &source{Source: &Source{Name: "in", Topic: parsed(f, "in/${topic}/${user_property.kafka_key}"), QoS: 1, UserProperties: true, Metadata: true}, w: idle()}
	out := newOutRoute(idle(), &Route{Route: bridge.Route{Name: "out"}, Topic: parsed(f, "${topic[-1]}"), Key: parsed(f, "${topic}"), UserProperties: true})
	f.Add("0", []byte("0"), []byte("0"), "0", []byte("0"), "\xb0", "", "0")
	f.Fuzz(func(t *testing.T, topic string, key, value []byte, name string, head []byte, path, at, hops string) {
		r := &kgo.Record{Topic: topic, Key: key, Value: value, Timestamp: time.UnixMilli(1), Headers: []kgo.RecordHeader{
			{Key: name, Value: head}, {Key: pathName, Value: []byte(path)}, {Key: topicName, Value: []byte(at)}, {Key: hopsName, Value: []byte(hops)},
		}}
		m, ok, err := in.message(r)
		if err == nil && ok {
			if err := bridge.CheckTopic(m.Topic); err != nil {
				t.Fatal(err)
			}
			for _, p := range m.UserProperties {
				for _, s := range []string{p.Name, p.Value} {
					if !utf8.ValidString(s) || strings.Contains(s, "\x00") || len(s) > 65535 {
						t.Fatalf("%q", s)
					}
				}
			}
			if string(m.Payload) != string(value) || m.Hops > 8 {
				t.Fatalf("%q %d", m.Payload, m.Hops)
			}
		}
		b := &bridge.Batch{Messages: []bridge.Message{{Client: &sdk.Client{}, Message: &sdk.Message{
			Topic: topic, Payload: value, UserProperties: []sdk.Pair{{Name: name, Value: string(head)}, {Name: pathName, Value: path}},
		}}}, Scope: &template.Scope{}}
		var arena []byte
		rec, ok, err := out.record(b, 0, &arena)
		if err != nil || !ok {
			return
		}
		if checkTopic(rec.Topic) != nil || string(rec.Value) != string(value) || string(rec.Key) != topic {
			t.Fatalf("%+v", rec)
		}
		if _, ok, _ := in.message(&kgo.Record{Topic: rec.Topic, Value: rec.Value, Headers: rec.Headers}); ok {
			t.Fatal("it comes back")
		}
	})
}

// Everything of a record outlives the batch that it is of, whose memory is used again.
func TestRecordKeepsNothing(t *testing.T) {
	out := newOutRoute(idle(), &Route{Route: bridge.Route{Name: "out"}, Topic: parsed(t, "x.${topic[2]}"), Key: parsed(t, "${client_id}"), UserProperties: true})
	memory := []byte("plant/press payload name value dev-1")
	part := func(from, to int) string { return unsafe.String(&memory[from], to-from) }
	b := &bridge.Batch{Messages: []bridge.Message{{Client: &sdk.Client{ClientID: part(31, 36)}, Message: &sdk.Message{
		Topic: part(0, 11), Payload: memory[12:19], UserProperties: []sdk.Pair{{Name: part(20, 24), Value: part(25, 30)}},
	}}}, Scope: &template.Scope{}}
	arena := make([]byte, 0, 1<<10)
	rec, ok, err := out.record(b, 0, &arena)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	clear(memory)
	if rec.Topic != "x.press" || string(rec.Key) != "dev-1" || string(rec.Value) != "payload" || rec.Headers[0].Key != "name" || string(rec.Headers[0].Value) != "value" {
		t.Errorf("%+v", rec)
	}
}
