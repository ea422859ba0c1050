package bridgemqtt

import (
	"context"
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// fields are those of messages that go.
const fields = sdk.FieldUserProperties | sdk.FieldProperties

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "bridge-mqtt", Version: "1.0.0", Author: "Patchbay",
		Description: "Joins this broker with another one by MQTT.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		Queues: bridge.Queues(fields), Hooks: bridge.Hooks(), Routes: bridge.Routes(),
		Grants: []sdk.Grant{
			{Name: "publish", Optional: true, Reason: "Publishes what comes from the other broker (direction in, both)."},
			{Name: "retained", Optional: true, Reason: "Sends retained messages to the other broker (sync_retained)."},
		},
	}
}

func init() { sdk.Register(Plugin()) }

type plugin struct {
	bridge.Engine
	host      *sdk.Host
	work      atomic.Pointer[work]
	connected atomic.Bool
}

var (
	_ sdk.Starter[Config]    = (*plugin)(nil)
	_ sdk.Configurer[Config] = (*plugin)(nil)
	_ sdk.Consumer           = (*plugin)(nil)
	_ sdk.PublishGate        = (*plugin)(nil)
	_ sdk.Narrower           = (*plugin)(nil)
	_ sdk.HTTPHandler        = (*plugin)(nil)
	_ sdk.Healther           = (*plugin)(nil)
	_ sdk.Stopper            = (*plugin)(nil)
)

// Start implements sdk.Starter. It does not wait for the other broker.
func (p *plugin) Start(_ context.Context, h *sdk.Host, c Config) error {
	p.host = h
	return p.apply(&c)
}

// Configure implements sdk.Configurer: the session at the other broker is one, so that
// the new connection cannot be there before the old one has gone.
func (p *plugin) Configure(_ context.Context, c Config) error { return p.apply(&c) }

func (p *plugin) apply(c *Config) error {
	if err := c.check(p.host); err != nil {
		return err
	}
	w, err := newWork(p, c)
	if err != nil {
		return err
	}
	if old := p.work.Swap(nil); old != nil {
		old.stop()
	}
	o := bridge.Options{Host: p.host, Kind: "bridge-mqtt", Send: p.send, Fields: fields, Remotes: p.remotes}
	for i := range c.Routes {
		r := &c.Routes[i]
		if r.out() {
			o.Routes = append(o.Routes, r.local())
		}
		if r.in() {
			o.Sources = append(o.Sources, r.Name)
		}
	}
	p.Setup(o)
	p.work.Store(w)
	w.start()
	return nil
}

// local is the route as its queue has it: with filters of this broker.
func (r *Route) local() *bridge.Route {
	out := r.Route
	out.Filters = make([]string, len(r.Filters))
	for i, f := range r.Filters {
		out.Filters[i] = r.LocalPrefix + f
	}
	return &out
}

func (p *plugin) remotes() []bridge.Remote {
	if w := p.work.Load(); w != nil {
		return w.remotes()
	}
	return nil
}

// Stop implements sdk.Stopper.
func (p *plugin) Stop(ctx context.Context, reason sdk.StopReason) error {
	err := p.Engine.Stop(ctx, reason)
	if w := p.work.Swap(nil); w != nil {
		w.stop()
	}
	return err
}
