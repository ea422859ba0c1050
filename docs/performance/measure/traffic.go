//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// some shortens a list of cases in a quick run, to its first n.
func some[T any](m *measurer, n int, all []T) []T {
	if m.quick {
		return all[:min(n, len(all))]
	}
	return all
}

// single starts a broker for one load, and notes what comes out.
func (m *measurer) single(ctx context.Context, s settings, ln *line, l load) error {
	r, err := m.start(ctx, s)
	if err != nil {
		return err
	}
	defer r.stop()
	ln.Cores = s.cores
	if err := m.put(ctx, r, ln, l); err != nil {
		return err
	}
	return m.note(ln)
}

// plain is the broker of most measurements.
var plain = settings{cores: 1, store: "memory"}

// pairs is the load that is put beside whatever fills a broker: the saturated pairs of
// one publisher and one subscriber.
func pairs() load { return load{scenario: "pair", version: "3.1.1", size: 128, pairs: 100} }

// sizes goes from the smallest payload that bench can fill in to 1 MiB.
func (m *measurer) sizes(ctx context.Context) error {
	for _, qos := range some(m, 1, []int{0, 1}) {
		for _, size := range some(m, 1, []int{24, 128, 512, 2 << 10, 8 << 10, 32 << 10, 128 << 10, 512 << 10, 1 << 20}) {
			l := pairs()
			l.qos, l.size = qos, size
			// Less than limits.out_buffer_high may be under way to a subscriber: it is not
			// about dropping.
			l.window = max(2, min(256, (128<<10)/size))
			if size >= 32<<10 {
				l.pairs = 20
			}
			if err := m.single(ctx, plain, &line{Series: "size", Case: fmt.Sprintf("%d B, QoS %d", size, qos)}, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// levels compares QoS and versions.
func (m *measurer) levels(ctx context.Context) error {
	for _, scenario := range some(m, 1, []string{"pair", "fan-out"}) {
		for _, qos := range some(m, 1, []int{0, 1, 2}) {
			for _, version := range some(m, 1, []string{"3.1.1", "5"}) {
				l := pairs()
				l.scenario, l.qos, l.version = scenario, qos, version
				if err := m.single(ctx, plain, &line{Series: "qos", Case: fmt.Sprintf("%s QoS %d, MQTT %s", scenario, qos, version)}, l); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// coreShare is how much of each core the broker gets where one core is compared with two. The rest is for the
// load generator, which would otherwise take from two cores what it needs, and from one nothing.
const coreShare = 0.5

// twoCores gives the broker a share of one core and then of two.
func (m *measurer) twoCores(ctx context.Context) error {
	share := coreShare
	if s, err := newShare(share); err != nil {
		share = 0
		fmt.Fprintf(m.progress, "cores: the broker cannot be given a share of the processors (%v), and shares two whole ones with the generator\n", err)
	} else {
		s.remove()
	}
	for _, c := range some(m, 1, []load{
		{scenario: "pair"}, {scenario: "pair", qos: 1}, {scenario: "pair", qos: 2},
		{scenario: "fan-out"}, {scenario: "fan-out", qos: 1}, {scenario: "fan-out", qos: 2}, {scenario: "fan-in"},
	}) {
		for cores := 1; cores <= 2; cores++ {
			l := pairs()
			l.scenario, l.qos = c.scenario, c.qos
			ln := &line{Series: "cores", Case: fmt.Sprintf("%s QoS %d, %d cores", l.scenario, l.qos, cores), Share: share}
			if err := m.single(ctx, settings{cores: cores, share: share, store: "memory"}, ln, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// mode is what goes on in the broker whose latency is measured.
type mode struct {
	name           string
	plugin, reload bool
	cores          []int
}

// latency is measured at given rates, and while a plugin that sees every message is
// started anew each second.
func (m *measurer) latency(ctx context.Context) error {
	modes := []mode{
		{name: "", cores: []int{1, 2}},
		{name: ", with a plugin", plugin: true, cores: []int{1}},
		{name: ", with a plugin reloaded each second", plugin: true, reload: true, cores: []int{1, 2}},
	}
	if m.foreign != "" {
		modes = []mode{{cores: []int{1}}}
	}
	if m.quick {
		modes = []mode{{name: modes[2].name, plugin: true, reload: true, cores: []int{2}}}
	}
	for _, qos := range some(m, 1, []int{0, 1}) {
		for _, md := range modes {
			for _, cores := range md.cores {
				if err := m.latencies(ctx, md, cores, qos); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (m *measurer) latencies(ctx context.Context, md mode, cores, qos int) error {
	name := fmt.Sprintf("QoS %d, %d cores%s", qos, cores, md.name)
	l := pairs()
	l.qos, l.pairs = qos, 10
	s := settings{cores: cores, store: "memory", plugin: md.plugin}
	// What 80 % is of depends on the plugin.
	full := &line{Series: "latency", Case: "saturated, " + name, Cores: cores}
	if err := m.latencyOf(ctx, s, false, full, l); err != nil {
		return err
	}
	l.longer = 3
	for _, at := range some(m, 1, []struct {
		name string
		rate float64
	}{{"1,000/s", 1000}, {"10,000/s", 10_000}, {"80 %", 0.8 * full.DeliveredPerSecond}}) {
		if at.rate == 0 { // to bench it means saturated
			return fmt.Errorf("%s: nothing was delivered", full.Case)
		}
		l.rate = at.rate
		if err := m.latencyOf(ctx, s, md.reload, &line{Series: "latency", Case: at.name + ", " + name, Cores: cores}, l); err != nil {
			return err
		}
	}
	return nil
}

func (m *measurer) latencyOf(ctx context.Context, s settings, reload bool, ln *line, l load) error {
	r, err := m.start(ctx, s)
	if err != nil {
		return err
	}
	defer r.stop()
	if !reload {
		if err := m.put(ctx, r, ln, l); err != nil {
			return err
		}
		return m.note(ln)
	}
	ctx, cancel := context.WithCancel(ctx)
	var reloads sync.WaitGroup
	var failed error
	reloads.Go(func() {
		ln.Reloads, failed = r.reloadEachSecond(ctx, m.duration/3)
	})
	err = m.put(ctx, r, ln, l)
	cancel()
	reloads.Wait()
	if err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	return m.note(ln)
}

// reloadEachSecond puts another version of the plugin into its place and does what "patchbay plugin reload" does,
// without a process that would take the load generator's time.
func (r *running) reloadEachSecond(ctx context.Context, every time.Duration) (n int, err error) {
	socket := filepath.Join(r.dir, "admin.sock")
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return n, nil
		case <-t.C:
		}
		if err := r.putModule(n + 1); err != nil {
			return n, err
		}
		answer, err := client.Post("http://patchbay/v1/plugins/reload", "application/json", strings.NewReader(`{"name": "filter"}`))
		if err != nil {
			return n, err
		}
		answer.Body.Close()
		if answer.StatusCode/100 != 2 {
			return n, fmt.Errorf("reload of the plugin: %s", answer.Status)
		}
		n++
	}
}
