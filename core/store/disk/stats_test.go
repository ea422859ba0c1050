package disk

import (
	"testing"

	"github.com/patchbay-mq/patchbay/core/store"
)

func TestBuckets(t *testing.T) {
	var b buckets
	bounds := powers(1, 2, 3) // 1, 2, 4
	for _, v := range []int64{0, 1, 2, 3, 4, 5, 1000} {
		b.add(bounds, float64(v), v)
	}
	h := b.read(bounds, 0.5)
	for i, want := range []uint64{2, 3, 5} {
		if h.Counts[i] != want {
			t.Errorf("%d values are at most %v, want %d", h.Counts[i], bounds[i], want)
		}
	}
	if h.Count != 7 || h.Sum != 1015*0.5 {
		t.Errorf("%d values, sum %v", h.Count, h.Sum)
	}
	for _, bounds := range [][]float64{messageBounds, byteBounds, secondBounds} {
		if len(bounds) > maxBuckets {
			t.Errorf("%d bounds, there is room for %d", len(bounds), maxBuckets)
		}
	}
}

// The histograms agree with the counters, for several messages in one commit and for
// commits without any.
func TestCommitStats(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	c := create(s, "away", false)
	const n = 5
	var receipts []*store.Receipt
	for _, text := range numbers(n) {
		receipts = append(receipts, c.add(text, false))
	}
	safe(t, receipts...)
	s.syncNow(t)
	var got CommitStats
	until(t, "histograms and counters agree", func() bool {
		got = s.CommitStats()
		st := s.Stats()
		return st.Written == n && got.Messages.Sum == n && got.Bytes.Sum == float64(st.BytesWritten) && got.Messages.Count == uint64(st.Commits) &&
			got.Bytes.Count == got.Messages.Count && got.Seconds.Count == got.Messages.Count
	})
	if got.Seconds.Sum <= 0 {
		t.Errorf("%v s for %d commits", got.Seconds.Sum, got.Seconds.Count)
	}
}
