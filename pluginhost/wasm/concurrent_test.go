package wasm

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// TestBusy: when all instances are busy batches wait, more instances are made, and the answers come in order.
func TestBusy(t *testing.T) {
	host := &fakeHost{values: map[string]string{}, hold: make(chan struct{}), inside: make(chan struct{}, 100)}
	p := started(t, open(t, guestModule(t, Options{Inline: 1}), host), &pluginv1.StartRequest{})
	var first sync.WaitGroup
	first.Go(func() {
		if answered, err := p.Process(publish("get/k"), new(pluginv1.Answer), nil); !answered || err != nil {
			t.Errorf("%v, %v", answered, err)
		}
	})
	<-host.inside // the one instance is busy
	order := make(chan int, 20)
	for i := range 20 {
		topic := "pass"
		if i == 0 {
			topic = "get/k" // keeps the second instance busy
		}
		answered, err := p.Process(publish(topic), new(pluginv1.Answer), func(err error) {
			if err != nil {
				t.Error(err)
			}
			order <- i
		})
		if answered || err != nil {
			t.Fatalf("%d: %v, %v", i, answered, err)
		}
	}
	<-host.inside // a second one was made, for the first of the 20
	if len(order) != 0 {
		t.Error("an answer has overtaken the one before it")
	}
	close(host.hold)
	for i := range 20 {
		if got := <-order; got != i {
			t.Fatalf("answer %d came as the %d.", got, i)
		}
	}
	first.Wait()
	eventually(t, "nothing is pending", func() bool { return p.Stats().Queued == 0 })
	if answered, err := p.Process(publish("pass"), new(pluginv1.Answer), nil); !answered || err != nil {
		t.Errorf("afterwards: %v, %v", answered, err)
	}
}

// TestSingle: one instance for all, which answers at once when it is idle and later when it is busy.
func TestSingle(t *testing.T) {
	host := &fakeHost{hold: make(chan struct{}), inside: make(chan struct{}, 10)}
	p := started(t, open(t, guestModule(t, Options{Instances: 1}), host), &pluginv1.StartRequest{})
	eventually(t, "it is idle, and answers at once", func() bool {
		answered, err := p.Process(publish("pass"), new(pluginv1.Answer), func(error) {})
		return answered && err == nil
	})
	held := make(chan error, 1)
	if answered, _ := p.Process(batchOf(pluginv1.PointAuthenticate, "set/k"), new(pluginv1.Answer), func(err error) { held <- err }); answered {
		t.Fatal("an authentication was answered at once")
	}
	<-host.inside
	later := make(chan error, 1)
	if answered, err := p.Process(publish("pass"), new(pluginv1.Answer), func(err error) { later <- err }); answered || err != nil {
		t.Fatalf("busy: %v, %v", answered, err)
	}
	close(host.hold)
	if err := errors.Join(<-held, <-later); err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); len(s.Instances) != 1 || s.Made != 1 {
		t.Errorf("stats %+v", s)
	}
	// With a grant for calls that wait it is never called on the caller's goroutine.
	p = started(t, open(t, guestModule(t, Options{Instances: 1}), &fakeHost{}), &pluginv1.StartRequest{Grants: []pluginv1.Grant{{Name: "kv"}}})
	a, done := new(pluginv1.Answer), make(chan error, 1)
	answered, err := p.Process(publish("set/k"), a, func(err error) { done <- err })
	if answered || err != nil || <-done != nil || a.Verdicts[0].Reason != "" {
		t.Errorf("with a grant: %v, %v, %+v", answered, err, a)
	}
}

// TestPreemptible: an endless loop ends at its deadline, and when the plugin is closed. It spins if its
// request is longer than 40 bytes.
func TestPreemptible(t *testing.T) {
	long := cat(get(1), i32c(40), []byte{0x4a})
	a := plain(abiBinary, nil)
	a.function("patchbay_call", "ii", "I", long, []byte{0x04, 0x40}, forever, []byte{0x0b}, i64c(0))
	p := started(t, open(t, load(t, a.bytes(), Options{Preemptible: true, Deadline: time.Minute}), &fakeHost{}), startWith())
	b := publish("a topic that is long enough to make it spin")
	b.DeadlineMs = 50
	_, err := process(p, b)
	var e *Error
	if !errors.As(err, &e) || e.Cause != Interrupted || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	if _, err := process(p, publish("x")); err != nil {
		t.Fatalf("afterwards: %v", err)
	}
	done := make(chan error, 1)
	b.DeadlineMs = 0
	if answered, err := p.Process(b, new(pluginv1.Answer), func(err error) { done <- err }); answered {
		t.Fatal(err)
	}
	eventually(t, "it spins", func() bool {
		if p.worker.slot.mu.TryLock() {
			p.worker.slot.mu.Unlock()
			return false
		}
		return true
	})
	p.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Fatalf("closed: %v", err)
	}
}

