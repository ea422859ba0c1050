package fair

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
)

const wait = time.Minute

// recorder runs jobs that go on until they are let go.
type recorder struct {
	mu      sync.Mutex
	order   []string
	dropped map[string]error
	gate    chan struct{}
	ended   sync.WaitGroup
}

func newRecorder() *recorder {
	return &recorder{dropped: map[string]error{}, gate: make(chan struct{})}
}

func (r *recorder) job(namespace, lane, name string) *Job {
	r.ended.Add(1)
	return &Job{
		Namespace: namespace, Lane: lane, Deadline: time.Now().Add(wait),
		Run: func(context.Context) {
			defer r.ended.Done()
			r.mu.Lock()
			r.order = append(r.order, name)
			r.mu.Unlock()
			<-r.gate
		},
		Drop: func(err error) {
			defer r.ended.Done()
			r.mu.Lock()
			defer r.mu.Unlock()
			r.dropped[name] = err
		},
	}
}

func (r *recorder) ran() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.order...)
}

func finished(t *testing.T, q *Queue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	q.Close(ctx, false)
	if running, waiting := q.Len(); running+waiting != 0 || len(q.shares) > 0 && len(q.turn.list) > 0 {
		t.Errorf("%d run and %d wait after Close", running, waiting)
	}
}

// A namespace with a thousand questions does not keep out one with two.
func TestRoundRobin(t *testing.T) {
	r := newRecorder()
	q := New(Options{Running: 1, Waiting: 100})
	for i := range 20 {
		q.Put(r.job("loud", fmt.Sprint(i), fmt.Sprintf("loud-%d", i)))
	}
	q.Put(r.job("quiet", "a", "quiet-a1"))
	q.Put(r.job("quiet", "a", "quiet-a2"))
	q.Put(r.job("quiet", "b", "quiet-b1"))
	close(r.gate)
	r.ended.Wait()
	place := map[string]int{}
	for i, name := range r.ran() {
		place[name] = i
	}
	if place["quiet-a1"] > 3 || place["quiet-b1"] > 5 || place["quiet-a2"] > 7 {
		t.Errorf("the quiet namespace waits: %v", r.ran())
	}
	finished(t, q)
}

// Jobs of a lane run in order, one at a time, whatever else runs.
func TestLane(t *testing.T) {
	q := New(Options{Running: 8, Waiting: 10000})
	var mu sync.Mutex
	last, active := map[string]int{}, map[string]bool{}
	var ended sync.WaitGroup
	for i := range 400 {
		lane := fmt.Sprint(rand.N(10))
		key := fmt.Sprint(i%3) + lane
		ended.Add(1)
		q.Put(&Job{Namespace: fmt.Sprint(i % 3), Lane: lane, Deadline: time.Now().Add(wait), Run: func(context.Context) {
			defer ended.Done()
			mu.Lock()
			if active[key] || last[key] > i {
				t.Errorf("lane %s: job %d after %d, active %t", key, i, last[key], active[key])
			}
			active[key], last[key] = true, i
			mu.Unlock()
			runtime.Gosched()
			mu.Lock()
			active[key] = false
			mu.Unlock()
		}, Drop: func(err error) { t.Error(err); ended.Done() }})
	}
	ended.Wait()
	finished(t, q)
}

func TestFull(t *testing.T) {
	r := newRecorder()
	q := New(Options{Running: 1, Waiting: 4})
	for i := range 6 { // one runs, four wait, one is dropped
		q.Put(r.job("loud", fmt.Sprint(i), fmt.Sprintf("loud-%d", i)))
	}
	if !fault.Is(r.dropped["loud-5"], fault.Busy) {
		t.Errorf("a full queue took one more: %v", r.dropped)
	}
	q.Put(r.job("quiet", "", "quiet")) // takes the place of one of the loud
	if len(r.dropped) != 2 || r.dropped["quiet"] != nil {
		t.Errorf("dropped: %v", r.dropped)
	}
	close(r.gate)
	r.ended.Wait()
	if n := len(r.ran()); n != 5 {
		t.Errorf("%d ran: %v", n, r.ran())
	}
	finished(t, q)
}

