package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const (
	// healthTicks is how many seconds lie between two questions for a plugin's health.
	healthTicks = 10
	// maxDeaf is how many of these in a row a plugin may leave unanswered until it is
	// started again.
	maxDeaf = 3
	// stuckAfter is how long a plugin may leave a call that is past its deadline unanswered,
	// whatever else it answers, until it is started again: what hangs holds up those that
	// come after it.
	stuckAfter = time.Minute
)

// nudge has the plugin's watcher look again.
func (p *plugin) nudge() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// watch looks after the plugin until ctx ends: it starts it again when it has ended by
// itself, or answers no more, and asks for its health.
func (p *plugin) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; {
		var exited <-chan struct{}
		g := p.gen.Load()
		if g != nil {
			if e, ok := g.inst.(instance.Exited); ok {
				exited = e.Exited()
			}
		}
		retry, stop := p.nextRetry()
		select {
		case <-ctx.Done():
			stop()
			return
		case <-p.changed:
		case <-exited:
			p.over(g, exitError(g))
		case <-retry:
			p.again(ctx)
		case <-tick.C:
			n++
			p.tick(ctx, g, n%healthTicks == 0)
		}
		stop()
	}
}

// nextRetry is a channel for the next attempt to start the plugin; nil if none is due.
func (p *plugin) nextRetry() (<-chan time.Time, func()) {
	p.mu.Lock()
	at := p.retryAt
	p.mu.Unlock()
	if p.gen.Load() != nil || at.IsZero() {
		return nil, func() {}
	}
	t := time.NewTimer(time.Until(at))
	return t.C, func() { t.Stop() }
}

// tick looks after g, which may be nil, about once a second.
func (p *plugin) tick(ctx context.Context, g *generation, health bool) {
	if g == nil {
		return
	}
	if since := g.lates.oldest(); since != 0 && p.host.nanos()-since > int64(stuckAfter) {
		p.over(g, fmt.Errorf("it has not answered a call that was late %s ago", stuckAfter))
		return
	}
	if health {
		p.checkHealth(ctx, g)
	}
	if p.breaker.open() || p.closedConsumers.Load() {
		p.resumeConsumers(ctx)
	}
}

func exitError(g *generation) error {
	if e, ok := g.inst.(interface{ Err() error }); ok && e.Err() != nil {
		return e.Err()
	}
	return errors.New("it has ended by itself")
}

// over ends a generation that has ended by itself, or might as well have.
func (p *plugin) over(g *generation, err error) {
	p.life.Lock()
	defer p.life.Unlock()
	if p.gen.Load() != g {
		return
	}
	p.gen.Store(nil)
	g.retire()
	p.host.spawn(g.close)
	if time.Since(p.served) > settledTime {
		p.retries = 0
	}
	p.startFailed(err)
}

// again tries to start a plugin that is down.
func (p *plugin) again(ctx context.Context) {
	p.life.Lock()
	defer p.life.Unlock()
	p.mu.Lock()
	at, spec := p.retryAt, p.spec
	due := !p.gone && p.gen.Load() == nil && !at.IsZero() && !at.After(time.Now()) && ctx.Err() == nil
	if due {
		p.retryAt = time.Time{}
		p.restarts++
	}
	p.mu.Unlock()
	if !due {
		return
	}
	p.setState(pluginv1.PluginStateStarting, "")
	g, err := p.start(ctx, spec)
	if err != nil {
		p.startFailed(err)
		return
	}
	p.switchIn(ctx, g)
}

// checkHealth asks a plugin how it is, and shows it.
func (p *plugin) checkHealth(ctx context.Context, g *generation) {
	if !g.enter() {
		return
	}
	status, text, err := g.askHealth(ctx)
	g.leave()
	if ctx.Err() != nil || p.gen.Load() != g {
		return
	}
	if err == nil {
		g.deaf = 0
	} else if g.deaf++; g.deaf >= maxDeaf {
		p.over(g, fmt.Errorf("it has not said %d times in a row how it is: %w", g.deaf, err))
		return
	} else {
		status, text = pluginv1.HealthStatusNotServing, err.Error()
	}
	p.mu.Lock()
	switch status {
	case pluginv1.HealthStatusServing:
		p.health = ""
	case pluginv1.HealthStatusDegraded:
		p.health = "degraded: " + text
	default:
		p.health = "not serving: " + text
	}
	p.mu.Unlock()
	switch {
	case status == pluginv1.HealthStatusNotServing:
		p.changeState(pluginv1.PluginStateServing, pluginv1.PluginStateFailed, text)
	case p.breaker.open():
		p.changeState(pluginv1.PluginStateFailed, pluginv1.PluginStateDegraded, "it has failed again and again")
	default:
		p.changeState(pluginv1.PluginStateFailed, pluginv1.PluginStateServing, "")
	}
}
