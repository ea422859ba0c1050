package authfile

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/watch"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "authfile", Version: "1.0.0", Author: "Patchbay",
		Description: "Lets clients in by user names and password hashes from a file.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return newPlugin() },
		// A batch is worked off one by one, and a login may wait for its turn for longer
		// than the contract's 5 s when all clients come back at once.
		Hooks: []sdk.Hook{{Point: sdk.PointAuthenticate, Fields: sdk.FieldPassword, MaxBatch: 1, Deadline: 2 * waitAtMost}},
		Grants: []sdk.Grant{
			{Name: "clients", Optional: true, Reason: "Finds connections of users that are removed (disconnect)."},
			{Name: "disconnect", Optional: true, Reason: "Closes connections of users that are removed (disconnect)."},
			{Name: "password", Optional: true, Reason: "Has the broker verify passwords where the plugin is WebAssembly."},
		},
		// More than may wait in max_queue, so that it is max_queue that refuses.
		Workers:        4096,
		SingleInstance: true,
	}
}

func init() { sdk.Register(Plugin()) }

// waitAtMost is for a login that waits for its turn. It is told to come later before a
// broker would cut it off without a word, which is after 10 s (mqtt.connect_timeout), and
// long before the host would take the plugin for one that fails.
const waitAtMost = 8 * time.Second

type plugin struct {
	host       *sdk.Host
	file       watch.Watch
	verifier   *verifier
	directory  atomic.Pointer[directory]
	disconnect atomic.Bool
}

func newPlugin() *plugin { return &plugin{verifier: newVerifier()} }

var (
	_ sdk.Starter[Config]    = (*plugin)(nil)
	_ sdk.Configurer[Config] = (*plugin)(nil)
	_ sdk.Authenticator      = (*plugin)(nil)
	_ sdk.TimerHandler       = (*plugin)(nil)
	_ sdk.Healther           = (*plugin)(nil)
)

// Start implements sdk.Starter.
func (p *plugin) Start(ctx context.Context, h *sdk.Host, c Config) error {
	p.host = h
	if p.inSandbox() && h.Granted("password") == nil {
		return sdk.NewProblem("", "in WebAssembly the plugin has the broker verify passwords, for which it needs the grant password")
	}
	return p.apply(ctx, &c)
}

func (p *plugin) inSandbox() bool { return p.host.Info().Runtime == sdk.RuntimeWasm }

// Configure implements sdk.Configurer.
func (p *plugin) Configure(ctx context.Context, c Config) error {
	before := p.directory.Load()
	if err := p.apply(ctx, &c); err != nil {
		return err
	}
	return p.closeChanged(ctx, before)
}

// apply puts a config into force.
func (p *plugin) apply(ctx context.Context, c *Config) error {
	policy, err := newPolicy(c)
	if err != nil {
		return err
	}
	take := func(content []byte) error {
		d, err := newDirectory(policy, c.File, content)
		if err == nil {
			p.directory.Store(d)
		}
		return err
	}
	if c.File == "" {
		if err := take(nil); err != nil {
			return sdk.NewProblem("/users", err.Error())
		}
		err = p.file.Clear(ctx, p.host)
	} else if err = p.file.Set(ctx, p.host, c.File, c.Poll.Std(), take); err != nil {
		return sdk.NewProblem("/file", err.Error())
	}
	compute := hasher(c)
	if p.inSandbox() {
		// argon2id does not fit into a sandbox; the broker bounds the work.
		compute = func(ctx context.Context, secret []byte, hash string) (bool, error) {
			fits, _, err := p.host.VerifyPassword(ctx, secret, hash)
			return fits, err
		}
	}
	p.verifier.configure(c, compute)
	p.disconnect.Store(c.Disconnect)
	return err
}

// badLogin is said of unknown users and of wrong passwords, which clients cannot tell
// apart.
const badLogin = "wrong user name or password"

// clientIDInvalid is MQTT's Client Identifier not valid.
const clientIDInvalid sdk.ReasonCode = 0x85

