package disk

import (
	"sync/atomic"
	"time"
)

// Histogram is how often values were at most each bound, and their sum.
type Histogram struct {
	Bounds []float64 // ascending; not to be changed
	Counts []uint64  // cumulative, one for each bound
	Count  uint64    // of all values, those above the last bound included
	Sum    float64
}

// CommitStats are figures about the group commits since the store was opened.
type CommitStats struct {
	// Messages is how many messages for sessions each commit wrote. Some write none,
	// but remove messages or change sessions.
	Messages Histogram
	// Bytes is how much each commit wrote, before compression and compaction.
	Bytes Histogram
	// Seconds is the time from handing a commit to the disk until it is as safe as
	// Options.Sync demands: what acknowledgements wait for at least.
	Seconds Histogram
}

var (
	messageBounds = powers(1, 2, 15)         // to 16,384
	byteBounds    = powers(256, 4, 10)       // to 64 MiB
	secondBounds  = powers(0.000_016, 2, 18) // to 2.1 s
)

// powers are n numbers, from first, each factor times the one before.
func powers(first, factor float64, n int) []float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = first
		first *= factor
	}
	return all
}

// commitCounts is counted by the committer and those that complete commits, and read
// by anyone.
type commitCounts struct {
	messages, bytes, seconds buckets
}

// maxBuckets is how many bounds a histogram has at most.
const maxBuckets = 18

type buckets struct {
	counts [maxBuckets + 1]atomic.Uint64
	// sum is in units of the caller's: integers add up exactly.
	sum atomic.Int64
}

// add counts a value, which is v in units of the bounds and n in those of the sum.
func (b *buckets) add(bounds []float64, v float64, n int64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	b.counts[i].Add(1)
	b.sum.Add(n)
}

func (b *buckets) read(bounds []float64, unit float64) Histogram {
	h := Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds))}
	for i := range bounds {
		h.Count += b.counts[i].Load()
		h.Counts[i] = h.Count
	}
	h.Count += b.counts[len(bounds)].Load()
	h.Sum = float64(b.sum.Load()) * unit
	return h
}

// handed counts a commit that was given to Pebble.
func (c *commitCounts) handed(messages, bytes int64) {
	c.messages.add(messageBounds, float64(messages), messages)
	c.bytes.add(byteBounds, float64(bytes), bytes)
}

// safe counts a commit that has become safe.
func (c *commitCounts) safe(after time.Duration) {
	c.seconds.add(secondBounds, after.Seconds(), int64(after))
}

// CommitStats may be called at any time, after Close too.
func (s *Store) CommitStats() CommitStats {
	c := &s.commitCounts
	return CommitStats{
		Messages: c.messages.read(messageBounds, 1),
		Bytes:    c.bytes.read(byteBounds, 1),
		Seconds:  c.seconds.read(secondBounds, time.Nanosecond.Seconds()),
	}
}
