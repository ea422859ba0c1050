package bridgekafka

import (
	"context"
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// fields are those of messages that go, whatever templates ask for.
const fields = sdk.FieldUserProperties | sdk.FieldProperties

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "bridge-kafka", Version: "1.0.0", Author: "Patchbay",
		Description: "Takes messages to Apache Kafka, and records of Kafka to here.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		Queues: bridge.Queues(fields), Hooks: bridge.Hooks(), Routes: bridge.Routes(),
		Grants: []sdk.Grant{
			{Name: "publish", Optional: true, Reason: "Publishes the records of Kafka (from)."},
		},
	}
}

func init() { sdk.Register(Plugin()) }

type plugin struct {
	bridge.Engine
	host *sdk.Host
	work atomic.Pointer[work]
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

// Start implements sdk.Starter. It does not wait for Kafka.
func (p *plugin) Start(_ context.Context, h *sdk.Host, c Config) error {
	p.host = h
	return p.apply(&c)
}

// Configure implements sdk.Configurer: publishers that wait for Kafka go on waiting.
func (p *plugin) Configure(_ context.Context, c Config) error { return p.apply(&c) }

func (p *plugin) apply(c *Config) error {
	if err := c.check(p.host); err != nil {
		return err
	}
	w, err := newWork(p, c)
	if err != nil {
		return err
	}
	// The old one leaves its groups before the new one joins them.
	if old := p.work.Swap(nil); old != nil {
		old.stop()
	}
	o := bridge.Options{Host: p.host, Kind: "bridge-kafka", Send: p.send, Fields: fields, Remotes: p.remotes}
	for i := range c.Routes {
		o.Routes = append(o.Routes, &c.Routes[i].Route)
	}
	for i := range c.From {
		o.Sources = append(o.Sources, c.From[i].Name)
	}
	p.Setup(o)
	p.work.Store(w)
	w.start()
	return nil
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
