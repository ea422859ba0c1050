package pluginhost_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/sdk"
)

// fragile is a plugin with a gate that can be kept from starting.
type fragile struct{ broken *atomic.Bool }

type fragileConfig struct {
	Filters []string `json:"filters"`
}

func (f *fragile) Start(context.Context, *sdk.Host, fragileConfig) error {
	if f.broken.Load() {
		return errors.New("not today")
	}
	return nil
}

func (f *fragile) Gate(context.Context, *sdk.GateBatch) error { return nil }

func (f *fragile) Authorize(context.Context, *sdk.AuthorizeRequest) (sdk.Decision, error) {
	return sdk.Decision{}, nil
}

// The gate of an optional plugin that has served holds also when a broker starts without the
// plugin: nothing is acknowledged that it has not seen. An operator can take it away.
func TestOptionalPluginThatHasServed(t *testing.T) {
	var broken atomic.Bool
	p := sdk.Plugin{
		Name: "fragile", Version: "1", Config: sdk.ConfigOf[fragileConfig](), New: func() any { return &fragile{&broken} },
		Hooks: []sdk.Hook{
			{Point: sdk.PointGatePublish, TopicFilters: []string{"safe/#"}, MinQoS: 1},
			{Point: sdk.PointAuthorizePublish, TopicFilters: []string{"free/#"}, Failure: sdk.FailureContinue},
		},
	}
	values := new(store.Memory).Values()
	begin := func() *fixture {
		return start(t, func(o *pluginhost.Options) {
			o.Values, o.DefaultAllow = values, true
			o.Builtin = func(name string) (sdk.Plugin, bool) { return p, name == p.Name }
		})
	}
	spec := pluginhost.Spec{Name: "fragile", Source: "plugins[0]", Optional: true}
	publish := func(f *fixture, want packet.ReasonCode) {
		t.Helper()
		c := connect(t, f.addr, "p", "")
		for i, topic := range []string{"safe/x", "free/x"} {
			c.publish(topic, "1", 1, uint16(i+1))
			c.puback(uint16(i+1), []packet.ReasonCode{want, packet.NoMatchingSubscribers}[i])
		}
	}

	broken.Store(true)
	f := begin()
	f.apply(spec)
	publish(f, packet.NoMatchingSubscribers) // nobody knows yet of a gate

	broken.Store(false)
	f = begin()
	f.apply(spec)
	publish(f, packet.NoMatchingSubscribers)

	broken.Store(true)
	f = begin()
	f.apply(spec)
	publish(f, packet.ImplementationSpecificError)
	if !strings.Contains(f.log.String(), "has served before and cannot be started") {
		t.Error("the log does not say so")
	}
	broken.Store(false)
	if err := f.host.Reload(t.Context(), "fragile"); err != nil {
		t.Fatal(err)
	}
	publish(f, packet.NoMatchingSubscribers)

	broken.Store(true)
	f = begin()
	f.apply(spec)
	publish(f, packet.ImplementationSpecificError)
	if err := f.host.Disable(t.Context(), "fragile"); err != nil {
		t.Fatal(err)
	}
	publish(f, packet.NoMatchingSubscribers)

	f = begin()
	f.apply(spec)
	publish(f, packet.ImplementationSpecificError)
	f.apply() // it is removed from the config
	publish(f, packet.NoMatchingSubscribers)
	f.apply(spec)
	publish(f, packet.NoMatchingSubscribers)
}
