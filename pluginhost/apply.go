package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

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
// plugin that could not be started.
type begun struct {
	plugin     *plugin
	generation *generation
	err        error
	isNew      bool
}

// prepare starts, beside what runs, what a spec needs. Nothing that clients see changes,
// but for a config that a running plugin takes over.
func (c *change) prepare(ctx context.Context, s *Spec) error {
	p := c.host.find(s.Name)
	if p != nil && p.fromFolder {
		// The config comes first: the folder's plugin of that name goes.
		p = nil
	}
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
	case s.Disabled:
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
	p.setState(pluginv1.PluginStateStarting, "")
	p.life.Lock()
	g, err := p.start(ctx, s)
	p.life.Unlock()
	if err != nil && !s.Optional {
		if isNew {
			p.discard(ctx)
		} else {
			p.changeState(pluginv1.PluginStateStarting, pluginv1.PluginStateServing, "")
		}
		return err
	}
	c.started = append(c.started, begun{plugin: p, generation: g, err: err, isNew: isNew})
	if !isNew {
		c.lines = append(c.lines, fmt.Sprintf("plugin %s: exchanged", p.name))
	}
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
	before, beforeSpec, beforeWanted := g.config, g.spec, g.wanted
	restart, err = p.reconfigure(ctx, g, s)
	if err != nil || restart {
		return restart, err
	}
	c.lines = append(c.lines, fmt.Sprintf("plugin %s: configured", p.name))
	c.undos = append(c.undos, func(ctx context.Context) {
		p.life.Lock()
		defer p.life.Unlock()
		if p.gen.Load() != g {
			return
		}
		if _, err := g.inst.Configure(ctx, &pluginv1.ConfigureRequest{Config: before}); err != nil {
			p.log.Error("the plugin could not be given its old config back", "error", err)
		}
		g.spec, g.config = beforeSpec, before
		_ = p.takeOver(ctx, g, beforeWanted)
	})
	return false, nil
}

// reconfigure calls Configure and takes over what comes of it.
func (p *plugin) reconfigure(ctx context.Context, g *generation, s *Spec) (restart bool, err error) {
	call, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	out, err := g.inst.Configure(call, &pluginv1.ConfigureRequest{Config: s.config()})
	switch {
	case err != nil:
		return false, fmt.Errorf("configure: %w", err)
	case len(out.Problems) > 0:
		return false, refusal{problems(out.Problems)}
	case out.Restart:
		return true, nil
	}
	g.spec, g.config = s, s.config()
	wanted := g.wanted
	if out.Narrowed != nil {
		if err := g.want(out.Narrowed); err != nil {
			return false, err
		}
		wanted = g.wanted
	}
	return false, p.takeOver(ctx, g, wanted)
}

// takeOver puts into force what a running generation wants now.
func (p *plugin) takeOver(ctx context.Context, g *generation, wanted *pluginv1.Narrowed) error {
	g.wanted, g.hooks = wanted, compile(g, wanted.Hooks, g.spec)
	p.setHooks(g.hooks)
	p.mu.Lock()
	p.spec, p.hidden = g.spec, hideSecrets(g.manifest.ConfigSchema, []byte(g.config))
	p.mu.Unlock()
	p.host.rebuild()
	p.host.o.Broker.ForgetAnswers()
	return p.openConsumers(ctx, g)
}

