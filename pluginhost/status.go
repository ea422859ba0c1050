package pluginhost

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost/process"
	"github.com/patchbay-mq/patchbay/pluginhost/services"
	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// List describes all plugins in the order in which they are asked.
func (h *Host) List() []Info {
	list := []Info{}
	for _, p := range h.all() {
		list = append(list, p.info())
	}
	return list
}

// Detail describes one plugin.
func (h *Host) Detail(name string) (Detail, bool) {
	p := h.find(name)
	if p == nil {
		return Detail{}, false
	}
	d := Detail{Info: p.info(), Config: json.RawMessage("{}")}
	p.mu.Lock()
	d.Config = json.RawMessage(p.hidden)
	spec := p.spec
	p.mu.Unlock()
	d.Grants = grantsOf(spec)
	if g := p.gen.Load(); g != nil {
		d.Manifest = g.manifest
		needed, optional := missing(g.manifest, spec)
		for _, m := range append(needed, optional...) {
			d.Missing = append(d.Missing, m.Name)
		}
		d.Refused = g.access.Refused()
	}
	return d, true
}

func (p *plugin) info() Info {
	p.mu.Lock()
	s := p.spec
	i := Info{
		Name: p.name, Runtime: s.runtime(), Source: s.Source, Path: s.Path, State: stateName(p.state), Since: p.since,
		Error: p.problem, Health: p.health, Restarts: p.restarts, Reloads: p.reloads, SHA256: s.SHA256, Hooks: []HookInfo{},
	}
	if i.Error == "" {
		i.Error = p.refused
	}
	p.mu.Unlock()
	if p.isOff() {
		i.State = "disabled"
	}
	i.Queued = p.observer.queued()
	if g := p.gen.Load(); g != nil {
		i.Plugin, i.Version, i.SHA256 = g.manifest.Name, g.manifest.Version, g.sha256
		use(g, &i)
	}
	p.host.mu.Lock()
	hooks := p.hooks
	p.host.mu.Unlock()
	for _, k := range hooks {
		x := k.info()
		i.Lost += k.stats.lost.Load()
		i.Hooks = append(i.Hooks, x)
	}
	i.Consumers = p.consumersInfo()
	return i
}

// use says what the instance takes of the machine, as far as its runtime knows.
func use(g *generation, i *Info) {
	switch inst := bare(g.inst).(type) {
	case *wasm.Plugin:
		for _, x := range inst.Stats().Instances {
			i.MemoryBytes += int64(x.MemoryBytes)
			i.FuelMax = max(i.FuelMax, int64(x.FuelMax))
		}
	case *process.Plugin:
		s := inst.Stats()
		i.PID, i.MemoryBytes = s.PID, int64(s.MemoryBytes)
	}
}

func (k *hooked) info() HookInfo {
	s := k.stats
	x := HookInfo{
		Point: pointName(k.point), TopicFilters: k.filters, MinQoS: uint32(k.minQoS), OnlyRefuses: k.onlyRefuses, Calls: s.calls.Load(), Events: s.events.Load(),
		Failures: s.failures.Load(), Timeouts: s.timeouts.Load(), Policy: s.policy.Load(),
		P50: s.latency.quantile(0.5), P99: s.latency.quantile(0.99),
	}
	if k.point.Mode() != pluginv1.Observation {
		x.Deadline, x.Failure = k.deadline, policyName(k.failure)
	}
	for a := range s.verdicts {
		if n := s.verdicts[a].Load(); n > 0 {
			if x.Verdicts == nil {
				x.Verdicts = map[string]int64{}
			}
			x.Verdicts[actionName(pluginv1.Action(a))] = n
		}
	}
	return x
}

func actionName(a pluginv1.Action) string {
	return [...]string{"continue", "allow", "deny", "replace", "drop", "disconnect", "defer", "challenge"}[a]
}

