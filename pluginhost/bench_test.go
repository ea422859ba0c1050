package pluginhost_test

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/testplugin/idle"
	"github.com/patchbay-mq/patchbay/sdk"
)

var runtimes = []pluginhost.Runtime{pluginhost.Builtin, pluginhost.WASM, pluginhost.Process}

var idleFiles struct {
	once          sync.Once
	program, wasm string
}

// idling starts a host whose plugin does nothing about what it gets.
func idling(b *testing.B, rt pluginhost.Runtime, c idle.Config) *fixture {
	b.Helper()
	f := start(b, func(o *pluginhost.Options) {
		o.Builtin = func(string) (sdk.Plugin, bool) { return idle.Plugin(), true }
	})
	s := pluginhost.Spec{Name: "idle", Source: "plugins[0]", Runtime: rt}
	if rt != pluginhost.Builtin {
		idleFiles.once.Do(func() {
			idleFiles.program = compileOf(b, "idle", "", "testplugin/idle/cmd")
			idleFiles.wasm = compileOf(b, "idle.wasm", "", "testplugin/idle/cmd")
		})
		s.Path, s.Dev = idleFiles.program, true
		if rt == pluginhost.WASM {
			s.Path = idleFiles.wasm
		}
	}
	s.Config, _ = json.Marshal(c)
	if _, err := f.host.Apply(b.Context(), []pluginhost.Spec{s}); err != nil {
		b.Fatal(err)
	}
	return f
}

// eachBatch runs a benchmark in each runtime with batches of each size. An operation is a
// message.
func eachBatch(b *testing.B, what string, run func(b *testing.B, f *fixture, n int)) {
	for _, rt := range runtimes {
		for _, n := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/%d", rt, n), func(b *testing.B) {
				f := idling(b, rt, idle.Config{What: what, Batch: n, Payload: true})
				b.ReportAllocs()
				b.ResetTimer()
				run(b, f, n)
			})
		}
	}
}

func someMessage() *packet.Message {
	m := &packet.Message{Topic: []byte("plant/line-4/temperature"), Payload: make([]byte, 100), QoS: 1, Received: time.Now().UnixMilli()}
	return m.Keep(1)
}

// requests is a batch of messages of one client, to be used again.
func requests(n int) []*hook.PublishRequest {
	c := &hook.Client{ID: "device-17", Username: "device", Connection: 1}
	list := make([]*hook.PublishRequest, n)
	for i := range list {
		list[i] = &hook.PublishRequest{Client: c, Message: someMessage()}
	}
	return list
}

// BenchmarkDecide is the host's part of a message that goes through an interceptor, eight
// batches being under way at once where the runtime takes its time.
func BenchmarkDecide(b *testing.B) {
	eachBatch(b, "decide", func(b *testing.B, f *fixture, n int) {
		const window = 8
		free := make(chan func() bool, window)
		for range window {
			list := requests(n)
			var again func() bool
			done := func() { free <- again }
			again = func() bool { return f.host.Publish(list, done) }
			free <- again
		}
		for i := 0; i < b.N; i += n {
			if ask := <-free; ask() {
				free <- ask
			}
		}
		for range window {
			<-free
		}
	})
}

// BenchmarkObserve tells of messages as fast as the plugin can take them.
func BenchmarkObserve(b *testing.B) {
	eachBatch(b, "observe", func(b *testing.B, f *fixture, n int) {
		e := &hook.Event{Point: hook.Published, Time: 1, Client: &hook.Client{ID: "device-17", Connection: 1}, Message: someMessage()}
		told := func() int64 { return f.info("idle").Hooks[0].Events }
		for i := range b.N {
			f.host.Observe(e)
			if i%4096 == 4095 || i == b.N-1 {
				for told() < int64(i+1)-2048 {
					time.Sleep(50 * time.Microsecond)
				}
			}
		}
		for f.info("idle").Queued > 0 {
			time.Sleep(50 * time.Microsecond)
		}
		if lost := f.info("idle").Lost; lost > 0 {
			b.Errorf("%d events are lost", lost)
		}
	})
}

// BenchmarkConsume publishes into a plugin's queue and waits for the acknowledgements.
func BenchmarkConsume(b *testing.B) {
	eachBatch(b, "consume", func(b *testing.B, f *fixture, n int) {
		m := broker.Message{Topic: "plant/line-4/temperature", Payload: make([]byte, 100)}
		for range b.N {
			if _, err := f.broker.Publish(m); err != nil {
				b.Fatal(err)
			}
		}
		for f.info("idle").Consumers[0].Acknowledged < int64(b.N) {
			time.Sleep(100 * time.Microsecond)
		}
	})
}

// BenchmarkPath is a message of QoS 0 from client to client through the broker, with
// what plugins there are on its way.
func BenchmarkPath(b *testing.B) {
	b.Run("no host", func(b *testing.B) {
		f := start(b)
		f.broker.Install(nil, 0)
		path(b, f)
	})
	b.Run("no plugin", func(b *testing.B) {
		f := start(b)
		if _, err := f.host.Apply(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
		path(b, f)
	})
	b.Run("nothing wanted", func(b *testing.B) { path(b, idling(b, pluginhost.Builtin, idle.Config{What: "nothing"})) })
	for _, what := range []string{"decide", "observe", "consume"} {
		for _, rt := range runtimes {
			b.Run(what+"/"+string(rt), func(b *testing.B) { path(b, idling(b, rt, idle.Config{What: what, Payload: true})) })
		}
	}
}

// path sends b.N messages, some hundred being on their way at once.
func path(b *testing.B, f *fixture) {
	const window = 256
	sub := connect(b, f.addr, "sub", "")
	sub.subscribe("#")
	p := connect(b, f.addr, "p", "")
	var frames []byte
	for range window {
		frames, _ = packet.AppendPublish(frames, p.v, &packet.PublishOut{Topic: []byte("plant/line-4/temperature"), Payload: make([]byte, 100)})
	}
	size := len(frames) / window
	got := make([]byte, len(frames))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= window {
		n := min(left, window)
		if _, err := p.nc.Write(frames[:n*size]); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(sub.nc, got[:n*size]); err != nil {
			b.Fatal(err)
		}
	}
}