// undo takes everything back.
func (c *change) undo(ctx context.Context) {
	for _, u := range slices.Backward(c.undos) {
		u(ctx)
	}
	for _, b := range c.started {
		if b.generation != nil {
			b.generation.end(ctx, pluginv1.StopReasonFailed)
		}
		if b.isNew {
			b.plugin.discard(ctx)
		} else {
			b.plugin.changeState(pluginv1.PluginStateStarting, pluginv1.PluginStateServing, "")
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
		list = append(list, before[j])
	}
	for _, p := range before {
		if !slices.Contains(list, p) {
			if p.fromFolder && fresh[p.name] == nil {
				list = append(list, p)
			} else {
				gone = append(gone, p)
			}
		}
	}
	h.plugins = list
	h.mu.Unlock()
	for _, b := range c.started {
		b.plugin.life.Lock()
		if b.generation != nil {
			b.plugin.retries = 0
			b.plugin.switchIn(ctx, b.generation)
		} else if b.err != nil {
			b.plugin.reloadFailed(b.err)
		} else {
			b.plugin.setState(pluginv1.PluginStateStopped, "")
		}
		b.plugin.life.Unlock()
	}
	for i := range specs {
		p := h.find(specs[i].Name)
		p.setSpec(&specs[i])
		if specs[i].Disabled && p.gen.Load() != nil {
			p.stop(ctx, pluginv1.StopReasonDisabled)
			c.lines = append(c.lines, fmt.Sprintf("plugin %s: disabled", p.name))
		}
	}
	h.rebuild()
	for _, p := range gone {
		c.lines = append(c.lines, fmt.Sprintf("plugin %s: removed", p.name))
		h.remove(ctx, p)
	}
	return c.lines
}

// remove ends a plugin that is in the list no more.
func (h *Host) remove(ctx context.Context, p *plugin) {
	ctx, cancel := context.WithTimeout(ctx, drainDeadline)
	defer cancel()
	p.stop(ctx, pluginv1.StopReasonDisabled)
	p.discard(ctx)
	if h.find(p.name) == nil {
		h.services.Forget(p.name)
	}
}

// same reports whether nothing that a running plugin depends on has changed.
func same(a, b *Spec) bool {
	x, y := *a, *b
	x.Source, y.Source, x.Optional, y.Optional = "", "", false, false
	x.Config, y.Config = []byte(a.config()), []byte(b.config())
	return reflect.DeepEqual(x, y)
}

func sameButConfig(a, b *Spec) bool {
	x, y := *a, *b
	x.Config, y.Config = nil, nil
	return same(&x, &y)
}

func (p *plugin) currentSpec() *Spec {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spec
}

// setSpec notes what the operator wants, where that changes nothing of what runs.
func (p *plugin) setSpec(s *Spec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spec = s
	p.disabled = s.Disabled
}

// SetFolder makes the plugins of the folder those of specs. Each is on its own: one that
// cannot be started is shown with its error, and tried again if that may help; one whose
// new version cannot be started goes on with the old one. problems are files that cannot
// be plugins at all, by the name that they would have.
func (h *Host) SetFolder(ctx context.Context, specs []Spec, problems map[string]error) {
	h.changing.Lock()
	defer h.changing.Unlock()
	specs = slices.Clone(specs)
	slices.SortFunc(specs, func(a, b Spec) int { return strings.Compare(a.Name, b.Name) })
	wanted := map[string]bool{}
	for i := range specs {
		s := &specs[i]
		if err := checkSpecs(specs[i : i+1]); err != nil {
			h.log.Error("the folder has a file that cannot be a plugin", "error", err)
			continue
		}
		wanted[s.Name] = true
		h.setOne(ctx, s)
	}
	for name, err := range problems {
		wanted[name] = true
		h.problem(name, err)
	}
	for _, p := range h.all() {
		if p.fromFolder && !wanted[p.name] {
			h.drop(p)
			h.remove(ctx, p)
		}
	}
}

// drop takes a plugin out of the list.
func (h *Host) drop(p *plugin) {
	h.mu.Lock()
	h.plugins = slices.DeleteFunc(slices.Clone(h.plugins), func(x *plugin) bool { return x == p })
	h.mu.Unlock()
}

// add puts a plugin of the folder into the list.
func (h *Host) add(p *plugin) {
	p.fromFolder = true
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.plugins, func(x *plugin) bool { return x.fromFolder && x.name > p.name })
	if i < 0 {
		i = len(h.plugins)
	}
	h.plugins = slices.Insert(slices.Clone(h.plugins), i, p)
}

var errNameTaken = errors.New("a plugin of the config has the same name: rename the file")

