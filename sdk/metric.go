package sdk

import pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"

// Metric is a metric of the plugin, which the broker's /metrics has as
// patchbay_plugin_PLUGIN_NAME. It is safe for concurrent use. Samples do not wait for
// the host where that is another process; those that it refuses are lost.
type Metric struct {
	out    *outbox[pluginv1.Sample]
	sample pluginv1.Sample
}

// Counter makes a metric that Add makes grow. The name has letters, digits and "_". Grant
// of all metrics: metrics, which every plugin has unless it is taken away.
func (h *Host) Counter(name, help string) *Metric {
	return &Metric{h.samples, pluginv1.Sample{Name: name, Help: help, Kind: pluginv1.MetricKindCounter}}
}

// Gauge makes a metric that Set sets and Add changes.
func (h *Host) Gauge(name, help string) *Metric {
	return &Metric{h.samples, pluginv1.Sample{Name: name, Help: help, Kind: pluginv1.MetricKindGauge}}
}

// Histogram makes a metric that observes with Set. Buckets are upper bounds, growing; none
// stand for 0.001 to 10.
func (h *Host) Histogram(name, help string, buckets ...float64) *Metric {
	return &Metric{h.samples, pluginv1.Sample{
		Name: name, Help: help, Kind: pluginv1.MetricKindHistogram, Buckets: buckets,
	}}
}

// Add adds v, which for a counter must not be negative. A histogram observes it.
func (m *Metric) Add(v float64, labels ...Pair) {
	s := m.sample
	if s.Kind == pluginv1.MetricKindGauge {
		s.Kind = pluginv1.MetricKindGaugeAdd
	}
	s.Value, s.Labels = v, labels
	m.out.put(s)
}

// Set sets a gauge, or observes v by a histogram. A counter takes it as Add.
func (m *Metric) Set(v float64, labels ...Pair) {
	s := m.sample
	s.Value, s.Labels = v, labels
	m.out.put(s)
}
