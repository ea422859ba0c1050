package pluginhost

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// watcher is an observer that remembers.
type watcher struct {
	mu      sync.Mutex
	seen    []string
	batches []int
	lost    uint64
	hold    chan struct{} // if not nil, batches are answered when it is closed
}

func (w *watcher) process(b *pluginv1.Batch, _ *pluginv1.Answer, done func(error)) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost += b.Lost
	w.batches = append(w.batches, len(b.Events))
	for i := range b.Events {
		e := &b.Events[i]
		s := pointName(b.Point)
		if e.Message != nil {
			s += " " + e.Message.Topic + "=" + string(e.Message.Payload)
			if e.Message.Payload == nil {
				s += fmt.Sprint(e.Message.PayloadSize)
			}
		} else if len(e.Subscriptions) > 0 {
			s += " " + e.Subscriptions[0].TopicFilter
		}
		w.seen = append(w.seen, strings.Clone(s))
	}
	if w.hold == nil {
		return true, nil
	}
	go func(hold chan struct{}) { <-hold; done(nil) }(w.hold)
	return false, nil
}

func observing(points ...pluginv1.Point) *pluginv1.Manifest {
	m := new(pluginv1.Manifest)
	for _, p := range points {
		m.Hooks = append(m.Hooks, pluginv1.Hook{Point: p, Fields: uint32(pluginv1.FieldPayload)})
	}
	return m
}

func TestObserverOrderAndLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		w := &watcher{hold: make(chan struct{})}
		p := serve(t, h, "w", newFake(w.process), false, observing(pluginv1.PointPublished, pluginv1.PointSubscribed))
		const n = 3 * defaultQueueSize
		scratch := []byte("t/000000")
		for i := range n {
			copy(scratch[2:], fmt.Sprintf("%06d", i)) // as a read buffer does
			h.Observe(&hook.Event{Point: hook.Published, Client: client("c"), Message: &packet.Message{Topic: scratch, Payload: scratch}})
			if i%1000 == 0 {
				sub := packet.Subscription{Filter: fmt.Sprint("f", i)}
				h.Observe(&hook.Event{Point: hook.Subscribed, Client: client("c"), Topic: sub.Filter, Subscription: &sub})
				sub.Filter = "overwritten"
			}
			if i == n/3 {
				synctest.Wait() // the observer has taken what it can take, and no more of what follows
			}
		}
		if q := p.observer.queued(); q != defaultQueueSize {
			t.Errorf("%d are queued", q)
		}
		close(w.hold)
		time.Sleep(time.Second)
		synctest.Wait()
		lost := p.statsOf(pluginv1.PointPublished).lost.Load() + p.statsOf(pluginv1.PointSubscribed).lost.Load()
		if got := len(w.seen) + int(lost); got != n+n/1000+1 && got != n+n/1000 {
			t.Errorf("%d seen and %d lost of %d", len(w.seen), lost, n)
		}
		if uint64(lost) != w.lost || lost == 0 {
			t.Errorf("%d are lost, and the plugin was told of %d", lost, w.lost)
		}
		last := ""
		for _, s := range w.seen {
			if strings.Contains(s, "overwritten") {
				t.Fatal(s)
			}
			if topic, ok := strings.CutPrefix(s, "published "); ok {
				if topic <= last || len(topic) != 17 || topic[:8] != topic[9:] {
					t.Fatalf("%s after %s", topic, last)
				}
				last = topic
			}
		}
		if want := fmt.Sprintf("t/%06d=t/%06d", n-1, n-1); last != want {
			t.Errorf("the last one is %s, want %s", last, want)
		}
	})
}

