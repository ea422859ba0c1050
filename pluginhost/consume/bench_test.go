package consume

import (
	"fmt"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// endlessQueue has one message again and again.
type endlessQueue struct {
	message *packet.Message
	client  *hook.Client
	list    []hook.Queued
	acked   int
}

func (q *endlessQueue) Read(after uint64, limit, _ int) ([]hook.Queued, bool) {
	q.list = q.list[:0]
	for i := range limit {
		q.message.Ref()
		q.list = append(q.list, hook.Queued{Offset: after + uint64(i) + 1, Client: q.client, Message: q.message})
	}
	return q.list, true
}

func (q *endlessQueue) Ack(offsets ...uint64) { q.acked += len(offsets) }
func (q *endlessQueue) Info() hook.QueueInfo  { return hook.QueueInfo{} }
func (q *endlessQueue) Close()                {}

// onBench is a Runner without a goroutine, with a plugin that acknowledges everything.
func onBench(tb testing.TB, batch int) (*Runner, *endlessQueue) {
	spec := &pluginv1.Consumer{
		Name: "c", TopicFilters: []string{"#"}, MaxBatch: uint32(batch),
		Fields: uint32(pluginv1.FieldPayload | pluginv1.FieldUserProperties),
	}
	s, err := Options{Plugin: "p", Spec: spec}.settings()
	if err != nil {
		tb.Fatal(err)
	}
	m := message("sensors/7/temperature", "{\"celsius\": 21.5, \"at\": 1700000000000}")
	props := packet.Properties{User: []packet.UserProperty{{Key: "unit", Value: "celsius"}}}
	m.Props, _ = props.AppendForward(nil)
	q := &endlessQueue{message: m.Keep(1), client: client("ann", "")}
	r := newRunner(s)
	r.queue = q
	held := 0
	r.pin = answering(func(b *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
		acknowledge(b, out)
		return nil
	}).pinned(&held)
	return r, q
}

// A batch costs the Runner no allocation; pinned's closure is the test's own.
func TestNoAllocations(t *testing.T) {
	r, q := onBench(t, 16)
	p := r.pin
	inst, release, _ := p()
	r.pin = func() (instance.Plugin, func(), bool) { return inst, release, true }
	for range 100 {
		r.step(time.Now())
	}
	if n := testing.AllocsPerRun(1000, func() { r.step(time.Now()) }); n != 0 {
		t.Errorf("%v allocations for each batch", n)
	}
	if q.acked != 1101*16 {
		t.Errorf("%d messages acknowledged", q.acked)
	}
}

// BenchmarkConsume is what a message costs beside the queue and the plugin.
func BenchmarkConsume(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			r, q := onBench(b, batch)
			b.ReportAllocs()
			for range b.N {
				r.step(time.Now())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(q.acked), "ns/message")
		})
	}
}

// BenchmarkConsumeAsync has the plugin answer on a goroutine of its own, as builtin ones
// do.
func BenchmarkConsumeAsync(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			r, q := onBench(b, batch)
			type job struct {
				in   *pluginv1.ConsumeBatch
				out  *pluginv1.ConsumeResult
				done func(error)
			}
			jobs := make(chan job)
			finished := make(chan struct{})
			left := b.N
			go func() {
				for j := range jobs {
					acknowledge(j.in, j.out)
					if left--; left == 0 {
						close(finished)
					}
					j.done(nil)
				}
			}()
			p := &fakePlugin{consume: func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult, done func(error)) (bool, error) {
				jobs <- job{in, out, done}
				return false, nil
			}}
			r.pin = func() (instance.Plugin, func(), bool) { return p, func() {}, true }
			b.ReportAllocs()
			b.ResetTimer()
			go r.run()
			<-finished
			b.StopTimer()
			_ = r.Close(b.Context())
			close(jobs)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(q.acked), "ns/message")
		})
	}
}
