package pluginhost

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost/services"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// generation is one started instance of a plugin. A reload makes another one, beside
// it, and then takes its place.
type generation struct {
	plugin   *plugin
	spec     *Spec
	inst     instance.Plugin
	access   *services.Plugin
	service  *services.Service
	manifest *pluginv1.Manifest
	sha256   string
	config   string // in force
	// release gives up what the instance was made from; nil if that is nothing.
	release func()

	// wanted is what the plugin wants with its present config, hooks what comes of it. Both
	// change only under plugin.life, and with a new table.
	wanted *pluginv1.Narrowed
	hooks  []*hooked

	// refs counts calls under way, plus closing once no more may begin.
	refs atomic.Int64
	idle chan struct{} // closed when none is under way and none can begin
	once sync.Once     // for that

	// early says that the plugin may complete what it puts off before its answer comes.
	early  bool
	nextID atomic.Uint64
	mu     sync.Mutex
	calls  map[uint64]*call // those with events that are or may be put off
}

const closing = 1 << 40

// enter begins a call. It returns false if none may begin any more.
func (g *generation) enter() bool {
	if g.refs.Add(1) < closing {
		return true
	}
	g.leave()
	return false
}

// leave ends a call.
func (g *generation) leave() {
	if g.refs.Add(-1) == closing {
		g.once.Do(func() { close(g.idle) })
	}
}

// retire lets no further call begin. It must be called once.
func (g *generation) retire() {
	if g.refs.Add(closing) == closing {
		g.once.Do(func() { close(g.idle) })
	}
}

// retired reports whether no call may begin any more.
func (g *generation) retired() bool { return g.refs.Load() >= closing }

// maxEvents is how many events a batch may have at most.
const maxEvents = 1024

// number gives the events of a call the ids by which the plugin can complete them.
func (g *generation) number(c *call) {
	if !c.hook.point.Permits(pluginv1.ActionDefer) {
		return
	}
	id := g.nextID.Add(1)
	for i := range c.batch.Events {
		c.batch.Events[i].ID = id*maxEvents + uint64(i)
	}
	c.id = id
	if g.early {
		g.remember(c)
	}
}

// remember makes c known to Complete.
func (g *generation) remember(c *call) {
	if c.known {
		return
	}
	c.known = true
	g.mu.Lock()
	g.calls[c.id] = c
	g.mu.Unlock()
}

// forget undoes remember.
func (g *generation) forget(c *call) {
	if c.known {
		c.known = false
		g.mu.Lock()
		delete(g.calls, c.id)
		g.mu.Unlock()
	}
}

// Complete takes verdicts that were put off, and returns how many nobody waits for.
func (g *generation) Complete(in *pluginv1.CompleteRequest) (late uint32) {
	for i := range in.Completions {
		x := &in.Completions[i]
		g.mu.Lock()
		c := g.calls[x.EventID/maxEvents]
		g.mu.Unlock()
		if c == nil || x.Verdict == nil || !c.complete(int(x.EventID%maxEvents), x.Verdict) {
			late++
		}
	}
	return late
}

// Hops is not known: which message a plugin answers to it says itself. See
// services.Instance.
func (g *generation) Hops() uint32 { return 0 }

// Timer tells the plugin that a timer has run out.
func (g *generation) Timer(t *pluginv1.TimerFired) {
	if !g.enter() {
		return
	}
	defer g.leave()
	ctx, cancel := context.WithTimeout(context.Background(), timerDeadline)
	defer cancel()
	if _, err := g.inst.Timer(ctx, t); err != nil {
		g.plugin.log.Warn("the plugin's timer failed", "timer", t.Name, "error", err)
	}
}

// How long calls of a plugin may take that no hook's deadline bounds.
const (
	describeDeadline = 5 * time.Second
	startDeadline    = 30 * time.Second
	healthDeadline   = 5 * time.Second
	timerDeadline    = 30 * time.Second
	stopDeadline     = 5 * time.Second
	httpDeadline     = 30 * time.Second
)

// end drains the generation and stops it. ctx bounds the draining.
func (g *generation) end(ctx context.Context, why pluginv1.StopReason) {
	if !g.retired() {
		g.retire()
	}
	select {
	case <-g.idle:
	case <-ctx.Done():
	}
	deadline := stopDeadline
	if at, ok := ctx.Deadline(); ok {
		deadline = min(deadline, max(time.Until(at), 100*time.Millisecond))
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
	_, err := g.inst.Stop(stop, &pluginv1.StopRequest{Reason: why, DeadlineMs: uint32(deadline / time.Millisecond)})
	cancel()
	if err != nil {
		g.plugin.log.Warn("the plugin has not stopped in good order", "error", err)
	}
	g.close()
}

// close ends the generation at once.
func (g *generation) close() {
	if g.service != nil {
		g.service.Close()
	}
	if g.inst != nil {
		if err := g.inst.Close(); err != nil {
			g.plugin.log.Warn("the plugin's instance was not closed in good order", "error", err)
		}
	}
	if g.release != nil {
		g.release()
	}
}
