package disk

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// patience bounds what a test waits for.
const patience = 20 * time.Second

// open opens a store in memory, or where o says, and closes it with the test.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = "data"
	}
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// found is what Load handed out.
type found struct {
	mu       sync.Mutex
	sessions map[string]*client
	retained map[string]*packet.Message
	orphans  []store.Entry
}

func load(t testing.TB, s *Store) *found {
	t.Helper()
	f := &found{sessions: make(map[string]*client), retained: make(map[string]*packet.Message)}
	err := s.Load(store.Loader{
		Session: func(saved store.Saved) store.Owner {
			c := newClient(saved.State.(*session))
			c.saved = saved
			f.mu.Lock()
			f.sessions[saved.Namespace+"/"+saved.ClientID] = c
			f.mu.Unlock()
			return c
		},
		Retained: func(namespace string, m *packet.Message) {
			f.mu.Lock()
			f.retained[namespace+"/"+string(m.Topic)] = m
			f.mu.Unlock()
		},
		Orphan: func(_ string, e store.Entry) {
			f.mu.Lock()
			f.orphans = append(f.orphans, e)
			f.mu.Unlock()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// client stands for core/session: it owns a session's state, and has its lock.
type client struct {
	sync.Mutex
	*session
	saved store.Saved
	ready chan struct{}

	goneMu sync.Mutex
	gone   []store.Entry // what Expired was told
}

func newClient(c *session) *client {
	return &client{session: c, ready: make(chan struct{}, 1)}
}

func (c *client) Ready() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

func (c *client) Expired(e store.Entry) {
	c.goneMu.Lock()
	defer c.goneMu.Unlock()
	c.gone = append(c.gone, e)
}

func (c *client) expired() []store.Entry {
	c.goneMu.Lock()
	defer c.goneMu.Unlock()
	return slices.Clone(c.gone)
}

// create makes a client with a session that has no connection, or has one.
func create(s *Store, id string, online bool) *client {
	c := newClient(nil)
	r := store.Record{ClientID: id, Expiry: 3600, Detached: 1}
	if online {
		r.Detached = 0
	}
	c.session = s.Create(r, c).(*session)
	return c
}

// message returns a kept message.
func message(text string) *packet.Message {
	return (&packet.Message{Topic: []byte("t/" + text), Payload: []byte(text), QoS: 1, Publisher: "p"}).Keep(1)
}

// wait waits for the session's turn until f is true.
func (c *client) wait(t testing.TB, what string, f func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		c.Lock()
		ok := f()
		c.Unlock()
		if ok {
			return
		}
		select {
		case <-c.ready:
		case <-timeout:
			t.Fatalf("%s: gave up waiting", what)
		}
	}
}

// drain takes all that waits and returns the payloads.
func (c *client) drain(t testing.TB) (texts []string) {
	t.Helper()
	c.wait(t, "drain", func() bool {
		for {
			e, ok := c.Pop()
			if !ok {
				return c.Empty()
			}
			texts = append(texts, string(e.Message.Payload))
			if e.QoS > 0 {
				c.Settle(e.Pos, 0)
			}
			e.Message.Unref()
		}
	})
	return texts
}

// restored waits for what was in flight.
func (c *client) restoredFlight(t testing.TB) (list []store.Inflight) {
	t.Helper()
	c.wait(t, "in flight", func() (ok bool) {
		list, ok = c.Inflight()
		return ok
	})
	return list
}

// add adds a message that waits, and returns a Receipt to wait for.
func (c *client) add(text string, lazy bool) *store.Receipt {
	r := store.NewReceipt()
	c.Lock()
	c.Add(store.Entry{Message: message(text), QoS: 1}, 0, lazy, r)
	c.Unlock()
	return r
}

// safe waits for Receipts.
func safe(t testing.TB, receipts ...*store.Receipt) {
	t.Helper()
	for _, r := range receipts {
		done := make(chan error, 1)
		if settled, err := r.Wait(func(err error) { done <- err }); settled {
			done <- err
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("Receipt: %v", err)
			}
		case <-time.After(patience):
			buf := make([]byte, 1<<20)
			t.Fatalf("Receipt: gave up waiting\n%s", buf[:runtime.Stack(buf, true)])
		}
	}
}

// sync waits until everything but messages is safe.
func (s *Store) syncNow(t testing.TB) {
	t.Helper()
	done := make(chan error, 1)
	if s.Sync(func(err error) { done <- err }) {
		return
	}
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("Sync: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Sync: gave up waiting")
	}
}

// until polls for something that the store does by itself.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: gave up waiting", what)
		}
	}
}

func numbers(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// fewer takes a fifth of n under the race detector, which makes all of this ten
// times slower.
func fewer(n int) int {
	if raceEnabled {
		return n / 5
	}
	return n
}
