package disk

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/store"
)

func TestQueueOutlivesTheProcess(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	load(t, s)
	c := create(s, "c", false)
	var receipts []*store.Receipt
	for _, text := range numbers(1000) {
		receipts = append(receipts, c.add(text, false))
	}
	safe(t, receipts...)
	if n := c.Len(); n != 1000 {
		t.Fatalf("Len %d", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, Options{FS: fs})
	f := load(t, s)
	c = f.sessions["/c"]
	if c == nil || c.saved.Expiry != 3600 || c.saved.Detached != 1 {
		t.Fatalf("loaded %+v", c)
	}
	until(t, "count", func() bool { return c.Len() == 1000 })
	if list := c.restoredFlight(t); len(list) != 0 {
		t.Fatalf("in flight: %v", list)
	}
	if got := c.drain(t); !slices.Equal(got, numbers(1000)) {
		t.Fatalf("got %d: %v", len(got), got)
	}
	s.syncNow(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, Options{FS: fs})
	c = load(t, s).sessions["/c"]
	c.restoredFlight(t)
	if got := c.drain(t); len(got) != 0 {
		t.Fatalf("settled messages came back: %v", got)
	}
}

func TestInflightOutlivesTheProcess(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	load(t, s)
	c := create(s, "c", true)
	seq := c.FirstSeq()
	r := store.NewReceipt()
	c.Lock()
	m := message("direct")
	c.Add(store.Entry{Message: m, QoS: 1}, seq, false, r)
	m.Unref()
	c.Add(store.Entry{Message: message("popped"), QoS: 2}, 0, false, r)
	c.Add(store.Entry{Message: message("released"), QoS: 2}, 0, false, r)
	c.Add(store.Entry{Message: message("waiting"), QoS: 1, Retain: true, Unscreened: true,
		Route: &store.Route{IDs: []uint32{7, 8}, Group: "g", Filter: "t/#"}}, 0, false, r)
	e, _ := c.Pop()
	c.Sent(e, seq+1)
	e2, _ := c.Pop()
	c.Sent(e2, seq+2)
	c.Unlock()
	safe(t, r)
	c.Lock()
	ticket := c.PubrecReceived(e2.Pos, seq+2)
	c.Unlock()
	c.wait(t, "ticket", func() bool { return c.Safe(ticket) })
	s.Close()

	s = open(t, Options{FS: fs})
	c = load(t, s).sessions["/c"]
	list := c.restoredFlight(t)
	if len(list) != 3 {
		t.Fatalf("in flight: %+v", list)
	}
	for i, want := range []string{"direct", "popped", ""} {
		in := list[i]
		if in.Seq != seq+uint64(i) || in.Released != (want == "") || (in.Message != nil) != (want != "") {
			t.Fatalf("in flight %d: %+v", i, in)
		}
		if in.Message != nil && string(in.Message.Payload) != want {
			t.Fatalf("in flight %d: %s", i, in.Message.Payload)
		}
	}
	c.wait(t, "front", func() bool { _, ok := c.Front(); return ok })
	e, _ = c.Pop()
	if string(e.Message.Payload) != "waiting" || !e.Retain || !e.Unscreened || fmt.Sprint(*e.Route) != "{[7 8] g t/# <nil>}" {
		t.Fatalf("waiting: %+v %+v", e, e.Route)
	}
	c.Lock()
	for _, in := range list {
		c.Settle(in.Pos, in.Seq)
	}
	c.Settle(e.Pos, 0)
	c.Unlock()
	s.syncNow(t)
	s.Close()

	s = open(t, Options{FS: fs})
	c = load(t, s).sessions["/c"]
	if list := c.restoredFlight(t); len(list) != 0 {
		t.Fatalf("settled came back: %+v", list)
	}
	if !slices.Equal(c.drain(t), nil) {
		t.Fatal("settled came back")
	}
}
