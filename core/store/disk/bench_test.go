package disk

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// BenchmarkAddSettle is an online session that acknowledges at once: nothing is
// written.
func BenchmarkAddSettle(b *testing.B) {
	s := open(b, Options{})
	load(b, s)
	c := create(s, "c", true)
	s.syncNow(b)
	m := message("x")
	seq := c.FirstSeq()
	b.ReportAllocs()
	for b.Loop() {
		c.Lock()
		pos, _ := c.Add(store.Entry{Message: m, QoS: 1}, seq, true, nil)
		c.Settle(pos, seq)
		c.Unlock()
		seq++
	}
	b.ReportMetric(float64(s.Stats().Written)/float64(b.N), "written/op")
}

// BenchmarkOffline is 64 publishers, each with one message on its way to so many
// sessions that are away, on a real disk with real syncs.
func BenchmarkOffline(b *testing.B) {
	for _, sessions := range []int{1, 10, 1000} {
		b.Run(fmt.Sprint(sessions, " sessions"), func(b *testing.B) {
			s := open(b, Options{Dir: filepath.Join(b.TempDir(), "data"), FS: vfs.Default})
			load(b, s)
			var clients []*client
			for i := range sessions {
				clients = append(clients, create(s, fmt.Sprint(i), false))
			}
			s.syncNow(b)
			before := s.Stats()
			var id atomic.Uint64
			body := make([]byte, 300)
			b.ReportAllocs()
			b.SetParallelism(64 / runtime.GOMAXPROCS(0))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				done := make(chan error, 1)
				tell := func(err error) { done <- err }
				for pb.Next() {
					m := (&packet.Message{Topic: []byte("bench"), Payload: body, QoS: 1}).Keep(id.Add(1))
					r := store.NewReceipt()
					s.Begin()
					for _, c := range clients {
						m.Ref()
						c.Lock()
						c.Add(store.Entry{Message: m, QoS: 1}, 0, false, r)
						c.Unlock()
					}
					s.End()
					m.Unref()
					if settled, _ := r.Wait(tell); !settled {
						if err := <-done; err != nil {
							b.Error(err)
						}
					}
				}
			})
			b.StopTimer()
			st := s.Stats()
			b.ReportMetric(float64(b.N)/float64(st.Commits-before.Commits), "msgs/commit")
			b.ReportMetric(float64(st.BytesWritten-before.BytesWritten)/float64(b.N), "B-written/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// BenchmarkLoad starts with so many sessions of one subscription each.
func BenchmarkLoad(b *testing.B) {
	for _, sessions := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			o := Options{Dir: filepath.Join(b.TempDir(), "data"), FS: vfs.Default, Sync: SyncNever}
			s := open(b, o)
			load(b, s)
			for i := range sessions {
				c := s.Create(store.Record{ClientID: fmt.Sprint("client-", i), Username: "user", Expiry: 1 << 30, Detached: 1}, nil)
				c.Subscribe(fmt.Sprint("devices/", i, "/commands/#"), store.Subscription{QoS: 1})
			}
			s.syncNow(b)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				s := open(b, o)
				b.StartTimer()
				var n atomic.Int64
				err := s.Load(store.Loader{Session: func(saved store.Saved) store.Owner {
					n.Add(int64(len(saved.Subscriptions)))
					return nil
				}})
				b.StopTimer()
				if err != nil || n.Load() != int64(sessions) {
					b.Fatal(n.Load(), err)
				}
				s.Close()
			}
		})
	}
}

// BenchmarkDrain is a session that comes back to so many messages: one operation
// is one message.
func BenchmarkDrain(b *testing.B) {
	const n = 100_000
	o := Options{Dir: filepath.Join(b.TempDir(), "data"), FS: vfs.Default, Sync: SyncNever}
	s := open(b, o)
	load(b, s)
	body := make([]byte, 300)
	b.ReportAllocs()
	b.StopTimer()
	for done := 0; done < b.N; {
		c := create(s, fmt.Sprint(done), false)
		r := store.NewReceipt()
		for i := range n {
			m := (&packet.Message{Topic: []byte("bench"), Payload: body, QoS: 1}).Keep(uint64(i))
			c.Add(store.Entry{Message: m, QoS: 1}, 0, false, r)
		}
		safe(b, r)
		b.StartTimer()
		for range n {
			c.wait(b, "pop", func() bool {
				e, ok := c.Pop()
				if ok {
					c.Settle(e.Pos, 0)
					e.Message.Unref()
				}
				return ok
			})
			if done++; done == b.N {
				break
			}
		}
		b.StopTimer()
		c.End(nil)
	}
}

// BenchmarkManySessions is Add and Settle from all cores, each with sessions of
// its own.
func BenchmarkManySessions(b *testing.B) {
	s := open(b, Options{})
	load(b, s)
	const each = 500
	var clients []*session
	for i := range each * runtime.GOMAXPROCS(0) {
		clients = append(clients, s.Create(store.Record{ClientID: fmt.Sprint(i)}, nil).(*session))
	}
	s.syncNow(b)
	m := message("x")
	var side atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		first := int(side.Add(1)-1) * each
		mine := clients[first : first+each]
		seq := mine[0].FirstSeq()
		for i := 0; pb.Next(); i++ {
			c := mine[i%each]
			s.Begin()
			pos, _ := c.Add(store.Entry{Message: m, QoS: 1}, seq, true, nil)
			s.End()
			c.Settle(pos, seq)
			seq++
		}
	})
}
