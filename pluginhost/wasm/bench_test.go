package wasm

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// messages is a batch of n messages of 300 bytes.
func messages(n int, topic string) *pluginv1.Batch {
	b := publish()
	payload := []byte(strings.Repeat("p", 300-len(topic)))
	for range n {
		b.Events = append(b.Events, pluginv1.Event{Client: 1, Message: &pluginv1.Message{Topic: topic, Payload: payload}})
	}
	return b
}

// BenchmarkProcess is the cost per message of a guest that does nothing (tiny), of one in Go that decodes the batch
// (go), and of one that answers too (verdicts).
func BenchmarkProcess(b *testing.B) {
	for _, c := range []struct {
		name, topic string
		load        func() *Module
	}{
		{"tiny", "a/topic", func() *Module { return load(b, tiny(""), Options{}) }},
		{"go", "a/topic", func() *Module { return guestModule(b, Options{}) }},
		{"go-verdicts", "drop/topic", func() *Module { return guestModule(b, Options{}) }},
	} {
		p := started(b, open(b, c.load(), &fakeHost{}), &pluginv1.StartRequest{})
		process(p, publish("x"))
		for _, n := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				batch, answer := messages(n, c.topic), new(pluginv1.Answer)
				b.ReportAllocs()
				for b.Loop() {
					answer.Reset()
					if answered, err := p.Process(batch, answer, func(error) {}); !answered || err != nil {
						b.Fatal(answered, err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/message")
			})
		}
	}
}

// BenchmarkParallel is BenchmarkProcess of one message by all P's at once.
func BenchmarkParallel(b *testing.B) {
	p := started(b, open(b, guestModule(b, Options{}), &fakeHost{}), &pluginv1.StartRequest{})
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		batch, answer := messages(1, "a/topic"), new(pluginv1.Answer)
		done := make(chan error, 1)
		for pb.Next() {
			if answered, _ := p.Process(batch, answer, func(err error) { done <- err }); !answered {
				<-done
			}
		}
	})
}

func BenchmarkInstantiate(b *testing.B) {
	for name, m := range map[string]*Module{"tiny": load(b, tiny(""), Options{}), "go": guestModule(b, Options{})} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				p, err := m.Open(b.Context(), &fakeHost{})
				if err != nil {
					b.Fatal(err)
				}
				p.Close()
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	file, err := goGuest()
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		file []byte
		o    Options
	}{
		{"tiny/cold", tiny(""), Options{}},
		{"go/cold", file, Options{}},
		{"go/cached", file, Options{CacheDir: cacheDir()}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				m, err := Load(b.Context(), c.file, c.o)
				if err != nil {
					b.Fatal(err)
				}
				m.Close()
			}
		})
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random under the race detector")
	}
	p := started(t, open(t, load(t, tiny(""), Options{}), &fakeHost{}), startWith())
	process(p, publish("x"))
	b, a := messages(16, "a/topic"), new(pluginv1.Answer)
	done := func(error) {}
	if n := testing.AllocsPerRun(1000, func() { p.Process(b, a, done) }); n > 0 {
		t.Errorf("%v allocations for a batch that is answered with nothing", n)
	}
}

// TestCollectorIsNotHeldUp: a guest that computes without end is stopped before it has held up the broker for long.
func TestCollectorIsNotHeldUp(t *testing.T) {
	p := started(t, open(t, guestModule(t, Options{}), &fakeHost{}), &pluginv1.StartRequest{})
	if _, err := process(p, publish("spin")); err == nil {
		t.Fatal("it was not stopped")
	}
	runtime.GC()
	if s := p.Stats(); s.Instances[0].Worker != true || s.Traps != 1 {
		t.Errorf("stats %+v", s)
	}
	if used := maxFuel(p); used > uint64(1_020_000+100_000) {
		t.Errorf("it has used %d units", used)
	}
}

func maxFuel(p *Plugin) (most uint64) {
	for _, s := range append(p.pool.slots, &p.worker.slot) {
		most = max(most, s.fuelMax.Load())
	}
	return most
}

// TestFootprint: an instance that is not used costs what it has touched, not its limit.
func TestFootprint(t *testing.T) {
	if runtime.GOOS != "linux" || raceEnabled {
		t.Skip("reads /proc/self/statm of a process without instrumentation")
	}
	m := load(t, tiny(""), Options{Inline: 200})
	p := open(t, m, &fakeHost{})
	before := resident(t)
	p.start.Store(startWith())
	p.state.Store(serving)
	for range 200 {
		if err := p.pool.add(); err != nil {
			t.Fatal(err)
		}
	}
	if grown := (resident(t) - before) / 200; grown > 256<<10 {
		t.Errorf("an instance of 128 KiB costs %d bytes", grown)
	}
}

func resident(t *testing.T) int {
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var total, pages int
	if _, err := fmt.Sscan(string(text), &total, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
