package pluginhost

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func hooks(list ...pluginv1.Hook) *pluginv1.Manifest { return &pluginv1.Manifest{Hooks: list} }

func denying(deadline time.Duration) *pluginv1.Manifest {
	return hooks(pluginv1.Hook{
		Point: pluginv1.PointInterceptPublish, Failure: pluginv1.FailurePolicyDeny, DeadlineMs: uint32(deadline / time.Millisecond),
	})
}

// ask publishes one message and returns what became of it.
func ask(h *Host) *hook.PublishRequest {
	m := keep("t", "payload", 1)
	defer m.Unref()
	r := &hook.PublishRequest{Client: client("c"), Message: m}
	done := make(chan struct{})
	if !h.Publish([]*hook.PublishRequest{r}, func() { close(done) }) {
		<-done
	}
	return r
}

// An answer that comes at its deadline leaves a timer that has fired already: it must
// not be taken for that of the next plugin.
func TestDeadlineAndAnswerTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		const deadline = 100 * time.Millisecond
		after := func(d time.Duration, v pluginv1.Verdict) func(*pluginv1.Batch, *pluginv1.Answer, func(error)) (bool, error) {
			return func(_ *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
				go func() {
					time.Sleep(d)
					a.Verdicts = []pluginv1.Verdict{v}
					done(nil)
				}()
				return false, nil
			}
		}
		first := serve(t, h, "first", newFake(after(deadline, pluginv1.Verdict{})), false, hooks(pluginv1.Hook{
			Point: pluginv1.PointInterceptPublish, DeadlineMs: uint32(deadline / time.Millisecond),
		}))
		second := serve(t, h, "second", newFake(after(deadline/2, pluginv1.Verdict{Action: pluginv1.ActionDrop, Reason: "second"})), false, denying(deadline))
		for range 300 {
			if r := ask(h); r.Verdict != hook.Drop || r.Reason != "second" {
				t.Fatalf("%v %q", r.Verdict, r.Reason)
			}
			first.breaker.reset()
		}
		synctest.Wait()
		if n := second.statsOf(pluginv1.PointInterceptPublish).timeouts.Load(); n != 0 {
			t.Errorf("%d timeouts of a plugin that is in time", n)
		}
		if first.statsOf(pluginv1.PointInterceptPublish).timeouts.Load() == 0 {
			t.Error("no deadline has come first")
		}
		if n := first.gen.Load().lates.count.Load(); n != 0 {
			t.Errorf("%d calls are late that were answered", n)
		}
	})
}

// A verdict that was put off names a batch. When the call is about another one already
// it is late.
func TestStaleCompletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		var ids []uint64
		deferring := func(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
			ids = append(ids, b.Events[0].ID)
			a.Verdicts = []pluginv1.Verdict{{Action: pluginv1.ActionDefer}}
			return true, nil
		}
		p := serve(t, h, "p", newFake(deferring), false, denying(time.Second))
		g := p.gen.Load()
		m := keep("t", "payload", 1)
		defer m.Unref()
		// Two batches in one run, so that they have one call.
		list := []*hook.PublishRequest{{Client: client("a"), Message: m}, {Client: client("b"), Message: m}}
		g.hooks[0].maxBatch = 1
		done := make(chan struct{})
		if h.Publish(list, func() { close(done) }) {
			t.Fatal("answered at once")
		}
		g.mu.Lock()
		c := g.calls[ids[0]/maxEvents]
		g.mu.Unlock()
		deny := &pluginv1.Verdict{Action: pluginv1.ActionDeny}
		if !c.complete(ids[0]/maxEvents, 0, &pluginv1.Verdict{}) {
			t.Fatal("the completion is late")
		}
		if len(ids) != 2 || g.calls[ids[1]/maxEvents] != c {
			t.Fatal("the second batch has another call: the test is pointless")
		}
		if c.complete(ids[0]/maxEvents, 0, deny) {
			t.Error("a completion of the first batch was taken for one of the second")
		}
		if late := g.Complete(&pluginv1.CompleteRequest{Completions: []pluginv1.Completion{
			{EventID: ids[0], Verdict: deny}, {EventID: ids[1] + 1, Verdict: deny}, {EventID: ids[1]}, {EventID: ids[1], Verdict: deny},
			{EventID: 1 << 60, Verdict: deny},
		}}); late != 4 {
			t.Errorf("%d late, want 4", late)
		}
		<-done
		if list[0].Verdict != hook.Continue || list[1].Verdict != hook.Deny {
			t.Errorf("%v, %v", list[0].Verdict, list[1].Verdict)
		}
		if len(g.calls) != 0 {
			t.Errorf("%d calls are still known", len(g.calls))
		}
	})
}

