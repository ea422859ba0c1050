package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// openDisk opens a store on a file system of its own, or on a folder.
func openDisk(t testing.TB, o disk.Options) *disk.Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = "data"
	}
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	s, err := disk.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stores runs a test on each kind of Store.
func stores(t *testing.T, run func(t *testing.T, s store.Store)) {
	t.Run("memory", func(t *testing.T) { run(t, new(store.Memory)) })
	t.Run("disk", func(t *testing.T) { run(t, openDisk(t, disk.Options{})) })
}

func withStore(s store.Store) func(*Options) { return func(o *Options) { o.Store = s } }

// consumer reads a queue.
type consumer struct {
	t testing.TB
	hook.Queue
	ready chan struct{}
}

func open(t testing.TB, b *Broker, spec hook.QueueSpec) *consumer {
	t.Helper()
	c := &consumer{t: t, ready: make(chan struct{}, 1)}
	q, err := b.Plugins().OpenQueue(spec, func() {
		select {
		case c.ready <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Queue = q
	return c
}

// next reads until there is something, or the end if that is all right.
func (c *consumer) next(after uint64, max, maxBytes int, end bool) []hook.Queued {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		list, more := c.Read(after, max, maxBytes)
		if len(list) > 0 || end && !more {
			return list
		}
		select {
		case <-c.ready:
		case <-timeout:
			c.t.Fatal("waited too long for a message in the queue")
		}
	}
}

// all reads everything behind an offset, a page at a time.
func (c *consumer) all(after uint64, max, maxBytes int) (texts []string, offsets []uint64) {
	c.t.Helper()
	for {
		list := c.next(after, max, maxBytes, true)
		if len(list) == 0 {
			return texts, offsets
		}
		if len(list) > max {
			c.t.Fatalf("%d messages, at most %d were wanted", len(list), max)
		}
		for _, m := range list {
			if m.Offset <= after {
				c.t.Fatalf("offset %d behind %d", m.Offset, after)
			}
			after = m.Offset
			texts, offsets = append(texts, string(m.Message.Payload)), append(offsets, m.Offset)
			m.Message.Unref()
		}
	}
}

func (c *consumer) expect(after uint64, want ...string) []uint64 {
	c.t.Helper()
	got, offsets := c.all(after, 3, 1000)
	if !slices.Equal(got, want) {
		c.t.Fatalf("the queue has %q, want %q", got, want)
	}
	return offsets
}

// results returns a function to be told of a publication, and one that waits for that.
func results(t testing.TB) (done func(hook.PublishResult), result func() hook.PublishResult) {
	ch := make(chan hook.PublishResult, 1)
	return func(r hook.PublishResult) { ch <- r }, func() hook.PublishResult {
		t.Helper()
		select {
		case r := <-ch:
			return r
		case <-time.After(patience):
			t.Fatal("waited too long for the result of a publication")
			return hook.PublishResult{}
		}
	}
}

// publishFor publishes for a plugin and waits for the result.
func publishFor(t testing.TB, b *Broker, namespace string, m *packet.Message) hook.PublishResult {
	t.Helper()
	done, result := results(t)
	b.Plugins().Publish(namespace, m, done)
	return result()
}

// text makes a message.
func text(topic, payload string, qos byte) *packet.Message {
	return &packet.Message{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}
}

func TestQueue(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		b, addr := start(t, withStore(s))
		c := open(t, b, hook.QueueSpec{Owner: "sink", Name: "in", Filters: []string{"a/#", "a/+", "+/x"}, MinQoS: 1})
		c.expect(0)
		p := connect(t, addr, "pub")
		out, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{
			Topic: []byte("a/b"), Payload: []byte("1"), QoS: 1, PacketID: 1, Retain: true, MessageExpiry: 1000, HasExpiry: true,
			Forward: []byte{byte(packet.PropUserProperty), 0, 1, 'k', 0, 1, 'v'},
		})
		p.write(out)
		p.expectAck(packet.TypePuback, 1, packet.Success)
		list := c.next(0, 10, 1000, false)
		m := list[0].Message
		if len(list) != 1 || string(m.Topic) != "a/b" || m.QoS != 1 || !m.Retain || m.Publisher != "pub" || m.Expires <= m.Received ||
			len(m.Props) != 7 || list[0].Client == nil || list[0].Client.ID != "pub" || list[0].Namespace != "" {
			t.Fatalf("read %+v %+v", list, m)
		}
		m.Unref()
		c.Ack(list[0].Offset)

		p.publish("a/q0", "no", 0, 0) // below the minimum
		p.publish("b", "no", 1, 2)
		p.expectAck(packet.TypePuback, 2, packet.NoMatchingSubscribers)
		p.publish("a/x", "2", 1, 3)
		p.expectAck(packet.TypePuback, 3, packet.Success)
		p.publish("a", "3", 2, 4)
		p.expectAck(packet.TypePubrec, 4, packet.Success)
		own := text("a/own", "no", 1)
		own.Origin = &packet.Origin{Plugin: "sink"}
		if r := publishFor(t, b, "", own); r.Code != packet.NoMatchingSubscribers || r.Receivers != 0 {
			t.Errorf("what the owner itself publishes: %+v", r)
		}
		other := text("a/other", "4", 1)
		other.Origin = &packet.Origin{Plugin: "rules", Hops: 2}
		if r := publishFor(t, b, "", other); r.Code != packet.Success || r.Receivers != 1 || r.ID == 0 {
			t.Errorf("what another plugin publishes: %+v", r)
		}
		offsets := c.expect(0, "2", "3", "4")
		if i := c.Info(); i.Messages != 3 || i.Bytes == 0 || !i.Open || i.Oldest.IsZero() || i.Owner != "sink" || i.Name != "in" || len(i.Filters) != 3 {
			t.Errorf("%+v", i)
		}
		c.Ack(offsets[1], offsets[1], 77)
		c.expect(0, "2", "4")
		c.expect(offsets[0], "4")

		if _, err := b.Plugins().OpenQueue(hook.QueueSpec{Owner: "sink", Name: "in"}, func() {}); !errors.Is(err, hook.ErrQueueOpen) {
			t.Errorf("opened twice: %v", err)
		}
		if b.Plugins().RemoveQueue("sink", "in") {
			t.Error("an open queue was removed")
		}
		c.Close()
		if list, _ := c.Read(0, 1, 1); len(list) > 0 {
			t.Error("a closed queue was read")
		}
		p.publish("a/b", "5", 1, 5)
		p.expectAck(packet.TypePuback, 5, packet.Success)

		c = open(t, b, hook.QueueSpec{Owner: "sink", Name: "in", Filters: []string{"b", "a/x"}})
		p.publish("b", "6", 0, 0)
		p.publish("a/b", "no", 1, 6)
		p.expectAck(packet.TypePuback, 6, packet.NoMatchingSubscribers)
		offsets = c.expect(0, "2", "4", "5", "6")
		c.Ack(offsets...)
		c.expect(0)
		if i := c.Info(); i.Messages != 0 || i.Bytes != 0 || !i.Oldest.IsZero() {
			t.Errorf("%+v", i)
		}
		c.Close()
		if !b.Plugins().RemoveQueue("sink", "in") || b.Plugins().RemoveQueue("sink", "in") || len(b.Plugins().Queues()) > 0 {
			t.Error("the queue was not removed, or twice")
		}
		p.publish("b", "no", 1, 7)
		p.expectAck(packet.TypePuback, 7, packet.NoMatchingSubscribers)
		open(t, b, hook.QueueSpec{Owner: "sink", Name: "in", Filters: []string{"b"}}).expect(0)
	})
}

