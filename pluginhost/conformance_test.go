package pluginhost_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost/internal/testplugin"
	"github.com/patchbay-mq/patchbay/pluginhost/process"
	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// The three runtimes that brokers use give the same verdicts to the same events.
func TestRuntimesConform(t *testing.T) {
	build(t)
	program, err := process.Load(process.Options{Path: built.program, Dev: true})
	if err != nil {
		t.Fatal(err)
	}
	module, err := wasm.LoadFile(t.Context(), built.wasm, wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { module.Close() })
	runners := []plugintest.Runner{
		plugintest.Builtin(testplugin.Plugin()), {Name: "process", Open: program.Open}, {Name: "wasm", Open: module.Open},
	}
	var cases []plugintest.Case
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		cases = append(cases, verdicts(fmt.Sprint(i), batch(rng)))
	}
	plugintest.Conformance(t, `{"version":"7"}`, cases, runners...)
}

// verdicts compares what a plugin says; of failures that they are some, since each
// runtime has its own words for them.
func verdicts(name string, b *pluginv1.Batch) plugintest.Case {
	c := plugintest.Batch(name, b)
	ask := c.Ask
	c.Ask = func(t testing.TB, p *plugintest.Instance) pluginv1.Proto {
		answer := ask(t, p)
		if a, ok := answer.(*pluginv1.Answer); ok && a.Error != "" {
			a.Error = "failed"
		}
		return answer
	}
	return c
}

// batch is a batch of one point with up to eight events.
func batch(rng *rand.Rand) *pluginv1.Batch {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	points := []pluginv1.Point{
		pluginv1.PointAuthenticate, pluginv1.PointAuthorizePublish, pluginv1.PointInterceptPublish, pluginv1.PointGatePublish,
	}
	b := &pluginv1.Batch{Point: points[rng.IntN(len(points))], DeadlineMs: 5000}
	for i := range 1 + rng.IntN(8) {
		b.Clients = append(b.Clients, pluginv1.Client{
			ClientID: fmt.Sprint("c", i), Username: pick("", "bad", "limited", "ann", "panic"), Connection: uint64(i + 1),
		})
		e := pluginv1.Event{Client: uint32(i + 1)}
		switch b.Point {
		case pluginv1.PointAuthenticate:
			e.Authentication = &pluginv1.Authentication{HasPassword: true}
		case pluginv1.PointAuthorizePublish:
			e.Topic, e.QoS = "guarded/"+pick("no", "yes"), uint32(rng.IntN(3))
		default:
			topic := pick("gate/a", "gate/no")
			if b.Point == pluginv1.PointInterceptPublish {
				topic = "edit/" + pick("plain", "version", "topic", "twice", "drop", "deny", "disconnect", "fail", "panic")
			}
			e.Message = &pluginv1.Message{Topic: topic, Payload: []byte(pick("", "x", "payload")), QoS: uint32(rng.IntN(3))}
		}
		b.Events = append(b.Events, e)
	}
	return b
}