// A plugin that never answers keeps no more than so many batches, and the policy
// answers at once.
func TestNeverAnswering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, b := newTestHost(t)
		defer closeHost(t, h)
		var mu sync.Mutex
		var dones []func(error)
		inst := newFake(func(_ *pluginv1.Batch, _ *pluginv1.Answer, done func(error)) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			dones = append(dones, done)
			return false, nil
		})
		p := serve(t, h, "p", inst, false, denying(50*time.Millisecond))
		g := p.gen.Load()
		for i := range 2000 {
			if r := ask(h); r.Verdict != hook.Deny || r.Code != packet.ImplementationSpecificError {
				t.Fatalf("%d: %v %v", i, r.Verdict, r.Code)
			}
			p.breaker.reset() // it would do the same, but let one through now and then
		}
		if len(dones) != maxLate {
			t.Errorf("%d batches were handed over, want %d", len(dones), maxLate)
		}
		for _, done := range dones {
			done(nil)
		}
		dones = nil
		if n := g.lates.count.Load(); n != 0 {
			t.Errorf("%d are abandoned", n)
		}
		go ask(h)
		synctest.Wait()
		if len(dones) != 1 {
			t.Fatal("it is not asked again when it has answered")
		}
		// Now it hangs for good: another instance is started (here: cannot be).
		time.Sleep(2 * stuckAfter)
		synctest.Wait()
		if p.gen.Load() != nil {
			t.Errorf("it was left alone; states %v", b.states("p"))
		}
		dones[0](errors.New("closed"))
	})
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, b := newTestHost(t)
		defer closeHost(t, h)
		var calls int
		var fails bool
		p := serve(t, h, "p", newFake(func(*pluginv1.Batch, *pluginv1.Answer, func(error)) (bool, error) {
			calls++
			if fails {
				return true, errors.New("told to")
			}
			return true, nil
		}), false, denying(time.Second))
		check := func(what string, times, want int) {
			t.Helper()
			calls = 0
			for range times {
				ask(h)
			}
			if calls != want {
				t.Errorf("%s: %d calls of %d, want %d", what, calls, times, want)
			}
		}
		fails = true
		for range 8 { // four in ten seconds are not enough
			check("slow failures", 1, 1)
			time.Sleep(2600 * time.Millisecond)
		}
		time.Sleep(breakWindow)
		check("failures", 20, breakAfter)
		time.Sleep(breakPause - time.Millisecond)
		check("before the pause is over", 5, 0)
		time.Sleep(time.Millisecond)
		check("one trial", 5, 1)
		time.Sleep(breakPause)
		fails = false
		check("closed by a success", 10, 10)
		synctest.Wait()
		if got := fmt.Sprint(b.states("p")); got != "[serving degraded serving]" {
			t.Errorf("states %s", got)
		}
		_ = p
	})
}

// What an old generation still fails at says nothing of the new one.
func TestBreakerOfTheNewGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		hangs := newFake(func(_ *pluginv1.Batch, _ *pluginv1.Answer, done func(error)) (bool, error) {
			time.AfterFunc(time.Second, func() { done(errors.New("closed")) })
			return false, nil
		})
		serve(t, h, "p", hangs, false, denying(100*time.Millisecond))
		var asked sync.WaitGroup
		for range 20 {
			asked.Go(func() { ask(h) })
		}
		synctest.Wait()
		p := serve(t, h, "p", newFake(func(*pluginv1.Batch, *pluginv1.Answer, func(error)) (bool, error) { return true, nil }), false, denying(time.Second))
		asked.Wait()
		if p.breaker.open() {
			t.Error("the failures of the old one have opened the breaker")
		}
		if r := ask(h); r.Verdict != hook.Continue {
			t.Errorf("%v", r.Verdict)
		}
	})
}

// An event is of 64 KiB at most together with others.
func TestBatchesAreCut(t *testing.T) {
	h, _ := newTestHost(t)
	defer closeHost(t, h)
	var sizes []int
	m := denying(time.Second)
	m.Hooks[0].Fields = uint32(pluginv1.FieldPayload)
	serve(t, h, "p", newFake(func(b *pluginv1.Batch, _ *pluginv1.Answer, _ func(error)) (bool, error) {
		sizes = append(sizes, len(b.Events))
		return true, nil
	}), false, m)
	var list []*hook.PublishRequest
	for _, n := range []int{10, 60 << 10, 1 << 20, 10, 30 << 10, 30 << 10, 30 << 10} {
		list = append(list, &hook.PublishRequest{Client: client("c"), Message: keep("t", string(make([]byte, n)), 0)})
	}
	if !h.Publish(list, nil) {
		t.Fatal("not answered")
	}
	if got := fmt.Sprint(sizes); got != "[2 1 3 1]" {
		t.Errorf("batches of %s", got)
	}
}

// A plugin one of whose calls hangs is started again, also if it answers all others.
func TestOneCallThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, b := newTestHost(t)
		defer closeHost(t, h)
		var stuck func(error)
		p := serve(t, h, "p", newFake(func(_ *pluginv1.Batch, _ *pluginv1.Answer, done func(error)) (bool, error) {
			if stuck == nil {
				stuck = done
				return false, nil
			}
			return true, nil
		}), false, denying(50*time.Millisecond))
		ask(h)
		for range 4 {
			if r := ask(h); r.Verdict != hook.Continue {
				t.Fatalf("%v", r.Verdict)
			}
			time.Sleep(stuckAfter / 5)
		}
		time.Sleep(stuckAfter / 2)
		synctest.Wait()
		if p.gen.Load() != nil {
			t.Errorf("it was left alone; states %v", b.states("p"))
		}
		stuck(errors.New("closed"))
	})
}

// A runtime that says that it has failed, even before its call has returned, may have a method
// that hangs and goes on reading: what it reads must not be used again.
func TestFailureBeforeTheCallReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		var batch *pluginv1.Batch
		serve(t, h, "p", newFake(func(b *pluginv1.Batch, _ *pluginv1.Answer, done func(error)) (bool, error) {
			batch = b
			done(errors.New("it has ended"))
			return false, nil
		}), false, denying(time.Second))
		if r := ask(h); r.Verdict != hook.Deny {
			t.Fatal(r.Verdict)
		}
		for range 3 { // as many as the pool could give
			defer keep("x", "written", 1).Unref()
		}
		if m := batch.Events[0].Message; m.Topic != "t" {
			t.Errorf("the plugin reads of topic %s", m.Topic)
		}
	})
}
