package admin

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/pluginhost"
)

var update = flag.Bool("update", false, "write the generated parts of docs/metrics.md")

func gather(t testing.TB, r prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, f := range families {
		byName[f.GetName()] = f
	}
	return byName
}

// reasons explains the values of the label "reason".
var reasons = map[string]string{
	hook.DropNotAuthorized:   "the publisher or the receiver may not",
	hook.DropNoSubscriber:    "nobody had subscribed to the topic",
	hook.DropExpired:         "the Message Expiry Interval ran out before delivery",
	hook.DropQueueFull:       "`session.max_queued_messages` or `session.max_queued_bytes` was reached",
	hook.DropOutBufferFull:   "QoS 0, and `limits.out_buffer_high` was reached: the receiver reads too slowly",
	hook.DropPacketTooLarge:  "larger than the receiver's Maximum Packet Size",
	hook.DropByPlugin:        "a plugin said so",
	hook.DropQuota:           "a quota was used up",
	hook.DropOffline:         "QoS 0, and the receiver was away (`session.queue_qos0` is off)",
	hook.DropSessionEnded:    "the receiver's session ended while the message waited",
	hook.DropRefusedByClient: "the receiver answered with an error Reason Code",
	hook.DropStoreFull:       "the disk of `data_dir` is full (`store_reserve`)",
}

// help texts of other people's collectors, in which a | would end a cell.
func cell(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "|", `\|`) }

