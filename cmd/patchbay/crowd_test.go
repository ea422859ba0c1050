package main_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const mebibyte = 1 << 20

// TestCrowd: thousands of idle connections, a hundred subscribers that have stopped
// reading while messages for them keep coming, and two clients that send a byte a
// second. The others do not notice, memory stays below limits.memory, and in the
// end everything has been given back.
//
// It runs alone, because it measures.
func TestCrowd(t *testing.T) {
	const watermark = 256 * mebibyte
	b := start(t, `
listeners: [{name: tcp, tcp: "127.0.0.1:0"}]
admin: {pprof: true}
limits: {memory: 256MiB, write_timeout: 5m}
mqtt: {connect_timeout: 5m}
session: {max_queued_messages: 500}
`)
	others := newPairs(t, b, 3)
	others.round(t) // everything has been used once
	before := others.p99(t, nil)

	c := gather(t, b, idleConnections(t), 100)
	c.flood(t)
	var peak, pushback float64
	with := others.p99(t, func() {
		m := b.metrics()
		peak = max(peak, m["patchbay_memory_bytes"])
		pushback = max(pushback, m["patchbay_memory_pushback"])
	})
	m := b.metrics()
	t.Logf("p99 of %d others: %v before, %v with %d idle, %d stuck and 2 that send a byte a second (%d bytes so far)",
		len(others), before, with, len(c.idle), len(c.stuck), c.dripped.Load())
	t.Logf("broker: %.0f goroutines, memory %.1f MiB at most, dropped: %.0f out_buffer_full, %.0f queue_full", m["go_goroutines"], peak/mebibyte,
		m[`patchbay_messages_dropped_total{reason="out_buffer_full"}`], m[`patchbay_messages_dropped_total{reason="queue_full"}`])
	// A machine that does other things shows as milliseconds, a broker in which
	// one waits for another as the five minutes of write_timeout.
	if limit := 5*before + 250*time.Millisecond; with > limit {
		t.Errorf("p99 has moved from %v to %v", before, with)
	}
	if peak > watermark || pushback != 0 {
		t.Errorf("memory in use was %.1f MiB (pushback %v), the watermark is %d MiB", peak/mebibyte, pushback, watermark/mebibyte)
	}
	if got := int(m["patchbay_connections"]); got != c.size()+2*len(others) {
		t.Errorf("%d connections, want all %d", got, c.size()+2*len(others))
	}
	c.leave()
	b.settle(2 * len(others))

	// What the program keeps for the next time (pools, the runtime's own records of
	// goroutines) it has by now: a second crowd must leave nothing behind.
	once := b.usage()
	again := gather(t, b, len(c.idle), len(c.stuck))
	again.flood(t)
	again.leave()
	b.settle(2 * len(others))
	var twice usage
	eventually(t, patience, func() bool {
		twice = b.usage()
		return twice.goroutines <= once.goroutines+5 && twice.heap <= once.heap+mebibyte
	}, "everything is given back: %v after the first crowd, %v after the second", once, &twice)
	t.Logf("given back: %v after the first crowd, %v after the second", once, twice)
}

// settle waits until only n clients are left.
func (b *broker) settle(n int) {
	b.t.Helper()
	b.metric("patchbay_connections", is(float64(n)))
	b.metric("patchbay_sessions", is(float64(n)))
	b.metric("go_goroutines", func(v float64) bool { return v < float64(n+50) })
}

// usage is what the broker has, after a garbage collection.
type usage struct {
	goroutines int
	heap       float64 // bytes
}

func (u usage) String() string {
	return fmt.Sprintf("%d goroutines and %.1f MiB", u.goroutines, u.heap/mebibyte)
}

func (b *broker) usage() usage {
	b.t.Helper()
	// The first collection leaves what pools hold to the second.
	for range 2 {
		b.get("/debug/pprof/heap?gc=1")
	}
	m := b.metrics()
	return usage{int(m["go_goroutines"]), m["go_memstats_heap_alloc_bytes"]}
}

// idleConnections is as many of ten thousand as the limits allow.
func idleConnections(t *testing.T) int {
	n := 10_000
	if testing.Short() || raceEnabled { // the race detector ends at 8,128 goroutines
		n = 1000
	}
	// Files of this process and of the broker's, apart from these connections.
	if limit := openFiles(); limit > 0 && n > limit-500 {
		t.Logf("the limit of open files, %d, leaves %d connections", limit, limit-500)
		n = limit - 500
	}
	return n
}

// pairs are clients that behave: one publishes, the other gets it.
type pairs []*link

type link struct {
	from, to raw
	topic    string
}

