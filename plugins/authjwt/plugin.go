package authjwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/watch"
	"github.com/patchbay-mq/patchbay/sdk"
)

// deadline is how long a login may take, for which a fetch has to be through.
const deadline = 15 * time.Second

var authenticateHook = sdk.Hook{Point: sdk.PointAuthenticate, Fields: sdk.FieldPassword, MaxBatch: 1, Deadline: deadline}

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "auth-jwt", Version: "1.0.0", Author: "Patchbay",
		Description: "Lets clients in by JSON Web Tokens.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return newPlugin() },
		Hooks: []sdk.Hook{
			authenticateHook, {Point: sdk.PointConnected, Fields: sdk.FieldAttributes}, {Point: sdk.PointDisconnected},
		},
		Grants: []sdk.Grant{
			{Name: "http", Optional: true, Reason: "Fetches the keys of jwks_url."},
			{Name: "kv", Optional: true, Reason: "Keeps the keys of jwks_url for the next start."},
			{Name: "publish", Optional: true, Reason: "Asks clients to authenticate again (ask)."},
			{Name: "clients", Optional: true, Reason: "Finds clients that were there before a reload, to ask them (ask)."},
		},
		// More than may wait for a fetch, so that those who do not need one are served.
		Workers:        maxWaiting + 512,
		SingleInstance: true,
	}
}

func init() { sdk.Register(Plugin()) }

type plugin struct {
	host     *sdk.Host
	now      func() time.Time
	metrics  metrics
	policy   atomic.Pointer[policy]
	file     watch.Watch
	fileKeys atomic.Pointer[[]*key]
	remote   remote
	asker    asker
}

// metrics are in docs as patchbay_plugin_auth_jwt_NAME.
type metrics struct{ logins, fetches, keys, fetched, asked *sdk.Metric }

func newPlugin() *plugin {
	p := &plugin{now: time.Now}
	p.fileKeys.Store(new([]*key))
	return p
}

var (
	_ sdk.Starter[Config]    = (*plugin)(nil)
	_ sdk.Configurer[Config] = (*plugin)(nil)
	_ sdk.Narrower           = (*plugin)(nil)
	_ sdk.Authenticator      = (*plugin)(nil)
	_ sdk.Observer           = (*plugin)(nil)
	_ sdk.TimerHandler       = (*plugin)(nil)
	_ sdk.Healther           = (*plugin)(nil)
)

// Start implements sdk.Starter.
func (p *plugin) Start(ctx context.Context, h *sdk.Host, c Config) error {
	p.host = h
	p.metrics = metrics{
		logins:  h.Counter("logins_total", "Tokens, by what became of them."),
		fetches: h.Counter("jwks_fetches_total", "Fetches of jwks_url, by result."),
		keys:    h.Gauge("keys", "Keys in force, by source."),
		fetched: h.Gauge("jwks_fetched_timestamp_seconds", "When jwks_url was fetched last, in Unix seconds."),
		asked:   h.Counter("asked_total", "Clients that were asked to authenticate again, by result."),
	}
	p.remote.host, p.remote.now, p.remote.metrics = h, p.now, &p.metrics
	p.asker.host, p.asker.now, p.asker.metrics = h, p.now, &p.metrics
	p.remote.url = c.JWKSURL
	policy, err := p.check(&c)
	if err != nil {
		return err
	}
	p.remote.recall(ctx)
	if err := p.apply(ctx, &c, policy); err != nil {
		return err
	}
	if err := p.remote.denied(); err != nil {
		return sdk.NewProblem("/jwks_url", err.Error())
	}
	return nil
}

// Configure implements sdk.Configurer.
func (p *plugin) Configure(ctx context.Context, c Config) error {
	if c.JWKSURL != p.remote.url {
		// Whether keys of another URL can be had is seen by an instance of its own, while
		// this one goes on.
		return sdk.ErrRestart
	}
	policy, err := p.check(&c)
	if err != nil {
		return err
	}
	return p.apply(ctx, &c, policy)
}

// check checks a config, and whether the grants are there that it needs.
func (p *plugin) check(c *Config) (*policy, error) {
	policy, err := newPolicy(c)
	if err != nil {
		return nil, err
	}
	for _, need := range [...]struct {
		grant, at string
		needed    bool
	}{{"http", "/jwks_url", c.JWKSURL != ""}, {"publish", "/ask", c.Ask != nil}} {
		if need.needed && p.host.Granted(need.grant) == nil {
			return nil, sdk.NewProblem(need.at, "it needs the grant "+need.grant)
		}
	}
	return policy, nil
}

// apply puts a config into force. That the issuer's keys cannot be had now is no reason to
// fail: an outage of the issuer is not to be one of the broker.
func (p *plugin) apply(ctx context.Context, c *Config, policy *policy) error {
	if c.JWKSFile == "" {
		if err := p.file.Clear(ctx, p.host); err != nil {
			return err
		}
		p.fileKeys.Store(new([]*key))
	} else if err := p.file.Set(ctx, p.host, c.JWKSFile, c.Poll.Std(), p.takeFile(c.JWKSFile)); err != nil {
		return sdk.NewProblem("/jwks_file", err.Error())
	}
	p.policy.Store(policy)
	p.metrics.keys.Set(float64(len(policy.keys)), sdk.Pair{Name: "source", Value: "config"})
	p.remote.set(remoteOptions{c.Refresh.Std(), c.RefetchPause.Std(), c.FetchTimeout.Std(), c.MaxStale.Std()})
	p.remote.fetch(ctx)
	return p.asker.set(ctx, c.Ask)
}

