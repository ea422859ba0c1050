package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost/services"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// start makes a generation of what s says, up to where it could serve: described,
// checked, started and healthy. Nothing is asked of it before it is switched in.
//
// It is called with life held. The grants of s come into force with it, also for what
// runs; if it fails those from before are in force again.
func (p *plugin) start(ctx context.Context, s *Spec) (g *generation, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.host.ctx, cancel)()
	p.setAbort(cancel)
	defer p.setAbort(nil)
	c, err := p.host.load(ctx, s)
	if err != nil {
		return nil, err
	}
	g = &generation{
		plugin: p, spec: s, sha256: c.sha256, release: c.release, idle: make(chan struct{}), calls: map[uint64]*call{},
		early: s.runtime() == Process, config: s.config(),
	}
	defer func() {
		if err != nil {
			p.dismiss(ctx, g)
			g = nil
		}
	}()
	access, err := p.host.services.Plugin(grantsFor(s))
	if err != nil {
		return g, refusal{err}
	}
	g.access, g.service = access, access.Service(g)
	inst, err := c.open(ctx, g.service)
	if err != nil {
		return g, err
	}
	g.inst = p.host.watched(s.Name, inst)
	if err := g.describe(ctx); err != nil {
		return g, err
	}
	if err := g.begin(ctx); err != nil {
		return g, err
	}
	return g, g.awaitHealth(ctx)
}

func grantsFor(s *Spec) services.Config {
	return services.Config{Name: s.Name, Grants: s.Grants, Revoked: s.Revoked, Namespaces: s.Namespaces}
}

// dismiss ends a generation that will not be switched in.
func (p *plugin) dismiss(ctx context.Context, g *generation) {
	g.end(ctx, pluginv1.StopReasonFailed)
	if runs := p.gen.Load(); runs != nil {
		if _, err := p.host.services.Plugin(grantsFor(runs.spec)); err != nil {
			p.log.Error("the plugin could not be given its old grants back", "error", err)
		}
	}
}

func (p *plugin) setAbort(abort context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.abort = abort
}

// describe gets the manifest and checks it, and the config against it.
func (g *generation) describe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, describeDeadline)
	defer cancel()
	m, err := inTime(ctx, func(ctx context.Context) (*pluginv1.Manifest, error) {
		return g.inst.Describe(ctx, &pluginv1.DescribeRequest{Host: g.hostInfo()})
	})
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	// What a runtime returns may be views of its memory.
	g.manifest = new(pluginv1.Manifest)
	if err := g.manifest.Unmarshal(m.AppendTo(nil)); err != nil {
		return refusal{fmt.Errorf("its manifest: %w", err)}
	}
	if err := checkManifest(g.manifest, g.spec.runtime()); err != nil {
		return refusal{fmt.Errorf("its manifest: %w", err)}
	}
	if err := checkOverrides(g.spec.Hooks); err != nil {
		return refusal{err}
	}
	if needed, _ := missing(g.manifest, g.spec); len(needed) > 0 {
		return refusal{needsGrants(needed, g.spec)}
	}
	if err := checkConfig(g.manifest.ConfigSchema, []byte(g.config)); err != nil {
		return refusal{err}
	}
	return nil
}

// needsGrants says what an operator has to write.
func needsGrants(needed []pluginv1.Grant, s *Spec) error {
	var names, why []string
	for _, g := range needed {
		names = append(names, g.Name)
		if g.Reason != "" {
			why = append(why, g.Name+": "+g.Reason)
		}
	}
	text := fmt.Sprintf("it needs grants that it has not got; if you trust it, add to %s: grants: [%s]", s.Source, strings.Join(names, ", "))
	if why != nil {
		text += " (" + strings.Join(why, "; ") + ")"
	}
	return errors.New(text)
}

func (g *generation) hostInfo() *pluginv1.HostInfo {
	o := &g.plugin.host.o
	return &pluginv1.HostInfo{
		BrokerVersion: o.Version, Node: o.Node, Features: slices.Clone(features), Runtime: contractRuntime[g.spec.runtime()],
	}
}

// begin calls Start.
func (g *generation) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	in := &pluginv1.StartRequest{
		Name: g.spec.Name, Config: g.config, Grants: grantsOf(g.spec), Host: g.hostInfo(), Worker: true,
		Namespaces: g.spec.Namespaces,
	}
	if rt := g.spec.runtime(); rt != WASM {
		in.StateDir = g.plugin.host.stateDir(g.spec.Name)
		if in.StateDir != "" {
			if err := os.MkdirAll(in.StateDir, 0o700); err != nil {
				return fmt.Errorf("its folder: %w", err)
			}
		}
	}
	out, err := inTime(ctx, func(ctx context.Context) (*pluginv1.StartResponse, error) { return g.inst.Start(ctx, in) })
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := problems(out.Problems); err != nil {
		return refusal{err}
	}
	g.started = true
	return g.want(out.Narrowed)
}

// want takes over what the plugin wants with its config; nil is all that its manifest
// says.
func (g *generation) want(n *pluginv1.Narrowed) error {
	if n == nil {
		n = &pluginv1.Narrowed{Hooks: g.manifest.Hooks}
		for _, c := range g.manifest.Consumers {
			if !strings.HasSuffix(c.Name, "*") {
				n.Consumers = append(n.Consumers, c)
			}
		}
	} else {
		own := new(pluginv1.Narrowed)
		if err := own.Unmarshal(n.AppendTo(nil)); err != nil {
			return refusal{err}
		}
		n = own
		rt := g.spec.runtime()
		if err := narrowedWithin(n, g.manifest, rt == Process || rt == WASM && (g.manifest.Instances == 1 || g.manifest.Preemptible)); err != nil {
			return refusal{err}
		}
	}
	g.wanted, g.hooks = n, compile(g, n.Hooks, g.spec)
	return nil
}

// problems makes one error of what a plugin cannot work with; nil if that is nothing.
func problems(list []pluginv1.Problem) error {
	if len(list) == 0 {
		return nil
	}
	var texts []string
	for _, p := range list {
		text := strings.Clone(p.Message)
		if p.Pointer != "" {
			text = "config: " + strings.Clone(p.Pointer) + ": " + text
		}
		texts = append(texts, text)
	}
	return errors.New(strings.Join(texts, "; "))
}

// How long a new generation may take to become healthy, and how often that is asked.
const (
	healthPatience = 15 * time.Second
	healthPause    = 100 * time.Millisecond
)

// awaitHealth waits until the plugin says that it can do its work.
func (g *generation) awaitHealth(ctx context.Context) error {
	until := time.Now().Add(healthPatience)
	for {
		status, text, err := g.askHealth(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("health: %w", err)
		case status != pluginv1.HealthStatusNotServing:
			return nil
		case time.Now().After(until):
			return fmt.Errorf("it has not become healthy within %s: %s", healthPatience, text)
		}
		select {
		case <-time.After(healthPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *generation) askHealth(ctx context.Context) (pluginv1.HealthStatus, string, error) {
	ctx, cancel := context.WithTimeout(ctx, healthDeadline)
	defer cancel()
	r, err := inTime(ctx, func(ctx context.Context) (*pluginv1.HealthResponse, error) {
		return g.inst.Health(ctx, &pluginv1.HealthRequest{})
	})
	if err != nil {
		return 0, "", err
	}
	return r.Status, strings.Clone(r.Message), nil
}

// config is what the plugin is given.
func (s *Spec) config() string {
	if len(s.Config) == 0 {
		return "{}"
	}
	return string(s.Config)
}
