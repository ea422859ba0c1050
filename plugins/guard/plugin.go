package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "guard", Version: "1.0.0", Author: "Patchbay",
		Description: "Pauses after failed logins, bans of clients that come and go, and patterns of clients to keep out.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return newPlugin(time.Now) },
		Hooks: hooks(true, true),
		Grants: []sdk.Grant{
			{Name: "ban", Optional: true, Reason: "Bans clients that flap, and addresses with many failed logins."},
			{Name: "kv", Optional: true, Reason: "Remembers failed logins over a restart."},
			{Name: "clients", Optional: true, Reason: "Finds connections of clients that deny keeps out from now on."},
			{Name: "disconnect", Optional: true, Reason: "Closes connections of clients that deny keeps out from now on."},
		},
		Routes:         []sdk.HTTPRoute{{Path: "pauses", Methods: []string{"GET", "DELETE"}}},
		SingleInstance: true,
	}
}

func init() { sdk.Register(Plugin()) }

// hooks are those of a config that counts logins, or has rules, and that counts
// connections.
func hooks(logins, flaps bool) (out []sdk.Hook) {
	observe := func(p sdk.Point) {
		out = append(out, sdk.Hook{Point: p, Fields: sdk.FieldConnection, MaxDelay: time.Millisecond})
	}
	if logins {
		// If the plugin fails it is as if it was not there: the next one, or the listener,
		// decides who gets in.
		out = append(out, sdk.Hook{
			Point: sdk.PointAuthenticate, Fields: sdk.FieldPassword | sdk.FieldConnection, Deadline: 4 * waitAtMost,
			Failure: sdk.FailureContinue, OnlyRefuses: true,
		})
		observe(sdk.PointAuthFailed)
		observe(sdk.PointConnected)
	}
	if flaps {
		observe(sdk.PointDisconnected)
	}
	return out
}

type plugin struct {
	now    func() time.Time
	host   *sdk.Host
	policy atomic.Pointer[policy]
	ledger *ledger
	flaps  *flaps

	refused, failedLogins, bans, entries, waiting, stored *sdk.Metric

	mu      sync.Mutex
	trouble map[string]error // what does not work, by what it is
}

func newPlugin(now func() time.Time) *plugin {
	return &plugin{now: now, ledger: newLedger(), flaps: newFlaps(), trouble: map[string]error{}}
}

var (
	_ sdk.Starter[Config]    = (*plugin)(nil)
	_ sdk.Configurer[Config] = (*plugin)(nil)
	_ sdk.Narrower           = (*plugin)(nil)
	_ sdk.Authenticator      = (*plugin)(nil)
	_ sdk.Observer           = (*plugin)(nil)
	_ sdk.TimerHandler       = (*plugin)(nil)
	_ sdk.HTTPHandler        = (*plugin)(nil)
	_ sdk.Healther           = (*plugin)(nil)
	_ sdk.Stopper            = (*plugin)(nil)
)

// The timer of what waits too long, and of storage: what is counted within a period is
// written at once.
const (
	tick   = "tick"
	period = time.Second
)

// Start implements sdk.Starter.
func (p *plugin) Start(ctx context.Context, h *sdk.Host, c Config) error {
	p.host = h
	p.refused = h.Counter("refused_total", "Logins that were refused, by why.")
	p.failedLogins = h.Counter("failed_logins_total", "Logins that failed for a wrong user name or password.")
	p.bans = h.Counter("bans_total", "Bans that were made, by why.")
	p.entries = h.Gauge("entries", "Addresses, users, pairs of both and clients that are remembered.")
	p.waiting = h.Gauge("waiting", "Logins that wait until others of the same address or user are decided about.")
	p.stored = h.Gauge("stored_timestamp_seconds", "All that was counted until then is stored.")
	if err := p.apply(&c); err != nil {
		return err
	}
	if h.Granted("kv") == nil {
		h.Logger().Warn("failed logins are forgotten at a restart without the grant kv")
	} else if err := p.ledger.load(ctx, h.KV(), p.now().UnixMilli()); err != nil {
		h.Logger().Error("some failed logins of before cannot be read", "error", err)
	}
	if err := h.SetTimer(ctx, sdk.Timer{Name: tick, Delay: period, Period: period}); err != nil {
		return fmt.Errorf("the plugin needs the grant timers: %w", err)
	}
	return p.closeDenied(ctx)
}

