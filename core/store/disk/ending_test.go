package disk

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// addShared adds a message of a shared subscription to some sessions.
func addShared(s *Store, text string, qos byte, r *store.Receipt, clients ...*client) {
	m := message(text)
	s.Begin()
	for _, c := range clients {
		m.Ref()
		c.Lock()
		c.Add(store.Entry{Message: m, QoS: qos, Route: &store.Route{Group: "g", Filter: "t/#"}}, 0, false, r)
		c.Unlock()
	}
	s.End()
	m.Unref()
}

// collector takes orphans.
type collector struct {
	mu   sync.Mutex
	list []string
}

func (o *collector) take(e store.Entry) {
	o.mu.Lock()
	o.list = append(o.list, string(e.Message.Payload))
	o.mu.Unlock()
	e.Message.Unref()
}

func (o *collector) sorted() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := slices.Clone(o.list)
	sort.Slice(list, func(i, j int) bool { return byNumber(list[i], list[j]) < 0 })
	return list
}

// empty reports that nothing of any session is on disk.
func (s *Store) empty(t testing.TB) bool {
	v := s.View()
	defer v.Close()
	st, err := v.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return st.Records["sessions"]+st.Records["contents"]+st.Records["index"]+st.Records["ended"] == 0
}

func TestEndHandsOutWhatWaitedForAGroup(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	c, other := create(s, "c", false), create(s, "other", false)
	r := store.NewReceipt()
	for i := range 300 {
		addShared(s, fmt.Sprint(i), 1, r, c)
	}
	addShared(s, "qos 0", 0, r, c)
	c.Lock()
	c.Add(store.Entry{Message: message("no group"), QoS: 1}, 0, false, r)
	c.Subscribe("$share/g/t/#", store.Subscription{QoS: 1})
	c.Received(7, r)
	c.Unlock()
	addShared(s, "shared body", 1, r, c, other)
	safe(t, r)
	// What is popped is not for others.
	for range 3 {
		c.wait(t, "pop", func() bool {
			e, ok := c.Pop()
			if ok {
				c.Sent(e, c.FirstSeq()+e.Pos)
			}
			return ok
		})
	}
	s.syncNow(t)
	var o collector
	c.Lock()
	c.End(o.take)
	c.Unlock()
	want := append(numbers(300)[3:], "shared body")
	sort.Slice(want, func(i, j int) bool { return byNumber(want[i], want[j]) < 0 })
	until(t, "orphans", func() bool { return len(o.sorted()) >= len(want) })
	if got := o.sorted(); !slices.Equal(got, want) {
		t.Fatalf("got %v", got)
	}
	other.Lock()
	other.End(func(e store.Entry) { e.Message.Unref() })
	other.Unlock()
	until(t, "removal", func() bool { return s.empty(t) })
	if sum := s.summary(t); sum.Shared != 0 {
		t.Fatalf("%+v", sum)
	}
}

// What was never written is handed out from memory, and its publisher waits
// until somebody else has it.
func TestEndBeforeTheCommit(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	s.taking.Lock() // nothing is committed meanwhile
	c, other := create(s, "c", false), create(s, "other", false)
	r := store.NewReceipt()
	addShared(s, "x", 1, r, c)
	c.Lock()
	c.End(func(e store.Entry) {
		other.Lock()
		defer other.Unlock()
		other.Add(e, 0, true, nil)
	})
	c.Unlock()
	s.taking.Unlock()
	safe(t, r)
	if sum := s.summary(t); sum.Waiting != 1 {
		t.Fatalf("%+v", sum)
	}
	if got := other.drain(t); !slices.Equal(got, []string{"x"}) {
		t.Fatalf("got %v", got)
	}
}

