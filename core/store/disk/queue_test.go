package disk

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// inMemory is the number of messages that a session holds in memory.
func (c *client) inMemory() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w == nil {
		return 0
	}
	return c.w.head.n + c.w.tail.n
}

func TestLongQueueStaysOnDisk(t *testing.T) {
	n := fewer(100_000)
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs, Sync: SyncNever})
	load(t, s)
	c := create(s, "c", true)
	for i := 0; i < n; i += 1000 {
		r := store.NewReceipt()
		for j := range 1000 {
			c.Lock()
			c.Add(store.Entry{Message: message(fmt.Sprint(i + j)), QoS: 1}, 0, false, r)
			c.Unlock()
		}
		safe(t, r)
		if m := c.inMemory(); m > headMax {
			t.Fatalf("%d messages in memory", m)
		}
	}
	if c.Len() != n {
		t.Fatalf("Len %d", c.Len())
	}
	check := func() {
		t.Helper()
		for i := range n {
			var e store.Entry
			c.wait(t, "pop", func() (ok bool) {
				if e, ok = c.Pop(); ok {
					c.Settle(e.Pos, 0)
				}
				return ok
			})
			if string(e.Message.Payload) != fmt.Sprint(i) {
				t.Fatalf("message %d is %s", i, e.Message.Payload)
			}
			e.Message.Unref()
			if m := c.inMemory(); m > headMax+pageMax {
				t.Fatalf("%d messages in memory", m)
			}
			if i == n/2 && c.Len() != n/2-1 {
				t.Fatalf("Len %d", c.Len())
			}
		}
		if c.Len() != 0 || c.Bytes() != 0 || !c.Empty() {
			t.Fatalf("Len %d, Bytes %d", c.Len(), c.Bytes())
		}
	}
	s.Close()
	s = open(t, Options{FS: fs, Sync: SyncNever})
	c = load(t, s).sessions["/c"]
	until(t, "count", func() bool { return c.Len() == n })
	c.restoredFlight(t)
	check()
}

// Memory of a client that is away does not depend on what waits for it.
func TestClientThatIsAwayCostsNoMemoryForMessages(t *testing.T) {
	s := open(t, Options{Sync: SyncNever})
	load(t, s)
	c := create(s, "c", true)
	for i := range 50 {
		safe(t, c.add(fmt.Sprint(i), false))
	}
	if c.inMemory() != 50 {
		t.Fatalf("%d in memory", c.inMemory())
	}
	c.Save(store.Record{ClientID: "c", Detached: 1})
	s.syncNow(t)
	for i := range 50 {
		safe(t, c.add(fmt.Sprint(50+i), false))
	}
	c.mu.Lock()
	if c.w != nil {
		t.Errorf("it still has its work: %d in memory, %+v", c.w.head.n+c.w.tail.n, c.gap)
	}
	c.mu.Unlock()
	if c.Len() != 100 || c.Empty() {
		t.Fatalf("Len %d", c.Len())
	}
	if got := c.drain(t); !slices.Equal(got, numbers(100)) {
		t.Fatalf("got %v", got)
	}
}

// The policy that drops the oldest message works on a client that is away.
func TestDropOldestWhileAway(t *testing.T) {
	s := open(t, Options{Sync: SyncNever})
	load(t, s)
	c := create(s, "c", false)
	const limit, n = 20, 500
	for i := range n {
		if c.Len() == limit {
			c.wait(t, "drop", func() bool {
				e, ok := c.Pop()
				if ok {
					c.Settle(e.Pos, 0)
					e.Message.Unref()
				}
				return ok
			})
		}
		safe(t, c.add(fmt.Sprint(i), false))
	}
	if got := c.drain(t); !slices.Equal(got, numbers(n)[n-limit:]) {
		t.Fatalf("got %v", got)
	}
}

