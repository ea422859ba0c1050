package services

import (
	"sync"
	"time"
)

// bucket is a token bucket. The zero value is full.
type bucket struct {
	mu     sync.Mutex
	spent  float64 // tokens that are missing
	before time.Time
}

// take takes up to n tokens and returns how many there were; rate of them come back each
// second, up to burst.
func (b *bucket) take(n int, rate, burst float64, now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if past := now.Sub(b.before); past > 0 {
		b.spent = max(0, b.spent-past.Seconds()*rate)
		b.before = now
	}
	got := min(n, int(burst-b.spent))
	b.spent += float64(got)
	return got
}
