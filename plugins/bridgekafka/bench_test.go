package bridgekafka

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// BenchmarkRecord makes a record of a message of 100 bytes with a User Property.
func BenchmarkRecord(b *testing.B) {
	out := newOutRoute(idle(), &Route{Route: bridge.Route{Name: "out"}, Topic: parsed(b, "plant.${topic[2]}"), Key: parsed(b, "${client_id}"), UserProperties: true})
	batch := &bridge.Batch{Messages: []bridge.Message{{Client: &sdk.Client{ClientID: "dev-1"}, Message: &sdk.Message{
		Topic: "plant/press/measured", Payload: []byte(strings.Repeat("x", 100)), UserProperties: []sdk.Pair{{Name: "site", Value: "7"}},
	}}}, Scope: &template.Scope{}}
	arena := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		arena = arena[:0]
		if _, ok, err := out.record(batch, 0, &arena); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkMessage makes a message of a record.
func BenchmarkMessage(b *testing.B) {
	in := &source{Source: &Source{Name: "in", Topic: parsed(b, "in/${user_property.kafka_key}"), QoS: 1, UserProperties: true}, w: idle()}
	r := &kgo.Record{Topic: "t", Key: []byte("dev-1"), Value: []byte(strings.Repeat("x", 100)), Timestamp: time.Now(), Headers: []kgo.RecordHeader{{Key: "site", Value: []byte("7")}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := in.message(r); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkOut takes messages of 100 bytes that wait in the broker's memory to a Kafka that
// forgets them: msg/s is of the bridge, host included.
//
//	go test ./plugins/bridgekafka -run none -bench Out -benchtime 100000x
func BenchmarkOut(b *testing.B) {
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process} {
		b.Run(string(rt), func(b *testing.B) {
			_, addr := startKafka(b, kfake.SeedTopics(4, "t"), kfake.BlackholeProduce())
			n := startNode(b)
			config := `{"remote":{"brokers":[%q]},"routes":[{"name":"r","filters":["a/#"],"topic":"t","batch_messages":1024,"retry_min":"10ms","retry_max":"10ms"}]}`
			n.bridge(rt, fmt.Sprintf(config, "127.0.0.1:1"))
			l := bridgetest.NewLedger()
			keys := []string{"a/1", "a/2", "a/3", "a/4"}
			each := (b.N + len(keys) - 1) / len(keys)
			p := bridgetest.Publish(b, l, bridgetest.PublisherOptions{Addr: n.addr, Keys: keys, Rate: 1 << 20, Window: 1000, Pad: 70, Limit: each})
			bridgetest.Eventually(b, "all wait", func() error {
				if !p.Done() {
					return fmt.Errorf("not yet")
				}
				return nil
			})
			b.ResetTimer()
			n.bridge(rt, fmt.Sprintf(config, addr))
			for want := int64(each * len(keys)); n.route("r").Messages < want; {
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
