package bridge

import (
	"math/rand/v2"
	"time"
)

// Backoff gives growing pauses between attempts. It is for one goroutine.
type Backoff struct {
	// Min is the first pause, Max the longest; both are positive.
	Min, Max time.Duration
	last     time.Duration
}

// Next returns the next pause: twice as long as the one before, give or take a quarter, so
// that many that have failed at once do not come back at once.
func (b *Backoff) Next() time.Duration {
	switch {
	case b.last == 0:
		b.last = b.Min
	case b.last > b.Max/2:
		b.last = b.Max
	default:
		b.last *= 2
	}
	return b.last*3/4 + rand.N(b.last/2+1)
}

// Reset is called after a success: the next pause is Min again.
func (b *Backoff) Reset() { b.last = 0 }
