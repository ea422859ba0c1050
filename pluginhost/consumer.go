package pluginhost

import (
	"context"
	"errors"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost/consume"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// consumer is one of a plugin's consumers with what was asked for when it was opened.
type consumer struct {
	spec   *pluginv1.Consumer
	spaces []string
	runner *consume.Runner
	stats  *hookStats
}

// pin lends the plugin's present instance to a consumer.
func (p *plugin) pin() (instance.Plugin, func(), bool) {
	g := p.gen.Load()
	// Of an instance that has ended, which the watcher may not know yet, every attempt
	// would fail, and messages have few.
	if g == nil || hasEnded(g.inst) || !g.enter() {
		return nil, nil, false
	}
	if !p.breaker.allows(p.host.nanos()) {
		g.leave()
		return nil, nil, false
	}
	return g.inst, g.leave, true
}

// hasEnded reports whether an instance has ended by itself.
func hasEnded(inst instance.Plugin) bool {
	e, ok := inst.(instance.Exited)
	if !ok {
		return false
	}
	select {
	case <-e.Exited():
		return true
	default:
		return false
	}
}

// openConsumers makes what runs that which g wants. Those that cannot be opened now are
// tried again later. It is called with life held.
func (p *plugin) openConsumers(ctx context.Context, g *generation) error {
	ctx, cancel := context.WithTimeout(ctx, drainDeadline)
	defer cancel()
	defer p.listConsumers()
	var failed []error
	wanted := map[string]*pluginv1.Consumer{}
	for i := range g.wanted.Consumers {
		c := &g.wanted.Consumers[i]
		wanted[c.Name] = c
	}
	for name, c := range p.consumers {
		w := wanted[name]
		if w == nil || !pluginv1.Equal(w, c.spec) || !sameSet(c.spaces, g.spec.Namespaces) {
			p.closeConsumer(ctx, name)
		}
	}
	failed = append(failed, p.dryQueues(wanted))
	for name, w := range wanted {
		if p.consumers[name] != nil {
			p.consumers[name].runner.Use(p.pin)
			continue
		}
		c := &consumer{spec: w, spaces: g.spec.Namespaces, stats: new(hookStats)}
		var err error
		c.runner, err = consume.New(consume.Options{
			Plugin: p.name, Spec: w, Broker: p.host.o.Broker, Namespaces: g.spec.Namespaces, Log: p.host.log,
			Called: func(took time.Duration, messages int, err error) { p.consumed(c, took, messages, err) },
		})
		if err != nil {
			failed = append(failed, err)
			continue
		}
		c.runner.Use(p.pin)
		p.consumers[name] = c
	}
	err := errors.Join(failed...)
	p.closedConsumers.Store(err != nil)
	return err
}

// dryQueues has the plugin's queues that nobody wants any more take nothing new: a config without
// them would otherwise fill the store for ever. What waits stays, for a config that wants
// them again or an operator who removes them.
func (p *plugin) dryQueues(wanted map[string]*pluginv1.Consumer) error {
	var failed []error
	for _, q := range p.host.o.Broker.Queues() {
		if q.Owner != p.name || wanted[q.Name] != nil || len(q.Filters) == 0 {
			continue
		}
		dry := q.QueueSpec
		dry.Filters = nil
		h, err := p.host.o.Broker.OpenQueue(dry, func() {})
		if err != nil {
			failed = append(failed, err)
			continue
		}
		h.Close()
		p.log.Info("a queue takes nothing new, since the plugin does not want it any more; what waits stays until it does, or the queue is removed",
			"consumer", q.Name, "messages", q.Messages)
	}
	return errors.Join(failed...)
}

// consumed notes a batch.
func (p *plugin) consumed(c *consumer, took time.Duration, messages int, err error) {
	c.stats.calls.Add(1)
	c.stats.events.Add(int64(messages))
	c.stats.latency.observe(took)
	switch {
	case err != nil:
		c.stats.failures.Add(1)
		if p.breaker.failed(p.host.nanos()) {
			p.changeState(pluginv1.PluginStateServing, pluginv1.PluginStateDegraded, err.Error())
		}
	case p.breaker.worked():
		p.changeState(pluginv1.PluginStateDegraded, pluginv1.PluginStateServing, "")
	}
}

// resumeConsumers opens those that could not be opened, and has all look again whether
// the plugin can be asked; not while the plugin is being changed.
func (p *plugin) resumeConsumers(ctx context.Context) {
	if !p.life.TryLock() {
		return
	}
	defer p.life.Unlock()
	if g := p.gen.Load(); g != nil && p.closedConsumers.Load() {
		problem := ""
		if err := p.openConsumers(ctx, g); err != nil {
			problem = err.Error()
		}
		p.changeState(pluginv1.PluginStateServing, pluginv1.PluginStateServing, problem)
	}
	for _, c := range p.consumers {
		c.runner.Resume()
	}
}

func (p *plugin) closeConsumer(ctx context.Context, name string) {
	if err := p.consumers[name].runner.Close(ctx); err != nil {
		p.log.Warn("a consumer was closed while its plugin was at work: what it had comes again", "error", err)
	}
	delete(p.consumers, name)
}

func (p *plugin) closeConsumers(ctx context.Context) {
	defer p.listConsumers()
	for name := range p.consumers {
		p.closeConsumer(ctx, name)
	}
}

// sameSet reports whether two lists have the same elements.
func sameSet(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	has := map[string]int{}
	for _, s := range a {
		has[s]++
	}
	for _, s := range b {
		if has[s]--; has[s] < 0 {
			return false
		}
	}
	return true
}
