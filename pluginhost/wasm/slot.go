package wasm

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// slot is a place for one instance. mu is held for the length of a call.
type slot struct {
	mu    sync.Mutex
	guest *guest      // nil: there is none now
	live  atomic.Bool // there is one; for those that do not hold mu

	counters

	_ [64]byte // keeps the locks of neighbours out of each other's cache lines
}

// put installs a guest. Call with mu held.
func (s *slot) put(g *guest, number uint32) {
	s.guest = g
	s.instance.Store(uint64(number))
	s.measure()
	s.live.Store(true)
}

// drop gives the guest up. Call with mu held.
func (s *slot) drop() {
	if s.guest == nil {
		return
	}
	s.live.Store(false)
	s.guest.close()
	s.guest = nil
}

// call makes one call of the slot's guest, and drops the guest if it does not survive that. Call with mu held.
func (s *slot) call(ctx context.Context, t terms, r request) ([]byte, error) {
	answer, err := s.guest.do(ctx, t, r)
	s.count(err)
	if s.guest.dead {
		add(&s.traps)
		s.drop()
	}
	return answer, err
}

// retry says when it is worth the trouble to make an instance again after that has failed.
type retry struct {
	mu    sync.Mutex
	after time.Time
	pause time.Duration
	err   error
}

const retryMin, retryMax = 100 * time.Millisecond, 5 * time.Second

// blocked returns the last failure as long as it is too early to try again.
func (r *retry) blocked() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil && time.Now().Before(r.after) {
		return r.err
	}
	return nil
}

// last returns the last failure.
func (r *retry) last() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		return ErrNotServing
	}
	return r.err
}

func (r *retry) result(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	if err == nil {
		r.pause = 0
		return
	}
	r.pause = min(max(2*r.pause, retryMin), retryMax)
	r.after = time.Now().Add(r.pause)
}

// make makes an instance and starts it as the plugin was started last; before Start it is as Open makes it.
func (p *Plugin) make(ctx context.Context, worker bool) (g *guest, number uint32, err error) {
	if p.closed.Load() {
		return nil, 0, ErrClosed
	}
	code, err := p.module.compiled(ctx, p.preemptible.Load())
	if err != nil {
		return nil, 0, err
	}
	p.users.Add(1)
	if g, err = code.instantiate(ctx, p); err != nil {
		p.release()
		return nil, 0, err
	}
	p.made.Add(1)
	start := p.start.Load()
	if start == nil {
		return g, 0, nil
	}
	if !worker {
		number = p.numbers.Add(1)
	}
	if err := p.startGuest(ctx, g, start, number, nil); err != nil {
		g.close()
		return nil, 0, err
	}
	return g, number, nil
}

// startGuest calls Start. If response is nil, a plugin that refuses is an error.
func (p *Plugin) startGuest(ctx context.Context, g *guest, start *pluginv1.StartRequest, number uint32, response *pluginv1.StartResponse) error {
	in := *start
	in.Instance, in.Worker = number, number == 0
	answer, err := g.do(ctx, p.terms(pluginv1.PluginOpStart, in.Worker), request{message: &in})
	if err != nil {
		return err
	}
	var own pluginv1.StartResponse
	if response == nil {
		response = &own
	}
	if err := p.module.decode(pluginv1.PluginOpStart, answer, response); err != nil {
		return err
	}
	if response == &own && len(own.Problems) > 0 {
		return errors.New("wasm plugin: START: a new instance refused what another has accepted: " + own.Problems[0].Message)
	}
	return nil
}

// terms are those of a call that is not inline.
func (p *Plugin) terms(op pluginv1.PluginOp, mayWait bool) terms {
	o := &p.module.o
	t := terms{op: op, fuel: o.FuelWorker, hostCalls: o.HostCalls * workerHostCalls, mayWait: mayWait}
	if p.preemptible.Load() {
		t.fuel = max(t.fuel, o.Deadline.Milliseconds()*fuelPerMillisecond)
	}
	return t
}

// inlineTerms are those of a batch that is answered at once.
func (p *Plugin) inlineTerms(b *pluginv1.Batch) terms {
	o := &p.module.o
	return terms{
		op: pluginv1.PluginOpProcess, fuel: o.FuelPerCall + o.FuelPerEvent*int64(len(b.Events)), hostCalls: o.HostCalls,
	}
}
