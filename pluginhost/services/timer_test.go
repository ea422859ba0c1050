package services

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// record is an instance that notes its timers.
type record struct {
	fakeInstance
	mu    sync.Mutex
	start time.Time
	fired []string
	// hold is how long a call takes.
	hold time.Duration
}

func (r *record) Timer(t *pluginv1.TimerFired) {
	r.mu.Lock()
	at := time.Since(r.start).Milliseconds()
	r.fired = append(r.fired, fmt.Sprintf("%s %s at %d due %d missed %d", t.Name, t.Data, at, t.DueMs-r.start.UnixMilli(), t.Missed))
	hold := r.hold
	r.mu.Unlock()
	time.Sleep(hold)
}

func (r *record) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !reflect.DeepEqual(r.fired, want) {
		t.Errorf("fired %q, want %q", r.fired, want)
	}
	r.fired = nil
}

func timers(t *testing.T, f func(s *Service, r *record)) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{}
		w := newWorld(t)
		s := w.with(t, Config{Name: "tester"}, r)
		r.start = time.Now()
		f(s, r)
	})
}

func TestTimers(t *testing.T) {
	timers(t, func(s *Service, r *record) {
		set := func(name string, delay, period uint64, data string) {
			t.Helper()
			if _, err := s.SetTimer(t.Context(), &pluginv1.SetTimerRequest{Name: name, DelayMs: delay, PeriodMs: period, Data: []byte(data)}); err != nil {
				t.Fatal(err)
			}
		}
		set("once", 250, 0, "x")
		set("again", 100, 1000, "y")
		set("replaced", 50, 0, "old")
		set("replaced", 500, 0, "new")
		set("cancelled", 50, 100, "z")
		out, err := s.CancelTimer(t.Context(), &pluginv1.CancelTimerRequest{Name: "cancelled"})
		if err != nil || !out.Found {
			t.Errorf("got %+v, %v", out, err)
		}
		time.Sleep(299 * time.Millisecond)
		r.want(t, "again y at 100 due 100 missed 0")
		time.Sleep(2 * time.Second)
		r.want(t, "once x at 300 due 250 missed 0", "replaced new at 500 due 500 missed 0", "again y at 1100 due 1100 missed 0",
			"again y at 2100 due 2100 missed 0")
		if out, err := s.CancelTimer(t.Context(), &pluginv1.CancelTimerRequest{Name: "once"}); err != nil || out.Found {
			t.Errorf("one that has fired: %+v, %v", out, err)
		}
		s.Close()
		time.Sleep(10 * time.Second)
		r.want(t)
	})
}

func TestSlowTimerTellsWhatItHasMissed(t *testing.T) {
	timers(t, func(s *Service, r *record) {
		r.hold = 350 * time.Millisecond
		if _, err := s.SetTimer(t.Context(), &pluginv1.SetTimerRequest{Name: "t", DelayMs: 100, PeriodMs: 100}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1 * time.Second)
		r.want(t, "t  at 100 due 100 missed 0", "t  at 450 due 400 missed 2", "t  at 800 due 800 missed 3")
		r.mu.Lock()
		r.hold = 0
		r.mu.Unlock()
		time.Sleep(300 * time.Millisecond)
		r.want(t, "t  at 1150 due 1100 missed 2", "t  at 1200 due 1200 missed 0", "t  at 1300 due 1300 missed 0")
		s.Close()
	})
}

func TestClosedWhileATimerIsBeingCalled(t *testing.T) {
	timers(t, func(s *Service, r *record) {
		r.hold = time.Second
		for _, in := range []*pluginv1.SetTimerRequest{{Name: "once", DelayMs: 100}, {Name: "again", DelayMs: 100, PeriodMs: 100}} {
			if _, err := s.SetTimer(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(500 * time.Millisecond)
		s.Close()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(r.fired) != 2 {
			t.Errorf("fired %q", r.fired)
		}
	})
}

func TestPanicOfATimerDoesNotCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.with(t, Config{Name: "tester"}, &fakeInstance{fired: func(*pluginv1.TimerFired) { panic("oops") }})
		if _, err := s.SetTimer(t.Context(), &pluginv1.SetTimerRequest{Name: "x"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if w.log.count("oops") == 0 {
			t.Error("nothing is logged")
		}
	})
}

func TestTimerLimits(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t)
	for says, in := range map[string]*pluginv1.SetTimerRequest{
		"name is required": {}, "257 bytes": {Name: strings.Repeat("x", 257)}, "65537 bytes": {Name: "x", Data: make([]byte, 64<<10+1)},
		"at least 100": {Name: "x", PeriodMs: 99}, "ten years": {Name: "x", DelayMs: 1 << 63}, "at most": {Name: "x", PeriodMs: 1 << 63},
	} {
		if _, err := s.SetTimer(t.Context(), in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want …%s…", err, says)
		}
	}
	for i := range maxTimers {
		if _, err := s.SetTimer(t.Context(), &pluginv1.SetTimerRequest{Name: fmt.Sprint(i), DelayMs: 1e6}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.SetTimer(t.Context(), &pluginv1.SetTimerRequest{Name: "x", DelayMs: 1e6})
	wantCode(t, err, pluginv1.HostErrorCodeLimit, "1000 timers")
	if _, err := s.SetTimer(t.Context(), &pluginv1.SetTimerRequest{Name: "5", DelayMs: 1e6}); err != nil {
		t.Errorf("replacing one: %v", err)
	}
}
