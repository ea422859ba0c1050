package admin

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// metric declares one metric; docs/metrics.md is made from these. No label may
// have values that clients choose: their number has no bound.
type metric struct {
	name  string
	kind  prometheus.ValueType
	label string // "" none
	unit  string
	help  string
	read  func(s *scrape, put put)
}

// put takes one value, with the value of the label if the metric has one.
type put func(v float64, label ...string)

// scrape is the broker's state at one moment.
type scrape struct {
	version   string
	gauges    broker.Gauges
	stats     *broker.Stats
	bytesSent int64
	listeners []listenerFigures
	store     store.Stats
	commits   disk.CommitStats
}

// listenerFigures are those of all listeners of one name: with "localhost" or the
// like, an entry of the configuration is more than one socket.
type listenerFigures struct {
	name        string
	connections int
	transport.ListenerStats
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// atomicCount is what the counters of broker.Stats are.
type atomicCount interface{ Load() int64 }

func count(of func(*broker.Stats) atomicCount) func(*scrape, put) {
	return func(s *scrape, put put) { put(float64(of(s.stats).Load())) }
}

func level[N int | int64](of func(*broker.Gauges) N) func(*scrape, put) {
	return func(s *scrape, put put) { put(float64(of(&s.gauges))) }
}

func stored(of func(*store.Stats) int64) func(*scrape, put) {
	return func(s *scrape, put put) { put(float64(of(&s.store))) }
}

// truth is a metric of 0 or 1.
func truth(of func(*scrape) bool) func(*scrape, put) {
	return func(s *scrape, put put) {
		if of(s) {
			put(1)
		} else {
			put(0)
		}
	}
}

func perListener(of func(*listenerFigures) float64) func(*scrape, put) {
	return func(s *scrape, put put) {
		for i := range s.listeners {
			put(of(&s.listeners[i]), s.listeners[i].name)
		}
	}
}

// metrics returns the declarations in the order of the documentation.
func metrics() []metric {
	return []metric{
		{"patchbay_build_info", gauge, "version", "", "1, with the version of the program as its label.",
			func(s *scrape, put put) { put(1, s.version) }},
		{"patchbay_uptime_seconds", gauge, "", "seconds", "Time since the broker was started.",
			func(s *scrape, put put) { put(s.gauges.Uptime.Seconds()) }},

		{"patchbay_connections", gauge, "", "connections", "Open connections of clients, those before CONNECT included.",
			level(func(g *broker.Gauges) int64 { return g.Connected })},
		{"patchbay_connections_peak", gauge, "", "connections", "Most connections that were open at once since the start.",
			count(func(s *broker.Stats) atomicCount { return &s.MaxConnected })},
		{"patchbay_connections_accepted_total", counter, "", "connections", "Connections whose transport handshakes (PROXY, TLS, WebSocket) were completed.",
			count(func(s *broker.Stats) atomicCount { return &s.Accepted })},
		{"patchbay_connections_refused_total", counter, "", "connections", "Connections refused at CONNECT because of limits.max_connections.",
			count(func(s *broker.Stats) atomicCount { return &s.Refused })},
		{"patchbay_auth_failures_total", counter, "", "connections", "Connections refused or ended because authentication failed.",
			count(func(s *broker.Stats) atomicCount { return &s.AuthFailures })},
		{"patchbay_protocol_errors_total", counter, "", "connections", "Connections ended because the client broke the protocol.",
			count(func(s *broker.Stats) atomicCount { return &s.ProtocolErrors })},

		{"patchbay_listener_connections", gauge, "listener", "connections", "Open sockets of a listener, those in a handshake included.",
			perListener(func(l *listenerFigures) float64 { return float64(l.connections) })},
		{"patchbay_listener_accepted_total", counter, "listener", "connections", "Sockets accepted by a listener, refused ones included.",
			perListener(func(l *listenerFigures) float64 { return float64(l.Accepted) })},
		{"patchbay_listener_refused_total", counter, "listener", "connections", "Sockets closed right after they were accepted: max_connections of the listener, a peer that proxy_trusted does not name, or a shutdown.",
			perListener(func(l *listenerFigures) float64 { return float64(l.RefusedMax + l.RefusedProxy + l.HandlerRefused) })},
		{"patchbay_listener_handshake_failures_total", counter, "listener", "connections", "Sockets closed because the PROXY, TLS or WebSocket handshake failed or took too long.",
			perListener(func(l *listenerFigures) float64 {
				return float64(l.FailedProxy + l.FailedTLS + l.FailedWS + l.FailedTimeout)
			})},
		{"patchbay_listener_accept_errors_total", counter, "listener", "errors", "Times that the system gave an error instead of a socket, such as too many open files.",
			perListener(func(l *listenerFigures) float64 { return float64(l.AcceptErrors) })},

		{"patchbay_sessions", gauge, "", "sessions", "Sessions of clients that are connected or away.",
			level(func(g *broker.Gauges) int64 { return g.Sessions })},
		{"patchbay_sessions_expired_total", counter, "", "sessions", "Sessions whose Session Expiry Interval ran out.",
			count(func(s *broker.Stats) atomicCount { return &s.SessionsExpired })},
		{"patchbay_sessions_taken_over_total", counter, "", "sessions", "Connections closed because the client connected anew elsewhere.",
			count(func(s *broker.Stats) atomicCount { return &s.TakenOver })},
		{"patchbay_subscriptions", gauge, "", "subscriptions", "Subscriptions, members of shared groups included.",
			level(func(g *broker.Gauges) int { return g.Subscriptions })},
		{"patchbay_shared_groups", gauge, "", "groups", "Shared subscriptions ($share/NAME/FILTER) with at least one member.",
			level(func(g *broker.Gauges) int { return g.SharedGroups })},

		{"patchbay_packets_received_total", counter, "type", "packets", "MQTT packets received, by type.",
			func(s *scrape, put put) { putTypes(s.stats.PacketsReceived[:], put) }},
		{"patchbay_packets_sent_total", counter, "type", "packets", "MQTT packets sent, by type.",
			func(s *scrape, put put) { putTypes(s.stats.PacketsSent[:], put) }},
		{"patchbay_bytes_received_total", counter, "", "bytes", "Bytes of MQTT packets received.",
			count(func(s *broker.Stats) atomicCount { return &s.BytesReceived })},
		{"patchbay_bytes_sent_total", counter, "", "bytes", "Bytes written to clients.",
			func(s *scrape, put put) { put(float64(s.bytesSent)) }},
		{"patchbay_publish_payload_bytes_received_total", counter, "", "bytes", "Payload bytes of PUBLISH packets received.",
			count(func(s *broker.Stats) atomicCount { return &s.PublishBytesReceived })},
		{"patchbay_publish_payload_bytes_sent_total", counter, "", "bytes", "Payload bytes of PUBLISH packets sent.",
			count(func(s *broker.Stats) atomicCount { return &s.PublishBytesSent })},

		{"patchbay_messages_dropped_total", counter, "reason", "messages", "Deliveries that were not made, by reason; no_subscriber counts messages that nobody had subscribed to.",
			func(s *scrape, put put) {
				for _, reason := range hook.DropReasons {
					put(float64(s.stats.Dropped(reason)), reason)
				}
			}},
		{"patchbay_messages_retransmitted_total", counter, "", "messages", "Resends on a live connection (session.retry_interval).",
			count(func(s *broker.Stats) atomicCount { return &s.Retransmitted })},
		{"patchbay_messages_given_up_total", counter, "", "messages", "Messages whose resends reached session.retry_max; they stay for the next connection.",
			count(func(s *broker.Stats) atomicCount { return &s.GivenUp })},
		{"patchbay_messages_inflight", gauge, "", "messages", "QoS 1 and 2 messages sent and not acknowledged yet, over all sessions.",
			level(func(g *broker.Gauges) int { return g.Inflight })},
		{"patchbay_messages_queued", gauge, "", "messages", "Messages that wait in the queues of all sessions.",
			level(func(g *broker.Gauges) int { return g.Queued })},
		{"patchbay_messages_queued_bytes", gauge, "", "bytes", "Size of the queued messages; one that waits in several queues counts in each.",
			level(func(g *broker.Gauges) int64 { return g.QueuedBytes })},

		{"patchbay_retained_messages", gauge, "", "messages", "Retained messages.",
			level(func(g *broker.Gauges) int { return g.Retained })},
		{"patchbay_retained_bytes", gauge, "", "bytes", "Size of the retained messages: topics, properties and payloads.",
			level(func(g *broker.Gauges) int64 { return g.RetainedBytes })},

		{"patchbay_memory_bytes", gauge, "", "bytes", "Memory that counts towards limits.memory: what the Go runtime has from the system and uses.",
			level(func(g *broker.Gauges) int64 { return g.MemoryUsed })},
		{"patchbay_memory_pushback", gauge, "", "", "1 while publishers are held back because limits.memory is exceeded, else 0.",
			truth(func(s *scrape) bool { return s.gauges.AboveWatermark })},

		{"patchbay_store_commits_total", counter, "", "commits", "Group commits of the durable store: as many times acknowledgements waited for the disk together. This and the following are 0 with store: memory.",
			stored(func(s *store.Stats) int64 { return s.Commits })},
		{"patchbay_store_written_messages_total", counter, "", "messages", "Messages for stored sessions that were written; one for several sessions counts for each.",
			stored(func(s *store.Stats) int64 { return s.Written })},
		{"patchbay_store_skipped_messages_total", counter, "", "messages", "Messages for stored sessions that were acknowledged before they had to be written.",
			stored(func(s *store.Stats) int64 { return s.Skipped })},
		{"patchbay_store_shared_messages_total", counter, "", "messages", "Messages that were written once for several sessions.",
			stored(func(s *store.Stats) int64 { return s.Shared })},
		{"patchbay_store_written_bytes_total", counter, "", "bytes", "Bytes of the group commits, before compression and compaction.",
			stored(func(s *store.Stats) int64 { return s.BytesWritten })},
		{"patchbay_store_quarantined_total", counter, "", "records", "Records that could not be read and were put aside; patchbay store check names them.",
			stored(func(s *store.Stats) int64 { return s.Quarantined })},
		{"patchbay_store_disk_bytes", gauge, "", "bytes", "Size of the durable store on disk.",
			stored(func(s *store.Stats) int64 { return s.DiskBytes })},
		{"patchbay_store_free_bytes", gauge, "", "bytes", "Free space on the disk of data_dir.",
			stored(func(s *store.Stats) int64 { return s.FreeBytes })},
		{"patchbay_store_full", gauge, "", "", "1 while less than store_reserve is free and nothing new is accepted that would have to be stored, else 0.",
			truth(func(s *scrape) bool { return s.store.Full })},
	}
}

// histogram declares a histogram; all are of the durable store.
type histogram struct {
	name, unit, help string
	read             func(*scrape) disk.Histogram
}

// histograms returns the declarations in the order of the documentation, where they follow those of metrics.
func histograms() []histogram {
	return []histogram{
		{"patchbay_store_commit_messages", "messages", "Messages for stored sessions that one group commit wrote: as many shared its sync.",
			func(s *scrape) disk.Histogram { return s.commits.Messages }},
		{"patchbay_store_commit_bytes", "bytes", "Bytes of one group commit, before compression and compaction.",
			func(s *scrape) disk.Histogram { return s.commits.Bytes }},
		{"patchbay_store_commit_seconds", "seconds", "Time from handing a group commit to the disk until it is as safe as sync demands.",
			func(s *scrape) disk.Histogram { return s.commits.Seconds }},
	}
}

// putTypes leaves out packet type 0, which does not exist.
func putTypes[C any, P interface {
	*C
	Load() int64
}](counts []C, put put) {
	for t := packet.TypeConnect; t <= packet.TypeAuth; t++ {
		put(float64(P(&counts[t]).Load()), strings.ToLower(t.String()))
	}
}

// collector reads the broker's figures when it is scraped.
type collector struct {
	broker     *broker.Broker
	store      *disk.Store // nil: memory
	version    string
	metrics    []metric
	histograms []histogram
	descs      []*prometheus.Desc // of both, in this order

	mu   sync.Mutex
	sent int64
}

func newCollector(b *broker.Broker, st *disk.Store, version string) *collector {
	c := &collector{broker: b, store: st, version: strings.ToValidUTF8(version, "?"), metrics: metrics(), histograms: histograms()}
	for _, m := range c.metrics {
		var labels []string
		if m.label != "" {
			labels = []string{m.label}
		}
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, labels, nil))
	}
	for _, h := range c.histograms {
		c.descs = append(c.descs, prometheus.NewDesc(h.name, h.help, nil, nil))
	}
	return c
}