// Configure implements sdk.Configurer: what is counted goes on.
func (p *plugin) Configure(ctx context.Context, c Config) error {
	if err := p.apply(&c); err != nil {
		return err
	}
	return p.closeDenied(ctx)
}

func (p *plugin) apply(c *Config) error {
	policy, err := newPolicy(c)
	if err != nil {
		return err
	}
	if c.bans() && p.host.Granted("ban") == nil {
		return sdk.NewProblem("", "bans need the grant ban: add it (grants: [ban]), or set flapping.disconnects and logins.ban_after to 0")
	}
	p.policy.Store(policy)
	p.ledger.configure(policy)
	p.flaps.configure(policy)
	return nil
}

// Narrow implements sdk.Narrower.
func (p *plugin) Narrow() *sdk.Narrowed {
	c := p.policy.Load()
	return &sdk.Narrowed{Hooks: hooks(c.Logins.pauses() || len(c.rules) > 0, c.Flapping.Disconnects > 0)}
}

// connectionRateExceeded is the Reason Code of a pause. Clients before MQTT 5 are told that
// the server is unavailable.
const connectionRateExceeded sdk.ReasonCode = 0x9F

// Authenticate implements sdk.Authenticator. It lets nobody in: the next plugin does, or
// the listener where there is none.
func (p *plugin) Authenticate(_ context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	policy := p.policy.Load()
	address := addressOf(r.Client)
	if rule := policy.denied(r.Client, address); rule != nil {
		p.refused.Add(1, sdk.Pair{Name: "why", Value: "denied"})
		return sdk.Refuse(sdk.Banned, rule.Reason), nil
	}
	if r.Reauthentication || !policy.Logins.pauses() || policy.exempts(address) {
		return sdk.AuthResult{}, nil
	}
	a := p.attempt(policy, r.Client, address)
	if a.mark = noPassword; r.HasPassword {
		a.mark = p.ledger.mark(r.Password)
	}
	if v := p.ledger.enter(a, p.now().UnixMilli()); v != nil {
		return p.say(*v), nil
	}
	return sdk.Later(func(complete func(sdk.AuthResult)) {
		p.ledger.await(a, func(v verdict) { complete(p.say(v)) })
	}), nil
}

func (p *plugin) attempt(policy *policy, c *sdk.Client, a netip.Addr) *attempt {
	network := policy.network(a)
	name := ""
	if network.IsValid() {
		name = network.String()
	}
	// A client without a user name cannot be told from one with an empty one here, which
	// nobody has.
	return &attempt{connection: c.Connection, network: network, keys: keys(name, strings.Clone(c.Username), c.Username != "")}
}

// say puts a verdict on a login into words.
func (p *plugin) say(v verdict) sdk.AuthResult {
	switch {
	case !v.refused:
		return sdk.AuthResult{}
	case v.wait == 0:
		p.refused.Add(1, sdk.Pair{Name: "why", Value: "busy"})
		return sdk.Refuse(sdk.ServerBusy, "too many logins at once")
	}
	p.refused.Add(1, sdk.Pair{Name: "why", Value: v.by.String()})
	// What is told to clients does not say of what the pause is: of an address, or of a
	// user that may be somebody else's.
	return sdk.Refuse(connectionRateExceeded, "too many failed logins: try again in "+(v.wait+time.Second).Truncate(time.Second).String())
}

// Observe implements sdk.Observer.
func (p *plugin) Observe(ctx context.Context, b *sdk.EventBatch) error {
	policy := p.policy.Load()
	for i := range b.Len() {
		e := b.At(i)
		address := addressOf(e.Client)
		switch b.Point {
		case sdk.PointAuthFailed:
			p.settle(ctx, policy, e.Client, address, outcomeOf(sdk.ReasonCode(e.ReasonCode)))
		case sdk.PointConnected:
			p.settle(ctx, policy, e.Client, address, succeeded)
			// What it claimed to be may not be what it has become.
			if rule := policy.denied(e.Client, address); rule != nil {
				p.close(ctx, e.Client, rule)
			}
		case sdk.PointDisconnected:
			if !policy.exempts(address) && p.flaps.ended(e.Client, sdk.ReasonCode(e.ReasonCode), e.TimeMs) {
				p.banClient(ctx, &policy.Flapping, e.Client)
			}
		}
	}
	return nil
}

