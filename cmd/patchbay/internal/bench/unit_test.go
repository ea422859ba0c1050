package bench

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for _, v := range []int64{0, 1, 127, 128, 129, 255, 256, 1000, 1e6, 1e9, 1 << 41, 1<<42 - 1, 1 << 42, 1 << 62} {
		i := bucket(v)
		if i < last || i >= histBuckets {
			t.Fatalf("bucket(%d) = %d after %d of %d", v, i, last, histBuckets)
		}
		last = i
		if v < 1<<42 {
			top := bucketTop(i)
			if top < v || float64(top-v) > float64(v)/128 || bucket(top) != i || bucket(top+1) != min(i+1, histBuckets-1) {
				t.Errorf("value %d: bucket %d ends at %d", v, i, top)
			}
		}
	}
	if bucket(-5) != 0 {
		t.Error("negative values belong to bucket 0")
	}
}

func TestHistogramQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var parts [3]histogram
	var all []int64
	for i := range 30_000 {
		v := int64(rng.ExpFloat64() * 1e6)
		parts[i%3].record(v)
		all = append(all, v)
	}
	var h histogram
	for i := range parts {
		h.add(&parts[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(int(q*float64(len(all)))-1, 0)]
		got := int64(h.quantile(q))
		if got < want || float64(got-want) > float64(want)/100+1 {
			t.Errorf("quantile %v = %d, want %d and at most 1 %% more", q, got, want)
		}
	}
	if h.max != all[len(all)-1] || h.n != uint64(len(all)) {
		t.Errorf("max %d, n %d", h.max, h.n)
	}
	if d := h.mean() - time.Millisecond; d.Abs() > 30*time.Microsecond {
		t.Errorf("mean %v", h.mean())
	}
	var empty, huge histogram
	if empty.quantile(0.99) != 0 || empty.mean() != 0 {
		t.Error("an empty histogram has no quantiles")
	}
	huge.record(1 << 50)
	if huge.quantile(0.5) != 1<<50 {
		t.Errorf("beyond the last bucket: %d", huge.quantile(0.5))
	}
}

func TestLedger(t *testing.T) {
	for _, tt := range []struct {
		name                  string
		seqs                  []uint32
		order, late, dup      int
		missed                uint32
		gapsLeft, lostOfGiven int
	}{
		{name: "in order", seqs: []uint32{1, 2, 3}, order: 3},
		{name: "gap", seqs: []uint32{1, 4}, order: 2, missed: 2, gapsLeft: 1},
		{name: "gap filled backwards", seqs: []uint32{4, 3, 2, 1}, order: 1, late: 3, missed: 3},
		{name: "gap split", seqs: []uint32{5, 3, 3, 2, 4}, order: 1, late: 3, dup: 1, missed: 4, gapsLeft: 1},
		{name: "duplicates", seqs: []uint32{1, 1, 2, 1, 2}, order: 2, dup: 3},
		{name: "zero is never sent", seqs: []uint32{0}, dup: 1},
		{name: "largest", seqs: []uint32{1<<32 - 1, 1<<32 - 1}, order: 1, dup: 1, missed: 1<<32 - 2, gapsLeft: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l ledger
			var n [3]int
			var missed uint32
			for _, s := range tt.seqs {
				v, m := l.deliver(s)
				n[v]++
				missed += m
			}
			gaps := 0
			if l.gaps != nil {
				gaps = len(*l.gaps)
			}
			if n != [3]int{tt.order, tt.late, tt.dup} || missed != tt.missed || gaps != tt.gapsLeft {
				t.Errorf("in order, late, duplicate = %v, missed %d, gaps %d", n, missed, gaps)
			}
		})
	}
}

// checkLedger holds a ledger against a set of what came.
func checkLedger(t *testing.T, seqs []uint32) {
	var l ledger
	seen := map[uint32]bool{}
	high, missed := uint32(0), uint64(0)
	late := uint64(0)
	for i, s := range seqs {
		want := verdictInOrder
		if seen[s] || s == 0 {
			want = verdictDuplicate
		} else if s < high {
			want = verdictLate
			late++
		}
		got, m := l.deliver(s)
		if got != want {
			t.Fatalf("delivery %d, message %d: verdict %d, want %d", i, s, got, want)
		}
		if s > 0 {
			seen[s] = true
		}
		high = max(high, s)
		missed += uint64(m)
	}
	if uint64(high)-missed+late != uint64(len(seen)) {
		t.Fatalf("high %d, missed %d, late %d, distinct %d", high, missed, late, len(seen))
	}
}

func TestLedgerAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		seqs := make([]uint32, rng.IntN(400))
		for i := range seqs {
			seqs[i] = uint32(i/2) + uint32(rng.IntN(40)) // drops, repeats, disorder
		}
		checkLedger(t, seqs)
	}
}

func FuzzLedger(f *testing.F) {
	f.Add([]byte{1, 2, 3, 9, 4, 4, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		seqs := make([]uint32, len(b))
		for i, v := range b {
			seqs[i] = uint32(v)
		}
		checkLedger(t, seqs)
	})
}

