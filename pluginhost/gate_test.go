package pluginhost

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func gating1(deadline time.Duration) *pluginv1.Manifest {
	return hooks(pluginv1.Hook{
		Point: pluginv1.PointGatePublish, Fields: uint32(pluginv1.FieldPayload), DeadlineMs: uint32(deadline / time.Millisecond), MaxBatch: 4,
	})
}

// seenGate notes what it is asked about and answers after a while, batches in any order.
type seenGate struct {
	mu    sync.Mutex
	rnd   *rand.Rand
	order map[string][]string // payloads by client
	most  int                 // batches under way at once
	under int
}

func (s *seenGate) process(b *pluginv1.Batch, _ *pluginv1.Answer, done func(error)) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.Events {
		id := b.Clients[b.Events[i].Client-1].ClientID
		s.order[id] = append(s.order[id], string(b.Events[i].Message.Payload))
	}
	s.under++
	s.most = max(s.most, s.under)
	pause := time.Duration(s.rnd.IntN(50)) * time.Millisecond
	go func() {
		time.Sleep(pause)
		s.mu.Lock()
		s.under--
		s.mu.Unlock()
		done(nil)
	}()
	return false, nil
}

// Three gates one after the other see the messages of each client in their order, and
// nothing is let go before the last one has seen it.
func TestGatesKeepOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		var gates []*seenGate
		for i := range 3 {
			g := &seenGate{rnd: rand.New(rand.NewPCG(uint64(i), 0)), order: map[string][]string{}}
			gates = append(gates, g)
			serve(t, h, fmt.Sprintf("g%d", i), newFake(g.process), false, gating1(5*time.Second))
		}
		var answered sync.WaitGroup
		want := map[string][]string{}
		for n := range 500 {
			id, payload := fmt.Sprintf("c%d", n%5), fmt.Sprint(n)
			want[id] = append(want[id], payload)
			r := &hook.GateRequest{Client: client(id), Message: keep("t", payload, 1)}
			answered.Add(1)
			if h.Gate(r, func() {
				defer answered.Done()
				last := gates[2]
				last.mu.Lock()
				defer last.mu.Unlock()
				if !slices.Contains(last.order[id], payload) {
					t.Errorf("%s was let go before the last gate had seen it", payload)
				}
				r.Message.Unref()
			}) {
				t.Fatal("let go at once")
			}
			if n%7 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		answered.Wait()
		for i, g := range gates {
			for id, list := range want {
				if !slices.Equal(g.order[id], list) {
					t.Errorf("gate %d saw of %s %v", i, id, g.order[id])
				}
			}
			if g.most > gateWindow {
				t.Errorf("gate %d had %d batches at once", i, g.most)
			}
		}
	})
}

// The table may change while messages wait: no gate that was there is left out, and none
// is asked twice.
func TestGateTableChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		slow := &seenGate{rnd: rand.New(rand.NewPCG(1, 1)), order: map[string][]string{}}
		last := &seenGate{rnd: rand.New(rand.NewPCG(2, 1)), order: map[string][]string{}}
		first := serve(t, h, "first", newFake(slow.process), false, gating1(5*time.Second))
		serve(t, h, "last", newFake(last.process), false, gating1(5*time.Second))
		done := make(chan struct{})
		r := &hook.GateRequest{Client: client("c"), Message: keep("t", "x", 1)}
		h.Gate(r, func() { close(done) })
		synctest.Wait()
		go first.halt(t.Context(), pluginv1.StopReasonDisabled)
		<-done
		if len(last.order["c"]) != 1 {
			t.Error("the last gate was left out")
		}

		// What waits when a gate is disabled is still asked about.
		again := serve(t, h, "first", newFake(slow.process), false, gating1(5*time.Second))
		var answered sync.WaitGroup
		for n := range 200 {
			answered.Add(1)
			h.Gate(&hook.GateRequest{Client: client("d"), Message: keep("t", fmt.Sprint(n), 1)}, answered.Done)
		}
		again.halt(t.Context(), pluginv1.StopReasonDisabled)
		answered.Wait()
		if n, m := len(slow.order["d"]), len(last.order["d"]); n != 200 || m != 200 {
			t.Errorf("the gates saw %d and %d of 200", n, m)
		}
	})
}

// A gate that never answers, under messages without end, keeps a bounded number of them.
func TestGateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		var dones []func(error)
		p := serve(t, h, "p", newFake(func(_ *pluginv1.Batch, _ *pluginv1.Answer, done func(error)) (bool, error) {
			dones = append(dones, done)
			return false, nil
		}), false, gating1(time.Minute))
		m := keep("t", "x", 1)
		var refused, answered int
		var mu sync.Mutex
		var all sync.WaitGroup
		const n = gateMessages + 1000
		for range n {
			r := &hook.GateRequest{Client: client("c"), Message: m}
			all.Add(1)
			if h.Gate(r, func() { mu.Lock(); answered++; mu.Unlock(); all.Done() }) {
				if r.Code != packet.ImplementationSpecificError {
					t.Fatalf("refused with %v", r.Code)
				}
				refused++
				all.Done()
			}
		}
		if refused < 900 || refused > 1000 {
			t.Errorf("%d refused at once", refused)
		}
		large := keep("t", string(make([]byte, gateBytes/2-1)), 1)
		q := &gate{host: h, plugin: p, active: true}
		for i, want := range []bool{true, true, false} {
			if q.put(&gated{request: &hook.GateRequest{Message: large}}) != want {
				t.Errorf("message %d of half the size: want %v", i, want)
			}
		}
		all.Wait() // by the deadline, and then by the breaker
		if answered+refused != n || len(dones) > maxLate {
			t.Errorf("%d and %d, %d batches were handed over", answered, refused, len(dones))
		}
		for _, done := range dones {
			done(nil)
		}
	})
}
