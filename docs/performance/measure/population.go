//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// crowd opens n connections that fill calls do something with, at most 8 at a time.
func crowd(r *running, n int, fill func(i int, c *client) error) (close func(), err error) {
	all, failed, turns := make([]*client, n), make(chan error, n), make(chan struct{}, 8)
	for i := range n {
		go func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			c, err := dial(r.port, fmt.Sprintf("crowd-%d", i))
			if err == nil {
				all[i] = c
				err = fill(i, c)
			}
			failed <- err
		}()
	}
	for range n {
		err = errors.Join(err, <-failed)
	}
	return func() {
		for _, c := range all {
			if c != nil {
				_ = c.Close()
			}
		}
	}, err
}

// filterOf is one of the Topic Filters that fill the broker: half of them are exact, a
// quarter has + and another #. They lie where the topics of the load go past: below
// plant/7/line there is something of each.
func filterOf(i int) string {
	plant, lines := i/1000, i/50%20
	switch i % 4 {
	case 0:
		return fmt.Sprintf("plant/%d/+/%d/sensor/%d", plant, lines, i)
	case 1:
		return fmt.Sprintf("plant/%d/line/%d/unit%d/#", plant, lines, i)
	}
	return fmt.Sprintf("plant/%d/line/%d/sensor/%d", plant, lines, i)
}

// besideFilters are the topics of the load.
const besideFilters = "plant/0/line/7"

