package services

import (
	"bytes"
	"context"
	"math"
	"strings"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const (
	// timerTick is what timers are rounded up to, so that those of all plugins wake the
	// broker together.
	timerTick    = 100 * time.Millisecond
	maxTimers    = 1000 // of an instance
	maxTimerName = 256
	maxTimerData = 64 << 10
	minPeriod    = 100 * time.Millisecond
	maxDelay     = 10 * 365 * 24 * time.Hour
)

// timer is one that runs. Its fields belong to Service.mu.
type timer struct {
	s       *Service
	name    string
	data    []byte
	due     time.Time
	period  time.Duration // 0: once
	stopped bool
	wait    *time.Timer
}

// SetTimer implements v1host.Service.
func (s *Service) SetTimer(_ context.Context, in *pluginv1.SetTimerRequest) (*pluginv1.SetTimerResponse, error) {
	return serve(s, pluginv1.HostOpSetTimer, func() (*pluginv1.SetTimerResponse, error) {
		most := uint64(maxDelay.Milliseconds())
		switch {
		case in.Name == "":
			return nil, invalid("name is required")
		case len(in.Name) > maxTimerName:
			return nil, fail(pluginv1.HostErrorCodeTooLarge, "the name has %d bytes, and %d are allowed", len(in.Name), maxTimerName)
		case len(in.Data) > maxTimerData:
			return nil, fail(pluginv1.HostErrorCodeTooLarge, "data has %d bytes, and %d are allowed", len(in.Data), maxTimerData)
		case in.DelayMs > most || in.PeriodMs > most:
			return nil, invalid("delay_ms and period_ms: at most %d, which is ten years", most)
		case in.PeriodMs != 0 && in.PeriodMs < uint64(minPeriod.Milliseconds()):
			return nil, invalid("period_ms %d: at least %d", in.PeriodMs, minPeriod.Milliseconds())
		}
		t := &timer{
			s: s, name: strings.Clone(in.Name), data: bytes.Clone(in.Data), period: time.Duration(in.PeriodMs) * time.Millisecond,
			due: time.Now().Add(time.Duration(in.DelayMs) * time.Millisecond),
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		old := s.timers[t.name]
		switch {
		case s.ctx.Err() != nil:
			return nil, errEnded(pluginv1.HostOpSetTimer)
		case old != nil:
			old.stop()
		case len(s.timers) >= maxTimers:
			return nil, fail(pluginv1.HostErrorCodeLimit, "%d timers are set already", maxTimers)
		}
		s.timers[t.name] = t
		t.arm()
		return &pluginv1.SetTimerResponse{}, nil
	})
}

// CancelTimer implements v1host.Service.
func (s *Service) CancelTimer(_ context.Context, in *pluginv1.CancelTimerRequest) (*pluginv1.CancelTimerResponse, error) {
	return serve(s, pluginv1.HostOpCancelTimer, func() (*pluginv1.CancelTimerResponse, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		t := s.timers[in.Name]
		if t == nil {
			return &pluginv1.CancelTimerResponse{}, nil
		}
		t.stop()
		delete(s.timers, in.Name)
		return &pluginv1.CancelTimerResponse{Found: true}, nil
	})
}

// stop is called with mu held.
func (t *timer) stop() {
	t.stopped = true
	if t.wait != nil {
		t.wait.Stop()
	}
}

// arm has fire called when the timer is due, at the next tick. It is called with mu held.
func (t *timer) arm() {
	started := t.s.p.s.started
	at := t.due.Sub(started)
	if rest := at % timerTick; rest > 0 {
		at += timerTick - rest
	}
	t.wait = time.AfterFunc(time.Until(started.Add(at)), t.fire)
}

// fire calls the plugin, again at once while a periodic timer is late.
func (t *timer) fire() {
	for {
		t.s.mu.Lock()
		if t.stopped {
			t.s.mu.Unlock()
			return
		}
		missed := time.Duration(0)
		if t.period == 0 {
			delete(t.s.timers, t.name)
		} else {
			missed = max(0, time.Since(t.due)/t.period)
			t.due = t.due.Add(missed * t.period)
		}
		fired := &pluginv1.TimerFired{
			Name: t.name, Data: bytes.Clone(t.data), DueMs: t.due.UnixMilli(), Missed: uint32(min(missed, math.MaxUint32)),
		}
		t.s.mu.Unlock()
		t.call(fired)
		if t.period == 0 || t.next() {
			return
		}
	}
}

// next waits for the next turn of a periodic timer; false if that is due already.
func (t *timer) next() bool {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.stopped {
		return true
	}
	t.due = t.due.Add(t.period)
	if !time.Now().Before(t.due) {
		return false
	}
	t.arm()
	return true
}

func (t *timer) call(fired *pluginv1.TimerFired) {
	defer func() {
		if r := recover(); r != nil {
			_ = t.s.panicked(pluginv1.HostOpSetTimer, r) // it is logged; nobody waits for the error
		}
	}()
	t.s.instance.Timer(fired)
}
