package pluginhost

import (
	"context"
	"errors"
	"slices"
	"strings"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// SetFolder makes the plugins of the folder those of specs. Each is on its own: one that
// cannot be started is shown with its error, and tried again if that may help; one whose
// new version cannot be started goes on with the old one. problems are files that cannot
// be plugins at all, by the name that they would have.
func (h *Host) SetFolder(ctx context.Context, specs []Spec, problems map[string]error) {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.ctx.Err() != nil {
		return
	}
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
	case !p.unusable && same(p.currentSpec(), s):
		return
	}
	p.setUnusable(false)
	// What the operator wants now is tried again later even if it cannot be started.
	p.setSpec(s)
	if p.isOff() {
		p.halt(ctx, pluginv1.StopReasonDisabled)
		return
	}
	_ = p.reload(ctx, s) // it is shown
}

// problem shows a file that cannot be a plugin. A plugin that runs under its name goes on.
func (h *Host) problem(name string, err error) {
	p := h.find(name)
	if p == nil {
		p = newPlugin(h, &Spec{Name: name, Source: name})
		p.unusable = true
		h.add(p)
	} else if !p.fromFolder {
		return
	}
	p.life.Lock()
	defer p.life.Unlock()
	p.mu.Lock()
	known := p.problem == err.Error() || p.refused == refusedReload+err.Error()
	p.mu.Unlock()
	if !known {
		p.reloadFailed(refusal{err})
	}
}