// TestManifestDecides: instances and preemptible of the manifest come into force with Start.
func TestManifestDecides(t *testing.T) {
	m := &pluginv1.Manifest{Name: "m", Instances: 1, Preemptible: true}
	isDescribe := cat(get(0), i32c(int32(pluginv1.PluginOpDescribe)), []byte{0x46})
	a := plain(abiBinary, nil)
	text := string(m.AppendTo(nil))
	a.data = append(a.data, cat([]byte{0}, i32c(512), []byte{0x0b}, str(text)))
	a.function("patchbay_call", "ii", "I", isDescribe, []byte{0x04, 0x7e}, i64c(512<<32|int64(len(text))), []byte{0x05}, i64c(0), []byte{0x0b})
	p := started(t, open(t, load(t, a.bytes(), Options{}), &fakeHost{}), startWith())
	if !p.single || !p.worker.slot.guest.code.preemptible {
		t.Error("the manifest was not followed")
	}
	if _, err := process(p, publish("x")); err != nil {
		t.Error(err)
	}
}

// TestClose closes plugins while everything is under way. Nothing is left behind, and every call ends.
func TestClose(t *testing.T) {
	m := guestModule(t, Options{Inline: 2})
	goroutines := runtime.NumGoroutine()
	for range 10 {
		host := &fakeHost{hold: make(chan struct{}), inside: make(chan struct{}, 1000)}
		opened, err := m.Open(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		p := started(t, opened.(*Plugin), &pluginv1.StartRequest{})
		var wg sync.WaitGroup
		var asked, told atomic.Int64
		for i := range 4 {
			wg.Go(func() {
				for n := range 100 {
					b := publish([]string{"pass", "drop/x", "panic", "set/x"}[(i+n)%4])
					if n%3 == 0 {
						b.Point = pluginv1.PointPublished
					}
					asked.Add(1)
					if answered, err := p.Process(b, new(pluginv1.Answer), func(error) { told.Add(1) }); answered {
						told.Add(1)
						if errors.Is(err, ErrClosed) {
							return
						}
					}
				}
			})
		}
		wg.Go(func() {
			if _, err := p.HTTP(t.Context(), &pluginv1.HTTPRequest{}); err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("HTTP: %v", err)
			}
		})
		<-host.inside // the worker waits for the host
		p.Close()
		p.Close()
		wg.Wait()
		eventually(t, "every batch is answered", func() bool { return asked.Load() == told.Load() })
		eventually(t, "the plugin is gone", func() bool { return p.users.Load() == 0 })
	}
	m.Close()
	eventually(t, "the module is gone", m.isFree)
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	if _, err := m.Open(t.Context(), &fakeHost{}); err == nil {
		t.Error("Open after Close succeeded")
	}
}

// TestCloseFromWithin closes the plugin from within a call of the host.
func TestCloseFromWithin(t *testing.T) {
	var p atomic.Pointer[Plugin]
	host := v1host.Caller(func(context.Context, pluginv1.HostOp, []byte) ([]byte, error) {
		p.Load().Close()
		return nil, nil
	})
	for _, point := range []pluginv1.Point{pluginv1.PointInterceptPublish, pluginv1.PointAuthenticate} {
		m := guestModule(t, Options{Inline: 1})
		p.Store(started(t, open(t, m, host), &pluginv1.StartRequest{}))
		process(p.Load(), batchOf(point, "get/k"))
	}
}

// TestContext: a call on the worker ends with its context, and the next one is served.
func TestContext(t *testing.T) {
	host := &fakeHost{hold: make(chan struct{}), inside: make(chan struct{}, 10)}
	p := started(t, open(t, guestModule(t, Options{}), host), &pluginv1.StartRequest{})
	go process(p, batchOf(pluginv1.PointAuthenticate, "set/k"))
	<-host.inside
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.Health(ctx, &pluginv1.HealthRequest{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(host.hold)
	if _, err := p.Health(t.Context(), &pluginv1.HealthRequest{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
