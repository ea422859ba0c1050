package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Reload starts a plugin anew, from its file, beside what runs, and lets it take its
// place. On an error what ran before goes on.
func (h *Host) Reload(ctx context.Context, name string) error {
	p := h.find(name)
	if p == nil {
		return h.noPlugin(name)
	}
	if p.isOff() {
		return fmt.Errorf("plugin %s is disabled: patchbay plugin enable %s", name, name)
	}
	if h.ctx.Err() != nil {
		return errClosed
	}
	s, err := p.startable()
	if err != nil {
		return err
	}
	return p.reload(ctx, s)
}

// Disable stops a plugin until it is enabled, the config says something else of it, or the
// broker is started again. A start or reload that is under way is broken off.
func (h *Host) Disable(ctx context.Context, name string) error {
	p := h.find(name)
	if p == nil {
		return h.noPlugin(name)
	}
	p.setOverride(switchedOff)
	p.halt(ctx, pluginv1.StopReasonDisabled)
	return nil
}

// Enable starts a plugin that is disabled. If it cannot be started that is tried again, as
// long as it may help.
func (h *Host) Enable(ctx context.Context, name string) error {
	p := h.find(name)
	if p == nil {
		return h.noPlugin(name)
	}
	if !p.isOff() {
		return nil
	}
	s, err := p.startable()
	if err != nil {
		return err
	}
	p.setOverride(switchedOn)
	return p.reload(ctx, s)
}

// startable returns what a plugin is started by, or why that cannot be.
func (p *plugin) startable() (*Spec, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unusable {
		return nil, errors.New(p.problem)
	}
	return p.spec, nil
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
	if s.Disabled != p.spec.Disabled {
		p.override = asConfigured
	}
	p.spec = s
}

// isOff reports whether the plugin is not to run.
func (p *plugin) isOff() bool { return p.willBeOff(p.currentSpec()) }

// willBeOff reports whether the plugin is not to run once s is what the operator wants.
func (p *plugin) willBeOff(s *Spec) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Disabled != p.spec.Disabled {
		return s.Disabled
	}
	return p.override == switchedOff || s.Disabled && p.override != switchedOn
}

func (p *plugin) setOverride(to override) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.override = to
}

func (p *plugin) setUnusable(to bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unusable = to
}

// stateNow returns the plugin's state and why it is in it.
func (p *plugin) stateNow() (pluginv1.PluginState, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.problem
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

// Close stops all plugins, within ctx. The broker
// asks none of them any more from here on.
func (h *Host) Close(ctx context.Context) error {
	h.cancel()
	for _, p := range h.all() {
		p.breakOff()
	}
	h.changing.Lock()
	defer h.changing.Unlock()
	var stopped sync.WaitGroup
	for _, p := range h.all() { // all at once: one that hangs must not take the time of others
		stopped.Go(func() { p.remove(ctx, pluginv1.StopReasonShutdown) })
	}
	stopped.Wait()
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.o.Install(nil, 0)
	ended := make(chan struct{})
	go func() {
		h.running.Wait()
		h.services.Close()
		h.sockets.remove()
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
