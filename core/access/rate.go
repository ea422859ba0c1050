package access

// Bucket is a token bucket. It is not safe for concurrent use: it belongs to one
// connection. The zero value with a zero Rate limits nothing.
type Bucket struct {
	// Rate is the number of tokens that come back each second; 0 is no limit.
	Rate float64
	// Burst is how many tokens the bucket holds; at least one second's worth is
	// assumed when it is 0.
	Burst float64

	tokens float64
	last   int64
}

// Take takes n tokens at now (Unix milliseconds) and returns how many
// milliseconds the caller should wait before it goes on: 0 while there are
// tokens. What was taken is taken even when the answer is to wait, so that a
// large n is paid for afterwards instead of never fitting.
func (b *Bucket) Take(n float64, now int64) (waitMillis int64) {
	if b.Rate <= 0 {
		return 0
	}
	burst := b.Burst
	if burst <= 0 {
		burst = b.Rate
	}
	if b.last == 0 {
		b.tokens = burst
	} else {
		b.tokens = min(burst, b.tokens+float64(now-b.last)*b.Rate/1000)
	}
	b.last = now
	b.tokens -= n
	if b.tokens >= 0 {
		return 0
	}
	return int64(-b.tokens*1000/b.Rate) + 1
}
