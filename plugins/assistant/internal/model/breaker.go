package model

import (
	"fmt"
	"sync"
	"time"
)

// health is what a request says of the endpoint.
type health int

const (
	neutral health = iota // nothing: the request was wrong, or taken back
	healthy
	failing
)

// breaker leaves an endpoint alone that fails again and again. After the pause one request
// is let through; its end decides.
type breaker struct {
	limit int
	pause time.Duration

	mu       sync.Mutex
	failures int
	until    time.Time // zero: closed
	probing  bool
}

// enter returns 0 if a request may be made, else when it is worth trying again. Each
// request that may be made has to leave.
func (b *breaker) enter(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.limit <= 0 || b.until.IsZero():
		return 0
	case now.Before(b.until):
		return b.until.Sub(now)
	case b.probing:
		return time.Second
	}
	b.probing = true
	return 0
}

func (b *breaker) leave(now time.Time, h health) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch h {
	case healthy:
		b.failures, b.until = 0, time.Time{}
	case failing:
		if b.failures++; b.limit > 0 && b.failures >= b.limit {
			b.until = now.Add(b.pause)
		}
	}
}

func (b *breaker) health(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return nil
	}
	return fmt.Errorf("%d requests in a row have failed; the next one is made in %s", b.failures, max(0, b.until.Sub(now)).Round(time.Second))
}
