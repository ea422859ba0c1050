package disk

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// What expires on disk goes, and its owner is told; what is in memory or in
// flight is left to the owner.
func TestExpiryOnDisk(t *testing.T) {
	fs := vfs.NewMem()
	var now atomic.Int64
	now.Store(1000)
	o := Options{FS: fs, Now: now.Load, tune: tuning{sweepEvery: 5 * time.Millisecond}}
	s := open(t, o)
	load(t, s)
	online, away := create(s, "online", true), create(s, "away", false)
	r := store.NewReceipt()
	for i := range 400 {
		m := (&packet.Message{Topic: []byte("t"), Payload: []byte(fmt.Sprint(i)), QoS: 1, Expires: 2000 * int64(i%2)}).Keep(uint64(i))
		s.Begin()
		for _, c := range []*client{online, away} {
			m.Ref()
			c.Add(store.Entry{Message: m, QoS: 1}, 0, false, r)
		}
		s.End()
		m.Unref()
	}
	safe(t, r)
	inFlight, _ := online.Pop() // message 0
	second, _ := online.Pop()   // message 1 has an expiry
	online.Sent(second, online.FirstSeq())
	until(t, "head", func() bool { return online.inMemory() == headMax-2 && away.inMemory() == 0 })
	now.Store(2000)
	until(t, "expiry", func() bool { return len(away.expired()) == 200 && len(online.expired()) == (400-headMax)/2 })
	for i, e := range away.expired() {
		if string(e.Message.Payload) != fmt.Sprint(2*i+1) {
			t.Fatalf("expired %s", e.Message.Payload)
		}
		e.Message.Unref()
	}
	if away.Len() != 200 || online.Len() != 398-(400-headMax)/2 {
		t.Errorf("Len %d, %d", away.Len(), online.Len())
	}
	var want []string
	for i := 0; i < 400; i += 2 {
		want = append(want, fmt.Sprint(i))
	}
	if got := away.drain(t); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	// Of what was in memory the owner gets to see all.
	want = numbers(headMax)[2:]
	for i := headMax; i < 400; i += 2 {
		want = append(want, fmt.Sprint(i))
	}
	if got := online.drain(t); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	online.Settle(inFlight.Pos, 0)
	s.syncNow(t)
	if sum := s.summary(t); sum.Waiting != 0 || sum.Inflight != 1 || sum.Shared != 1 {
		t.Errorf("%+v", sum)
	}
}

// After a start the first pass counts and removes.
func TestExpiryWhileNobodyWasThere(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs, Now: func() int64 { return 1000 }})
	load(t, s)
	c := create(s, "c", true)
	r := store.NewReceipt()
	for i := range 300 {
		m := (&packet.Message{Payload: []byte(fmt.Sprint(i)), QoS: 1, Expires: 2000 * int64(i%2)}).Keep(uint64(i))
		c.Add(store.Entry{Message: m, QoS: 1}, 0, false, r)
	}
	for i := range 10 {
		e, _ := c.Pop()
		c.Sent(e, c.FirstSeq()+uint64(i))
	}
	safe(t, r)
	s.Close()

	s = open(t, Options{FS: fs, Now: func() int64 { return 3000 }})
	c = load(t, s).sessions["/c"]
	until(t, "expiry", func() bool { return len(c.expired()) == 145 && c.Len() == 145 })
	if n := len(c.restoredFlight(t)); n != 10 {
		t.Errorf("%d in flight", n)
	}
	if got := c.drain(t); len(got) != 145 {
		t.Errorf("%d left", len(got))
	}
}

// Messages that belong to no session are removed by the first pass.
func TestMessagesOfNobody(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	load(t, s)
	a, b := create(s, "a", false), create(s, "b", false)
	r := store.NewReceipt()
	for i := range 300 {
		addShared(s, fmt.Sprint(i), 1, r, a, b)
	}
	safe(t, r)
	w := newWriter(s)
	w.begin()
	// As if a session had gone without a trace.
	e := &ending{session: a.key}
	if err := w.end(e); err != nil {
		t.Fatal(err)
	}
	if err := w.pb.Delete([]byte(fmt.Sprintf("e%s", key8(a.key))), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.apply(w.pb); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, Options{FS: fs})
	f := load(t, s)
	until(t, "sweep", s.counted.Load)
	if sum := s.summary(t); sum.Waiting != 300 || sum.Shared != 300 || len(f.sessions) != 1 {
		t.Errorf("%+v", sum)
	}
}

func key8(n uint64) []byte {
	b := make([]byte, 8)
	for i := range b {
		b[7-i] = byte(n >> (8 * i))
	}
	return b
}
