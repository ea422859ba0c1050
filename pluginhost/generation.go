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
	started  bool // it is to be stopped
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
	refs    atomic.Int64
	retired atomic.Bool
	idle    chan struct{} // closed when none is under way and none can begin
	once    sync.Once     // for that

	lates lates
	deaf  int // health questions in a row without an answer; the watcher's

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

// retire lets no further call begin.
func (g *generation) retire() {
	if !g.retired.Swap(true) && g.refs.Add(closing) == closing {
		g.once.Do(func() { close(g.idle) })
	}
}

// maxLate is how many calls may be late until no more are made. It bounds the
// memory that a plugin which never answers keeps.
const maxLate = 64

// crowded reports whether too many calls are late for another one.
func (g *generation) crowded() bool { return g.lates.count.Load() >= maxLate }

// maxEvents is how many events a batch may have at most.
const maxEvents = 1024

// number gives the events of a call the ids by which the plugin can complete them, and
// makes it ready to be answered.
func (g *generation) number(c *call) {
	id := g.nextID.Add(1)
	for i := range c.batch.Events {
		c.batch.Events[i].ID = id*maxEvents + uint64(i)
	}
	c.open(id)
	if g.early && c.hook.point.Permits(pluginv1.ActionDefer) {
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
		if c == nil || x.Verdict == nil || !c.complete(x.EventID/maxEvents, int(x.EventID%maxEvents), x.Verdict) {
			late++
		}
	}
	return late
}

// Hops is not known. A plugin may be at work on many messages at once, and what it
// publishes need not come of any: to take the largest hop count under way for that of
// all it publishes would let one loop stop everything. Instances in WebAssembly that
// answer inline, which could be known, cannot publish. So it is the plugin that says to
// which message it answers (Message.hops), as the SDKs do; one that does not is held by
// its publish rate. See services.Instance.
func (g *generation) Hops() uint32 { return 0 }

// Timer tells the plugin that a timer has run out.
func (g *generation) Timer(t *pluginv1.TimerFired) {
	if !g.enter() {
		return
	}
	defer g.leave()
	ctx, cancel := context.WithTimeout(context.Background(), timerDeadline)
	defer cancel()
	_, err := inTime(ctx, func(ctx context.Context) (*pluginv1.TimerResponse, error) { return g.inst.Timer(ctx, t) })
	if err != nil {
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
	g.retire()
	g.drain(ctx)
	deadline := stopDeadline
	if at, ok := ctx.Deadline(); ok {
		deadline = min(deadline, max(time.Until(at), 100*time.Millisecond))
	}
	if g.started {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
		_, err := inTime(stop, func(ctx context.Context) (*pluginv1.StopResponse, error) {
			return g.inst.Stop(ctx, &pluginv1.StopRequest{Reason: why, DeadlineMs: uint32(deadline / time.Millisecond)})
		})
		cancel()
		if err != nil {
			g.plugin.log.Warn("the plugin has not stopped in good order", "error", err)
		}
	}
	g.close()
}

// inTime makes a call that may not keep to its context: a method of a builtin plugin
// that hangs is left to itself then.
func inTime[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	ended := make(chan result, 1)
	go func() {
		v, err := call(ctx)
		ended <- result{v, err}
	}()
	select {
	case r := <-ended:
		return r.value, r.err
	case <-ctx.Done():
	}
	// One that keeps to it says more than that it is late.
	t := time.NewTimer(inTimeGrace)
	defer t.Stop()
	select {
	case r := <-ended:
		return r.value, r.err
	case <-t.C:
		var none T
		return none, ctx.Err()
	}
}

const inTimeGrace = 250 * time.Millisecond

// drain waits, within ctx, for the calls under way, but for those that are late:
// somebody else has answered for them.
func (g *generation) drain(ctx context.Context) {
	look := time.NewTicker(drainPause)
	defer look.Stop()
	for g.refs.Load()-closing > int64(g.lates.count.Load()) {
		select {
		case <-g.idle:
			return
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// drainPause is how often drain looks for calls that have become late.
const drainPause = 20 * time.Millisecond

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
