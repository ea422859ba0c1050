package plugintest_test

import (
	"testing"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/internal/testplugin"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// What a test of a plugin looks like.
func TestExample(t *testing.T) {
	host := plugintest.NewHost()
	p := plugintest.Start(t, plugintest.Builtin(testplugin.Plugin()), host, `{"password":"hush"}`)
	v := p.Publish(t, &sdk.Client{ClientID: "c"}, &sdk.Message{Topic: "upper", Payload: []byte("loud")})
	if string(v.Replacement.Payload) != "LOUD" || v.Replacement.ContentType != "text/plain" {
		t.Errorf("replaced by %+v", v.Replacement)
	}
	s := p.Subscribe(t, nil, sdk.Subscription{TopicFilter: "#"}, sdk.Subscription{TopicFilter: "a", QoS: 2})
	if s.Filters[0].ReasonCode != uint32(sdk.NotAuthorized) || s.Filters[1].Subscription.QoS != 1 {
		t.Errorf("filters %+v", s.Filters)
	}
	if host.Logs()[0].Message != "started" {
		t.Errorf("logs %v", host.Logs())
	}
}

// BenchmarkProcess is a batch through a runtime and back, with the kit's own loaders.
func BenchmarkProcess(b *testing.B) {
	for _, r := range runners {
		for _, n := range []int{1, 64} {
			b.Run(r.Name+map[int]string{1: "/1", 64: "/64"}[n], func(b *testing.B) {
				p := plugintest.Start(b, r, plugintest.NewHost(), config)
				batch := publishBatch(n)
				b.ReportAllocs()
				for b.Loop() {
					p.Process(b, batch)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/msg")
			})
		}
	}
}