// setOne starts or exchanges a plugin of the folder.
func (h *Host) setOne(ctx context.Context, s *Spec) {
	p := h.find(s.Name)
	switch {
	case p == nil:
		p = newPlugin(h, s)
		h.add(p)
	case !p.fromFolder:
		h.log.Error("a file of the plugin folder is not used", "file", s.Source, "error", errNameTaken)
		return
	case same(p.currentSpec(), s):
		return
	}
	// What the operator wants now is tried again later even if it cannot be started.
	p.setSpec(s)
	if s.Disabled {
		p.stop(ctx, pluginv1.StopReasonDisabled)
		return
	}
	_ = p.reload(ctx, s)
}

// problem shows a file that cannot be a plugin. A plugin that runs under its name goes on.
func (h *Host) problem(name string, err error) {
	p := h.find(name)
	if p == nil {
		p = newPlugin(h, &Spec{Name: name, Source: name, Disabled: true})
		h.add(p)
	} else if !p.fromFolder {
		return
	}
	p.life.Lock()
	defer p.life.Unlock()
	p.mu.Lock()
	known := p.problem == err.Error() || p.problem == "the last reload was refused: "+err.Error()
	p.mu.Unlock()
	if !known {
		p.reloadFailed(refusal{err})
	}
}

// Reload starts a plugin anew, from its file, beside what runs, and lets it take its
// place. On an error what ran before goes on.
func (h *Host) Reload(ctx context.Context, name string) error {
	p := h.find(name)
	if p == nil {
		return h.noPlugin(name)
	}
	h.changing.Lock()
	defer h.changing.Unlock()
	s := p.currentSpec()
	if p.isDisabled() {
		return fmt.Errorf("plugin %s is disabled: patchbay plugin enable %s", name, name)
	}
	return p.reload(ctx, s)
}

// Disable stops a plugin until it is enabled or the broker is started again.
func (h *Host) Disable(ctx context.Context, name string) error {
	p := h.find(name)
	if p == nil {
		return h.noPlugin(name)
	}
	h.changing.Lock()
	defer h.changing.Unlock()
	p.setDisabled(true)
	ctx, cancel := context.WithTimeout(ctx, drainDeadline)
	defer cancel()
	p.stop(ctx, pluginv1.StopReasonDisabled)
	return nil
}

// Enable starts a plugin that is disabled.
func (h *Host) Enable(ctx context.Context, name string) error {
	p := h.find(name)
	if p == nil {
		return h.noPlugin(name)
	}
	h.changing.Lock()
	defer h.changing.Unlock()
	if !p.isDisabled() {
		return nil
	}
	if err := p.reload(ctx, p.currentSpec()); err != nil {
		return err
	}
	p.setDisabled(false)
	return nil
}

func (p *plugin) setDisabled(to bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disabled = to
}

func (p *plugin) isDisabled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.disabled
}

// ErrNoPlugin is returned for a name that no plugin has.
var ErrNoPlugin = errors.New("there is no such plugin")

func (h *Host) noPlugin(name string) error {
	var names []string
	for _, p := range h.all() {
		names = append(names, p.name)
	}
	if names == nil {
		return fmt.Errorf("%w: %q; none is configured", ErrNoPlugin, name)
	}
	return fmt.Errorf("%w: %q; there are: %s", ErrNoPlugin, name, strings.Join(names, ", "))
}

// Close stops all plugins, the last one of the config first, within ctx. The broker
// asks none of them any more from here on.
func (h *Host) Close(ctx context.Context) error {
	h.changing.Lock()
	defer h.changing.Unlock()
	h.cancel()
	for _, p := range slices.Backward(h.all()) {
		p.stop(ctx, pluginv1.StopReasonShutdown)
		p.discard(ctx)
	}
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.o.Install(nil, 0)
	ended := make(chan struct{})
	go func() {
		h.running.Wait()
		h.services.Close()
		if h.sockets != "" {
			_ = os.RemoveAll(h.sockets)
		}
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	case <-time.After(drainDeadline):
	}
	return errors.New("not all plugins have ended in time")
}