// The memory for gaps is bounded; the oldest are given up.
func TestLedgerBound(t *testing.T) {
	var l ledger
	for s := uint32(2); s <= 4*maxGaps; s += 2 {
		l.deliver(s)
	}
	if n := len(*l.gaps); n != maxGaps {
		t.Fatalf("%d gaps are kept, want %d", n, maxGaps)
	}
	if v, _ := l.deliver(1); v != verdictDuplicate {
		t.Error("a gap that was given up counts as a duplicate")
	}
	if v, _ := l.deliver(4*maxGaps - 1); v != verdictLate {
		t.Error("the last gap is still known")
	}
}

func FuzzStamp(f *testing.F) {
	f.Add([]byte("short"))
	f.Add(make([]byte, stampSize+3))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := readStamp(b)
		if ok != (len(b) >= stampSize) {
			t.Fatalf("ok = %v for %d bytes", ok, len(b))
		}
		if ok {
			out := make([]byte, stampSize)
			s.put(out)
			if string(out) != string(b[:stampSize]) {
				t.Fatalf("%x became %x", b[:stampSize], out)
			}
		}
	})
}

func TestFormats(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{thousands(0), "0"}, {thousands(999), "999"}, {thousands(1000), "1,000"},
		{thousands(-1234567), "-1,234,567"}, {thousands(100), "100"}, {thousands(-100), "-100"},
		{short(0), "0"}, {short(999.4), "999"}, {short(999.6), "1.00k"}, {short(1500), "1.50k"},
		{short(20e6), "20.0M"}, {short(999.6e6), "1.00G"}, {short(123456), "123k"},
		{formatDuration(0), "0ns"}, {formatDuration(850), "850ns"}, {formatDuration(12345), "12.3µs"},
		{formatDuration(9_996_000), "10.0ms"}, {formatDuration(1200 * time.Millisecond), "1.20s"},
		{formatDuration(100 * time.Second), "100s"},
		{percent(1, 4), "25 %"}, {percent(0, 0), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestChart(t *testing.T) {
	got := drawChart([]float64{0, 50, 100, 75}, 60, 2)
	want := "" +
		"        100   █▄\n" +
		"          0  ███\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := drawChart([]float64{0, 0}, 60, 2); got != "          1 \n          0 \n" {
		t.Errorf("nothing: %q", got)
	}
	long := make([]float64, 1000)
	for i := range long {
		long[i] = float64(i)
	}
	squeezed := squeeze(long, 60)
	if len(squeezed) != 60 || squeezed[0] != 7.5 || !slices.IsSorted(squeezed) {
		t.Errorf("squeezed: %v", squeezed)
	}
}

func TestProgressLine(t *testing.T) {
	var b strings.Builder
	p := &progress{w: &b}
	p.clear()
	p.show("one")
	p.show("two")
	p.clear()
	if want := "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[K"; b.String() != want {
		t.Errorf("%q", b.String())
	}
	if newProgress(&b).w != nil {
		t.Error("a progress line where there is no terminal")
	}
	s := &sampler{phase: phaseConnecting, counts: func() (uint64, uint64) { return 0, 0 }}
	v := sample{Published: 20e6, Delivered: 20e6, P99: 123e3, Connects: 12345, Connections: 1_000_000}
	if got := s.line(v, snapshot{}); !strings.Contains(got, "12.3k connects/s") {
		t.Errorf("connecting: %s", got)
	}
	s.phase = phaseMeasuring
	line := s.line(v, snapshot{at: 8e9})
	if want := "measuring   8s  published 20.0M/s  delivered 20.0M/s  p99 123ms  1,000,000 conns"; line != want {
		t.Errorf("got  %q\nwant %q", line, want)
	}
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		url   string
		conns int
		want  string
	}{
		{"mqtt://127.0.0.1:1883", 20_000, "[]"},
		{"mqtt://127.0.0.1:1883", 50_000, "[127.0.0.1:0 127.0.0.2:0 127.0.0.3:0]"},
		{"mqtt://localhost", 20_001, "[127.0.0.1:0 127.0.0.2:0]"},
		{"mqtt://[::1]:1883", 50_000, "[]"},
		{"mqtt://192.0.2.1:1883", 50_000, "[]"},
		{"mqtt://broker.example", 50_000, "[]"},
	} {
		target, err := parseTarget(tt.url, "", false)
		if err != nil {
			t.Fatal(err)
		}
		target.spread(tt.conns)
		if got := fmt.Sprint(target.sources); runtime.GOOS == "linux" && got != tt.want {
			t.Errorf("%s, %d connections: %s, want %s", tt.url, tt.conns, got, tt.want)
		}
	}
}

func BenchmarkHistogramRecord(b *testing.B) {
	var h histogram
	b.ReportAllocs()
	for i := range b.N {
		h.record(int64(i) * 977 & 0xffffff)
	}
}

func BenchmarkLedger(b *testing.B) {
	var l ledger
	b.ReportAllocs()
	for i := range b.N {
		l.deliver(uint32(i + 1))
	}
}