func TestQueueSpecsAreChecked(t *testing.T) {
	b, _ := start(t)
	for name, s := range map[string]hook.QueueSpec{
		"no owner": {Name: "q"}, "no name": {Owner: "p"}, "slash": {Owner: "a/b", Name: "q"}, "minimum QoS": {Owner: "p", Name: "q", MinQoS: 3},
		"filter": {Owner: "p", Name: "q", Filters: []string{"a/#/b"}}, "shared": {Owner: "p", Name: "q", Filters: []string{"$share/g/a"}},
	} {
		if _, err := b.Plugins().OpenQueue(s, func() {}); err == nil || !strings.HasPrefix(err.Error(), "queue ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(b.Plugins().Queues()); n > 0 {
		t.Errorf("%d queues", n)
	}
}

// A queue gets what it wants of every namespace, also of those that come later, and
// nothing of `$` topics by a leading wildcard.
func TestQueueNamespaces(t *testing.T) {
	b, _ := start(t)
	every := open(t, b, hook.QueueSpec{Owner: "p", Name: "every", Filters: []string{"#", "$own/+"}})
	some := open(t, b, hook.QueueSpec{Owner: "p", Name: "some", Filters: []string{"#"}, Namespaces: []string{"", "later"}})
	for _, n := range []string{"", "later", "other"} {
		publishFor(t, b, n, text("t", n+"1", 1))
		publishFor(t, b, n, text("$own/t", n+"2", 0))
		publishFor(t, b, n, text("$else/t", n+"3", 0))
	}
	every.expect(0, "1", "2", "later1", "later2", "other1", "other2")
	for _, m := range every.next(0, 10, 1000, false) {
		if want := strings.TrimRight(string(m.Message.Payload), "123"); m.Namespace != want || m.Client != nil {
			t.Errorf("%s is of namespace %q and client %v", m.Message.Payload, m.Namespace, m.Client)
		}
		m.Message.Unref()
	}
	some.expect(0, "1", "later1")
	some.Close()
	some = open(t, b, hook.QueueSpec{Owner: "p", Name: "some", Filters: []string{"#"}, Namespaces: []string{"other"}})
	for _, n := range []string{"", "later", "other"} {
		publishFor(t, b, n, text("t", n+"4", 1))
	}
	some.expect(0, "1", "later1", "other4")
}

// Nobody sees queues where clients are seen.
func TestQueuesAreNoSessions(t *testing.T) {
	fs := vfs.NewMem()
	for boot := range 2 {
		b, addr := start(t, withStore(openDisk(t, disk.Options{FS: fs})), func(o *Options) { o.Sys.Interval = 0 })
		if boot == 0 {
			open(t, b, hook.QueueSpec{Owner: "p", Name: "q", Filters: []string{"#", "a"}})
		} else if q := b.Plugins().Queues(); len(q) != 1 || q[0].Open || !slices.Equal(q[0].Filters, []string{"#", "a"}) {
			t.Errorf("after a restart: %+v", q)
		}
		b.Plugins().Publish("n", text("x", "y", 1), func(hook.PublishResult) {})
		if g := b.Gauges(); g.Sessions != 0 || g.Subscriptions != 0 || g.Queued != 0 {
			t.Errorf("%+v", g)
		}
		b.Clients(func(i ClientInfo) bool { t.Errorf("client %+v", i); return true })
		b.Plugins().Sessions("", true, func(i hook.SessionInfo) bool { t.Errorf("session %+v", i); return true })
		b.Install(&fakeHost{authenticate: func(r *hook.AuthRequest, _ func()) bool {
			r.Result = hook.AuthResult{Accept: true, Namespace: queueNamespace}
			return true
		}}, hook.SetOf(hook.Authenticate))
		intruder := dial(t, addr)
		intruder.sendConnect("p/q")
		intruder.expectConnack(packet.NotAuthorized)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if err := b.Close(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

func TestQueueDropsWhatHasExpired(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		now := clock.NewManual(time.Now())
		b, _ := start(t, withStore(s), func(o *Options) { o.Clock = now })
		h := &fakeHost{}
		b.Install(h, hook.SetOf(hook.Dropped))
		c := open(t, b, hook.QueueSpec{Owner: "p", Name: "q", Filters: []string{"#"}})
		for _, name := range []string{"kept", "short", "long", "mortal"} {
			m := text(name, name, 1)
			switch name {
			case "short":
				m.Expires = now.Now() + 1000
			case "mortal":
				m.Expires = now.Now() + 2000
			}
			publishFor(t, b, "", m)
		}
		now.Advance(1500 * time.Millisecond)
		offsets := c.expect(0, "kept", "long", "mortal")
		now.Advance(time.Second)
		c.expect(0, "kept", "long") // it had been read already
		if got := h.seen(); !slices.Equal(got, []string{"Dropped short expired", "Dropped mortal expired"}) {
			t.Errorf("events %q", got)
		}
		c.Ack(offsets...)
		if i := c.Info(); i.Messages != 0 || i.Bytes != 0 {
			t.Errorf("%+v", i)
		}
	})
}

// What was accepted before a restart is there after it, with the same offsets, and
// messages that come before the queue is opened are queued too.
func TestQueueOutlivesTheProcess(t *testing.T) {
	fs := vfs.NewCrashableMem()
	clean := func(b *Broker) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	spec := hook.QueueSpec{Owner: "p", Name: "q", Filters: []string{"t"}, MinQoS: 1, Namespaces: []string{"n"}}
	b, _ := start(t, withStore(openDisk(t, disk.Options{FS: fs})))
	c := open(t, b, spec)
	for i := range 300 {
		publishFor(t, b, "n", text("t", fmt.Sprint(i), 1))
	}
	_, offsets := c.all(0, 50, 1<<20)
	c.Ack(offsets[10:290]...)
	clean(b)

	b, _ = start(t, withStore(openDisk(t, disk.Options{FS: fs})))
	publishFor(t, b, "n", text("t", "300", 2))
	publishFor(t, b, "n", text("t", "no", 0))
	publishFor(t, b, "", text("t", "no", 1))
	c = open(t, b, spec)
	texts, again := c.all(0, 7, 1<<20)
	want := append(append(numbered(0, 10), numbered(290, 300)...), "300")
	if !slices.Equal(texts, want) || !slices.Equal(again[:20], append(slices.Clone(offsets[:10]), offsets[290:]...)) {
		t.Fatalf("after a restart: %q at %d", texts, again)
	}
	if c.next(0, 1, 1, false)[0].Client != nil {
		t.Error("the publisher is of another process")
	}

	// A crash, with the power gone.
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	clean(b)
	b, _ = start(t, withStore(openDisk(t, disk.Options{FS: crashed})))
	c = open(t, b, spec)
	if texts, third := c.all(0, 100, 1<<20); !slices.Equal(texts, want) || !slices.Equal(third, again) {
		t.Fatalf("after a crash: %q at %d", texts, third)
	}
}

func numbered(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// A backlog lies on disk, also while it is read and not acknowledged.
func TestQueueBacklogIsNotInMemory(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("it is about memory, and takes seconds")
	}
	const n, size = 100_000, 2000
	b, addr := start(t, withStore(openDisk(t, disk.Options{Dir: t.TempDir(), FS: vfs.Default, Sync: disk.SyncNever})))
	spec := hook.QueueSpec{Owner: "p", Name: "q", Filters: []string{"t"}}
	open(t, b, spec).Close()
	p := connect(t, addr, "p", v311)
	go io.Copy(io.Discard, p.nc)
	var batch []byte
	for i := range 100 {
		batch, _ = packet.AppendPublish(batch, packet.V311, &packet.PublishOut{Topic: []byte("t"), Payload: make([]byte, size), QoS: 1, PacketID: uint16(i + 1)})
	}
	p.nc.SetWriteDeadline(time.Now().Add(time.Minute))
	for range n / 100 {
		p.write(batch)
	}
	eventually(t, "all is queued", func() bool { return b.Plugins().Queues()[0].Messages == n })
	c := open(t, b, spec)
	texts, after := 0, uint64(0)
	var peak uint64
	for texts < n {
		list := c.next(after, 64, 1<<20, false)
		for _, m := range list {
			after = m.Offset
			m.Message.Unref()
		}
		if texts += len(list); texts%10_000 < len(list) {
			var st runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&st)
			peak = max(peak, st.HeapAlloc)
		}
	}
	t.Logf("at most %d MB of heap for %d MB in the queue", peak>>20, n*size>>20)
	if peak > 80<<20 {
		t.Errorf("%d MB of heap", peak>>20)
	}
	c.Close()
	c = open(t, b, spec)
	if got := c.next(0, 10, 1<<20, false); len(got) != 10 || len(got[0].Message.Payload) != size {
		t.Errorf("the first ones cannot be read again: %d", len(got))
	}
}

// ready is called when there is something behind the end that was seen, once.
func TestQueueReady(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		b, _ := start(t, withStore(s))
		var mu sync.Mutex
		calls := 0
		q, err := b.Plugins().OpenQueue(hook.QueueSpec{Owner: "p", Name: "q", Filters: []string{"t"}}, func() {
			mu.Lock()
			calls++
			mu.Unlock()
		})
		if err != nil {
			t.Fatal(err)
		}
		if list, more := q.Read(0, 1, 1); len(list) > 0 || more {
			t.Fatal("an empty queue has something")
		}
		for range 3 {
			publishFor(t, b, "", text("t", "x", 1))
		}
		mu.Lock()
		if calls != 1 {
			t.Errorf("ready was called %d times", calls)
		}
		mu.Unlock()
		q.Close()
	})
}

