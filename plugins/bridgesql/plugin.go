package bridgesql

import (
	"context"
	"sync"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// fields are those of messages that statements may have.
const fields = sdk.FieldUserProperties | sdk.FieldProperties

// most is how many rows a transaction may have: as many as a batch.
const most = 1024

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "bridge-sql", Version: "1.0.0", Author: "Patchbay",
		Description: "Writes messages into PostgreSQL, MySQL, MariaDB or SQLite.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		Queues: bridge.Queues(fields), Hooks: bridge.Hooks(), Routes: bridge.Routes(),
	}
}

func init() { sdk.Register(Plugin()) }

type plugin struct {
	bridge.Engine
	link     *link
	routes   map[string]*route
	repeated *sdk.Metric

	cancel context.CancelFunc
	done   sync.WaitGroup
}

var (
	_ sdk.Starter[Config] = (*plugin)(nil)
	_ sdk.Consumer        = (*plugin)(nil)
	_ sdk.PublishGate     = (*plugin)(nil)
	_ sdk.Narrower        = (*plugin)(nil)
	_ sdk.HTTPHandler     = (*plugin)(nil)
	_ sdk.Healther        = (*plugin)(nil)
	_ sdk.Stopper         = (*plugin)(nil)
)

// Start implements sdk.Starter. It does not wait for the database.
func (p *plugin) Start(_ context.Context, h *sdk.Host, c Config) error {
	statements, targets, err := c.check()
	if err != nil {
		return err
	}
	p.repeated = h.Counter("repeated_total", "Transactions that were tried again at once after a deadlock or the like, by route.")
	p.routes = map[string]*route{}
	o := bridge.Options{Host: h, Kind: "bridge-sql", Send: p.send}
	var routes []*route
	for i := range c.Routes {
		r, s := &c.Routes[i], statements[i]
		work := &route{Route: r, s: s, most: most}
		p.routes[r.Name] = work
		routes = append(routes, work)
		o.Routes = append(o.Routes, &r.Route)
		o.Fields |= s.Fields
	}
	p.link = newLink(&c.Database, targets, routes, h.Logger())
	o.Remotes = p.link.remotes
	p.Setup(o)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.done.Go(func() { p.link.run(ctx) })
	return nil
}

// Health implements sdk.Healther.
func (p *plugin) Health(ctx context.Context) error {
	err := p.Engine.Health(ctx)
	if text := p.link.misfits(); err == nil && text != "" {
		return sdk.Degraded(text)
	}
	return err
}

// Stop implements sdk.Stopper.
func (p *plugin) Stop(ctx context.Context, reason sdk.StopReason) error {
	err := p.Engine.Stop(ctx, reason)
	if p.cancel != nil {
		p.cancel()
		p.done.Wait()
		p.link.fell(context.Canceled)
	}
	return err
}
