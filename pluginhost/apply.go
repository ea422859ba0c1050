package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Apply makes the plugins of the config those of specs, in this order: it starts those
// that are new, exchanges those that have changed and stops those that are gone. If one
// of them cannot be, nothing has changed, and the error says which and why; those that
// are optional are left out then, and tried again. It returns what it did, a line for
// each.
func (h *Host) Apply(ctx context.Context, specs []Spec) (changed []string, err error) {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.ctx.Err() != nil {
		return nil, errClosed
	}
	if err := checkSpecs(specs); err != nil {
		return nil, err
	}
	c := change{host: h}
	for i := range specs {
		if err := c.prepare(ctx, &specs[i]); err != nil {
			c.undo(ctx)
			return nil, fmt.Errorf("%s: plugin %s: %w", specs[i].Source, specs[i].Name, err)
		}
	}
	return c.commit(ctx, specs), nil
}

func checkSpecs(specs []Spec) error {
	seen := map[string]string{}
	for i := range specs {
		s := &specs[i]
		if !validName(s.Name) {
			return fmt.Errorf("%s: name %q: 1 to 64 of a-z, 0-9 and \"-\", beginning with a letter", s.Source, s.Name)
		}
		if other, ok := seen[s.Name]; ok {
			return fmt.Errorf("%s: the name %q is taken by %s", s.Source, s.Name, other)
		}
		seen[s.Name] = s.Source
	}
	return nil
}

// change is an Apply under way.
type change struct {
	host    *Host
	started []begun
	undos   []func(context.Context)
	lines   []string
}

// begun is a generation that waits to be switched in. generation is nil for an optional
// plugin that could not be started, with err, or one that is not to be.
type begun struct {
	plugin     *plugin
	generation *generation
	err        error
	isNew      bool
}

var errClosed = errors.New("the plugin host is closed")

// prepare starts, beside what runs, what a spec needs. Nothing that clients see changes,
// but for a config that a running plugin takes over.
func (c *change) prepare(ctx context.Context, s *Spec) error {
	p := c.host.find(s.Name)
	if p == nil {
		p = newPlugin(c.host, s)
		if s.Disabled {
			c.started = append(c.started, begun{plugin: p, isNew: true})
			return nil
		}
		return c.begin(ctx, p, s, true)
	}
	old := p.currentSpec()
	switch {
	case p.willBeOff(s):
		return nil
	case same(old, s):
		return nil
	case p.gen.Load() != nil && sameButConfig(old, s) && s.config() != old.config():
		restart, err := c.configure(ctx, p, s)
		if err != nil || !restart {
			return err
		}
	}
	return c.begin(ctx, p, s, false)
}

func (c *change) begin(ctx context.Context, p *plugin, s *Spec, isNew bool) error {
	p.life.Lock()
	before, problem := p.stateNow()
	idle := p.gen.Load() == nil
	if idle {
		p.setState(pluginv1.PluginStateStarting, "")
	}
	g, err := p.start(ctx, s)
	if idle && err != nil && !isNew {
		p.setState(before, problem)
	}
	p.life.Unlock()
	if err != nil && !s.Optional {
		if isNew {
			p.discard(ctx)
		}
		return err
	}
	c.started = append(c.started, begun{plugin: p, generation: g, err: err, isNew: isNew})
	if isNew || err != nil {
		return nil
	}
	if idle {
		c.undos = append(c.undos, func(context.Context) { p.changeState(pluginv1.PluginStateStarting, before, problem) })
	}
	c.lines = append(c.lines, fmt.Sprintf("plugin %s: exchanged", p.name))
	return nil
}

// configure offers a running plugin its new config. restart says that it cannot take it
// while running.
func (c *change) configure(ctx context.Context, p *plugin, s *Spec) (restart bool, err error) {
	p.life.Lock()
	defer p.life.Unlock()
	g := p.gen.Load()
	if g == nil {
		return true, nil
	}
	if err := checkConfig(g.manifest.ConfigSchema, []byte(s.config())); err != nil {
		return false, err
	}
	before := inForce{g.spec, g.config, g.wanted}
	restart, err = p.reconfigure(ctx, g, s)
	if err != nil || restart {
		return restart, err
	}
	c.lines = append(c.lines, fmt.Sprintf("plugin %s: configured", p.name))
	c.undos = append(c.undos, func(ctx context.Context) {
		p.life.Lock()
		defer p.life.Unlock()
		if p.gen.Load() == g {
			p.giveBack(ctx, g, before)
		}
	})
	return false, nil
}

// inForce is what a running generation works with, as far as Configure changes it.
type inForce struct {
	spec   *Spec
	config string
	wanted *pluginv1.Narrowed
}

// reconfigure calls Configure and takes over what comes of it. If the host cannot do what
// the plugin wants then, the plugin is given its old config back. It is called with life
// held.
func (p *plugin) reconfigure(ctx context.Context, g *generation, s *Spec) (restart bool, err error) {
	before := inForce{g.spec, g.config, g.wanted}
	out, err := g.configure(ctx, s.config())
	if err != nil || out.Restart {
		return err == nil, err
	}
	g.spec, g.config = s, s.config()
	if out.Narrowed != nil {
		err = g.want(out.Narrowed)
	}
	if err == nil {
		err = p.takeOver(ctx, g)
	}
	if err != nil {
		p.giveBack(ctx, g, before)
	}
	return false, err
}

