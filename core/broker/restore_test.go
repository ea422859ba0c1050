package broker

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/core/store"
)

// fullStore has n sessions with a subscription each.
type fullStore struct {
	store.Memory
	n int
}

func (st *fullStore) Load(l store.Loader) error {
	var wg sync.WaitGroup
	for first := range 2 {
		wg.Go(func() {
			for i := first; i < st.n; i += 2 {
				l.Session(store.Saved{
					Record:        store.Record{ClientID: fmt.Sprintf("client-%08d", i), Expiry: 86400, Detached: 1},
					State:         store.NewMemorySession(),
					Subscriptions: []store.Subscribed{{Filter: fmt.Sprintf("fleet/vehicle-%08d/commands", i), Subscription: store.Subscription{QoS: 1}}},
				})
			}
		})
	}
	wg.Wait()
	return nil
}

// What a stored session costs at the start, in time and in memory, without what
// the store itself needs for it.
func BenchmarkRestore(b *testing.B) {
	const n = 200_000
	for b.Loop() {
		var before, after runtime.MemStats
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		br, err := New(func(o *Options) { o.Store = &fullStore{n: n} })
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/session")
		br.stopClock()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/session")
}

func TestRestore(t *testing.T) {
	b, err := New(func(o *Options) { o.Store = &fullStore{n: 100} })
	if err != nil {
		t.Fatal(err)
	}
	defer b.stopClock()
	if g := b.Gauges(); g.Sessions != 100 || g.Subscriptions != 100 {
		t.Errorf("%d sessions, %d subscriptions", g.Sessions, g.Subscriptions)
	}
	info, ok := b.Client("", "client-00000007")
	if !ok || info.Online || len(info.Subscriptions) != 1 || info.Subscriptions[0].QoS != 1 || info.DisconnectedAt.UnixMilli() != 1 {
		t.Errorf("%+v", info)
	}
}
