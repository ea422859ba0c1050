package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// drainDeadline is how long a generation that was replaced or removed may take to
// finish.
const drainDeadline = 10 * time.Second

// switchIn lets g serve in the place of what served before, between batches. It is
// called with life held.
func (p *plugin) switchIn(ctx context.Context, g *generation) {
	old := p.gen.Load()
	p.setHooks(g.hooks)
	p.gen.Store(g)
	p.mu.Lock()
	p.spec = g.spec
	p.hidden = hideSecrets(g.manifest.ConfigSchema, []byte(g.config))
	p.health = ""
	p.mu.Unlock()
	p.breaker.reset()
	p.host.rebuild()
	p.host.o.Broker.ForgetAnswers()
	problem := ""
	if err := p.openConsumers(ctx, g); err != nil {
		problem = err.Error()
	}
	p.setState(pluginv1.PluginStateServing, problem)
	if old != nil {
		p.retire(old, pluginv1.StopReasonReplaced)
	}
	p.nudge()
}

func (p *plugin) setHooks(hooks []*hooked) {
	p.host.mu.Lock()
	p.hooks = hooks
	p.host.mu.Unlock()
}

// retire ends a generation that nobody is sent to any more, in the background.
func (p *plugin) retire(g *generation, why pluginv1.StopReason) {
	g.retire()
	p.host.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), drainDeadline)
		defer cancel()
		g.end(ctx, why)
	})
}

// reload starts s beside what runs, and lets it take its place. On an error the old one
// goes on, and the error is shown.
func (p *plugin) reload(ctx context.Context, s *Spec) error {
	p.life.Lock()
	defer p.life.Unlock()
	if p.gen.Load() == nil {
		p.setState(pluginv1.PluginStateStarting, "")
	}
	g, err := p.start(ctx, s)
	if err != nil {
		p.reloadFailed(err)
		return err
	}
	if p.gen.Load() != nil {
		p.mu.Lock()
		p.reloads++
		p.mu.Unlock()
	}
	p.retries = 0
	p.switchIn(ctx, g)
	return nil
}

// reloadFailed notes why a new generation could not be made. It is called with life
// held.
func (p *plugin) reloadFailed(err error) {
	if p.gen.Load() == nil {
		p.startFailed(err)
		return
	}
	p.mu.Lock()
	p.problem = "the last reload was refused: " + err.Error()
	p.mu.Unlock()
	p.log.Error("reload refused, what ran before goes on", "error", err)
}

// startFailed notes that nothing runs, and when it is to be tried again. It is called
// with life held.
func (p *plugin) startFailed(err error) {
	switch {
	case permanent(err):
		p.retryAt = time.Time{}
		p.setState(pluginv1.PluginStateFailed, err.Error())
	case p.retries >= maxRetries:
		p.retryAt = time.Time{}
		p.setState(pluginv1.PluginStateQuarantined, fmt.Sprintf("%v; it has failed %d times in a row and is not tried again until you say so (patchbay plugin reload %s)",
			err, p.retries, p.name))
	default:
		p.retryAt = time.Now().Add(backoff(p.retries))
		p.retries++
		p.setState(pluginv1.PluginStateFailed, err.Error())
	}
	p.nudge()
}

// Restarts of a plugin that ends by itself: after 100 ms, doubled up to 30 s; after
// maxRetries in a row none. One that has served for settled begins anew.
const (
	firstRetry  = 100 * time.Millisecond
	lastRetry   = 30 * time.Second
	maxRetries  = 12
	settledTime = time.Minute
)

func backoff(n int) time.Duration {
	if n > 16 {
		return lastRetry
	}
	return min(firstRetry<<n, lastRetry)
}

// nudge has the plugin's watcher look again.
func (p *plugin) nudge() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// watch looks after the plugin until ctx ends: it starts it again when it has ended by
// itself, and asks for its health.
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
			p.ended(g)
		case <-retry:
			p.again(ctx)
		case <-tick.C:
			if n++; n%10 == 0 {
				p.checkHealth(ctx)
			}
			if p.breaker.open() {
				p.resumeConsumers()
			}
		}
		stop()
	}
}

// nextRetry is a channel for the next attempt to start the plugin; nil if none is due.
func (p *plugin) nextRetry() (<-chan time.Time, func()) {
	p.life.Lock()
	defer p.life.Unlock()
	if p.gen.Load() != nil || p.retryAt.IsZero() {
		return nil, func() {}
	}
	t := time.NewTimer(time.Until(p.retryAt))
	return t.C, func() { t.Stop() }
}

// ended is called when an instance has ended by itself.
func (p *plugin) ended(g *generation) {
	p.life.Lock()
	defer p.life.Unlock()
	if p.gen.Load() != g {
		return
	}
	err := errors.New("it has ended by itself")
	if e, ok := g.inst.(interface{ Err() error }); ok && e.Err() != nil {
		err = e.Err()
	}
	p.gen.Store(nil)
	if !g.retired() {
		g.retire()
	}
	p.host.running.Go(g.close)
	p.mu.Lock()
	if time.Since(p.since) > settledTime {
		p.retries = 0
	}
	p.mu.Unlock()
	p.startFailed(err)
}

// again tries to start a plugin that is down.
func (p *plugin) again(ctx context.Context) {
	p.life.Lock()
	defer p.life.Unlock()
	if p.gen.Load() != nil || p.retryAt.IsZero() || ctx.Err() != nil {
		return
	}
	p.retryAt = time.Time{}
	p.mu.Lock()
	spec := p.spec
	p.restarts++
	p.mu.Unlock()
	g, err := p.start(ctx, spec)
	if err != nil {
		p.startFailed(err)
		return
	}
	p.switchIn(ctx, g)
}

// checkHealth asks a plugin how it is, and shows it.
func (p *plugin) checkHealth(ctx context.Context) {
	g := p.gen.Load()
	if g == nil || !g.enter() {
		return
	}
	defer g.leave()
	status, text, err := g.askHealth(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
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
	if status == pluginv1.HealthStatusNotServing {
		p.changeState(pluginv1.PluginStateServing, pluginv1.PluginStateFailed, text)
	} else {
		p.changeState(pluginv1.PluginStateFailed, pluginv1.PluginStateServing, "")
	}
}

// stop ends the plugin. Its hooks are gone when it returns, and what is under way has
// ended or ctx has.
func (p *plugin) stop(ctx context.Context, why pluginv1.StopReason) {
	p.life.Lock()
	defer p.life.Unlock()
	p.retryAt = time.Time{}
	g := p.gen.Load()
	if g != nil {
		p.setState(pluginv1.PluginStateDraining, "")
	}
	p.closeConsumers(ctx)
	p.setHooks(nil)
	p.host.rebuild()
	p.observer.flush(ctx)
	p.gen.Store(nil)
	if g != nil {
		g.retire()
		g.end(ctx, why)
	}
	p.setState(pluginv1.PluginStateStopped, "")
	p.nudge()
}
