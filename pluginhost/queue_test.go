package pluginhost_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/sdk"
)

// routes is a plugin whose config says which queues it wants.
type routes struct {
	*notes
	names []string
}

type routesConfig struct {
	Names []string `json:"names"`
}

func (r *routes) Start(_ context.Context, _ *sdk.Host, c routesConfig) error {
	r.names = c.Names
	return nil
}

func (r *routes) Narrow() *sdk.Narrowed {
	n := new(sdk.Narrowed)
	for _, name := range r.names {
		n.Queues = append(n.Queues, sdk.Queue{Name: name, TopicFilters: []string{name + "/#"}})
	}
	return n
}

func (r *routes) Consume(_ context.Context, b *sdk.ConsumeBatch) error {
	for i := range b.Len() {
		r.add(b.Queue + " " + string(b.At(i).Message.Payload))
	}
	return nil
}

// A queue that the plugin does not want any more takes nothing new, keeps what waits, and goes on
// when it is wanted again; one of a plugin that is only stopped goes on filling.
func TestQueueThatIsNotWanted(t *testing.T) {
	n := new(notes)
	p := sdk.Plugin{
		Name: "routes", Version: "1", Config: sdk.ConfigOf[routesConfig](), New: func() any { return &routes{notes: n} },
		Queues: []sdk.Queue{{Name: "*", TopicFilters: []string{"#"}}},
	}
	f := start(t, func(o *pluginhost.Options) {
		o.Builtin = func(name string) (sdk.Plugin, bool) { return p, name == p.Name }
	})
	configure := func(config string) {
		t.Helper()
		f.apply(pluginhost.Spec{Name: "routes", Source: "plugins[0]", Config: []byte(config)})
	}
	waiting := func() (list []string) {
		for _, q := range f.broker.Plugins().Queues() {
			list = append(list, fmt.Sprintf("%s open=%t filters=%d messages=%d", q.Name, q.Open, len(q.Filters), q.Messages))
		}
		slices.Sort(list)
		return list
	}
	expect := func(want ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("queues %q", want), func() bool { return slices.Equal(waiting(), want) })
	}
	c := connect(t, f.addr, "p", "")
	id := uint16(0)
	publish := func(topic, payload string, code packet.ReasonCode) {
		t.Helper()
		id++
		c.publish(topic, payload, 1, id)
		c.puback(id, code)
	}
	seen := func(want ...string) { // in any order: the queues do not wait for each other
		t.Helper()
		slices.Sort(want)
		eventually(t, fmt.Sprintf("%q", want), func() bool { return slices.Equal(slices.Sorted(slices.Values(n.get())), want) })
	}
	configure(`{"names":["a","b"]}`)
	publish("a/x", "1", packet.Success)
	publish("b/x", "2", packet.Success)
	seen("a 1", "b 2")

	if err := f.host.Disable(t.Context(), "routes"); err != nil {
		t.Fatal(err)
	}
	publish("a/x", "3", packet.Success)
	expect("a open=false filters=1 messages=1", "b open=false filters=1 messages=0")

	// While it is stopped its config changes: a is not wanted any more, and keeps what waits.
	configure(`{"names":["b"]}`)
	if err := f.host.Enable(t.Context(), "routes"); err != nil {
		t.Fatal(err)
	}
	expect("a open=false filters=0 messages=1", "b open=true filters=1 messages=0")
	publish("a/x", "4", packet.NoMatchingSubscribers)
	publish("b/x", "5", packet.Success)
	seen("a 1", "b 2", "b 5")
	expect("a open=false filters=0 messages=1", "b open=true filters=1 messages=0")

	configure(`{"names":["a","b"]}`)
	seen("a 1", "b 2", "b 5", "a 3")
	publish("a/x", "6", packet.Success)
	seen("a 1", "b 2", "b 5", "a 3", "a 6")

	// While it runs.
	configure(`{"names":["a"]}`)
	expect("a open=true filters=1 messages=0", "b open=false filters=0 messages=0")
	if !f.broker.Plugins().RemoveQueue("routes", "b") {
		t.Error("the operator cannot remove it")
	}
	configure(`{}`)
	expect("a open=false filters=0 messages=0")
}
