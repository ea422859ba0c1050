package wasm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// The states of a Plugin.
const (
	opened int32 = iota
	starting
	serving
	stopped
)

// Plugin is a running plugin: a worker, and a pool of instances for decisions and gates. See instance.Plugin, whose
// rules hold; Close may be called at any time, also from within a call of the host.
type Plugin struct {
	module *Module
	host   v1host.Service
	log    *logger

	ctx    context.Context // until Close
	cancel context.CancelFunc

	users   atomic.Int64  // instances, the worker's goroutine, and one until Close
	made    atomic.Uint64 // instances
	numbers atomic.Uint32 // of instances; the worker is 0
	state   atomic.Int32
	closed  atomic.Bool

	// Set by Start, before any instance of the pool is made.
	single      bool // one instance for everything
	waits       bool // the plugin may make calls that wait, so that a single instance cannot be called inline
	preemptible atomic.Bool
	start       atomic.Pointer[pluginv1.StartRequest] // with the config that is in force

	life     sync.Mutex // Describe, Start, Configure, Stop, and making instances for the pool: one at a time
	manifest *pluginv1.Manifest

	worker worker
	pool   *pool
}

var _ instance.Plugin = (*Plugin)(nil)

func (m *Module) newPlugin(ctx context.Context, host v1host.Service) (*Plugin, error) {
	p := &Plugin{module: m, host: host, log: newLogger(host, &m.o)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.pool = newPool(p)
	p.worker.p, p.worker.wake = p, make(chan struct{}, 1)
	p.preemptible.Store(m.o.Preemptible)
	p.users.Store(2)
	g, number, err := p.make(ctx, true)
	if err != nil {
		p.cancel()
		m.release()
		return nil, err
	}
	p.worker.slot.put(g, number)
	go p.worker.loop()
	return p, nil
}

// release is called by each user of the module's code at its end.
func (p *Plugin) release() {
	if p.users.Add(-1) == 0 {
		p.module.release()
	}
}

func (p *Plugin) unavailable() error {
	if p.closed.Load() {
		return ErrClosed
	}
	return ErrNotServing
}

// on makes a call on the worker and waits for it, or for ctx. out gets the answer.
func (p *Plugin) on(ctx context.Context, op pluginv1.PluginOp, in, out pluginv1.Proto) error {
	type result struct {
		answer []byte
		err    error
	}
	called, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	ended := make(chan result, 1)
	j := &job{ctx: called, op: op, request: request{encoded: p.module.encode(in)}}
	j.finish = func(answer []byte, err error) { ended <- result{answer, err} }
	if err := p.worker.submit(j); err != nil {
		return err
	}
	var r result
	select {
	case r = <-ended:
	case <-called.Done():
		j.abandoned.Store(true)
		if r.err = ctx.Err(); r.err == nil {
			return ErrClosed
		}
	}
	if r.err == nil {
		return p.module.decode(op, r.answer, out)
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(r.err, cause) {
		return fmt.Errorf("%w: %w", cause, r.err)
	}
	return r.err
}

// Describe asks for the Manifest.
func (p *Plugin) Describe(ctx context.Context, in *pluginv1.DescribeRequest) (*pluginv1.Manifest, error) {
	p.life.Lock()
	defer p.life.Unlock()
	return p.describe(ctx, in)
}

func (p *Plugin) describe(ctx context.Context, in *pluginv1.DescribeRequest) (*pluginv1.Manifest, error) {
	m := new(pluginv1.Manifest)
	if err := p.on(ctx, pluginv1.PluginOpDescribe, in, m); err != nil {
		return nil, err
	}
	p.manifest = m
	return m, nil
}

// Start starts the worker, and then as many instances as Options.Inline says if the plugin has decisions or
// gates. What the manifest says of instances and preemptible comes into force with it; without a Describe before it asks
// for the manifest itself.
func (p *Plugin) Start(ctx context.Context, in *pluginv1.StartRequest) (*pluginv1.StartResponse, error) {
	p.life.Lock()
	defer p.life.Unlock()
	if !p.state.CompareAndSwap(opened, starting) {
		return nil, errors.New("wasm plugin: START: it has been started already")
	}
	out, err := p.startAll(ctx, in)
	if err != nil || len(out.Problems) > 0 {
		p.start.Store(nil)
		p.state.CompareAndSwap(starting, opened)
		return out, err
	}
	if !p.state.CompareAndSwap(starting, serving) {
		return nil, p.unavailable()
	}
	return out, nil
}

func (p *Plugin) startAll(ctx context.Context, in *pluginv1.StartRequest) (*pluginv1.StartResponse, error) {
	if p.manifest == nil {
		if _, err := p.describe(ctx, &pluginv1.DescribeRequest{Host: in.Host}); err != nil {
			return nil, err
		}
	}
	p.single = p.module.o.Instances == 1 || p.manifest.Instances == 1
	p.waits = slices.ContainsFunc(in.Grants, waitingGrant)
	if err := p.interruptible(ctx); err != nil {
		return nil, err
	}
	start := new(pluginv1.StartRequest)
	if err := start.Unmarshal(in.AppendTo(nil)); err != nil {
		return nil, fmt.Errorf("wasm plugin: START: %w", err)
	}
	start.Worker, start.Instance = true, 0
	out := new(pluginv1.StartResponse)
	if err := p.on(ctx, pluginv1.PluginOpStart, start, out); err != nil || len(out.Problems) > 0 {
		return out, err
	}
	p.start.Store(start)
	hooks := p.manifest.Hooks
	if out.Narrowed != nil {
		hooks = out.Narrowed.Hooks
	}
	return out, p.populate(ctx, hooks)
}

// waitingGrant reports whether a grant is for calls that may wait.
func waitingGrant(g pluginv1.Grant) bool {
	for op := pluginv1.HostOp(0); op <= lastHostOp; op++ {
		if op.Waits() && op.Grant() == g.Name {
			return true
		}
	}
	return g.Name == "publish_as_client"
}

// lastHostOp bounds a search through all ops; those that a later contract adds are below it.
const lastHostOp = 255

// interruptible exchanges the worker for one that can be interrupted, if the manifest asks for that.
func (p *Plugin) interruptible(ctx context.Context) error {
	if p.preemptible.Load() || !p.manifest.Preemptible {
		return nil
	}
	if _, err := p.module.compiled(ctx, true); err != nil {
		return err
	}
	p.preemptible.Store(true)
	w := &p.worker
	w.slot.mu.Lock()
	defer w.slot.mu.Unlock()
	w.slot.drop()
	return w.revive()
}

// populate fills the pool if there are hooks for it.
func (p *Plugin) populate(ctx context.Context, hooks []pluginv1.Hook) error {
	if p.single || p.preemptible.Load() || !slices.ContainsFunc(hooks, func(h pluginv1.Hook) bool { return inline(h.Point) }) {
		return nil
	}
	for p.pool.alive() < p.module.o.Inline {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.pool.addLocked(); err != nil {
			return err
		}
	}
	return nil
}

// inline reports whether events of a point go to the pool.
func inline(point pluginv1.Point) bool {
	mode := point.Mode()
	return point != pluginv1.PointAuthenticate && point != pluginv1.PointPermit && (mode == pluginv1.Decision || mode == pluginv1.Gate)
}

// Configure hands a changed config to the worker and, if that takes it, to all others. An instance that does not follow is
// replaced by one that is started with it.
func (p *Plugin) Configure(ctx context.Context, in *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	p.life.Lock()
	defer p.life.Unlock()
	if p.state.Load() != serving {
		return nil, p.unavailable()
	}
	out := new(pluginv1.ConfigureResponse)
	if err := p.on(ctx, pluginv1.PluginOpConfigure, in, out); err != nil {
		return nil, err
	}
	if len(out.Problems) > 0 || out.Restart {
		return out, nil
	}
	start := *p.start.Load()
	start.Config = string([]byte(in.Config))
	p.start.Store(&start)
	for _, s := range p.pool.slots {
		p.configure(ctx, s, in)
	}
	if out.Narrowed != nil {
		return out, p.populate(ctx, out.Narrowed.Hooks)
	}
	return out, nil
}

func (p *Plugin) configure(ctx context.Context, s *slot, in *pluginv1.ConfigureRequest) {
	s.mu.Lock()
	if s.guest == nil {
		s.mu.Unlock()
		return
	}
	defer p.pool.free(s)
	out := new(pluginv1.ConfigureResponse)
	answer, err := s.call(ctx, p.terms(pluginv1.PluginOpConfigure, false), request{message: in})
	if err == nil {
		err = p.module.decode(pluginv1.PluginOpConfigure, answer, out)
	}
	if err != nil || len(out.Problems) > 0 {
		s.drop()
	}
}

// Stop tells all instances, the worker last, and ends those of the pool. Batches that still wait are answered
// with an error.
func (p *Plugin) Stop(ctx context.Context, in *pluginv1.StopRequest) (*pluginv1.StopResponse, error) {
	p.life.Lock()
	defer p.life.Unlock()
	if !p.state.CompareAndSwap(serving, stopped) {
		return nil, p.unavailable()
	}
	p.pool.fail(ErrNotServing)
	var errs []error
	for _, s := range p.pool.slots {
		s.mu.Lock()
		if s.guest != nil {
			_, err := s.call(ctx, p.terms(pluginv1.PluginOpStop, false), request{message: in})
			errs = append(errs, err)
			s.drop()
		}
		s.mu.Unlock()
	}
	out := new(pluginv1.StopResponse)
	errs = append(errs, p.on(ctx, pluginv1.PluginOpStop, in, out))
	return out, errors.Join(errs...)
}

// Health asks the worker how it is.
func (p *Plugin) Health(ctx context.Context, in *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	out := new(pluginv1.HealthResponse)
	return out, p.serving(ctx, pluginv1.PluginOpHealth, in, out)
}

// HTTP has the worker serve a request.
func (p *Plugin) HTTP(ctx context.Context, in *pluginv1.HTTPRequest) (*pluginv1.HTTPResponse, error) {
	out := new(pluginv1.HTTPResponse)
	return out, p.serving(ctx, pluginv1.PluginOpHTTP, in, out)
}

// Timer tells the worker of a timer.
func (p *Plugin) Timer(ctx context.Context, in *pluginv1.TimerFired) (*pluginv1.TimerResponse, error) {
	out := new(pluginv1.TimerResponse)
	return out, p.serving(ctx, pluginv1.PluginOpTimer, in, out)
}

func (p *Plugin) serving(ctx context.Context, op pluginv1.PluginOp, in, out pluginv1.Proto) error {
	if p.state.Load() != serving {
		return p.unavailable()
	}
	return p.on(ctx, op, in, out)
}

// Process answers decisions and gates at once, on an instance of the pool, unless all are busy. The worker gets
// authentications and observations, and everything if the plugin is preemptible. A plugin of a single instance is
// called at once if it is idle and has no grant for calls that wait.
func (p *Plugin) Process(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	if p.state.Load() != serving {
		return true, p.unavailable()
	}
	if inline(b.Point) && !p.preemptible.Load() {
		if !p.single {
			return p.pool.process(b, a, done)
		}
		if !p.waits {
			if answered, err := p.worker.inline(b, a); answered {
				return true, err
			}
		}
	}
	return p.later(pluginv1.PluginOpProcess, b, a, time.Duration(b.DeadlineMs)*time.Millisecond, done)
}

// Consume gives a batch to the worker. It never answers at once.
func (p *Plugin) Consume(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, done func(error)) (bool, error) {
	if p.state.Load() != serving {
		return true, p.unavailable()
	}
	return p.later(pluginv1.PluginOpConsume, b, r, 0, done)
}

// later has the worker make a call that done is told the end of.
func (p *Plugin) later(op pluginv1.PluginOp, in, out pluginv1.Proto, limit time.Duration, done func(error)) (bool, error) {
	ctx, cancel := p.ctx, context.CancelFunc(func() {})
	if limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	j := &job{ctx: ctx, op: op, request: request{message: in}}
	j.finish = func(answer []byte, err error) {
		cancel()
		if err == nil {
			err = p.module.decode(op, answer, out)
		}
		done(err)
	}
	if err := p.worker.submit(j); err != nil {
		cancel()
		return true, err
	}
	return false, nil
}

// Close ends the plugin. What waits is ended with ErrClosed at once, as are calls of the host that are under way; a call
// that is computing ends by itself, or by its fuel, and its instance is given up then.
func (p *Plugin) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	p.state.Store(stopped)
	p.cancel()
	p.worker.close()
	p.pool.close()
	p.release()
	return nil
}
