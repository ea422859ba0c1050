package main_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// TestMemoryWatermark: at limits.memory publishers are not read from, and new
// clients are told to come later; when what filled the memory is gone, all goes on.
func TestMemoryWatermark(t *testing.T) {
	t.Parallel()
	b := start(t, `
listeners: [{name: tcp, tcp: "127.0.0.1:0"}]
store: memory # on disk nothing would fill it
limits: {memory: 96MiB}
session: {max_queued_messages: 0, max_queued_bytes: 0}
`)
	keep := func(c *paho.Connect) {
		c.CleanStart, c.Properties = false, &paho.ConnectProperties{SessionExpiryInterval: paho.Uint32(600)}
	}
	away := mustConnect5(t, b.target("tcp", nil), "away", keep)
	if err := away.subscribe("fill/#", func(message) {}); err != nil {
		t.Fatal(err)
	}
	away.close()
	publisher := mustConnect5(t, b.target("tcp", nil), "publisher")
	var acknowledged atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	t.Cleanup(stop)
	go func() {
		// In smaller pieces than the broker takes back when memory is short.
		message := &paho.Publish{Topic: "fill/1", QoS: 1, Payload: make([]byte, 32<<10)}
		for ctx.Err() == nil {
			if _, err := publisher.c.Publish(ctx, message); err != nil {
				stopped <- err
				return
			}
			acknowledged.Add(1)
		}
		stopped <- ctx.Err()
	}()
	b.metric("patchbay_memory_pushback", is(1))
	// It is held: nothing of what it sends is acknowledged for a while.
	last, since := acknowledged.Load(), time.Now()
	eventually(t, patience, func() bool {
		if n := acknowledged.Load(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 1500*time.Millisecond
	}, "the publisher is held")
	m := b.metrics()
	t.Logf("held after %d messages, %.0f MiB queued; memory in use %.0f MiB", last, m["patchbay_messages_queued_bytes"]/mebibyte, m["patchbay_memory_bytes"]/mebibyte)
	// The broker looks every 100 ms: what a publisher can send in that time is over.
	if used := m["patchbay_memory_bytes"]; used > 1.5*96*mebibyte {
		t.Errorf("%.0f MiB in use, the watermark is 96 MiB", used/mebibyte)
	}
	if _, err := connect5(b.target("tcp", nil), "late"); !errors.Is(err, refused(0x89)) {
		t.Errorf("a new client: %v, want 0x89 Server busy", err)
	}
	b.await("memory watermark reached: publishers are held back", nil)
	if out := b.operator("status").stdout; !strings.Contains(out, "above the watermark: publishers are held back") {
		t.Errorf("status:\n%s", out)
	}

	if r := b.operator("clients", "kick", "away", "--remove-session"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	b.metric("patchbay_memory_pushback", is(0))
	eventually(t, patience, func() bool { return acknowledged.Load() > last }, "the publisher goes on")
	stop()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("publisher: %v", err)
	}
	roundTrip(t, mustConnect5(t, b.target("tcp", nil), "late"), "late")
}

// TestCollectorLimit: GOMEMLIMIT is the operator's; without it the collector is
// kept below the watermark, also after a reload.
func TestCollectorLimit(t *testing.T) {
	t.Parallel()
	const yaml = "listeners: [{name: tcp, tcp: \"127.0.0.1:0\"}]\nlimits: {memory: 200MiB}\n"
	own := start(t, yaml, "GOMEMLIMIT=123MiB", "GOGC=77")
	if m := own.metrics(); m["go_gc_gomemlimit_bytes"] != 123*mebibyte || m["go_gc_gogc_percent"] != 77 {
		t.Errorf("limit %v bytes, GOGC %v; want the operator's 123 MiB and 77", m["go_gc_gomemlimit_bytes"], m["go_gc_gogc_percent"])
	}
	ours := start(t, yaml)
	if got := ours.metrics()["go_gc_gomemlimit_bytes"]; got < 169*mebibyte || got > 170*mebibyte {
		t.Errorf("limit %v bytes, want 85%% of 200 MiB", got)
	}
	ours.configure(strings.Replace(yaml, "200", "100", 1))
	ours.hangUp(t)
	if got := ours.metrics()["go_gc_gomemlimit_bytes"]; got < 84*mebibyte || got > 85*mebibyte {
		t.Errorf("after the reload: limit %v bytes, want 85%% of 100 MiB", got)
	}
}

// TestSettle: what a burst leaves behind goes back to the system as soon as the broker is at rest,
// and not when the collector comes by.
func TestSettle(t *testing.T) {
	t.Parallel()
	b := start(t, "listeners: [{name: tcp, tcp: \"127.0.0.1:0\"}]\nstore: memory\n")
	held := func() float64 {
		m := b.metrics()
		return m["go_memstats_heap_sys_bytes"] - m["go_memstats_heap_released_bytes"]
	}
	c := mustConnect5(t, b.target("tcp", nil), "burst")
	retain := func(payload []byte) {
		t.Helper()
		for i := range 512 {
			message := &paho.Publish{Topic: fmt.Sprintf("burst/%d", i), QoS: 1, Retain: true, Payload: payload}
			if _, err := c.c.Publish(t.Context(), message); err != nil {
				t.Fatal(err)
			}
		}
	}
	retain(make([]byte, 128<<10))
	if n := held(); n < 64*mebibyte {
		t.Fatalf("%.0f MiB with 64 MiB of retained messages", n/mebibyte)
	}
	retain(nil)
	eventually(t, patience, func() bool { return held() < 32*mebibyte }, "the memory is given back")
}
