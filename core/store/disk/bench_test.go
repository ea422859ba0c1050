package disk

import (
	"testing"

	"github.com/patchbay-mq/patchbay/core/store"
)

// BenchmarkAddSettle is an online session that acknowledges at once: nothing is
// written.
func BenchmarkAddSettle(b *testing.B) {
	s := open(b, Options{})
	load(b, s)
	c := create(s, "c", true)
	s.syncNow(b)
	m := message("x")
	seq := c.FirstSeq()
	r := store.NewReceipt()
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		c.Lock()
		pos, _ := c.Add(store.Entry{Message: m, QoS: 1}, seq, true, r)
		c.Settle(pos, seq)
		c.Unlock()
		seq++
	}
	b.StopTimer()
	st := s.Stats()
	b.ReportMetric(float64(st.Written)/float64(b.N), "written/op")
}
