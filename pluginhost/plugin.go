package pluginhost

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// plugin is one entry of the operator's list, whatever instance runs at the moment.
type plugin struct {
	host *Host
	name string
	// fromFolder says that it is a file in the plugin folder, not an entry of the config.
	fromFolder bool
	log        *slog.Logger
	gate       gate
	observer   *observer
	breaker    breaker

	// life is held by whoever starts, changes or stops the plugin: for a minute perhaps.
	life turn
	// gen is what serves at the moment, nil if nothing does. It changes under life.
	gen atomic.Pointer[generation]
	// closedConsumers says that the consumers could not all be opened.
	closedConsumers atomic.Bool
	// What follows is guarded by life.
	consumers map[string]*consumer
	retries   int       // attempts to start it in a row that have failed
	served    time.Time // when the last generation was switched in
	gone      bool      // nobody is to start it any more

	hooks   []*hooked // of the last generation; guarded by host.mu
	changed chan struct{}
	unwatch context.CancelFunc

	// telling is held while the state changes, so that all hear of changes in their order.
	telling sync.Mutex

	mu    sync.Mutex
	spec  *Spec
	state pluginv1.PluginState
	// override is what an operator has said of a plugin that runs or does not, until the
	// config says something else of it.
	override override
	unusable bool               // there is a file, and it can be no plugin; spec says nothing
	abort    context.CancelFunc // ends the start that is under way; nil: none is
	retryAt  time.Time          // when the next attempt to start it is due; zero: never
	since    time.Time
	problem  string // why it does not serve
	refused  string // why the last reload was refused
	health   string
	restarts int64
	reloads  int64
	hidden   string // the config, its secrets hidden
	// consumerList has what consumers has, for those who look.
	consumerList []*consumer

	stats [64]atomic.Pointer[hookStats]
	quiet quiet
}

// turn is a mutex for long times.
type turn chan struct{}

func (t turn) Lock() { t <- struct{}{} }

func (t turn) Unlock() { <-t }

func (t turn) TryLock() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// override is what Disable and Enable leave behind.
type override uint8

const (
	asConfigured override = iota
	switchedOff
	switchedOn
)

func newPlugin(h *Host, spec *Spec) *plugin {
	p := &plugin{
		life: make(turn, 1), host: h, name: spec.Name, log: h.log.With("plugin", spec.Name), spec: spec, since: time.Now(),
		consumers: map[string]*consumer{}, changed: make(chan struct{}, 1), hidden: "{}",
	}
	p.gate.host, p.gate.plugin = h, p
	p.observer = newObserver(h, spec.QueueSize)
	var ctx context.Context
	ctx, p.unwatch = context.WithCancel(h.ctx)
	h.spawn(func() { p.watch(ctx) })
	return p
}

// discard ends a plugin that was stopped, or has never run.
func (p *plugin) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainDeadline)
	defer cancel()
	p.unwatch()
	p.observer.close(ctx)
}

// statsOf returns the figures of a point, which outlive generations.
func (p *plugin) statsOf(point pluginv1.Point) *hookStats {
	if s := p.stats[point].Load(); s != nil {
		return s
	}
	p.stats[point].CompareAndSwap(nil, new(hookStats))
	return p.stats[point].Load()
}

// published reports whether the plugin itself has published m: then it does not see it.
func (p *plugin) published(m *packet.Message) bool {
	return m.Origin != nil && m.Origin.Plugin == p.name
}

// setState notes a new state and tells about it.
func (p *plugin) setState(s pluginv1.PluginState, problem string) {
	p.telling.Lock()
	defer p.telling.Unlock()
	p.enterState(s, problem)
}

// changeState is setState if the plugin is in the state from.
func (p *plugin) changeState(from, to pluginv1.PluginState, problem string) {
	p.telling.Lock()
	defer p.telling.Unlock()
	p.mu.Lock()
	is := p.state == from
	p.mu.Unlock()
	if is {
		p.enterState(to, problem)
	}
}

// enterState is setState with telling held.
func (p *plugin) enterState(s pluginv1.PluginState, problem string) {
	p.mu.Lock()
	same := p.state == s
	if !same {
		p.state, p.since = s, time.Now()
	}
	p.problem = problem
	p.mu.Unlock()
	if same {
		return
	}
	if problem != "" {
		p.log.Warn("plugin "+stateName(s), "error", problem)
	} else {
		p.log.Info("plugin " + stateName(s))
	}
	p.host.emit(&hook.Event{
		Point: hook.PluginStateChanged, Time: time.Now().UnixMilli(), Plugin: p.name, State: uint8(s), Reason: problem,
	})
}

func stateName(s pluginv1.PluginState) string {
	switch s {
	case pluginv1.PluginStateStarting:
		return "starting"
	case pluginv1.PluginStateServing:
		return "serving"
	case pluginv1.PluginStateDegraded:
		return "degraded"
	case pluginv1.PluginStateDraining:
		return "draining"
	case pluginv1.PluginStateStopped:
		return "stopped"
	case pluginv1.PluginStateFailed:
		return "failed"
	case pluginv1.PluginStateQuarantined:
		return "quarantined"
	}
	return "unknown"
}

// current reports whether k is of the generation that serves. What becomes of the calls
// of another one says nothing about the plugin.
func (k *hooked) current() bool { return k.plugin.gen.Load() == k.gen }

// failed notes that a call has failed, or was late.
func (k *hooked) failed(err error, late bool) {
	k.stats.failures.Add(1)
	if late {
		k.stats.timeouts.Add(1)
	}
	p := k.plugin
	if n, ok := p.quiet.speak(); ok {
		p.log.Warn("the plugin has failed, the failure policy answers", "hook", pointName(k.point), "policy", policyName(k.failure),
			"error", err, "not_shown", n)
	}
	if k.current() && p.breaker.failed(p.host.nanos()) {
		p.changeState(pluginv1.PluginStateServing, pluginv1.PluginStateDegraded, err.Error())
	}
}

// worked notes that a call has succeeded.
func (k *hooked) worked() {
	if p := k.plugin; p.breaker.open() && k.current() && p.breaker.worked() {
		p.changeState(pluginv1.PluginStateDegraded, pluginv1.PluginStateServing, "")
	}
}

func policyName(f pluginv1.FailurePolicy) string {
	switch f {
	case pluginv1.FailurePolicyDeny:
		return "deny"
	case pluginv1.FailurePolicyDrop:
		return "drop"
	}
	return "continue"
}

// quiet keeps a line of the log that could come for each message to one a second.
type quiet struct {
	last atomic.Int64 // Unix seconds
	kept atomic.Int64
}

// speak reports whether the line may be written, and how many were not.
func (q *quiet) speak() (kept int64, ok bool) {
	now := time.Now().Unix()
	last := q.last.Load()
	if now == last || !q.last.CompareAndSwap(last, now) {
		q.kept.Add(1)
		return 0, false
	}
	return q.kept.Swap(0), true
}
