package bench

import (
	"math"
	"math/bits"
	"sync"
	"time"
)

// subBits is the number of bits of a value that a bucket keeps: 128 buckets per
// power of two, so a quantile is at most 1/128 (0.8 %) above the true value.
const subBits = 7

// maxExp is the power of two of nanoseconds at which the histogram ends: values of
// 2^42 ns (73 minutes) and more share the last bucket.
const maxExp = 42

const histBuckets = (maxExp-subBits)<<subBits + 1<<subBits

// histogram counts durations in log-linear buckets. The zero value is empty and
// ready. It is not safe for concurrent use.
type histogram struct {
	counts [histBuckets]uint64
	n      uint64
	max    int64
	sum    float64
}

// bucket is the index of the bucket that holds ns.
func bucket(ns int64) int {
	if ns < 1<<subBits {
		return int(max(ns, 0))
	}
	shift := bits.Len64(uint64(ns)) - 1 - subBits
	return min(shift<<subBits+int(uint64(ns)>>shift), histBuckets-1)
}

// bucketTop is the largest value, in ns, that falls into bucket i.
func bucketTop(i int) int64 {
	if i < 1<<subBits {
		return int64(i)
	}
	shift := i>>subBits - 1
	return (int64(i&(1<<subBits-1)+1<<subBits+1) << shift) - 1
}

// record counts one duration in ns; negative ones (clock steps) count as 0.
func (h *histogram) record(ns int64) {
	ns = max(ns, 0)
	h.counts[bucket(ns)]++
	h.n++
	h.sum += float64(ns)
	h.max = max(h.max, ns)
}

// add counts all of o's values in h.
func (h *histogram) add(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// quantile gives the smallest bucket top that at least the share q (0..1) of the
// values do not exceed, never more than the largest value; 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(h.n))), 1)
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= rank {
			if i == histBuckets-1 {
				break
			}
			return time.Duration(min(bucketTop(i), h.max))
		}
	}
	return time.Duration(h.max)
}

// mean is the arithmetic mean; 0 if there are no values.
func (h *histogram) mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.n))
}

// meter collects durations from many goroutines in a few histograms, each with a
// lock of its own that is taken once per batch. One histogram per connection would
// take 36 KB each, one for all would be contended.
type meter struct {
	shards []meterShard
}

type meterShard struct {
	mu sync.Mutex
	h  histogram
}

func newMeter(shards int) *meter { return &meter{shards: make([]meterShard, shards)} }

// record counts a batch of durations in ns; who spreads the callers over the shards.
func (m *meter) record(who int, batch []int64) {
	if len(batch) == 0 {
		return
	}
	s := &m.shards[who%len(m.shards)]
	s.mu.Lock()
	for _, ns := range batch {
		s.h.record(ns)
	}
	s.mu.Unlock()
}

// take moves everything that was recorded since the last call into h.
func (m *meter) take(h *histogram) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		if s.h.n > 0 {
			h.add(&s.h)
			s.h = histogram{}
		}
		s.mu.Unlock()
	}
}