// outcomeOf tells guesses from what else keeps a client out.
func outcomeOf(code sdk.ReasonCode) outcome {
	switch code {
	case sdk.BadUserNameOrPassword, sdk.NotAuthorized, sdk.BadAuthMethod, clientIDInvalid:
		return failed
	}
	return nothing
}

// clientIDInvalid is MQTT's Client Identifier not valid.
const clientIDInvalid sdk.ReasonCode = 0x85

func (p *plugin) settle(ctx context.Context, policy *policy, c *sdk.Client, address netip.Addr, what outcome) {
	if !policy.Logins.pauses() || policy.exempts(address) {
		return
	}
	if what == failed {
		p.failedLogins.Add(1)
	}
	now := p.now()
	if network := p.ledger.settle(c.Connection, *p.attempt(policy, c, address), what, now.UnixMilli()); network.IsValid() {
		text := network.String()
		if network.IsSingleIP() {
			text = network.Addr().String()
		}
		p.ban(ctx, "logins", sdk.Ban{
			Address: text, AllNamespaces: true, ExpiresMs: now.Add(policy.Logins.BanFor.Std()).UnixMilli(),
			Reason: fmt.Sprintf("%d failed logins", policy.Logins.BanAfter),
		})
	}
}

func (p *plugin) banClient(ctx context.Context, c *FlappingConfig, client *sdk.Client) {
	p.ban(ctx, "flapping", sdk.Ban{
		ClientID: client.ClientID, Namespace: client.Namespace, ExpiresMs: p.now().Add(c.BanFor.Std()).UnixMilli(),
		Reason: fmt.Sprintf("more than %d connections ended within %s", c.Disconnects, c.Within.Std()),
	})
}

func (p *plugin) ban(ctx context.Context, why string, b sdk.Ban) {
	id, closed, err := p.host.AddBan(ctx, b)
	p.note("a ban could not be made", err)
	if err != nil {
		p.host.Logger().Error("a ban could not be made", "why", why, "client", b.ClientID, "address", b.Address, "error", err)
		return
	}
	p.bans.Add(1, sdk.Pair{Name: "why", Value: why})
	p.host.Logger().Warn("banned", "why", why, "client", b.ClientID, "namespace", b.Namespace, "address", b.Address, "id", id, "connections_closed", closed)
}

// note keeps what does not work for Health; nil: it works.
func (p *plugin) note(what string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.trouble, what)
	} else {
		p.trouble[what] = err
	}
}

// Timer implements sdk.TimerHandler.
func (p *plugin) Timer(ctx context.Context, _ *sdk.TimerFired) error {
	p.ledger.expire(p.now().UnixMilli())
	tallies, waiting := p.ledger.sizes()
	for k, n := range tallies {
		p.entries.Set(float64(n), sdk.Pair{Name: "of", Value: kind(k).String()})
	}
	p.entries.Set(float64(p.flaps.size()), sdk.Pair{Name: "of", Value: "client"})
	p.waiting.Set(float64(waiting))
	p.store(ctx)
	return nil
}

func (p *plugin) store(ctx context.Context) {
	if p.host.Granted("kv") == nil {
		return
	}
	now := p.now()
	err := p.ledger.store(ctx, p.host.KV(), now.UnixMilli())
	p.note("failed logins cannot be stored", err)
	if err == nil {
		p.stored.Set(float64(now.UnixMilli()) / 1000)
	}
}

// Stop implements sdk.Stopper.
func (p *plugin) Stop(ctx context.Context, _ sdk.StopReason) error {
	p.store(ctx)
	return nil
}

// Health implements sdk.Healther.
func (p *plugin) Health(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []error
	for what, err := range p.trouble {
		all = append(all, fmt.Errorf("%s: %w", what, err))
	}
	if len(all) == 0 {
		return nil
	}
	return sdk.Degraded(errors.Join(all...).Error())
}
