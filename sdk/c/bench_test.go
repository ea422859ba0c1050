package c_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// BenchmarkProcess is what an event costs in the broker's runtime, metered, with encoding and decoding on both sides: a
// CONNECT with a password that is allowed with a permission, and messages of 300 bytes that continue or are dropped.
func BenchmarkProcess(b *testing.B) {
	needClang(b)
	sources, err := filepath.Glob("src/*.c")
	if err != nil {
		b.Fatal(err)
	}
	for _, flags := range []string{"-Oz", "-O2"} {
		file := filepath.Join(work, "bench"+flags+".wasm")
		if out, err := compile(file, append(sources, "testdata/testplugin.c", flags, "-flto", "-Wl,--lto-O2", "-Wl,-s")...); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		b.Run(strings.TrimPrefix(flags, "-"), func(b *testing.B) { process(b, file) })
	}
}

func process(b *testing.B, file string) {
	m, err := wasm.LoadFile(b.Context(), file, wasm.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	p, err := m.Open(b.Context(), plugintest.NewHost())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Start(b.Context(), &pluginv1.StartRequest{Config: `{"password":"hush"}`, Worker: true}); err != nil {
		b.Fatal(err)
	}
	client := []pluginv1.Client{{ClientID: "c", Username: "ann"}}
	auth := &pluginv1.Batch{Point: sdk.PointAuthenticate, Clients: client, Events: []pluginv1.Event{
		{Client: 1, Authentication: &pluginv1.Authentication{HasPassword: true, Password: []byte("hush")}},
	}}
	messages := func(topic string, n int) *pluginv1.Batch {
		b := &pluginv1.Batch{Point: sdk.PointInterceptPublish, Clients: client}
		for range n {
			b.Events = append(b.Events, pluginv1.Event{Client: 1, Message: &pluginv1.Message{Topic: topic, Payload: make([]byte, 300)}})
		}
		return b
	}
	for _, c := range []struct {
		name  string
		batch *pluginv1.Batch
	}{
		{"authenticate", auth}, {"continue", messages("a/topic", 1)}, {"continue", messages("a/topic", 64)}, {"drop", messages("drop", 64)},
	} {
		n := len(c.batch.Events)
		b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
			a, done := &pluginv1.Answer{}, make(chan error, 1)
			b.ReportAllocs()
			for b.Loop() {
				a.Reset()
				answered, err := p.Process(c.batch, a, func(err error) { done <- err })
				if !answered {
					err = <-done
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}
