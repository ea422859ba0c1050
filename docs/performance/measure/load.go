//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// load is one run of "patchbay bench".
type load struct {
	scenario   string // pair, fan-out, fan-in
	qos        int
	version    string // 3.1.1 or 5
	size       int
	pairs      int
	rate       float64 // 0: as fast as the windows allow
	window     int     // 0: the scenario's
	persistent bool
	prefix     string // of topics; "" bench's
	// longer multiplies the time that is measured.
	longer int
}

// result is what we read of bench's answer.
type result struct {
	Messages struct {
		Published  int64   `json:"published"`
		Delivered  int64   `json:"delivered"`
		Lost       int64   `json:"lost"`
		Fan        int     `json:"deliveries_per_message"`
		PublishedS float64 `json:"published_per_s"`
		DeliveredS float64 `json:"delivered_per_s"`
		Latency    struct {
			P50  float64 `json:"p50"`
			P99  float64 `json:"p99"`
			P999 float64 `json:"p99_9"`
			Max  float64 `json:"max"`
		} `json:"latency_us"`
	} `json:"messages"`
	Offline struct {
		Store float64 `json:"store_s"`
		Drain float64 `json:"drain_s"`
	} `json:"offline"`
}

func (m *measurer) args(r *running, l load) []string {
	args := []string{"bench", l.scenario, "--json", "--url", r.url("tcp"), "-q", strconv.Itoa(l.qos), "-V", l.version, "--size", strconv.Itoa(l.size)}
	if l.scenario != "offline" {
		args = append(args, "-d", (m.duration * time.Duration(max(l.longer, 1))).String(), "--warmup", m.warmup.String(),
			"--rate", strconv.FormatFloat(l.rate, 'f', -1, 64), "--persistent="+strconv.FormatBool(l.persistent))
		if l.window > 0 {
			args = append(args, "--window", strconv.Itoa(l.window))
		}
	}
	switch l.scenario {
	case "pair":
		args = append(args, "--pairs", strconv.Itoa(l.pairs))
	case "fan-out":
		args = append(args, "--subscribers", strconv.Itoa(m.fan), "--topics", "16")
	case "fan-in":
		args = append(args, "--publishers", strconv.Itoa(m.fan))
	case "offline":
		args = append(args, "--subscribers", "100", "--messages", strconv.Itoa(m.offline))
	}
	if l.prefix != "" {
		args = append(args, "--client-id-prefix", l.prefix)
	}
	return args
}

func (r *running) url(transport string) string {
	switch transport {
	case "tls":
		return fmt.Sprintf("mqtts://127.0.0.1:%d", r.tls)
	case "ws":
		return fmt.Sprintf("ws://127.0.0.1:%d/mqtt", r.ws)
	}
	return fmt.Sprintf("mqtt://127.0.0.1:%d", r.port)
}

// bench runs "patchbay bench" on the generator's cores; cores is how many the broker has.
func (m *measurer) bench(ctx context.Context, cores int, args []string) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.binary, args...)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := m.pinned(m.generatorCores(cores), cmd.Start); err != nil {
		return nil, err
	}
	failed := cmd.Wait() // it ends so too when something was lost; then there is a result
	var res result
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		return nil, fmt.Errorf("patchbay %v: %v: %s", args, failed, problem.Bytes())
	}
	return &res, nil
}

// put puts a load on a broker and fills in what it found out.
func (m *measurer) put(ctx context.Context, r *running, ln *line, l load) error {
	before := r.used()
	res, err := m.bench(ctx, ln.Cores, m.args(r, l))
	if err != nil {
		return err
	}
	after := r.used()
	ln.Scenario, ln.QoS, ln.Version, ln.Size, ln.Rate = l.scenario, l.qos, l.version, l.size, l.rate
	g := &res.Messages
	ln.PublishedPerSecond, ln.DeliveredPerSecond, ln.Lost = g.PublishedS, g.DeliveredS, g.Lost
	ln.P50, ln.P99, ln.P999, ln.Max = g.Latency.P50, g.Latency.P99, g.Latency.P999, g.Latency.Max
	n := g.Delivered
	if n == 0 {
		n = g.Published
	}
	ln.CPU, ln.User = after.since(before, n)
	ln.Busy = float64(after.total-before.total) / float64(after.at.Sub(before.at))
	if ln.RSS == 0 {
		ln.RSS = after.rss
	}
	if l.scenario == "offline" {
		ln.Seconds = res.Offline.Store + res.Offline.Drain
	}
	return nil
}
