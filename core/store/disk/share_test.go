package disk

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// summary checks a store and fails with each problem.
func summary(t testing.TB, v *View) Summary {
	t.Helper()
	sum, err := v.Check(func(p Problem) { t.Errorf("%s: %s", p.Record, p.What) })
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func (s *Store) summary(t testing.TB) Summary {
	t.Helper()
	v := s.View()
	defer v.Close()
	return summary(t, v)
}

func TestMessageIsStoredOnceForManySessions(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	var clients []*client
	for i := range 1000 {
		clients = append(clients, create(s, fmt.Sprint(i), false))
	}
	body := make([]byte, 10_000)
	for i := range body {
		body[i] = byte(i * i >> 3) // not to be compressed away
	}
	m := (&packet.Message{Topic: []byte("t"), Payload: body, QoS: 1}).Keep(1)
	r := store.NewReceipt()
	s.Begin()
	for _, c := range clients {
		m.Ref()
		c.Add(store.Entry{Message: m, QoS: 1}, 0, false, r)
	}
	s.End()
	m.Unref()
	safe(t, r)
	if sum := s.summary(t); sum.Shared != 1 || sum.Waiting != 1000 || sum.SharedBytes > 11_000 {
		t.Fatalf("%+v", sum)
	}
	if st := s.Stats(); st.Shared != 1 || st.Written != 1000 || st.BytesWritten > 300_000 {
		t.Fatalf("%+v", st)
	}
	for i, c := range clients {
		c.wait(t, "pop", func() bool {
			e, ok := c.Pop()
			if ok {
				if !slices.Equal(e.Message.Payload, body) {
					t.Fatalf("session %d: another payload", i)
				}
				c.Settle(e.Pos, 0)
				e.Message.Unref()
			}
			return ok
		})
		if i == 998 {
			s.syncNow(t)
			if sum := s.summary(t); sum.Shared != 1 || sum.Waiting != 1 {
				t.Fatalf("%+v", sum)
			}
		}
	}
	s.syncNow(t)
	if sum := s.summary(t); sum.Shared != 0 || sum.Waiting != 0 {
		t.Fatalf("%+v", sum)
	}
	if err := s.compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := s.View()
	defer v.Close()
	if st, err := v.Stats(); err != nil || st.Records["shared"] != 0 || st.Records["contents"] != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
}

// A message whose count was written by a compaction, and goes later, must not
// come back.
func TestSharedMessageGoesAfterCompactions(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	a, b := create(s, "a", false), create(s, "b", false)
	for range 3 {
		m := message("x")
		r := store.NewReceipt()
		s.Begin()
		for _, c := range []*client{a, b} {
			m.Ref()
			c.Add(store.Entry{Message: m, QoS: 1}, 0, false, r)
		}
		s.End()
		m.Unref()
		safe(t, r)
		for _, c := range []*client{a, b} {
			if err := s.compact(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := c.drain(t); len(got) != 1 {
				t.Fatalf("got %v", got)
			}
			s.syncNow(t)
		}
		if err := s.compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sum := s.summary(t); sum.Shared != 0 {
			t.Fatalf("%+v", sum)
		}
	}
}

func TestSettledBeforeItsTimeIsNotWritten(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	c := create(s, "c", true)
	s.syncNow(t)
	seq := c.FirstSeq()
	m := message("x")
	for range 1000 {
		r := store.NewReceipt()
		c.Lock()
		pos, ticket := c.Add(store.Entry{Message: m, QoS: 1}, seq, true, r)
		c.Settle(pos, seq)
		c.Unlock()
		if settled, err := r.Wait(func(error) { t.Error("called") }); !settled || err != nil {
			t.Fatalf("Receipt: %v, %v", settled, err)
		}
		if !c.Safe(ticket) {
			t.Fatal("not safe")
		}
		seq++
	}
	if st := s.Stats(); st.Skipped != 1000 || st.Written != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestLazyMessageIsWrittenInTheEnd(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	c := create(s, "c", true)
	safe(t, c.add("x", true))
	if st := s.Stats(); st.Written != 1 || st.Skipped != 0 {
		t.Fatalf("%+v", st)
	}
}

// Connecting, subscribing and acknowledging must not write what others may still
// settle.
func TestUrgentChangesLeaveLazyMessagesAlone(t *testing.T) {
	s := open(t, Options{tune: tuning{tick: time.Hour}})
	load(t, s)
	c, other := create(s, "c", true), create(s, "other", true)
	s.syncNow(t)
	c.Lock()
	_, lazy := c.Add(store.Entry{Message: message("x"), QoS: 1}, 0, true, nil)
	c.Unlock()
	other.Subscribe("f", store.Subscription{QoS: 1})
	c.Subscribe("f", store.Subscription{QoS: 1})
	s.syncNow(t)
	if st := s.Stats(); st.Written != 0 {
		t.Fatalf("%+v", st)
	}
	c.mu.Lock()
	if c.w.safe >= lazy {
		t.Error("what was left is said to be safe")
	}
	c.mu.Unlock()
	// But a publication that is for both is safe as a whole.
	safe(t, other.add("y", false))
	if st := s.Stats(); st.Written != 2 {
		t.Fatalf("%+v", st)
	}
}

func TestFolderShrinks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, Options{Dir: dir, FS: vfs.Default, Sync: SyncNever,
		tune: tuning{compactBytes: 1 << 20, compactPause: 50 * time.Millisecond, sweepEvery: 50 * time.Millisecond}})
	load(t, s)
	c := create(s, "c", false)
	n := fewer(50_000)
	rng := rand.NewChaCha8([32]byte{1})
	fill := func(expires int64) {
		r := store.NewReceipt()
		c.Lock()
		for i := range n {
			body := make([]byte, 500)
			rng.Read(body)
			m := (&packet.Message{Topic: []byte("t"), Payload: body, QoS: 1, Expires: expires}).Keep(uint64(i))
			c.Add(store.Entry{Message: m, QoS: 1}, 0, false, r)
		}
		c.Unlock()
		safe(t, r)
	}
	full := func() int64 { return s.Stats().DiskBytes }

	fill(0)
	before := full()
	// Below some MiB it is not worth anybody's while.
	shrunk := func() bool { return full() < max(before/2, 3<<20) }
	// What is in the log that is being written counts only when it is full.
	if before < 8<<20 && !raceEnabled {
		t.Fatalf("%d bytes are too few to see anything", before)
	}
	if got := c.drain(t); len(got) != n {
		t.Fatalf("drained %d", len(got))
	}
	until(t, "shrink after settling", shrunk)

	fill(time.Now().UnixMilli() + 1)
	until(t, "expire", func() bool { return len(c.expired()) == n && c.Len() == 0 })
	until(t, "shrink after expiry", shrunk)
	if sum := s.summary(t); sum.Waiting != 0 {
		t.Fatalf("%+v", sum)
	}
}

// Whoever asks for a lazy message's Ticket does not wait for its time.
func TestTicketHurries(t *testing.T) {
	s := open(t, Options{tune: tuning{tick: time.Hour}})
	load(t, s)
	c := create(s, "c", true)
	s.syncNow(t)
	c.Lock()
	_, ticket := c.Add(store.Entry{Message: message("x"), QoS: 2}, c.FirstSeq(), true, nil)
	c.Unlock()
	c.wait(t, "ticket", func() bool { return c.Safe(ticket) })
	if st := s.Stats(); st.Written != 1 {
		t.Fatalf("%+v", st)
	}
}
