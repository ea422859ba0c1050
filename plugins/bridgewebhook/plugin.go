package bridgewebhook

import (
	"context"
	"net/http"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// fields are those that templates may ask for.
const fields = sdk.FieldUserProperties | sdk.FieldProperties

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "bridge-webhook", Version: "1.0.0", Author: "Patchbay",
		Description: "Sends messages to HTTP servers.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		Queues: bridge.Queues(fields), Hooks: bridge.Hooks(), Routes: bridge.Routes(),
	}
}

func init() { sdk.Register(Plugin()) }

type plugin struct {
	bridge.Engine
	host      *sdk.Host
	config    *Config
	client    *http.Client
	transport *http.Transport
	routes    map[string]*route
	remotes   remotes
	requests  *sdk.Metric
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

// Start implements sdk.Starter. It makes no request: whether a server answers is found out
// by the first message.
func (p *plugin) Start(_ context.Context, h *sdk.Host, c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	p.host, p.config, p.routes = h, &c, map[string]*route{}
	p.requests = h.Counter("requests_total", "Requests, by route and result: the status, or error where there was no response.")
	p.remotes.log = h.Logger()
	var err error
	if p.transport, err = c.transport(); err != nil {
		return err
	}
	p.client = &http.Client{Transport: p.transport, CheckRedirect: c.redirect}
	o := bridge.Options{Host: h, Kind: "bridge-webhook", Send: p.send, Fields: fields, Remotes: p.remotes.list}
	for i := range c.Routes {
		r := p.newRoute(&c.Routes[i])
		p.routes[r.Name] = r
		o.Routes = append(o.Routes, &r.Route.Route)
	}
	p.Setup(o)
	return nil
}

// Stop implements sdk.Stopper.
func (p *plugin) Stop(ctx context.Context, reason sdk.StopReason) error {
	err := p.Engine.Stop(ctx, reason)
	if p.transport != nil {
		p.transport.CloseIdleConnections()
	}
	return err
}
