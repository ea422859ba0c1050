//go:build linux

package main

import (
	"context"
	"fmt"
)

// durable publishes with QoS 1 to sessions that outlive their connections.
func (m *measurer) durable(ctx context.Context) error {
	stores := []string{"always", "memory", "never", "interval(100ms)"}
	if m.foreign != "" {
		stores = []string{"memory"} // its command says what it stores
	}
	for _, store := range some(m, 1, stores) {
		online, sparse := pairs(), pairs()
		online.qos, online.persistent = 1, true
		sparse.qos, sparse.persistent, sparse.pairs, sparse.rate = 1, true, 10, 1000
		offline := load{scenario: "offline", qos: 1, version: "3.1.1", size: 128}
		for _, c := range some(m, 1, []struct {
			name string
			l    load
		}{{"online", online}, {"online, 1,000/s", sparse}, {"offline", offline}}) {
			if err := m.durableOf(ctx, store, c.name, c.l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *measurer) durableOf(ctx context.Context, store, name string, l load) error {
	r, err := m.start(ctx, settings{cores: 1, store: store})
	if err != nil {
		return err
	}
	defer r.stop()
	ln := &line{Series: "durable", Case: name + ", " + store, Cores: 1, Store: store}
	if m.foreign != "" {
		ln.Case, ln.Store = name, ""
	}
	if err := m.put(ctx, r, ln, l); err != nil {
		return err
	}
	if m.foreign == "" && store != "memory" {
		if ln.Metrics, err = r.values("patchbay_store_"); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return m.note(ln)
}