// takeFile returns what takes over the content of jwks_file.
func (p *plugin) takeFile(path string) func(content []byte) error {
	return func(content []byte) error {
		keys, skipped, err := parseKeys(content, true)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if len(skipped) > 0 {
			p.host.Logger().Warn("keys of a file are skipped", "file", path, "why", strings.Join(skipped, "; "))
		}
		p.fileKeys.Store(&keys)
		p.metrics.keys.Set(float64(len(keys)), sdk.Pair{Name: "source", Value: "file"})
		return nil
	}
}

// Narrow implements sdk.Narrower.
func (p *plugin) Narrow() *sdk.Narrowed {
	if p.policy.Load().ask != nil {
		return nil
	}
	return &sdk.Narrowed{Hooks: []sdk.Hook{authenticateHook}}
}

// tokenOf returns what may be a token. Enhanced says that it is certain, since it came
// with an Authentication Method of ours.
func (p *policy) tokenOf(r *sdk.AuthRequest) (text string, enhanced bool) {
	switch {
	case r.Method != "":
		if slices.Contains(p.methods, r.Method) {
			return string(r.Data), true
		}
	case p.password && len(r.Password) > 0:
		return string(r.Password), false
	case p.username && r.HasUsername:
		return strings.Clone(r.Client.Username), false
	}
	return "", false
}

// Authenticate implements sdk.Authenticator.
func (p *plugin) Authenticate(ctx context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	policy := p.policy.Load()
	text, enhanced := policy.tokenOf(r)
	if text == "" && !enhanced {
		return sdk.AuthResult{}, nil
	}
	t, err := parse(text)
	if errors.Is(err, errNoToken) && !enhanced || err == nil && !policy.isOurs(t.claims) {
		return sdk.AuthResult{}, nil
	}
	identity, bad := p.judge(ctx, policy, t, err, r)
	if bad != nil {
		p.metrics.logins.Add(1, sdk.Pair{Name: "result", Value: bad.kind})
		code := bad.code
		if code == 0 {
			code = sdk.BadUserNameOrPassword
			if enhanced {
				code = sdk.NotAuthorized
			}
		}
		return sdk.Refuse(code, bad.reason), nil
	}
	p.metrics.logins.Add(1, sdk.Pair{Name: "result", Value: "accepted"})
	if !enhanced || identity.ExpiresAtMs == 0 {
		return sdk.Accept(identity), nil
	}
	// The method's own: when to come again.
	if identity.Data, err = json.Marshal(askMessage{identity.ExpiresAtMs / 1000}); err != nil {
		return sdk.AuthResult{}, err
	}
	if policy.ask != nil {
		identity.Attributes = append(identity.Attributes, sdk.Pair{Name: p.asker.attribute(), Value: strconv.FormatInt(identity.ExpiresAtMs, 10)})
	}
	if r.Reauthentication {
		p.asker.renewed(r.Client, identity.ExpiresAtMs)
		err = p.asker.schedule(ctx)
	}
	return sdk.Accept(identity), err
}

// judge verifies a token, whose form is as form says, and decides about its client.
func (p *plugin) judge(ctx context.Context, policy *policy, t *token, form error, r *sdk.AuthRequest) (sdk.Identity, *refusal) {
	if form != nil {
		return sdk.Identity{}, &refusal{kind: "form", reason: form.Error()}
	}
	a := algorithms[t.algorithm]
	if a == nil || policy.algorithms != nil && !slices.Contains(policy.algorithms, a.name) {
		return sdk.Identity{}, &refusal{kind: "algorithm", reason: "the algorithm of the token is not accepted"}
	}
	right, known, err := p.verify(ctx, policy, t, a)
	switch {
	case errors.Is(err, errNoKeys):
		return sdk.Identity{}, &refusal{kind: "unavailable", reason: err.Error(), code: sdk.ServerUnavailable}
	case err != nil:
		return sdk.Identity{}, &refusal{kind: "busy", reason: errBusy.Error(), code: sdk.ServerBusy}
	case !known:
		return sdk.Identity{}, &refusal{kind: "key", reason: "the key of the token is not known"}
	case !right:
		return sdk.Identity{}, &refusal{kind: "signature", reason: "the signature of the token is wrong"}
	}
	return policy.judge(t.claims, r.Client, r.Reauthentication, p.now())
}

// verify holds the signature against all keys that the token may mean. Known reports
// whether there were any.
func (p *plugin) verify(ctx context.Context, policy *policy, t *token, a *algorithm) (right, known bool, err error) {
	for _, k := range slices.Concat(fitting(policy.keys, t, a), fitting(*p.fileKeys.Load(), t, a)) {
		if known = true; a.verify(k, t.signed, t.signature) {
			return true, true, nil
		}
	}
	keys, err := p.remote.find(ctx, t, a)
	for _, k := range keys {
		if known = true; a.verify(k, t.signed, t.signature) {
			return true, true, nil
		}
	}
	return false, known, err
}

// Observe implements sdk.Observer: it takes note of who is there to be asked.
func (p *plugin) Observe(ctx context.Context, b *sdk.EventBatch) error {
	for i := range b.Len() {
		if e := b.At(i); b.Point == sdk.PointConnected {
			p.asker.connected(e.Client)
		} else {
			p.asker.gone(e.Client)
		}
	}
	return p.asker.schedule(ctx)
}

// Timer implements sdk.TimerHandler.
func (p *plugin) Timer(ctx context.Context, t *sdk.TimerFired) error {
	switch t.Name {
	case fetchTimer:
		p.remote.fetch(ctx)
	case askTimer:
		return p.asker.ask(ctx)
	default:
		p.file.Poll(p.host)
	}
	return nil
}

// Health implements sdk.Healther.
func (p *plugin) Health(context.Context) error {
	if err := p.file.Health(); err != nil {
		return err
	}
	return p.remote.health()
}