func BenchmarkQueue(b *testing.B) {
	for _, kind := range []string{"none", "other", "read", "closed"} {
		for _, st := range []string{"memory", "disk"} {
			b.Run(kind+"/"+st, func(b *testing.B) {
				var s store.Store = new(store.Memory)
				if st == "disk" {
					s = openDisk(b, disk.Options{Dir: b.TempDir(), FS: vfs.Default, Sync: disk.SyncNever})
				}
				benchmarkQueue(b, s, kind)
			})
		}
	}
}

// benchmarkQueue publishes with QoS 1, with no subscriber but a queue.
func benchmarkQueue(b *testing.B, s store.Store, kind string) {
	br, addr := start(b, withStore(s), func(o *Options) { o.Sys.Interval, o.Logger = 0, slog.New(slog.DiscardHandler) })
	filter := "t"
	if kind == "other" {
		filter = "other/#"
	}
	if kind != "none" {
		c := open(b, br, hook.QueueSpec{Owner: "p", Name: "q", Filters: []string{filter}})
		if kind == "closed" {
			c.Close()
		} else {
			go func() {
				var after uint64
				var offsets []uint64
				for range c.ready {
					for list, _ := c.Read(after, 256, 1<<20); len(list) > 0; list, _ = c.Read(after, 256, 1<<20) {
						offsets = offsets[:0]
						for _, m := range list {
							offsets, after = append(offsets, m.Offset), m.Offset
							m.Message.Unref()
						}
						c.Ack(offsets...)
					}
				}
			}()
			c.ready <- struct{}{}
		}
	}
	const batch = 500
	p := connect(b, addr, "p", v311)
	var out []byte
	for i := range batch {
		out, _ = packet.AppendPublish(out, packet.V311, &packet.PublishOut{Topic: []byte("t"), Payload: make([]byte, 128), QoS: 1, PacketID: uint16(i + 1)})
	}
	acks := make([]byte, 4*batch)
	p.nc.SetDeadline(time.Now().Add(time.Minute))
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += batch {
		p.write(out)
		if _, err := io.ReadFull(p.nc, acks); err != nil {
			b.Fatal(err)
		}
	}
}
