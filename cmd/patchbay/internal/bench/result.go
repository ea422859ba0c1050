package bench

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"time"
)

// result is what a run found out; as JSON it is what --json prints. Names end in the
// unit. Rates and latencies are of the measured time, counts of the whole run.
type result struct {
	Scenario    string         `json:"scenario"`
	URL         string         `json:"url"`
	Version     string         `json:"mqtt_version"`
	Interrupted bool           `json:"interrupted"`
	Measured    float64        `json:"measured_s"`
	Connect     connectResult  `json:"connect"`
	Messages    *messageResult `json:"messages,omitempty"`
	Offline     *offlineResult `json:"offline,omitempty"`
	Idle        *idleResult    `json:"idle,omitempty"`
	Errors      []countedError `json:"errors,omitempty"`
	Series      []sample       `json:"series"`
	account     func(*messageResult)
	connectTime time.Duration
}

// connectResult is about connections and their handshakes.
type connectResult struct {
	Established int64         `json:"established"`
	Failed      int64         `json:"failed"`
	Lost        int64         `json:"lost"` // ended by the broker or the network
	Seconds     float64       `json:"seconds"`
	PerSecond   float64       `json:"per_s"`
	Latency     latencyResult `json:"latency_us"` // dialling to CONNACK, or SUBACK if the client subscribes
}

// messageResult is the account of the scenarios that publish.
type messageResult struct {
	QoS                  int     `json:"qos"`
	Size                 int     `json:"size_bytes"`
	Publishers           int     `json:"publishers"`
	Subscribers          int     `json:"subscribers"`
	Topics               int     `json:"topics"`
	DeliveriesPerMessage int     `json:"deliveries_per_message"`
	DemandedPerSecond    float64 `json:"demanded_per_s"` // 0: as fast as the window allows

	Published      uint64 `json:"published"`
	Delivered      uint64 `json:"delivered"` // distinct ones
	Expected       uint64 `json:"expected"`  // published × deliveries per message
	Lost           int64  `json:"lost"`      // expected - delivered
	Duplicated     uint64 `json:"duplicated"`
	OutOfOrder     uint64 `json:"out_of_order"` // within one publisher and topic
	Foreign        uint64 `json:"foreign"`      // not of this run, or not subscribed to
	Unacknowledged uint64 `json:"unacknowledged"`
	Refused        uint64 `json:"refused"` // acknowledged with an error's Reason Code
	WindowStalls   int64  `json:"window_stalls"`
	Unfinished     bool   `json:"unfinished"` // deliveries still came when --drain was over

	PublishedPerSecond float64       `json:"published_per_s"`
	DeliveredPerSecond float64       `json:"delivered_per_s"`
	Latency            latencyResult `json:"latency_us"`
}

// offlineResult is about the sessions of the offline scenario.
type offlineResult struct {
	Sessions     int     `json:"sessions"`
	SessionsLost int     `json:"sessions_lost"` // not present when the client came back
	StoreSeconds float64 `json:"store_s"`       // first PUBLISH to last acknowledgement
	DrainSeconds float64 `json:"drain_s"`       // first CONNECT of the way back to last delivery
}

// idleResult is about the time after all connections were up.
type idleResult struct {
	Seconds     float64 `json:"seconds"`
	Connections int64   `json:"connections"` // at the end
}

// latencyResult has quantiles of durations, in µs.
type latencyResult struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99_9"`
	Max   float64 `json:"max"`
}

func newLatencyResult(h *histogram) latencyResult {
	return latencyResult{
		Count: h.n, Mean: micros(h.mean()), Max: micros(time.Duration(h.max)),
		P50: micros(h.quantile(0.5)), P90: micros(h.quantile(0.9)),
		P99: micros(h.quantile(0.99)), P999: micros(h.quantile(0.999)),
	}
}

// countedError is why connections failed or were lost, and how often.
type countedError struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

// connected adds n connections that took d to establish.
func (r *result) connected(n int, d time.Duration) {
	r.Connect.Established += int64(n)
	r.connectTime += d
}

// close fills in what is known only when everything has ended.
func (r *result) close(run *runner) {
	from, to, latency, series := run.sampler.end()
	r.Measured, r.Series = float64(to.at-from.at)/1e9, series
	c := &r.Connect
	c.Lost, c.Seconds = run.lost.Load(), r.connectTime.Seconds()
	c.PerSecond = ratio(float64(c.Established), c.Seconds)
	var h histogram
	run.handshakes.take(&h)
	c.Latency = newLatencyResult(&h)
	for _, text := range slices.Sorted(maps.Keys(run.errs)) {
		r.Errors = append(r.Errors, countedError{text, run.errs[text]})
	}
	m := r.Messages
	if m == nil {
		return
	}
	r.account(m)
	m.PublishedPerSecond = ratio(float64(to.published-from.published), r.Measured)
	m.DeliveredPerSecond = ratio(float64(to.delivered-from.delivered), r.Measured)
	if off := r.Offline; off != nil {
		m.PublishedPerSecond = ratio(float64(m.Published), off.StoreSeconds)
		m.DeliveredPerSecond = ratio(float64(m.Delivered), off.DrainSeconds)
	}
	m.Latency = newLatencyResult(latency)
}

// ratio is a/b, 0 if there is nothing to divide by.
func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

func (r *result) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
