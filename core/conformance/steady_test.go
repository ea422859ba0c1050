package conformance

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// steady runs a test that measures time. If it fails and the process was not let
// run for a while meanwhile (a busy or a sleeping machine), that says nothing of
// the broker, and the test is run again; each run must begin from nothing.
func steady(t *testing.T, f func(t testing.TB)) {
	t.Helper()
	for attempts := 1; ; attempts++ {
		a := &attempt{TB: t}
		settle()
		stalled := a.run(f)
		if len(a.failures) == 0 {
			return
		}
		if stalled < tolerable || attempts == 10 {
			for _, failure := range a.failures {
				t.Error(failure)
			}
			t.Fatalf("attempt %d; the longest stall of this process was %v", attempts, stalled)
		}
	}
}

// tolerable is the longest stall that cannot be the reason for a failure.
const tolerable = 50 * time.Millisecond

// beat is how often the process is looked at.
const beat = 20 * time.Millisecond

// settle returns once the process has been running smoothly for a while, so that
// what it does by the clock is up to date.
func settle() {
	const beats = 10
	for smooth := 0; smooth < beats; smooth++ {
		start := time.Now()
		time.Sleep(beat)
		if time.Since(start) > beat+tolerable {
			smooth = 0
		}
	}
}

// attempt is the testing.TB of one run. It keeps failures to itself.
type attempt struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

// endAttempt unwinds a run that has failed for good.
type endAttempt struct{}

// run returns the longest time for which the process stood still.
func (a *attempt) run(f func(t testing.TB)) (stalled time.Duration) {
	stop, stopped := make(chan struct{}), make(chan time.Duration)
	go func() {
		ticks := time.NewTicker(beat)
		defer ticks.Stop()
		var worst time.Duration
		for last := time.Now(); ; {
			select {
			case <-ticks.C:
			case <-stop:
				stopped <- max(worst, time.Since(last))
				return
			}
			worst = max(worst, time.Since(last)-beat)
			last = time.Now()
		}
	}()
	func() {
		defer func() {
			if r := recover(); r != nil && r != (endAttempt{}) {
				panic(r)
			}
		}()
		defer func() {
			for i := len(a.cleanups) - 1; i >= 0; i-- {
				a.cleanups[i]()
			}
		}()
		f(a)
	}()
	close(stop)
	return <-stopped
}

func (a *attempt) fail(s string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failures = append(a.failures, s)
}

func (a *attempt) Helper()                           {}
func (a *attempt) Error(args ...any)                 { a.fail(fmt.Sprint(args...)) }
func (a *attempt) Errorf(format string, args ...any) { a.fail(fmt.Sprintf(format, args...)) }
func (a *attempt) Fatal(args ...any)                 { a.Error(args...); panic(endAttempt{}) }
func (a *attempt) Fatalf(format string, args ...any) { a.Errorf(format, args...); panic(endAttempt{}) }
func (a *attempt) Cleanup(f func())                  { a.cleanups = append(a.cleanups, f) }
