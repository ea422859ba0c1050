//go:build unix

package process

import (
	"fmt"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// messages is a batch of n messages of 300 bytes.
func messages(n int) *pluginv1.Batch {
	b := &pluginv1.Batch{Point: pluginv1.PointInterceptPublish, Clients: []pluginv1.Client{{ClientID: "client", Username: "user", Connection: 1}}}
	for i := range n {
		b.Events = append(b.Events, pluginv1.Event{
			ID: uint64(i + 1), Client: 1, Message: &pluginv1.Message{Topic: "site/building/7/temperature", Payload: make([]byte, 256)},
		})
	}
	return b
}

// BenchmarkProcess asks a plugin that does nothing, and one that is written with the SDK, with the window full.
func BenchmarkProcess(b *testing.B) {
	for _, role := range []string{"quick", "sdk"} {
		p := open(b, self(role))
		if _, err := p.Start(b.Context(), &pluginv1.StartRequest{Config: "{}"}); err != nil {
			b.Fatal(err)
		}
		for _, size := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/batch=%d", role, size), func(b *testing.B) { benchmark(b, p, size) })
		}
	}
}

func benchmark(b *testing.B, p *Plugin, size int) {
	const window = 8
	type slot struct {
		batch  *pluginv1.Batch
		answer pluginv1.Answer
		done   func(error)
	}
	free := make(chan *slot, window)
	for range window {
		s := &slot{batch: messages(size)}
		s.done = func(err error) {
			if err != nil {
				b.Error(err)
			}
			free <- s
		}
		free <- s
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		s := <-free
		s.answer = pluginv1.Answer{}
		if answered, err := p.Process(s.batch, &s.answer, s.done); answered {
			b.Fatal(err)
		}
	}
	for range window {
		<-free
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/message")
}

// BenchmarkRoundTrip asks one batch of one message at a time.
func BenchmarkRoundTrip(b *testing.B) {
	p := open(b, self("quick"))
	batch, answer, end := messages(1), pluginv1.Answer{}, make(chan error, 1)
	done := func(err error) { end <- err }
	b.ReportAllocs()
	for b.Loop() {
		if answered, err := p.Process(batch, &answer, done); answered {
			b.Fatal(err)
		}
		if err := <-end; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen starts and ends a program.
func BenchmarkOpen(b *testing.B) {
	program := load(b, self("quick"))
	for b.Loop() {
		p, err := program.Open(b.Context(), plugintest.NewHost())
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