// subscriptions lets idle sessions hold 1,000 to 1,000,000 filters.
func (m *measurer) subscriptions(ctx context.Context) error {
	for _, n := range some(m, 1, []int{1000, 10_000, 100_000, 300_000, 1_000_000}) {
		if err := m.subscriptionsOf(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (m *measurer) subscriptionsOf(ctx context.Context, n int) error {
	r, err := m.start(ctx, plain)
	if err != nil {
		return err
	}
	defer r.stop()
	sessions := min(n/10, 1000)
	clients := make([]*client, sessions)
	done, err := crowd(r, sessions, func(i int, c *client) error { clients[i] = c; return nil })
	defer done()
	if err != nil {
		return err
	}
	empty, before := r.settled(), r.used()
	for i, c := range clients {
		var filters []string
		for j := i; j < n; j += sessions {
			filters = append(filters, filterOf(j))
		}
		if err := c.subscribe(filters); err != nil {
			return err
		}
	}
	after := r.used()
	ln := &line{Series: "subscriptions", Case: fmt.Sprintf("%d filters", n), Cores: 1, Subscriptions: n, Seconds: after.at.Sub(before.at).Seconds()}
	ln.RSS = r.settled()
	ln.PerItem = float64(ln.RSS-empty) / float64(n)
	l := pairs()
	l.prefix = besideFilters
	if err := m.put(ctx, r, ln, l); err != nil {
		return err
	}
	return m.note(ln)
}

// connections holds idle connections beside the load.
func (m *measurer) connections(ctx context.Context) error {
	// Beside the connections both processes have a few files open, and the load has 200
	// connections.
	most := m.files - 500
	for _, transport := range some(m, 1, []string{"tcp", "tls", "ws"}) {
		list := []int{1000, 2000, 5000, 10_000, 20_000, 50_000}
		if transport != "tcp" {
			list = []int{1000, 10_000, 50_000}
		}
		for _, n := range some(m, 1, list) {
			if m.quick {
				n = 100
			}
			if err := m.connectionsOf(ctx, transport, min(n, most)); err != nil {
				return err
			}
			if n > most {
				break
			}
		}
	}
	return nil
}

func (m *measurer) connectionsOf(ctx context.Context, transport string, n int) error {
	r, err := m.start(ctx, plain)
	if err != nil {
		return err
	}
	defer r.stop()
	if err := m.first(ctx, r, transport); err != nil {
		return err
	}
	empty, before := r.settled(), r.used()
	end, err := m.idle(ctx, r, transport, n)
	if err != nil {
		return err
	}
	defer end()
	after := r.used()
	ln := &line{Series: "connections", Case: fmt.Sprintf("%d by %s", n, transport), Cores: 1, Connections: n, Transport: transport, Seconds: after.at.Sub(before.at).Seconds()}
	ln.RSS = r.settled()
	ln.PerItem = float64(ln.RSS-empty) / float64(n)
	if err := m.put(ctx, r, ln, pairs()); err != nil {
		return err
	}
	return m.note(ln)
}

// first opens connections that make what all later ones share, and closes them.
func (m *measurer) first(ctx context.Context, r *running, transport string) error {
	_, err := m.bench(ctx, 1, idleArgs(r, transport, 20, 0))
	return err
}

func idleArgs(r *running, transport string, n int, stay time.Duration) []string {
	args := []string{"bench", "idle", "--json", "--connections", fmt.Sprint(n), "-d", stay.String(), "--url", r.url(transport)}
	if transport == "tls" {
		args = append(args, "--insecure")
	}
	return args
}

// idle opens n connections and returns when the broker has them; end closes them.
func (m *measurer) idle(ctx context.Context, r *running, transport string, n int) (end func(), err error) {
	cmd := exec.CommandContext(ctx, m.binary, idleArgs(r, transport, n, 10*time.Minute)...)
	if err := m.pinned(m.generatorCores(1), cmd.Start); err != nil {
		return nil, err
	}
	end = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	for deadline := time.Now().Add(stepLimit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		v, err := r.values("patchbay_sessions")
		if err != nil {
			end()
			return nil, err
		}
		if int(v["patchbay_sessions"]) >= n {
			return end, nil
		}
	}
	end()
	return nil, fmt.Errorf("%d connections by %s did not come up", n, transport)
}

// retained stores 1,000 to 1,000,000 retained messages and fetches them.
func (m *measurer) retained(ctx context.Context) error {
	for _, n := range some(m, 1, []int{1000, 10_000, 100_000, 1_000_000}) {
		if err := m.retainedOf(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// group is how many retained messages lie below one level.
const group = 100

func (m *measurer) retainedOf(ctx context.Context, n int) error {
	r, err := m.start(ctx, plain)
	if err != nil {
		return err
	}
	defer r.stop()
	c, err := dial(r.port, "retained")
	if err != nil {
		return err
	}
	defer c.Close()
	topic := func(i int) string { return fmt.Sprintf("state/%d/%d", i/group, i%group) }
	payload := make([]byte, 128)
	empty := r.settled()
	ln := line{Series: "retained", Case: fmt.Sprintf("store %d", n), Cores: 1, Retained: n, QoS: 1, Size: len(payload)}
	if err := m.step(r, &ln, n, func() error { return c.retain(n, topic, payload) }); err != nil {
		return err
	}
	ln.PublishedPerSecond, ln.RSS = float64(n)/ln.Seconds, r.settled()
	ln.PerItem = float64(ln.RSS-empty) / float64(n)
	if err := m.note(&ln); err != nil {
		return err
	}
	for _, f := range []struct {
		name          string
		times, expect int
		filter        func(i int) string
	}{
		{"exact", min(n, 2000), 1, func(i int) string { return topic(i * (n / min(n, 2000))) }},
		{"+", min(n/group, 200), group, func(i int) string { return fmt.Sprintf("state/%d/+", i*(n/group/min(n/group, 200))) }},
		{"#", 1, n, func(int) string { return "state/#" }},
	} {
		ln := line{Series: "retained", Case: fmt.Sprintf("fetch %d by %s", n, f.name), Scenario: f.name, Cores: 1, Retained: n, Size: len(payload)}
		if err := m.step(r, &ln, f.times*f.expect, func() error {
			for i := range f.times {
				if err := c.fetch(f.filter(i), f.expect); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		ln.DeliveredPerSecond, ln.RSS = float64(f.times*f.expect)/ln.Seconds, r.used().rss
		if err := m.note(&ln); err != nil {
			return err
		}
	}
	return nil
}

// step takes the time and CPU of something that handles n messages.
func (m *measurer) step(r *running, ln *line, n int, do func() error) error {
	before := r.used()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", ln.Case, err)
	}
	after := r.used()
	ln.Seconds = after.at.Sub(before.at).Seconds()
	ln.CPU, ln.User = after.since(before, int64(n))
	return nil
}