// A retained message goes out before what waits and has a later place; its
// content on disk must not be taken for a waiting one.
func TestSentPastTheQueue(t *testing.T) {
	s := open(t, Options{Sync: SyncNever})
	load(t, s)
	c := create(s, "c", false)
	var receipts []*store.Receipt
	var pos []uint64
	for i := range 300 {
		receipts = append(receipts, c.add(fmt.Sprint(i), false))
		r := store.NewReceipt()
		m := message("retained")
		p, _ := c.Add(store.Entry{Message: m, QoS: 1}, c.FirstSeq()+uint64(i), false, r)
		m.Unref()
		pos, receipts = append(pos, p), append(receipts, r)
	}
	safe(t, receipts...)
	for i, p := range pos[:150] {
		c.Settle(p, c.FirstSeq()+uint64(i))
	}
	if got := c.drain(t); !slices.Equal(got, numbers(300)) {
		t.Fatalf("got %v", got)
	}
}

func TestQoS0WaitsInOrderAndIsForgottenWithPop(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	load(t, s)
	c := create(s, "c", false)
	r := store.NewReceipt()
	for i := range 200 {
		c.Add(store.Entry{Message: message(fmt.Sprint(i)), QoS: byte(i % 2)}, 0, false, r)
	}
	safe(t, r)
	if got := c.drain(t); !slices.Equal(got, numbers(200)) {
		t.Fatalf("got %v", got)
	}
	s.syncNow(t)
	s.Close()
	s = open(t, Options{FS: fs})
	c = load(t, s).sessions["/c"]
	c.restoredFlight(t)
	if got := c.drain(t); len(got) != 0 {
		t.Fatalf("got %v", got)
	}
}

func TestFlightFindsItsSlots(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var f flight
	model := make(map[uint64]*slot)
	next := uint64(100)
	for range 200_000 {
		switch k := rng.IntN(10); {
		case k < 5 && len(model) < 300:
			s := &slot{}
			if next++; rng.IntN(20) == 0 {
				next += 5
			}
			s.entry.Pos = next
			if rng.IntN(10) == 0 {
				// An older place, behind a newer one.
				for s.entry.Pos = next - uint64(rng.IntN(50)); model[s.entry.Pos] != nil; s.entry.Pos-- {
				}
			}
			f.insert(s)
			model[s.entry.Pos] = s
		default:
			pos := next - uint64(rng.IntN(60))
			if rng.IntN(3) == 0 {
				for pos = range model {
					break
				}
			}
			if f.get(pos) != model[pos] {
				t.Fatalf("get %d: %v, want %v", pos, f.get(pos), model[pos])
			}
			if s := f.take(pos); s != model[pos] {
				t.Fatalf("take %d: %v, want %v", pos, s, model[pos])
			}
			delete(model, pos)
		}
		if f.live != len(model) {
			t.Fatalf("%d live, want %d", f.live, len(model))
		}
	}
}

func TestColdSessionIsSmall(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs, Sync: SyncNever})
	load(t, s)
	const n = 100_000
	for i := range n {
		s.Create(store.Record{ClientID: fmt.Sprint(i), Expiry: 1, Detached: 1}, nil)
	}
	s.Close()
	s = open(t, Options{FS: fs, Sync: SyncNever})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools had is gone with the second
	runtime.ReadMemStats(&before)
	states := make([]store.Session, 0, n)
	err := s.Load(store.Loader{Session: func(saved store.Saved) store.Owner {
		s.sessionsMu.Lock()
		states = append(states, saved.State)
		s.sessionsMu.Unlock()
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int64(after.HeapAlloc-before.HeapAlloc) / n
	t.Logf("%d bytes per session", each)
	if each > 200 {
		t.Errorf("%d bytes per session", each)
	}
	runtime.KeepAlive(states)
}

func TestAddAndSettleAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	s := open(t, Options{})
	load(t, s)
	c := create(s, "c", true)
	s.syncNow(t)
	m := (&packet.Message{Topic: []byte("t")}).Keep(1)
	seq := c.FirstSeq()
	allocs := testing.AllocsPerRun(10_000, func() {
		pos, _ := c.Add(store.Entry{Message: m, QoS: 1}, seq, true, nil)
		c.Settle(pos, seq)
		seq++
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
