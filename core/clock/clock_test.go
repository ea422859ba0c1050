package clock

import (
	"math/rand"
	"testing"
	"time"
)

func TestTimersFireInOrderAndNeverEarly(t *testing.T) {
	c := NewManual(time.UnixMilli(1_000_050))
	start := c.Now()
	rng := rand.New(rand.NewSource(1))
	type rec struct{ due, fired int64 }
	recs := make([]rec, 500)
	timers := make([]Timer, len(recs))
	for i := range timers {
		recs[i].due = start + rng.Int63n(200_000)
		timers[i].Fire = func(int64) { recs[i].fired = c.Now() }
		c.Arm(&timers[i], recs[i].due)
	}
	for range 2100 {
		c.Advance(Tick)
	}
	for i, r := range recs {
		if r.fired < r.due || r.fired > r.due+2*tickMillis {
			t.Errorf("timer %d due at +%d fired at +%d", i, r.due-start, r.fired-start)
		}
	}
}

func TestDisarmAndRearm(t *testing.T) {
	c := NewManual(time.UnixMilli(0))
	fired := 0
	var tm Timer
	tm.Fire = func(int64) { fired++ }
	c.Arm(&tm, 500)
	if !c.Disarm(&tm) || c.Disarm(&tm) {
		t.Fatal("Disarm did not report the timer's state")
	}
	c.Advance(time.Second)
	if fired != 0 {
		t.Fatal("a disarmed timer fired")
	}
	c.Arm(&tm, c.Now()+100)
	c.Arm(&tm, c.Now()+60_000) // moved, more than one turn away
	c.Advance(59 * time.Second)
	if fired != 0 {
		t.Fatal("a moved timer fired at its old deadline")
	}
	c.Advance(2 * time.Second)
	if fired != 1 {
		t.Fatalf("fired %d times, want 1", fired)
	}
}

func TestFireMayRearm(t *testing.T) {
	c := NewManual(time.UnixMilli(0))
	n := 0
	var tm Timer
	tm.Fire = func(now int64) {
		if n++; n < 3 {
			c.Arm(&tm, now)
		}
	}
	c.Arm(&tm, 0)
	c.Advance(time.Second)
	c.Advance(time.Second)
	c.Advance(time.Second)
	if n != 3 {
		t.Fatalf("fired %d times, want 3", n)
	}
}

func TestRealClockTicksAndStops(t *testing.T) {
	c := New()
	done := make(chan struct{})
	tm := Timer{Fire: func(int64) { close(done) }}
	c.Arm(&tm, c.Now()+1)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the timer did not fire")
	}
	c.Stop()
}

// A deadline that is counted from Fresh is kept even when the clock's goroutine
// has not run for long.
func TestFreshIsTheTimeNow(t *testing.T) {
	c := New()
	defer c.Stop()
	for range 1000 {
		before := time.Now()
		got := c.Fresh()
		// 2 ms for the parts of milliseconds that are cut off.
		if low := before.UnixMilli() - 2; got < low {
			t.Fatalf("Fresh is %d ms behind", low-got)
		}
		if now := c.Now(); now < got {
			t.Fatalf("Now is %d, Fresh was %d", now, got)
		}
	}
	m := NewManual(time.UnixMilli(5000))
	if m.Fresh() != 5000 {
		t.Fatal("a manual clock moved by itself")
	}
}

func BenchmarkArm(b *testing.B) {
	c := NewManual(time.UnixMilli(0))
	timers := make([]Timer, 1024)
	b.ReportAllocs()
	for i := range b.N {
		c.Arm(&timers[i&1023], int64(i%90_000))
	}
}