// consumersInfo describes the consumers, and the queues that nobody reads because the
// plugin does not run, or does not want them any more: they grow.
func (p *plugin) consumersInfo() []ConsumerInfo {
	var list []ConsumerInfo
	p.mu.Lock()
	consumers := p.consumerList
	p.mu.Unlock()
	for _, c := range consumers {
		s := c.runner.Stats()
		list = append(list, ConsumerInfo{
			Name: c.spec.Name, TopicFilters: c.spec.TopicFilters, Backlog: s.Backlog, BacklogBytes: s.BacklogBytes,
			OldestAge: s.OldestAge.Milliseconds(), Acknowledged: s.Acknowledged, Retried: s.Retried, DeadLetters: s.DeadLetters,
			Failures: s.Failures, Error: s.LastError,
		})
	}
	for _, q := range p.host.o.Broker.Queues() {
		if q.Owner != p.name || slices.ContainsFunc(consumers, func(c *consumer) bool { return c.spec.Name == q.Name }) {
			continue
		}
		x := ConsumerInfo{Name: q.Name, TopicFilters: q.Filters, Backlog: q.Messages, BacklogBytes: q.Bytes}
		if !q.Oldest.IsZero() {
			x.OldestAge = max(time.Since(q.Oldest), 0).Milliseconds()
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b ConsumerInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// listConsumers makes a copy for those who look without holding life.
func (p *plugin) listConsumers() {
	list := make([]*consumer, 0, len(p.consumers))
	for _, c := range p.consumers {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *consumer) int { return cmp.Compare(a.spec.Name, b.spec.Name) })
	p.mu.Lock()
	p.consumerList = list
	p.mu.Unlock()
}

// MetricFamilies are the names of the metrics of Host.Metrics that do not come from
// plugins themselves, with what they mean; "c" marks counters, "g" gauges, "h" histograms.
var MetricFamilies = [][3]string{
	{"patchbay_plugins_state", "g", "1 for the state that a plugin is in."},
	{"patchbay_plugins_restarts_total", "c", "Times that a plugin was started again after it had ended by itself."},
	{"patchbay_plugins_reloads_total", "c", "Times that a new version or config of a plugin took the place of the old one."},
	{"patchbay_plugins_memory_bytes", "g", "Memory of a plugin in a sandbox or process of its own."},
	{"patchbay_plugins_fuel_max", "g", "Fuel that the dearest call of a plugin in WebAssembly has used."},
	{"patchbay_plugins_queued_events", "g", "Observations that wait for a plugin."},
	{"patchbay_plugins_lost_events_total", "c", "Observations that a plugin has not got because it was too slow."},
	{"patchbay_plugins_refused_calls_total", "c", "Calls of a plugin that were refused for want of a grant."},
	{"patchbay_plugins_calls_total", "c", "Batches that a plugin was asked about, by hook."},
	{"patchbay_plugins_events_total", "c", "Events in these batches."},
	{"patchbay_plugins_failures_total", "c", "Batches that a plugin has not answered, or with nonsense; late ones included."},
	{"patchbay_plugins_timeouts_total", "c", "Batches that a plugin has not answered by their deadline."},
	{"patchbay_plugins_policy_total", "c", "Events that the failure policy has answered in the place of a plugin."},
	{"patchbay_plugins_verdicts_total", "c", "Verdicts of a plugin, by hook and action."},
	{"patchbay_plugins_call_seconds", "h", "How long a plugin takes for a batch, by hook."},
	{"patchbay_plugins_consumer_backlog", "g", "Messages that wait for a consumer, those that it has and has not acknowledged included."},
	{"patchbay_plugins_consumer_backlog_bytes", "g", "Their size."},
	{"patchbay_plugins_consumer_oldest_seconds", "g", "How long the first of them has waited."},
	{"patchbay_plugins_consumer_acknowledged_total", "c", "Messages that a consumer has acknowledged."},
	{"patchbay_plugins_consumer_retried_total", "c", "Messages that a consumer has got more than once."},
	{"patchbay_plugins_consumer_dead_letters_total", "c", "Messages that a consumer was handed too often, or has given up."},
	{"patchbay_plugins_consumer_failures_total", "c", "Batches that a consumer has not acknowledged."},
}

// Metrics calls put for each series of all plugins, those that plugins keep themselves
// included. It must not be kept waiting.
func (h *Host) Metrics(put func(Metric)) {
	family := map[string][3]string{}
	for _, f := range MetricFamilies {
		family[f[0]] = f
	}
	for _, p := range h.all() {
		one := func(name string, v float64, labels ...Label) {
			f := family["patchbay_plugins_"+name]
			put(Metric{Name: f[0], Help: f[2], Counter: f[1] == "c", Value: v, Labels: append([]Label{{"plugin", p.name}}, labels...)})
		}
		i := p.info()
		one("state", 1, Label{"state", i.State})
		one("restarts_total", float64(i.Restarts))
		one("reloads_total", float64(i.Reloads))
		if i.MemoryBytes > 0 {
			one("memory_bytes", float64(i.MemoryBytes))
		}
		if i.FuelMax > 0 {
			one("fuel_max", float64(i.FuelMax))
		}
		one("queued_events", float64(i.Queued))
		one("lost_events_total", float64(i.Lost))
		if g := p.gen.Load(); g != nil {
			for grant, n := range g.access.Refused() {
				one("refused_calls_total", float64(n), Label{"grant", grant})
			}
		}
		for _, x := range i.Hooks {
			at := Label{"hook", x.Point}
			one("calls_total", float64(x.Calls), at)
			one("events_total", float64(x.Events), at)
			one("failures_total", float64(x.Failures), at)
			one("timeouts_total", float64(x.Timeouts), at)
			one("policy_total", float64(x.Policy), at)
			for action, n := range x.Verdicts {
				one("verdicts_total", float64(n), at, Label{"action", action})
			}
		}
		for _, x := range i.Consumers {
			of := Label{"consumer", x.Name}
			one("consumer_backlog", float64(x.Backlog), of)
			one("consumer_backlog_bytes", float64(x.BacklogBytes), of)
			one("consumer_oldest_seconds", (time.Duration(x.OldestAge) * time.Millisecond).Seconds(), of)
			one("consumer_acknowledged_total", float64(x.Acknowledged), of)
			one("consumer_retried_total", float64(x.Retried), of)
			one("consumer_dead_letters_total", float64(x.DeadLetters), of)
			one("consumer_failures_total", float64(x.Failures), of)
		}
		p.latencies(put, family["patchbay_plugins_call_seconds"])
	}
	h.ownMetrics(put)
}

func (p *plugin) latencies(put func(Metric), f [3]string) {
	p.host.mu.Lock()
	hooks := p.hooks
	p.host.mu.Unlock()
	for _, k := range hooks {
		l := &k.stats.latency
		m := Metric{
			Name: f[0], Help: f[2], Labels: []Label{{"plugin", p.name}, {"hook", pointName(k.point)}},
			Value: time.Duration(l.sum.Load()).Seconds(),
		}
		for i := range l.buckets {
			m.Count += uint64(l.buckets[i].Load())
			if i < histogramBuckets-1 {
				m.Buckets = append(m.Buckets, Bucket{UpperBound: bound(i).Seconds(), Count: m.Count})
			}
		}
		put(m)
	}
}

// ownMetrics are those that plugins keep themselves.
func (h *Host) ownMetrics(put func(Metric)) {
	h.services.Samples(func(s services.Sample) {
		m := Metric{Name: s.Name, Help: s.Help, Counter: s.Kind == services.Counter, Value: s.Value, Count: s.Count}
		for _, l := range s.Labels {
			m.Labels = append(m.Labels, Label{l.Name, l.Value})
		}
		for _, b := range s.Buckets {
			m.Buckets = append(m.Buckets, Bucket{UpperBound: b.UpperBound, Count: b.Count})
		}
		put(m)
	})
}
