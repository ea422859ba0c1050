package acl

import (
	"context"
	"strconv"
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/plugins/internal/watch"
	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// maxPermissions is how many one client can have: the broker goes through them for each
	// message. An Answer has room for maxBatch times as many.
	maxPermissions = 4096
	maxBatch       = 8
)

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "acl", Version: "1.0.0", Author: "Patchbay", Description: "Says by rules what clients may do.",
		Config: sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		Hooks: []sdk.Hook{{Point: sdk.PointPermit, MaxBatch: maxBatch}},
		// Everything that it is asked, a worker is asked.
		SingleInstance: true,
	}
}

func init() { sdk.Register(Plugin()) }

type plugin struct {
	host  *sdk.Host
	file  watch.Watch
	rules atomic.Pointer[Rules]
}

var (
	_ sdk.Starter[Config]    = (*plugin)(nil)
	_ sdk.Configurer[Config] = (*plugin)(nil)
	_ sdk.Permitter          = (*plugin)(nil)
	_ sdk.TimerHandler       = (*plugin)(nil)
	_ sdk.Healther           = (*plugin)(nil)
)

// Start implements sdk.Starter.
func (p *plugin) Start(ctx context.Context, h *sdk.Host, c Config) error {
	p.host = h
	return p.apply(ctx, &c)
}

// Configure implements sdk.Configurer.
func (p *plugin) Configure(ctx context.Context, c Config) error {
	if err := p.apply(ctx, &c); err != nil {
		return err
	}
	return p.ask(ctx)
}

// apply puts a config into force.
func (p *plugin) apply(ctx context.Context, c *Config) error {
	rules, err := newRules(c)
	if err != nil {
		return err
	}
	if c.ACLFile == "" {
		p.rules.Store(rules)
		return p.file.Clear(ctx, p.host)
	}
	err = p.file.Set(ctx, p.host, c.ACLFile, c.Poll.Std(), func(content []byte) error {
		all, err := rules.with(c.ACLFile, content)
		if err == nil {
			p.rules.Store(all)
		}
		return err
	})
	if err != nil {
		return sdk.NewProblem("/acl_file", err.Error())
	}
	return nil
}

// with returns the rules together with those of an acl_file.
func (r *Rules) with(path string, content []byte) (*Rules, error) {
	file, err := parseFile(path, content)
	if err != nil {
		return nil, err
	}
	out := *r
	out.file = file
	return &out, nil
}

// Timer implements sdk.TimerHandler: it looks whether the acl_file has changed.
func (p *plugin) Timer(ctx context.Context, _ *sdk.TimerFired) error {
	if !p.file.Poll(p.host) {
		return nil
	}
	return p.ask(ctx)
}

// ask has the host ask about all clients that are connected.
func (p *plugin) ask(ctx context.Context) error {
	return p.host.InvalidateDecisions(ctx, sdk.InvalidateDecisionsRequest{AllNamespaces: true})
}

// Permit implements sdk.Permitter.
func (p *plugin) Permit(_ context.Context, r *sdk.PermitRequest) (sdk.AuthResult, error) {
	c := clientOf(r.Client)
	entries := p.rules.Load().resolve(&c, false)
	if len(entries) > maxPermissions {
		p.host.Logger().Error("a client is refused, since more permissions are about it than it can have",
			"client_id", c.ClientID, "username", c.Username, "permissions", len(entries), "limit", maxPermissions)
		return sdk.Refuse(sdk.QuotaExceeded, "more than "+strconv.Itoa(maxPermissions)+" permissions"), nil
	}
	permissions := make([]sdk.Permission, len(entries))
	for i := range entries {
		permissions[i] = entries[i].permission()
	}
	return sdk.Permit(permissions...), nil
}

// Health implements sdk.Healther.
func (p *plugin) Health(context.Context) error { return p.file.Health() }