// Authenticate implements sdk.Authenticator.
func (p *plugin) Authenticate(ctx context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	d := p.directory.Load()
	switch {
	case r.Method != "":
		return sdk.AuthResult{}, nil
	case !r.HasUsername && d.policy.anonymous:
		return sdk.Accept(sdk.Identity{}), nil
	case !r.HasUsername:
		return sdk.AuthResult{}, nil
	}
	// What is kept while others wait, and what becomes a part of the answer, is the user's,
	// not the request's.
	name := strings.Clone(r.Client.Username)
	u := d.users[name]
	hash, err := "", error(nil)
	if u != nil {
		hash = u.hash
	} else if hash, err = d.decoy(p.verifier.key, name); err != nil {
		return sdk.AuthResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, waitAtMost)
	defer cancel()
	matches, err := p.verifier.verify(ctx, name, hash, r.Password, u == nil)
	switch {
	case errors.Is(err, errBusy), ctx.Err() != nil, errors.Is(err, sdk.ErrLimit), errors.Is(err, sdk.ErrTimeout):
		return sdk.Refuse(sdk.ServerBusy, errBusy.Error()), nil
	case err != nil:
		return sdk.AuthResult{}, err
	// Without a password nobody is let in, not even with the hash of an empty one.
	case !matches || len(r.Password) == 0 || !p.still(d, u):
		return sdk.Refuse(sdk.BadUserNameOrPassword, badLogin), nil
	case !d.policy.mayHave(u, r.Client.ClientID):
		return sdk.Refuse(clientIDInvalid, "not a client id of this user"), nil
	}
	return sdk.Accept(d.identity(u)), nil
}

// still reports whether a user of d is one now: the login may have waited for long, and
// connections of users that were removed meanwhile have been closed already.
func (p *plugin) still(d *directory, u *user) bool {
	now := p.directory.Load()
	if now == d {
		return true
	}
	v := now.users[u.name]
	return v != nil && v.hash == u.hash
}

// groupsAttribute is where plugins that give permissions look for groups, with commas
// between them.
const groupsAttribute = "groups"

func (d *directory) identity(u *user) sdk.Identity {
	id := sdk.Identity{Namespace: u.namespace}
	if id.Namespace == "" {
		id.Namespace = d.policy.namespace
	}
	if groups := d.policy.groupsOf(u); len(groups) > 0 {
		id.Attributes = []sdk.Pair{{Name: groupsAttribute, Value: strings.Join(groups, ",")}}
	}
	return id
}

// Timer implements sdk.TimerHandler: it looks whether the file has changed.
func (p *plugin) Timer(ctx context.Context, _ *sdk.TimerFired) error {
	before := p.directory.Load()
	if !p.file.Poll(p.host) {
		return nil
	}
	return p.closeChanged(ctx, before)
}

// closeChanged closes the connections of users that have been removed since before, or
// have another password.
func (p *plugin) closeChanged(ctx context.Context, before *directory) error {
	if !p.disconnect.Load() {
		return nil
	}
	names := before.changed(p.directory.Load())
	if len(names) == 0 {
		return nil
	}
	for _, name := range []string{"clients", "disconnect"} {
		if p.host.Granted(name) == nil {
			p.host.Logger().Warn("users have changed, and their connections stay open without the grant "+name, "users", len(names))
			return nil
		}
	}
	closed := 0
	for _, name := range names {
		n, err := p.closeUser(ctx, name)
		if err != nil {
			return err
		}
		closed += n
	}
	p.host.Logger().Info("users have changed", "users", len(names), "connections_closed", closed)
	return nil
}

func (p *plugin) closeUser(ctx context.Context, name string) (closed int, err error) {
	// Pages of a list are kept in order of client ids, which closing does not change.
	for c, err := range p.host.Clients(ctx, sdk.ClientsRequest{AllNamespaces: true, Username: name}) {
		if err != nil {
			return closed, err
		}
		found, err := p.host.Disconnect(ctx, sdk.DisconnectRequest{
			Namespace: c.Namespace, ClientID: c.ClientID, ReasonCode: uint32(sdk.NotAuthorized), Reason: "the user has changed",
			Connection: c.Connection,
		})
		if err != nil {
			return closed, err
		}
		if found {
			closed++
		}
	}
	return closed, nil
}

// Health implements sdk.Healther.
func (p *plugin) Health(context.Context) error { return p.file.Health() }