// Describe is part of prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect is part of prometheus.Collector. It costs a walk over all sessions.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := &scrape{version: c.version, gauges: c.broker.Gauges(), stats: c.broker.Stats(), listeners: figures(c.broker.Listeners()), store: storeStats(c.store)}
	if c.store != nil {
		s.commits = c.store.CommitStats()
	}
	s.bytesSent = c.neverLess(s.gauges.BytesSent)
	for i, m := range c.metrics {
		m.read(s, func(v float64, label ...string) {
			ch <- prometheus.MustNewConstMetric(c.descs[i], m.kind, v, label...)
		})
	}
	for i, h := range c.histograms {
		v := h.read(s)
		counts := make(map[float64]uint64, len(v.Bounds))
		for j, bound := range v.Bounds {
			counts[bound] = v.Counts[j]
		}
		ch <- prometheus.MustNewConstHistogram(c.descs[len(c.metrics)+i], v.Count, v.Sum, counts)
	}
}

// neverLess keeps a counter from going back. The bytes sent are summed over the
// connections while some of these end, and one may be missing for a moment; to
// Prometheus that would be a restart, and the whole sum an increase.
func (c *collector) neverLess(sent int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = max(c.sent, sent)
	return c.sent
}

func figures(listeners []*transport.Listener) []listenerFigures {
	var all []listenerFigures
	index := map[string]int{}
	for _, l := range listeners {
		name := strings.ToValidUTF8(l.Name(), "?")
		i, ok := index[name]
		if !ok {
			i = len(all)
			index[name] = i
			all = append(all, listenerFigures{name: name})
		}
		f, st := &all[i], l.Stats()
		f.connections += l.Connections()
		f.Accepted += st.Accepted
		f.RefusedMax += st.RefusedMax
		f.RefusedProxy += st.RefusedProxy
		f.HandlerRefused += st.HandlerRefused
		f.FailedProxy += st.FailedProxy
		f.FailedTLS += st.FailedTLS
		f.FailedWS += st.FailedWS
		f.FailedTimeout += st.FailedTimeout
		f.AcceptErrors += st.AcceptErrors
	}
	return all
}

// newRegistry has everything that /metrics shows; plugins may be nil.
func newRegistry(b *broker.Broker, st *disk.Store, plugins *pluginCollector, version string) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	all := []prometheus.Collector{
		newCollector(b, st, version),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	if plugins != nil {
		all = append(all, plugins)
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return r, nil
}

// scrapesAtOnce bounds the walks over all sessions that strangers can cause.
const scrapesAtOnce = 3

func metricsHandler(o Options, log *slog.Logger) (http.Handler, error) {
	var plugins *pluginCollector
	if o.Plugins != nil {
		plugins = &pluginCollector{o.Plugins, log}
	}
	r, err := newRegistry(o.Broker, o.Store, plugins, o.Version)
	if err != nil {
		return nil, err
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// Some figures are better than none.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce,
	}), nil
}