// Events of two points in turn are batches of one; they must not each wait for more.
func TestObserverDoesNotWaitTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		w := new(watcher)
		serve(t, h, "w", newFake(w.process), false, observing(pluginv1.PointConnected, pluginv1.PointDisconnected))
		for range 50 {
			h.Observe(&hook.Event{Point: hook.Connected, Client: client("c")})
			h.Observe(&hook.Event{Point: hook.Disconnected, Client: client("c")})
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if len(w.seen) != 100 {
			t.Errorf("%d of 100 events after the longest delay", len(w.seen))
		}
		h.Observe(&hook.Event{Point: hook.Connected, Client: client("c")})
		time.Sleep(time.Millisecond)
		h.Observe(&hook.Event{Point: hook.Connected, Client: client("c")})
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if n := w.batches[len(w.batches)-1]; n != 2 {
			t.Errorf("the last batch has %d, want 2: nothing was waited for", n)
		}
	})
}

func TestObserverIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		w := &watcher{hold: make(chan struct{})}
		p := serve(t, h, "w", newFake(w.process), false, observing(pluginv1.PointPublished))
		other := new(watcher)
		m := observing(pluginv1.PointPublished)
		m.Hooks[0].Fields = 0
		frugal := serve(t, h, "frugal", newFake(other.process), false, m)
		large := keep("t", strings.Repeat("x", 1<<20), 1)
		for range 200 {
			h.Observe(&hook.Event{Point: hook.Published, Client: client("c"), Message: large})
		}
		synctest.Wait()
		if n := p.observer.queued(); n > observerBytes>>20 {
			t.Errorf("%d MiB are queued", n)
		}
		if n := p.statsOf(pluginv1.PointPublished).lost.Load(); n < 200-observerBytes>>20-observerWindow-1 {
			t.Errorf("%d are lost", n)
		}
		frugal.observer.mu.Lock()
		if n := frugal.observer.bytes; n > 1000 {
			t.Errorf("%d bytes are kept for a plugin that wants no payload", n)
		}
		frugal.observer.mu.Unlock()
		close(w.hold)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(other.seen) != 200 || other.seen[199] != fmt.Sprintf("published t=%d", 1<<20) {
			t.Errorf("%d events, the last one %q", len(other.seen), other.seen[len(other.seen)-1])
		}
	})
}

// Events wait while the plugin is down and go to the generation that comes, which may
// want other fields.
func TestObserverAcrossGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		frugal := observing(pluginv1.PointPublished)
		frugal.Hooks[0].Fields = 0
		p := serve(t, h, "w", newFake(new(watcher).process), false, frugal)
		g := p.gen.Load()
		p.over(g, refusal{errors.New("told to")})
		for range 3 {
			h.Observe(&hook.Event{Point: hook.Published, Client: client("c"), Message: keep("t", "payload", 0)})
		}
		time.Sleep(time.Second)
		w := new(watcher)
		serve(t, h, "w", newFake(w.process), false, observing(pluginv1.PointPublished))
		time.Sleep(time.Second)
		h.Observe(&hook.Event{Point: hook.Published, Client: client("c"), Message: keep("t", "payload", 0)})
		time.Sleep(time.Second)
		synctest.Wait()
		if got := fmt.Sprint(w.seen); got != "[published t=7 published t=7 published t=7 published t=payload]" {
			t.Errorf("%s", got)
		}
	})
}

// One that never answers, and is closed in the end, does not hold its host up.
func TestObserverThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, b := newTestHost(t)
		var mu sync.Mutex
		var dones []func(error)
		inst := newFake(func(_ *pluginv1.Batch, _ *pluginv1.Answer, done func(error)) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			dones = append(dones, done)
			return false, nil
		})
		p := serve(t, h, "w", inst, false, observing(pluginv1.PointPublished))
		m := keep("t", "payload", 0)
		for range 100_000 {
			h.Observe(&hook.Event{Point: hook.Published, Client: client("c"), Message: m})
		}
		time.Sleep(stalled + time.Second)
		if n := p.statsOf(pluginv1.PointPublished).timeouts.Load(); n != observerWindow {
			t.Errorf("%d timeouts", n)
		}
		time.Sleep(2 * stuckAfter)
		synctest.Wait()
		if p.gen.Load() != nil {
			t.Errorf("it was left alone: %v", b.states("w"))
		}
		mu.Lock()
		for _, done := range dones {
			done(errors.New("closed"))
		}
		mu.Unlock()
		closeHost(t, h)
	})
}
