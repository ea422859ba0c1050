package authcert

import (
	"context"
	"encoding/hex"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/watch"
	"github.com/patchbay-mq/patchbay/sdk"
)

// authenticateHook is what is wanted of a CONNECT; FieldCertificate only where a config
// asks for what stands in the certificate alone.
func authenticateHook(fields sdk.Field) sdk.Hook {
	return sdk.Hook{Point: sdk.PointAuthenticate, Fields: sdk.FieldTLS | fields}
}

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "auth-cert", Version: "1.0.0", Author: "Patchbay",
		Description: "Lets clients in by their certificates.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return &plugin{now: time.Now} },
		Hooks: []sdk.Hook{authenticateHook(sdk.FieldCertificate)},
		Grants: []sdk.Grant{
			{Name: "clients", Optional: true, Reason: "Finds connections whose certificates are refused now (disconnect)."},
			{Name: "disconnect", Optional: true, Reason: "Closes connections whose certificates are refused now (disconnect)."},
		},
		SingleInstance: true,
	}
}

func init() { sdk.Register(Plugin()) }

type plugin struct {
	host                         *sdk.Host
	now                          func() time.Time
	file                         watch.Watch
	policy                       atomic.Pointer[policy]
	logins, certificates, closed *sdk.Metric
}

var (
	_ sdk.Starter[Config]    = (*plugin)(nil)
	_ sdk.Configurer[Config] = (*plugin)(nil)
	_ sdk.Narrower           = (*plugin)(nil)
	_ sdk.Authenticator      = (*plugin)(nil)
	_ sdk.TimerHandler       = (*plugin)(nil)
	_ sdk.Healther           = (*plugin)(nil)
)

// Start implements sdk.Starter.
func (p *plugin) Start(ctx context.Context, h *sdk.Host, c Config) error {
	p.host = h
	p.logins = h.Counter("logins_total", "Certificates, by what became of them.")
	p.certificates = h.Gauge("certificates", "Certificates that are known by fingerprint.")
	p.closed = h.Counter("closed_total", "Connections that were closed since their certificate is refused now.")
	return p.apply(ctx, &c)
}

// Configure implements sdk.Configurer.
func (p *plugin) Configure(ctx context.Context, c Config) error {
	if err := p.apply(ctx, &c); err != nil {
		return err
	}
	return p.recheck(ctx)
}

// apply puts a config into force.
func (p *plugin) apply(ctx context.Context, c *Config) error {
	policy, err := newPolicy(c)
	if err != nil {
		return err
	}
	take := func(content []byte) error {
		all, err := policy.with(content)
		if err == nil {
			p.policy.Store(all)
			p.certificates.Set(float64(len(all.pins)))
		}
		return err
	}
	if c.File != "" {
		if err := p.file.Set(ctx, p.host, c.File, c.Poll.Std(), take); err != nil {
			return sdk.NewProblem("/file", err.Error())
		}
		return nil
	}
	if err := p.file.Clear(ctx, p.host); err != nil {
		return err
	}
	return take(nil)
}

// Narrow implements sdk.Narrower.
func (p *plugin) Narrow() *sdk.Narrowed {
	if p.policy.Load().needsDER {
		return nil
	}
	return &sdk.Narrowed{Hooks: []sdk.Hook{authenticateHook(0)}}
}

// attribute is where the fingerprint of a client is that this plugin has let in.
func (p *plugin) attribute() string { return p.host.Name() + ".sha256" }

// Authenticate implements sdk.Authenticator.
func (p *plugin) Authenticate(_ context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	t := r.Client.TLS
	if r.Method != "" || t == nil || t.Certificate == nil {
		return sdk.AuthResult{}, nil
	}
	id, bad := p.policy.Load().judge(t, r.Client.ClientID, p.now())
	switch {
	case bad != nil:
		p.logins.Add(1, sdk.Pair{Name: "result", Value: bad.kind})
		return sdk.Refuse(bad.code, bad.reason), nil
	case id == nil:
		p.logins.Add(1, sdk.Pair{Name: "result", Value: "left"})
		return sdk.AuthResult{}, nil
	}
	p.logins.Add(1, sdk.Pair{Name: "result", Value: "accepted"})
	id.Attributes = append(id.Attributes, sdk.Pair{Name: p.attribute(), Value: hex.EncodeToString(t.Certificate.SHA256)})
	return sdk.Accept(*id), nil
}

// Timer implements sdk.TimerHandler: it looks whether the file has changed.
func (p *plugin) Timer(ctx context.Context, _ *sdk.TimerFired) error {
	if !p.file.Poll(p.host) {
		return nil
	}
	return p.recheck(ctx)
}

// Health implements sdk.Healther.
func (p *plugin) Health(context.Context) error { return p.file.Health() }