func TestPerNamespace(t *testing.T) {
	r := newRecorder()
	q := New(Options{Running: 4, Waiting: 100, PerNamespace: 2})
	for i := range 10 {
		q.Put(r.job("a", fmt.Sprint(i), "a"))
	}
	if running, waiting := q.Len(); running != 2 || waiting != 8 {
		t.Errorf("%d run, %d wait", running, waiting)
	}
	q.Put(r.job("b", "", "b"))
	if running, _ := q.Len(); running != 3 {
		t.Errorf("%d run with another namespace", running)
	}
	close(r.gate)
	r.ended.Wait()
	if n := len(r.ran()); n != 11 {
		t.Errorf("%d ran", n)
	}
	finished(t, q)
}

// What waits past its deadline is dropped then, not when its turn comes.
func TestLate(t *testing.T) {
	r := newRecorder()
	q := New(Options{Running: 1, Waiting: 4})
	q.Put(r.job("", "a", "first"))
	j := r.job("", "b", "second")
	dropped := make(chan error, 1)
	j.Deadline, j.Drop = time.Now().Add(10*time.Millisecond), func(err error) { dropped <- err; r.ended.Done() }
	q.Put(j)
	select {
	case err := <-dropped:
		if !fault.Is(err, fault.Timeout) {
			t.Error(err)
		}
	case <-time.After(wait):
		t.Fatal("it waits on")
	}
	close(r.gate)
	r.ended.Wait()
	finished(t, q)
}

func TestClose(t *testing.T) {
	r := newRecorder()
	q := New(Options{Running: 1, Waiting: 4})
	ended := make(chan error, 1)
	q.Put(&Job{Deadline: time.Now().Add(wait), Run: func(ctx context.Context) { <-ctx.Done(); ended <- ctx.Err() }})
	q.Put(r.job("", "b", "waits"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q.Close(ctx, false)
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
	if !fault.Is(r.dropped["waits"], fault.Stopping) {
		t.Error(r.dropped)
	}
	q.Put(r.job("", "c", "late"))
	if !fault.Is(r.dropped["late"], fault.Stopping) {
		t.Error(r.dropped)
	}
}

// With drain, what waits is done, as far as there is time.
func TestDrain(t *testing.T) {
	for _, c := range []struct{ time time.Duration }{{wait}, {0}} {
		r := newRecorder()
		q := New(Options{Running: 2, Waiting: 100})
		for i := range 20 {
			q.Put(r.job(fmt.Sprint(i%3), fmt.Sprint(i%5), fmt.Sprint(i)))
		}
		if c.time > 0 {
			close(r.gate)
		} else {
			time.AfterFunc(50*time.Millisecond, func() { close(r.gate) })
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.time)
		q.Close(ctx, true)
		cancel()
		r.ended.Wait()
		if ran := len(r.ran()); c.time > 0 && ran != 20 || ran+len(r.dropped) != 20 || c.time == 0 && ran > 2 {
			t.Errorf("%s: %d ran, %d were dropped", c.time, ran, len(r.dropped))
		}
	}
}

// Random traffic against what must always hold: every job ends once, in one way, and
// nothing is left over.
func TestRandom(t *testing.T) {
	for range 20 {
		o := Options{Running: 1 + rand.N(5), Waiting: rand.N(30), PerNamespace: rand.N(4)}
		q := New(o)
		var running, most, ran, dropped atomic.Int64
		var ended sync.WaitGroup
		for range 300 {
			ended.Add(1)
			deadline := time.Now().Add(wait)
			if rand.N(10) == 0 {
				deadline = time.Now().Add(rand.N(time.Millisecond))
			}
			q.Put(&Job{Namespace: fmt.Sprint(rand.N(4)), Lane: fmt.Sprint(rand.N(6)), Deadline: deadline, Run: func(context.Context) {
				defer ended.Done()
				if n := running.Add(1); n > most.Load() {
					most.Store(n)
				}
				runtime.Gosched()
				running.Add(-1)
				ran.Add(1)
			}, Drop: func(error) { dropped.Add(1); ended.Done() }})
		}
		ended.Wait()
		if ran.Load()+dropped.Load() != 300 || most.Load() > int64(o.Running) {
			t.Errorf("%+v: %d ran, %d dropped, %d at once", o, ran.Load(), dropped.Load(), most.Load())
		}
		finished(t, q)
		if len(q.shares) != 0 || q.turn.len() != 0 {
			t.Errorf("%+v: left over: %d shares", o, len(q.shares))
		}
	}
}
