package bench

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// phase is where a run stands.
type phase string

const (
	phaseConnecting phase = "connecting"
	phaseWarmup     phase = "warm-up"
	phaseMeasuring  phase = "measuring"
	phaseAway       phase = "storing"
	phaseStaying    phase = "staying"
	phaseDraining   phase = "draining"
)

// minSample is the shortest time that a rate is worth computing for, in seconds.
const minSample = 0.25

// sample is one second of the measured time, as rates per second.
type sample struct {
	At          float64 `json:"at_s"` // end, in seconds after the start of measuring
	Published   float64 `json:"published_per_s"`
	Delivered   float64 `json:"delivered_per_s"`
	Connects    float64 `json:"connects_per_s"`
	P99         float64 `json:"p99_us"`
	Connections int64   `json:"connections"`
}

// snapshot is what was counted until a moment.
type snapshot struct {
	at                             int64 // run's time, ns
	published, delivered, connects uint64
}

// sampler looks at the counters once a second: for the progress line, the series of
// samples, and the rates of the measured time.
type sampler struct {
	r      *runner
	counts func() (published, delivered uint64) // nil if nothing is published

	mu      sync.Mutex
	phase   phase
	entered int64
	last    snapshot
	from    snapshot // start of the measured time
	to      snapshot // its end; at is 0 before
	recent  histogram
	total   histogram
	series  []sample
}

// watch sets where the counts of messages come from.
func (s *sampler) watch(counts func() (published, delivered uint64)) {
	s.mu.Lock()
	s.counts = counts
	s.mu.Unlock()
}

func (s *sampler) snapshot() snapshot {
	n := snapshot{at: s.r.clock.now(), connects: uint64(s.r.opened.Load())}
	if s.counts != nil {
		n.published, n.delivered = s.counts()
	}
	return n
}

// enter begins a phase. Latencies count from the start of measuring, and what is
// drained is part of them, or the slowest messages would be left out.
func (s *sampler) enter(p phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.snapshot()
	s.sample(now)
	if p == phaseMeasuring {
		s.total, s.from = histogram{}, now
	}
	if s.phase == phaseMeasuring {
		s.to = now
	}
	s.phase, s.entered, s.last = p, now.at, now
}

// tick takes the sample of a second and shows it.
func (s *sampler) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.snapshot()
	if v, ok := s.sample(now); ok {
		s.last = now
		s.r.progress.show(s.line(v, now))
	}
}

// end closes the series and gives the whole.
func (s *sampler) end() (from, to snapshot, latency *histogram, series []sample) {
	s.enter("")
	return s.from, s.to, &s.total, s.series
}

// sample makes the sample from the last one until now, if that is not too short.
func (s *sampler) sample(now snapshot) (v sample, ok bool) {
	s.recent = histogram{}
	s.r.meter.take(&s.recent)
	s.total.add(&s.recent)
	d := float64(now.at-s.last.at) / 1e9
	if d < minSample {
		return sample{}, false
	}
	v = sample{
		At:          float64(now.at-s.from.at) / 1e9,
		Published:   float64(now.published-s.last.published) / d,
		Delivered:   float64(now.delivered-s.last.delivered) / d,
		Connects:    float64(now.connects-s.last.connects) / d,
		P99:         micros(s.recent.quantile(0.99)),
		Connections: s.r.alive.Load(),
	}
	if s.phase == phaseMeasuring {
		s.series = append(s.series, v)
	}
	return v, true
}

// line is the progress line: it fits 80 columns for any figures that one machine can
// make.
func (s *sampler) line(v sample, now snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-9s %3.0fs", s.phase, float64(now.at-s.entered)/1e9)
	if s.counts != nil && s.phase != phaseConnecting {
		fmt.Fprintf(&b, "  published %s/s  delivered %s/s  p99 %s", short(v.Published), short(v.Delivered),
			formatDuration(time.Duration(v.P99*1e3)))
	} else {
		fmt.Fprintf(&b, "  %s connects/s", short(v.Connects))
	}
	fmt.Fprintf(&b, "  %s conns", thousands(v.Connections))
	return b.String()
}

// micros is d in microseconds.
func micros(d time.Duration) float64 { return float64(d) / 1e3 }
