package pluginhost

import (
	"context"
	"fmt"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// drainDeadline is how long a plugin that is removed, or a generation that was
// replaced, may take to finish.
const drainDeadline = 10 * time.Second

// switchIn lets g serve in the place of what served before, between batches. It is
// called with life held.
func (p *plugin) switchIn(ctx context.Context, g *generation) {
	old := p.gen.Load()
	p.breaker.reset()
	p.gen.Store(g)
	p.served = time.Now()
	p.observer.resize(g.spec.QueueSize)
	p.mu.Lock()
	p.spec = g.spec
	p.hidden = hideSecrets(g.manifest.ConfigSchema, []byte(g.config))
	p.health, p.refused = "", ""
	p.mu.Unlock()
	p.putInForce(g.hooks)
	p.noteHooks(g)
	if old != nil {
		p.retire(old, pluginv1.StopReasonReplaced)
	}
	problem := ""
	if err := p.openConsumers(ctx, g); err != nil {
		problem = err.Error()
	}
	p.setState(pluginv1.PluginStateServing, problem)
	p.nudge()
}

// putInForce has the broker ask hooks from now on. Answers that others gave are
// forgotten.
func (p *plugin) putInForce(hooks []*hooked) {
	p.host.mu.Lock()
	p.hooks = hooks
	p.host.mu.Unlock()
	p.host.rebuild()
	p.host.o.Broker.ForgetAnswers()
}

// retire ends a generation that nobody is sent to any more, in the background.
func (p *plugin) retire(g *generation, why pluginv1.StopReason) {
	g.retire()
	p.host.spawn(func() {
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
	if p.gone {
		return fmt.Errorf("%w: %q", ErrNoPlugin, p.name)
	}
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
	p.refused = refusedReload + err.Error()
	p.mu.Unlock()
	p.log.Error("reload refused, what ran before goes on", "error", err)
}

const refusedReload = "the last reload was refused: "

// startFailed notes that nothing runs, and when it is to be tried again. It is called
// with life held.
func (p *plugin) startFailed(err error) {
	p.shut()
	switch {
	case permanent(err):
		p.retry(time.Time{})
		p.setState(pluginv1.PluginStateFailed, err.Error())
	case p.retries >= maxRetries:
		p.retry(time.Time{})
		p.setState(pluginv1.PluginStateQuarantined, fmt.Sprintf("%v; it has failed %d times in a row and is not tried again until you say so (patchbay plugin reload %s)",
			err, p.retries, p.name))
	default:
		p.retry(time.Now().Add(backoff(p.retries)))
		p.retries++
		p.setState(pluginv1.PluginStateFailed, err.Error())
	}
	p.nudge()
}

// retry says when the next attempt to start the plugin is due.
func (p *plugin) retry(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retryAt = at
}

// Restarts of a plugin that ends by itself: after 100 ms, doubled up to 30 s; after
// maxRetries in a row none. One that has served for settledTime begins anew.
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

// stop ends the plugin. Its hooks are gone when it returns, and what is under way has
// ended or ctx has, at the latest after drainDeadline. It is called with life held.
func (p *plugin) stop(ctx context.Context, why pluginv1.StopReason) {
	ctx, cancel := context.WithTimeout(ctx, drainDeadline)
	defer cancel()
	p.retry(time.Time{})
	g := p.gen.Load()
	if g != nil {
		p.setState(pluginv1.PluginStateDraining, "")
	}
	p.closeConsumers(ctx)
	p.putInForce(nil)
	p.gate.flush(ctx)
	p.observer.flush(ctx)
	p.gen.Store(nil)
	if g != nil {
		g.retire()
		g.end(ctx, why)
	}
	p.mu.Lock()
	p.health, p.refused = "", ""
	p.mu.Unlock()
	p.setState(pluginv1.PluginStateStopped, "")
	p.nudge()
}

// halt is stop for those who do not hold life. A start that is under way is broken off.
func (p *plugin) halt(ctx context.Context, why pluginv1.StopReason) {
	p.breakOff()
	p.life.Lock()
	defer p.life.Unlock()
	p.stop(ctx, why)
}

// remove is halt for a plugin that nobody is to start again.
func (p *plugin) remove(ctx context.Context, why pluginv1.StopReason) {
	p.breakOff()
	p.life.Lock()
	defer p.life.Unlock()
	if p.gone {
		return
	}
	p.gone = true
	p.stop(ctx, why)
	if why == pluginv1.StopReasonDisabled {
		p.forgetHooks()
	}
	p.discard(ctx)
}

// breakOff ends a start that is under way.
func (p *plugin) breakOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.abort != nil {
		p.abort()
	}
}
