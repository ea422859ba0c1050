package order

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// Tasks with random sets of keys: each must see all earlier tasks of its keys done, and
// no more may run at once than allowed.
func TestOrderPerKey(t *testing.T) {
	const limit, keys, tasks = 4, 5, 3000
	r := New(limit)
	var (
		done    sync.WaitGroup
		running atomic.Int32
		given   [keys]int
		seen    [keys]atomic.Int32
	)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range tasks {
		var set []uint64
		want := map[uint64]int32{}
		for range rnd.IntN(4) {
			k := uint64(rnd.IntN(keys))
			set = append(set, k)
			want[k] = int32(given[k])
		}
		for k := range want {
			given[k]++
		}
		done.Add(1)
		r.Go(set, func() {
			defer done.Done()
			if n := running.Add(1); n > limit {
				t.Errorf("%d run at once", n)
			}
			for k, before := range want {
				if got := seen[k].Load(); got != before {
					t.Errorf("key %d: task %d runs after %d", k, before, got)
				}
			}
			for k := range want {
				seen[k].Add(1)
			}
			running.Add(-1)
		})
	}
	done.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) != 0 || len(r.ready) != 0 {
		t.Errorf("%d keys and %d tasks are left", len(r.last), len(r.ready))
	}
}

// What has no key in common does not wait for each other.
func TestNoWaitWithoutCommonKey(t *testing.T) {
	r := New(2)
	first, second := make(chan struct{}), make(chan struct{})
	r.Go([]uint64{1}, func() { <-first; close(second) })
	r.Go([]uint64{2}, func() { close(first) })
	<-second
}

func BenchmarkGo(b *testing.B) {
	b.ReportAllocs()
	r := New(4)
	var wg sync.WaitGroup
	key := []uint64{1}
	for b.Loop() {
		wg.Add(1)
		r.Go(key, wg.Done)
		wg.Wait()
	}
}