func documentation(t *testing.T, families map[string]*dto.MetricFamily) map[string]string {
	var own, why, process strings.Builder
	own.WriteString("| name | type | label | unit | meaning |\n|---|---|---|---|---|\n")
	for _, m := range metrics() {
		kind, label := "gauge", ""
		if m.kind == counter {
			kind = "counter"
		}
		if m.label != "" {
			label = "`" + m.label + "`"
		}
		fmt.Fprintf(&own, "| `%s` | %s | %s | %s | %s |\n", m.name, kind, label, m.unit, cell(m.help))
	}
	for _, h := range histograms() {
		fmt.Fprintf(&own, "| `%s` | histogram |  | %s | %s |\n", h.name, h.unit, cell(h.help))
	}
	why.WriteString("| reason | meaning |\n|---|---|\n")
	for _, r := range hook.DropReasons {
		if reasons[r] == "" {
			t.Errorf("reason %s is not explained", r)
		}
		fmt.Fprintf(&why, "| `%s` | %s |\n", r, reasons[r])
	}
	process.WriteString("| name | type | meaning |\n|---|---|---|\n")
	for _, name := range slices.Sorted(keys(families)) {
		if f := families[name]; !strings.HasPrefix(name, "patchbay_") {
			fmt.Fprintf(&process, "| `%s` | %s | %s |\n", name, strings.ToLower(f.GetType().String()), cell(f.GetHelp()))
		}
	}
	var plugins strings.Builder
	plugins.WriteString("| name | type | meaning |\n|---|---|---|\n")
	for _, f := range pluginhost.MetricFamilies {
		fmt.Fprintf(&plugins, "| `%s` | %s | %s |\n", f[0], map[string]string{"c": "counter", "g": "gauge", "h": "histogram"}[f[1]], cell(f[2]))
	}
	return map[string]string{"metrics": own.String(), "reasons": why.String(), "plugins": plugins.String(), "process": process.String()}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// docs/metrics.md has every metric that the broker shows, as it is declared.
func TestDocumentation(t *testing.T) {
	const file = "../../../../docs/metrics.md"
	b, _ := newBroker(t)
	r, err := newRegistry(b, nil, nil, "1")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	families := gather(t, r)
	for part, table := range documentation(t, families) {
		section := regexp.MustCompile(`(?s)(<!-- ` + part + `\b[^>]*-->\n)(.*)(<!-- /` + part + ` -->)`)
		have := section.FindStringSubmatch(text)
		switch {
		case have == nil:
			t.Errorf("docs/metrics.md has no section %q", part)
		case *update:
			text = strings.Replace(text, have[0], have[1]+table+have[3], 1)
		case part == "process":
			// What there is depends on the system and the Go version.
			for name := range families {
				if !strings.HasPrefix(name, "patchbay_") && !strings.Contains(have[2], "| `"+name+"` |") {
					t.Errorf("docs/metrics.md does not have %s; run with -update", name)
				}
			}
		case have[2] != table:
			t.Errorf("docs/metrics.md is out of date, run with -update; want in section %q:\n%s", part, table)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What is collected is what is declared, by Prometheus's rules for names.
func TestDeclarations(t *testing.T) {
	b, _ := newBroker(t)
	r, err := newRegistry(b, nil, nil, "1.2\xff3")
	if err != nil {
		t.Fatal(err)
	}
	families := gather(t, r)
	labels := []string{"", "version", "listener", "type", "reason"} // none of them a client's choice
	for _, m := range metrics() {
		f := families[m.name]
		if f == nil {
			t.Errorf("%s is not collected", m.name)
			continue
		}
		delete(families, m.name)
		if kind := map[prometheus.ValueType]dto.MetricType{counter: dto.MetricType_COUNTER, gauge: dto.MetricType_GAUGE}[m.kind]; f.GetType() != kind {
			t.Errorf("%s is a %v", m.name, f.GetType())
		}
		if strings.HasSuffix(m.name, "_total") != (m.kind == counter) {
			t.Errorf("%s: counters end in _total, gauges do not", m.name)
		}
		if !slices.Contains(labels, m.label) {
			t.Errorf("%s has label %s: is it known that its values are few?", m.name, m.label)
		}
		if !strings.HasSuffix(m.help, ".") && !strings.HasSuffix(m.help, "else 0.") {
			t.Errorf("%s: help is no sentence: %s", m.name, m.help)
		}
		for _, value := range f.GetMetric() {
			if n := len(value.GetLabel()); n > 1 || n == 1 && value.GetLabel()[0].GetName() != m.label || n == 0 && m.label != "" {
				t.Errorf("%s has labels %v, declared is %q", m.name, value.GetLabel(), m.label)
			}
		}
	}
	for _, h := range histograms() {
		if f := families[h.name]; f == nil || f.GetType() != dto.MetricType_HISTOGRAM || !strings.HasSuffix(h.name, "_"+h.unit) || !strings.HasSuffix(h.help, ".") {
			t.Errorf("%s is collected as %v", h.name, f)
		}
		delete(families, h.name)
	}
	for name := range families {
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s is not declared", name)
		}
	}
}

// value finds a sample in the text format.
func value(t testing.TB, text, sample string) float64 {
	t.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, sample+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	t.Fatalf("no %s in the metrics", sample)
	return 0
}

func TestMetricsCountTraffic(t *testing.T) {
	b, address := newBroker(t)
	s := start(t, b, nil)
	listen(t, b, "main", "") // two sockets of one name are one listener
	c := connect(t, address, "client-with-a-name", false)
	got := make(chan struct{}, 10)
	done(t, c.Subscribe("a/+", 1, func(mqtt.Client, mqtt.Message) { got <- struct{}{} }))
	done(t, c.Subscribe("$share/g/b", 0, nil))
	done(t, c.Publish("a/b", 1, true, "12345"))
	done(t, c.Publish("nobody", 1, false, "x"))
	<-got
	var text string
	eventually(t, "the subscriber has acknowledged", func() bool {
		_, text = fetch(t, http.DefaultClient, urlOf(s, "/metrics"), nil)
		return value(t, text, "patchbay_messages_inflight") == 0 && value(t, text, `patchbay_packets_received_total{type="puback"}`) == 1
	})
	for sample, want := range map[string]float64{
		`patchbay_build_info{version="1.2.3-test"}`:                   1,
		`patchbay_connections`:                                        1,
		`patchbay_connections_peak`:                                   1,
		`patchbay_connections_accepted_total`:                         1,
		`patchbay_listener_connections{listener="main"}`:              1,
		`patchbay_listener_accepted_total{listener="main"}`:           1,
		`patchbay_listener_refused_total{listener="main"}`:            0,
		`patchbay_listener_handshake_failures_total{listener="main"}`: 0,
		`patchbay_sessions`:                                           1,
		`patchbay_subscriptions`:                                      2,
		`patchbay_shared_groups`:                                      1,
		`patchbay_packets_received_total{type="connect"}`:             1,
		`patchbay_packets_received_total{type="publish"}`:             2,
		`patchbay_packets_received_total{type="subscribe"}`:           2,
		`patchbay_packets_sent_total{type="publish"}`:                 1,
		`patchbay_packets_sent_total{type="connack"}`:                 1,
		`patchbay_publish_payload_bytes_received_total`:               6,
		`patchbay_publish_payload_bytes_sent_total`:                   5,
		`patchbay_messages_dropped_total{reason="no_subscriber"}`:     1,
		`patchbay_messages_dropped_total{reason="queue_full"}`:        0,
		`patchbay_messages_queued`:                                    0,
		`patchbay_retained_messages`:                                  1,
		`patchbay_memory_pushback`:                                    0,
	} {
		if v := value(t, text, sample); v != want {
			t.Errorf("%s is %v, want %v", sample, v, want)
		}
	}
	for _, sample := range []string{"patchbay_uptime_seconds", "patchbay_bytes_received_total", "patchbay_bytes_sent_total", "patchbay_retained_bytes", "go_goroutines"} {
		if value(t, text, sample) <= 0 {
			t.Errorf("%s is not above 0", sample)
		}
	}
	if strings.Contains(text, "client-with-a-name") {
		t.Error("a client identifier is in the metrics")
	}
}

// What the group commits did is in the histograms, as in the counters.
func TestMetricsCountCommits(t *testing.T) {
	b, s, address, shutdown := newDurable(t, vfs.NewMem())
	defer shutdown()
	fill(t, b, address, 3, 100)
	eventually(t, "all is written and counted", func() bool {
		_, text := fetch(t, http.DefaultClient, urlOf(s, "/metrics"), nil)
		commits := value(t, text, "patchbay_store_commits_total")
		return value(t, text, "patchbay_store_commit_messages_sum") == 3 && value(t, text, `patchbay_store_commit_messages_bucket{le="4"}`) == commits &&
			value(t, text, "patchbay_store_commit_bytes_count") == commits && value(t, text, "patchbay_store_commit_bytes_sum") == value(t, text, "patchbay_store_written_bytes_total") &&
			value(t, text, "patchbay_store_commit_seconds_count") == commits && value(t, text, "patchbay_store_commit_seconds_sum") > 0
	})
}

func TestBytesSentNeverFall(t *testing.T) {
	c := &collector{}
	for _, step := range [][2]int64{{10, 10}, {7, 10}, {12, 12}} {
		if got := c.neverLess(step[0]); got != step[1] {
			t.Errorf("%d became %d, want %d", step[0], got, step[1])
		}
	}
}

func BenchmarkScrape(b *testing.B) {
	br, _ := newBroker(b)
	r, err := newRegistry(br, nil, nil, "1")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