// A crash at any time between End and the end of the walk leaves each orphan in
// one place at least, and, as long as it is moved in one commit, at most.
func TestCrashWhileOrphansMove(t *testing.T) {
	const n = 400
	for round := range 10 {
		fs := vfs.NewCrashableMem()
		s := open(t, Options{FS: fs})
		load(t, s)
		c, other := create(s, "c", false), create(s, "other", false)
		r := store.NewReceipt()
		for i := range n {
			addShared(s, fmt.Sprint(i), 2, r, c)
		}
		safe(t, r)
		moved := make(chan struct{}, n)
		crashed := make(chan *vfs.MemFS, 1)
		at := (round * n) / 10
		c.Lock()
		c.End(func(e store.Entry) {
			other.Lock()
			other.Add(e, 0, true, nil)
			other.Unlock()
			if len(moved) == at {
				crashed <- fs.CrashClone(vfs.CrashCloneCfg{})
			}
			moved <- struct{}{}
		})
		c.Unlock()
		clone := <-crashed
		s.Close()

		s = open(t, Options{FS: clone})
		f := load(t, s)
		other = f.sessions["/other"]
		if c := f.sessions["/c"]; c != nil {
			// The end itself was not safe yet.
			t.Fatalf("round %d: the session is there", round)
		}
		other.restoredFlight(t)
		got := other.drain(t)
		until(t, "walk", func() bool { s.syncNow(t); return noEnded(t, s) })
		f.mu.Lock()
		for _, e := range f.orphans {
			got = append(got, string(e.Message.Payload))
		}
		f.mu.Unlock()
		sort.Slice(got, func(i, j int) bool { return byNumber(got[i], got[j]) < 0 })
		if !slices.Equal(got, numbers(n)) {
			t.Fatalf("round %d: %d messages: %v", round, len(got), got)
		}
		s.Close()
	}
}

func noEnded(t testing.TB, s *Store) bool {
	v := s.View()
	defer v.Close()
	st, err := v.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return st.Records["ended"] == 0
}

func TestSessionThatWasNeverWrittenLeavesNothing(t *testing.T) {
	s := open(t, Options{tune: tuning{}})
	load(t, s)
	for i := range 100 {
		c := create(s, fmt.Sprint(i), true)
		c.Subscribe("f", store.Subscription{})
		c.End(nil)
	}
	until(t, "removal", func() bool { return s.empty(t) })
}

// What the client had, and acknowledged, goes to nobody else, even if that was
// not written yet when the session ended.
func TestEndRightAfterAcknowledging(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	c := create(s, "c", true)
	r := store.NewReceipt()
	for i := range 40 {
		addShared(s, fmt.Sprint(i), byte(1+i%2), r, c)
	}
	safe(t, r)
	var o collector
	s.taking.Lock() // nothing is committed meanwhile
	c.Lock()
	for i := range 30 {
		e, ok := c.Pop()
		if !ok {
			t.Fatal("nothing there")
		}
		if c.Sent(e, c.FirstSeq()+uint64(i)); i < 20 {
			c.Settle(e.Pos, c.FirstSeq()+uint64(i))
		}
		e.Message.Unref()
	}
	c.End(o.take)
	c.Unlock()
	s.taking.Unlock()
	until(t, "removal", func() bool { return s.empty(t) })
	if got := o.sorted(); !slices.Equal(got, numbers(40)[30:]) {
		t.Errorf("got %v", got)
	}
}

// Sessions end while the sweep removes what has expired: each reference to a
// shared message is given back once.
func TestSessionsEndWhileMessagesExpire(t *testing.T) {
	var now atomic.Int64
	now.Store(1000)
	s := open(t, Options{Now: now.Load, tune: tuning{sweepEvery: time.Millisecond}})
	load(t, s)
	for round := range fewer(10) {
		var clients []*client
		for i := range 20 {
			clients = append(clients, create(s, fmt.Sprint(round, i), false))
		}
		stay := create(s, fmt.Sprint("stay", round), false)
		r := store.NewReceipt()
		for i := range 100 {
			m := (&packet.Message{Payload: fmt.Append(nil, i), QoS: 1, Expires: now.Load() + 1 + int64(i%2)*1_000_000}).Keep(uint64(i))
			s.Begin()
			for _, c := range append(clients, stay) {
				m.Ref()
				c.Add(store.Entry{Message: m, QoS: 1}, 0, false, r)
			}
			s.End()
			m.Unref()
		}
		safe(t, r)
		now.Add(1)
		for _, c := range clients {
			c.End(nil)
		}
		until(t, "expiry", func() bool { return len(stay.expired()) == 50 })
		s.syncNow(t)
		until(t, "ends", func() bool { return noEnded(t, s) })
		if sum := s.summary(t); sum.Waiting != 50*int64(round+1) || sum.Shared != sum.Waiting {
			t.Fatalf("round %d: %+v", round, sum)
		}
	}
}