func newPairs(t *testing.T, b *broker, n int) (all pairs) {
	for i := range n {
		p := &link{topic: fmt.Sprint("pair/", i)}
		var err error
		if p.from, err = connectRaw(b.addr["tcp"], fmt.Sprint("from-", i)); err != nil {
			t.Fatal(err)
		}
		if p.to, err = connectRaw(b.addr["tcp"], fmt.Sprint("to-", i)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.from.Close(); p.to.Close() })
		if err := p.to.subscribe(p.topic, 0); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// p99 is the median of the 99th percentiles of five rounds. between, if not nil, is
// called after each.
func (all pairs) p99(t *testing.T, between func()) time.Duration {
	var rounds []time.Duration
	for range 5 {
		rounds = append(rounds, all.round(t))
		if between != nil {
			between()
		}
	}
	slices.Sort(rounds)
	return rounds[len(rounds)/2]
}

// round sends 120 messages through each pair, 5 ms apart, and returns the 99th
// percentile of the times they take.
func (all pairs) round(t *testing.T) time.Duration {
	var mu sync.Mutex
	var times []time.Duration
	var wg sync.WaitGroup
	for _, p := range all {
		wg.Go(func() {
			due := time.NewTicker(5 * time.Millisecond)
			defer due.Stop()
			for i := range 120 {
				<-due.C
				took, err := p.pass(uint32(i))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				times = append(times, took)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	slices.Sort(times)
	return times[len(times)*99/100]
}

// pass sends one message and waits for it.
func (p *link) pass(n uint32) (time.Duration, error) {
	message := publishPacket(p.topic, binary.BigEndian.AppendUint32(nil, n))
	began := time.Now()
	if _, err := p.from.Write(message); err != nil {
		return 0, err
	}
	err := p.to.expect(message...)
	return time.Since(began), err
}

// crowd are the clients that should not matter to others.
type crowd struct {
	b           *broker
	idle, stuck []raw
	drips       []net.Conn
	publisher   raw
	dripped     atomic.Int64
	stop        chan struct{}
	busy        sync.WaitGroup
}

// gather connects idle and stuck clients and two that send a byte a second.
func gather(t *testing.T, b *broker, idle, stuck int) *crowd {
	c := &crowd{b: b, stop: make(chan struct{})}
	t.Cleanup(c.leave)
	began := time.Now()
	c.idle = connectMany(t, idle, func(i int) (raw, error) { return connectRaw(b.addr["tcp"], fmt.Sprint("idle-", i)) })
	t.Logf("%d connections in %v", idle, time.Since(began).Round(time.Millisecond))
	c.stuck = connectMany(t, stuck, func(i int) (raw, error) {
		r, err := connectRaw(b.addr["tcp"], fmt.Sprint("stuck-", i))
		if err == nil {
			// Half of them want acknowledged messages: those queue up.
			err = r.subscribe("flood/#", byte(i%2))
		}
		return r, err
	})
	// One takes its time for a PUBLISH, the other has not got through CONNECT.
	connected, err := connectRaw(b.addr["tcp"], "drip")
	if err != nil {
		t.Fatal(err)
	}
	c.drip(connected, publishPacket("drip", make([]byte, 1000)))
	c.drip(mustDial(t, b), connectPacket("a-client-that-takes-its-time-before-it-has-said-who-it-is"))
	return c
}

func connectMany(t *testing.T, n int, connect func(i int) (raw, error)) []raw {
	all, failed := make([]raw, n), make([]error, n)
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				all[i], failed[i] = connect(i)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	return all
}

// drip sends a byte a second.
func (c *crowd) drip(conn net.Conn, packet []byte) {
	c.drips = append(c.drips, conn)
	c.busy.Go(func() {
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for i := range packet {
			if _, err := conn.Write(packet[i : i+1]); err != nil {
				return
			}
			c.dripped.Add(1)
			select {
			case <-second.C:
			case <-c.stop:
				return
			}
		}
	})
}

// flood publishes to the stuck subscribers until the broker has had to drop
// messages to all kinds of them, and then goes on with a hundred a second.
func (c *crowd) flood(t *testing.T) {
	t.Helper()
	var err error
	if c.publisher, err = connectRaw(c.b.addr["tcp"], "flood"); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, c.publisher) // acknowledgements, until it is closed
	message := packet(0x32, text("flood/1"), []byte{0, 1}, make([]byte, 4<<10))
	eventually(t, patience, func() bool {
		for range 200 {
			if _, err := c.publisher.Write(message); err != nil {
				t.Fatal(err)
			}
		}
		m := c.b.metrics()
		return m[`patchbay_messages_dropped_total{reason="out_buffer_full"}`] > 0 && m[`patchbay_messages_dropped_total{reason="queue_full"}`] > 0
	}, "buffers and queues of the stuck subscribers are full")
	c.busy.Go(func() {
		due := time.NewTicker(10 * time.Millisecond)
		defer due.Stop()
		for {
			select {
			case <-due.C:
			case <-c.stop:
				return
			}
			if _, err := c.publisher.Write(message); err != nil {
				return
			}
		}
	})
}

func (c *crowd) size() int { return len(c.idle) + len(c.stuck) + len(c.drips) + 1 }

// leave closes all connections; again, it does nothing.
func (c *crowd) leave() {
	select {
	case <-c.stop:
		return
	default:
	}
	close(c.stop)
	c.busy.Wait()
	for _, r := range append(append([]raw{c.publisher}, c.idle...), c.stuck...) {
		if r.Conn != nil {
			r.Close()
		}
	}
	for _, conn := range c.drips {
		conn.Close()
	}
}
