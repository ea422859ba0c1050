package disk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// dump writes down all that a view shows.
func dump(t *testing.T, v *View) []string {
	t.Helper()
	var lines []string
	line := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	msg := func(m *packet.Message) string {
		if m == nil {
			return "none"
		}
		return fmt.Sprintf("{%s %s %x %s %d %d %d %d %v}", m.Topic, m.Payload, m.Props, m.Publisher, m.ID, m.Received, m.Expires, m.QoS, m.Retain)
	}
	entry := func(e store.Entry) string {
		route := "none"
		if e.Route != nil {
			route = fmt.Sprint(*e.Route)
		}
		return fmt.Sprintf("%s %s pos %x qos %d retain %v unscreened %v", msg(e.Message), route, e.Pos, e.QoS, e.Retain, e.Unscreened)
	}
	err := v.Sessions(func(s SessionView) error {
		will := "none"
		if s.Will != nil {
			will = fmt.Sprintf("%s %d %d %v", msg(s.Will.Message), s.Will.Delay, s.Will.Expiry, s.Will.HasExpiry)
			s.Will.Message.Unref()
			s.Will = nil
		}
		line("session %+v will %s subscriptions %v received %v", s.Record, will, s.Subscriptions, s.Received)
		err := s.Inflight(func(in store.Inflight) error {
			line("in flight %x %v %s", in.Seq, in.Released, entry(in.Entry))
			return nil
		})
		return errors.Join(err, s.Waiting(func(e store.Entry) error {
			line("waiting %s", entry(e))
			return nil
		}))
	})
	err = errors.Join(err, v.Retained(func(ns string, m *packet.Message) error {
		line("retained %s %s", ns, msg(m))
		return nil
	}))
	err = errors.Join(err, v.Values(func(bucket, key string, value []byte, version uint64, expires int64) error {
		line("value %s %q %s %x %d", bucket, key, value, version, expires)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// copyTo imports what a view shows.
func copyTo(t *testing.T, v *View, fs vfs.FS) {
	t.Helper()
	im, err := Import(Options{Dir: "data", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	err = v.Sessions(func(s SessionView) error {
		n, err := im.Session(s.Record, s.Subscriptions, s.Received)
		err = errors.Join(err, s.Inflight(func(in store.Inflight) error { return im.Inflight(n, in) }))
		return errors.Join(err, s.Waiting(func(e store.Entry) error { return im.Entry(n, e) }))
	})
	err = errors.Join(err, v.Retained(im.Retained), v.Values(im.Value))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: "data", FS: fs}); !errors.Is(err, ErrInUse) {
		t.Errorf("open while importing: %v", err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestExportImportExport(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	load(t, s)
	full := (&packet.Message{
		Topic: []byte("a/b"), Payload: []byte("p\x00q"), Props: []byte{1, 2, 3}, Publisher: "pub", Received: 1234, Expires: 1 << 41, QoS: 2, Retain: true,
	}).Keep(1 << 50)
	r := store.NewReceipt()
	var clients []*client
	for i := range 20 {
		c := create(s, fmt.Sprint("c", i), true)
		rec := store.Record{Namespace: "ns", ClientID: fmt.Sprint("c", i), Username: "u", Expiry: 1<<32 - 1, Detached: 5, WillDue: 6}
		if i%2 == 0 {
			rec.Will = &store.Will{Message: full, Delay: 7, Expiry: 8, HasExpiry: i%4 == 0}
		}
		c.Save(rec)
		c.Subscribe("$share/g/a/+", store.Subscription{QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2, ID: 268_435_455})
		c.Subscribe("#", store.Subscription{})
		c.Received(1, r)
		c.Received(65535, r)
		clients = append(clients, c)
	}
	for i := range 50 {
		m := (&packet.Message{Topic: []byte("t"), Payload: fmt.Append(nil, i), QoS: 1, Publisher: "x"}).Keep(uint64(100 + i))
		s.Begin()
		for j, c := range clients {
			if i%(j+1) == 0 {
				m.Ref()
				c.Add(store.Entry{Message: m, QoS: byte(i % 3), Retain: i%5 == 0, Unscreened: i%7 == 0, Route: &store.Route{IDs: []uint32{uint32(i)}, Group: "g", Filter: "f"}}, 0, false, r)
			}
		}
		s.End()
	}
	safe(t, r)
	for _, c := range clients[:10] {
		for k := range 4 {
			c.wait(t, "pop", func() bool {
				e, ok := c.Pop()
				if ok && e.QoS > 0 {
					seq := c.FirstSeq() + uint64(k)
					c.Sent(e, seq)
					if e.QoS == 2 && k > 1 {
						c.PubrecReceived(e.Pos, seq)
					}
				}
				return ok
			})
		}
	}
	s.Retain("ns", full, nil)
	s.Retain("", message("x"), nil)
	for k := range 5 {
		if _, err := s.Values().Set("bucket", fmt.Sprint("k\x00", k), fmt.Append(nil, k), 1<<40); err != nil {
			t.Fatal(err)
		}
	}
	s.syncNow(t)

	v := s.View()
	first := dump(t, v)
	fs2, fs3 := vfs.NewMem(), vfs.NewMem()
	copyTo(t, v, fs2)
	v.Close()
	v, err := OpenReadOnly(Options{Dir: "data", FS: fs2})
	if err != nil {
		t.Fatal(err)
	}
	if second := dump(t, v); !slices.Equal(first, second) {
		t.Errorf("first:\n%s\nsecond:\n%s", strings.Join(first, "\n"), strings.Join(second, "\n"))
	}
	summary(t, v)
	copyTo(t, v, fs3)
	v.Close()
	v, err = OpenReadOnly(Options{Dir: "data", FS: fs3})
	if err != nil {
		t.Fatal(err)
	}
	if third := dump(t, v); !slices.Equal(first, third) {
		t.Error("the third differs")
	}
	if n := v.Unreadable(); n != 0 {
		t.Errorf("%d unreadable", n)
	}
	v.Close()

	// A broker goes on with it, and its numbers do not meet those that are there.
	s = open(t, Options{FS: fs3})
	f := load(t, s)
	if len(f.sessions) != 20 || len(f.retained) != 2 {
		t.Fatalf("%d sessions, %d retained", len(f.sessions), len(f.retained))
	}
	c := f.sessions["ns/c0"]
	before := c.restoredFlight(t)
	var e store.Entry
	c.wait(t, "front", func() bool {
		p, ok := c.Front()
		if ok {
			e = *p
		}
		return ok
	})
	for _, in := range before {
		if in.Seq >= c.FirstSeq() || in.Pos >= c.FirstSeq() {
			t.Errorf("%x %x", in.Seq, in.Pos)
		}
	}
	if e.Pos >= c.FirstSeq() {
		t.Errorf("pos %x", e.Pos)
	}
	safe(t, c.add("new", false))
	for _, c := range f.sessions {
		for _, in := range c.restoredFlight(t) {
			c.Settle(in.Pos, in.Seq)
		}
		c.drain(t)
	}
	for _, in := range before {
		c.Settle(in.Pos, in.Seq)
	}
	s.syncNow(t)
	if sum := s.summary(t); sum.Waiting+sum.Inflight+sum.Shared != 0 {
		t.Errorf("%+v", sum)
	}
}

func TestImportNeedsANewFolder(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	s.Close()
	if _, err := Import(Options{Dir: "data", FS: fs}); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
}

func TestImportCutShort(t *testing.T) {
	fs := vfs.NewMem()
	im, err := Import(Options{Dir: "data", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.Session(store.Record{ClientID: "c"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := im.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: "data", FS: fs}); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if _, err := OpenReadOnly(Options{Dir: "data", FS: fs}); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestImportToABrokenDisk(t *testing.T) {
	f := &fault{match: func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") }}
	im, err := Import(Options{Dir: "data", FS: errorfs.Wrap(vfs.NewMem(), f)})
	if err != nil {
		t.Fatal(err)
	}
	f.set(syscall.EIO)
	big := message(strings.Repeat("x", 1<<20))
	for i := 0; err == nil && i < 100; i++ {
		var n uint64
		if n, err = im.Session(store.Record{ClientID: fmt.Sprint(i)}, nil, nil); err == nil {
			m := (&packet.Message{Topic: big.Topic, Payload: big.Payload}).Keep(uint64(i))
			err = im.Entry(n, store.Entry{Message: m, QoS: 1})
		}
	}
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("%v", err)
	}
	if err := im.Close(); !errors.Is(err, syscall.EIO) {
		t.Logf("Close: %v", err)
	}
}
