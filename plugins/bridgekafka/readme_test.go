package bridgekafka

import (
	"slices"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// Every key of the config is in the README, or in the page of all bridges.
func TestReadme(t *testing.T) {
	bridgetest.Documented(t, Plugin(), "README.md", "../../docs/bridges.md")
}

// The README's config does what the README says.
func TestReadmeConfig(t *testing.T) {
	t.Parallel()
	_, addr := startKafka(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "plant-7", "secret"), kfake.Superuser("PLAIN", "u", "p"),
		kfake.SeedTopics(2, "plant.press-1", "orders", "commands"))
	configs := bridgetest.Examples(t, "README.md", "kafka-1.example.com:9093", addr, "kafka-2.example.com:9093", addr,
		"tls: {enabled: true}", "tls: {}", "${file:/run/secrets/kafka}", "secret")
	n := startNode(t)
	n.grant = []string{"cloud/#"}
	n.bridge(pluginhost.Builtin, configs[0])
	p := connect(t, n.addr, "press")
	sub := connect(t, n.addr, "s").subscribe("cloud/#")
	p.say("plant/press-1/measured/t", "21")
	if code := p.publish(&paho.Publish{Topic: "plant/press-1/order", QoS: 1, Payload: []byte(`{"id":"o-1"}`), Properties: &paho.PublishProperties{}}); code >= 0x80 {
		t.Errorf("0x%02X", code)
	}
	login := kgo.SASL(plain.Auth{User: "u", Pass: "p"}.AsMechanism())
	if r := readWith(t, addr, login, "plant.press-1").expect(1)[0]; string(r.Key) != "press" || string(r.Value) != "21" {
		t.Errorf("%q %q", r.Key, r.Value)
	}
	r := readWith(t, addr, login, "orders").expect(1)[0]
	if h := heads(r); string(r.Key) != "o-1" || !slices.Equal(h[:2], []string{"content-type=application/json", "from=press"}) {
		t.Errorf("%q %v", r.Key, h)
	}
	produceWith(t, addr, login, &kgo.Record{Topic: "commands", Key: []byte("press-1"), Value: []byte("stop")})
	if m := sub.expect(1)[0]; m.Topic != "cloud/press-1/command" || string(m.Payload) != "stop" {
		t.Errorf("%s %s", m.Topic, m.Payload)
	}
}