// configure calls Configure. The error is also that of a config that is refused.
func (g *generation) configure(ctx context.Context, config string) (*pluginv1.ConfigureResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	out, err := inTime(ctx, func(ctx context.Context) (*pluginv1.ConfigureResponse, error) {
		return g.inst.Configure(ctx, &pluginv1.ConfigureRequest{Config: config})
	})
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	if err := problems(out.Problems); err != nil {
		return nil, refusal{err}
	}
	return out, nil
}

// giveBack undoes reconfigure. It is called with life held.
func (p *plugin) giveBack(ctx context.Context, g *generation, to inForce) {
	if _, err := g.configure(context.WithoutCancel(ctx), to.config); err != nil {
		p.log.Error("the plugin could not be given its old config back", "error", err)
	}
	g.spec, g.config, g.wanted = to.spec, to.config, to.wanted
	if err := p.takeOver(ctx, g); err != nil {
		p.log.Error("the plugin could not be given its old config back", "error", err)
	}
}

// takeOver puts into force what a running generation wants now.
func (p *plugin) takeOver(ctx context.Context, g *generation) error {
	g.hooks = compile(g, g.wanted.Hooks, g.spec)
	p.mu.Lock()
	p.spec, p.hidden = g.spec, hideSecrets(g.manifest.ConfigSchema, []byte(g.config))
	p.mu.Unlock()
	p.putInForce(g.hooks)
	p.noteHooks(g)
	return p.openConsumers(ctx, g)
}

// undo takes everything back.
func (c *change) undo(ctx context.Context) {
	for _, u := range slices.Backward(c.undos) {
		u(ctx)
	}
	for _, b := range c.started {
		if b.generation != nil {
			b.plugin.life.Lock()
			b.plugin.dismiss(ctx, b.generation)
			b.plugin.life.Unlock()
		}
		if b.isNew {
			b.plugin.discard(ctx)
		}
	}
}

// commit switches over to what was prepared.
func (c *change) commit(ctx context.Context, specs []Spec) []string {
	h := c.host
	fresh := map[string]*plugin{}
	for _, b := range c.started {
		if b.isNew {
			fresh[b.plugin.name] = b.plugin
			c.lines = append(c.lines, fmt.Sprintf("plugin %s: added", b.plugin.name))
		}
	}
	h.mu.Lock()
	before := h.plugins
	var list, gone []*plugin
	for i := range specs {
		if p := fresh[specs[i].Name]; p != nil {
			list = append(list, p)
			continue
		}
		j := slices.IndexFunc(before, func(p *plugin) bool { return p.name == specs[i].Name })
		before[j].fromFolder = false // the config comes first
		list = append(list, before[j])
	}
	for _, p := range before {
		switch {
		case slices.Contains(list, p):
		case p.fromFolder:
			list = append(list, p)
		default:
			gone = append(gone, p)
		}
	}
	h.plugins = list
	h.mu.Unlock()
	for _, b := range c.started {
		b.switchIn(ctx)
	}
	for i := range specs {
		p := h.find(specs[i].Name)
		p.setSpec(&specs[i])
		if p.isOff() && p.gen.Load() != nil {
			p.halt(ctx, pluginv1.StopReasonDisabled)
			c.lines = append(c.lines, fmt.Sprintf("plugin %s: disabled", p.name))
		}
	}
	h.rebuild()
	h.o.Broker.ForgetAnswers() // the order may be another one
	for _, p := range gone {
		c.lines = append(c.lines, fmt.Sprintf("plugin %s: removed", p.name))
		h.remove(ctx, p)
	}
	return c.lines
}

// switchIn lets what was begun serve.
func (b *begun) switchIn(ctx context.Context) {
	p := b.plugin
	p.life.Lock()
	defer p.life.Unlock()
	switch {
	case b.generation != nil:
		if p.gen.Load() != nil {
			p.mu.Lock()
			p.reloads++
			p.mu.Unlock()
		}
		p.retries = 0
		p.switchIn(ctx, b.generation)
	case b.err != nil:
		p.reloadFailed(b.err)
	default:
		p.setState(pluginv1.PluginStateStopped, "")
	}
}

// remove ends a plugin that is in the list no more.
func (h *Host) remove(ctx context.Context, p *plugin) {
	p.remove(ctx, pluginv1.StopReasonDisabled)
	if h.find(p.name) == nil {
		h.services.Forget(p.name)
	}
}

// same reports whether nothing that a running plugin depends on has changed.
func same(a, b *Spec) bool {
	x, y := *a, *b
	x.Source, y.Source, x.Optional, y.Optional, x.PublicRoutes, y.PublicRoutes = "", "", false, false, false, false
	x.Config, y.Config = []byte(a.config()), []byte(b.config())
	return reflect.DeepEqual(x, y)
}

func sameButConfig(a, b *Spec) bool {
	x, y := *a, *b
	x.Config, y.Config = nil, nil
	return same(&x, &y)
}
