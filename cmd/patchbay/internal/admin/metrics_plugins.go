package admin

import (
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// pluginCollector shows the figures of the plugin host. Which there are depends on the
// plugins, so that none is declared.
type pluginCollector struct {
	plugins Plugins
	log     *slog.Logger
}

// Describe is part of prometheus.Collector.
func (c *pluginCollector) Describe(chan<- *prometheus.Desc) {}

// Collect is part of prometheus.Collector.
func (c *pluginCollector) Collect(ch chan<- prometheus.Metric) {
	c.plugins.Metrics(func(m pluginhost.Metric) {
		metric, err := prometheusMetric(&m)
		if err != nil {
			c.log.Warn("a plugin's metric cannot be shown", "metric", m.Name, "error", err)
			return
		}
		ch <- metric
	})
}

func prometheusMetric(m *pluginhost.Metric) (prometheus.Metric, error) {
	names, values := make([]string, len(m.Labels)), make([]string, len(m.Labels))
	for i, l := range m.Labels {
		names[i], values[i] = l.Name, strings.ToValidUTF8(l.Value, "?")
	}
	desc := prometheus.NewDesc(m.Name, m.Help, names, nil)
	if m.Buckets != nil {
		buckets := make(map[float64]uint64, len(m.Buckets))
		for _, b := range m.Buckets {
			buckets[b.UpperBound] = b.Count
		}
		return prometheus.NewConstHistogram(desc, m.Count, m.Value, buckets, values...)
	}
	kind := gauge
	if m.Counter {
		kind = counter
	}
	return prometheus.NewConstMetric(desc, kind, m.Value, values...)
}
