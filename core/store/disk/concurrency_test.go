package disk

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// TestHammer has publishers, receivers, and people who come and go and look, all
// at once, and checks that each receiver gets each message once and in order of
// its publisher.
func TestHammer(t *testing.T) {
	const (
		publishers = 6
		receivers  = 12
		messages   = 300
	)
	s := open(t, Options{FS: vfs.NewMem(), tune: tuning{sweepEvery: 3 * time.Millisecond, compactBytes: 1, compactPause: 10 * time.Millisecond}})
	load(t, s)
	var clients []*client
	for i := range receivers {
		clients = append(clients, create(s, fmt.Sprint(i), i%3 != 0))
	}
	var id atomic.Uint64
	var pubs, subs, others sync.WaitGroup
	for p := range publishers {
		pubs.Add(1)
		go func() {
			defer pubs.Done()
			rng := rand.New(rand.NewPCG(uint64(p), 1))
			for n := range messages {
				r := store.NewReceipt()
				m := (&packet.Message{Topic: fmt.Append(nil, p), Payload: fmt.Append(nil, n), QoS: 1, Expires: 1 << 50}).Keep(id.Add(1))
				s.Begin()
				for _, c := range clients {
					m.Ref()
					c.Lock()
					c.Add(store.Entry{Message: m, QoS: byte(1 + n%2)}, 0, rng.IntN(3) > 0, r)
					c.Unlock()
				}
				s.End()
				m.Unref()
				if rng.IntN(4) == 0 {
					safe(t, r)
				}
				for _, c := range clients {
					c.Ready()
				}
			}
		}()
	}
	for _, c := range clients {
		subs.Add(1)
		go func() {
			defer subs.Done()
			next := make(map[string]int)
			var seq uint64
			for got := 0; got < publishers*messages; {
				c.wait(t, "message", func() bool {
					e, ok := c.Pop()
					if !ok {
						return false
					}
					if want := fmt.Sprint(next[string(e.Message.Topic)]); string(e.Message.Payload) != want {
						t.Errorf("publisher %s: got %s, want %s", e.Message.Topic, e.Message.Payload, want)
					}
					next[string(e.Message.Topic)]++
					got++
					e.Message.Unref()
					seq++
					c.Sent(e, c.FirstSeq()+seq)
					if e.QoS == 2 {
						c.PubrecReceived(e.Pos, c.FirstSeq()+seq)
					}
					c.Settle(e.Pos, c.FirstSeq()+seq)
					if got%100 == 0 {
						c.Save(store.Record{ClientID: fmt.Sprint(c.key), Detached: int64(got / 100 % 2)})
						c.Len()
					}
					return true
				})
			}
		}()
	}
	stop := make(chan struct{})
	for i := range 3 {
		others.Add(1)
		go func() {
			defer others.Done()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				switch i {
				case 0:
					c := create(s, fmt.Sprint("passing ", n), true)
					safe(t, c.add("x", false))
					c.Subscribe("f", store.Subscription{})
					s.syncNow(t)
					c.End(func(e store.Entry) { e.Message.Unref() })
				case 1:
					if _, err := s.Values().Set("b", fmt.Sprint(n%5), nil, time.Hour); err != nil {
						t.Error(err)
					}
				case 2:
					v := s.View()
					if _, err := v.Check(func(p Problem) { t.Errorf("%s: %s", p.Record, p.What) }); err != nil {
						t.Error(err)
					}
					v.Close()
					s.Stats()
				}
			}
		}()
	}
	pubs.Wait()
	subs.Wait()
	close(stop)
	others.Wait()
	s.syncNow(t)
	until(t, "ends", func() bool { return noEnded(t, s) })
	if sum := s.summary(t); sum.Waiting+sum.Inflight+sum.Shared != 0 {
		t.Errorf("%+v", sum)
	}
	if st := s.Stats(); st.Written+st.Skipped < publishers*receivers*messages {
		t.Errorf("%+v", st)
	}
}

// Each session and retained message is handed out once, however Load splits them.
func TestLoadSplits(t *testing.T) {
	fs := vfs.NewMem()
	var want []string
	for boot := range 3 {
		s := open(t, Options{FS: fs, Sync: SyncNever})
		load(t, s)
		for i := range 3000 * boot {
			id := fmt.Sprint(boot, "-", i)
			c := s.Create(store.Record{Namespace: "n", ClientID: id}, nil)
			c.Subscribe("a", store.Subscription{QoS: 1})
			c.Subscribe("b", store.Subscription{QoS: 2})
			want = append(want, id)
		}
		s.Close()
	}
	s := open(t, Options{FS: fs, Sync: SyncNever})
	var mu sync.Mutex
	var got []string
	err := s.Load(store.Loader{Session: func(saved store.Saved) store.Owner {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, saved.ClientID)
		if len(saved.Subscriptions) != 2 || saved.Subscriptions[1].QoS != 2 {
			t.Errorf("%+v", saved)
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d sessions, want %d", len(got), len(want))
	}
	if chunks, err := split(s.db); err != nil || len(chunks) < 8 {
		t.Errorf("%d chunks", len(chunks))
	}
}
