package consume

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// bed is a Runner in a bubble, with what it works on.
type bed struct {
	t      *testing.T
	queue  *fakeQueue
	broker *fakeBroker
	spec   *pluginv1.Consumer
	runner *Runner
	// batches are those that were handed over, when is the time since the start.
	batches  [][]uint64
	attempts [][]uint32
	when     []time.Duration
	start    time.Time
	calls    []error // what Called was told
	held     int     // instances that are pinned
}

// consumer is a spec without a limit of attempts.
func consumer() *pluginv1.Consumer {
	return &pluginv1.Consumer{Name: "sink", TopicFilters: []string{"a/#"}, Fields: uint32(pluginv1.FieldPayload), MaxBatch: 4}
}

// inBubble runs a test with virtual time and a Runner of spec.
func inBubble(t *testing.T, spec *pluginv1.Consumer, f func(b *bed)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bed{t: t, queue: newFakeQueue(), spec: spec, start: time.Now()}
		b.broker = &fakeBroker{queue: b.queue}
		b.open()
		f(b)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.runner.Close(ctx)
		synctest.Wait()
		b.queue.references(t)
		if b.held != 0 {
			t.Errorf("%d instances are still pinned", b.held)
		}
	})
}

func (b *bed) open() {
	b.t.Helper()
	r, err := New(Options{Plugin: "p", Spec: b.spec, Broker: b.broker, Called: func(_ time.Duration, _ int, err error) {
		b.calls = append(b.calls, err)
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.runner = r
}

// use has an instance answer by f, at once.
func (b *bed) use(f func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error) {
	b.runner.Use(answering(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
		b.note(in)
		return f(in, out)
	}).pinned(&b.held))
}

// hang has an instance that does not answer by itself; the returned function lists what it
// has to answer.
func (b *bed) hang() func() []func(error) {
	var open []func(error)
	p := &fakePlugin{consume: func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult, done func(error)) (bool, error) {
		b.note(in)
		open = append(open, func(err error) {
			acknowledge(in, out)
			done(err)
		})
		return false, nil
	}}
	b.runner.Use(p.pinned(&b.held))
	return func() []func(error) {
		synctest.Wait()
		return open
	}
}

func (b *bed) note(in *pluginv1.ConsumeBatch) {
	b.batches = append(b.batches, offsetsOf(in))
	var attempts []uint32
	for i := range in.Deliveries {
		attempts = append(attempts, in.Deliveries[i].Attempt)
	}
	b.attempts = append(b.attempts, attempts)
	b.when = append(b.when, time.Since(b.start))
}

// wait lets virtual time pass.
func (b *bed) wait(d time.Duration) {
	b.runner.Stats() // locks: what the test has done so far comes before what the Runner does now
	time.Sleep(d)
	synctest.Wait()
}

func (b *bed) wantBatches(want ...[]uint64) {
	b.t.Helper()
	if !slices.EqualFunc(b.batches, want, slices.Equal[[]uint64]) {
		b.t.Fatalf("handed over %v, want %v", b.batches, want)
	}
}

func (b *bed) wantLeft(want ...uint64) {
	b.t.Helper()
	if left := b.queue.unacked(); !slices.Equal(left, want) {
		b.t.Fatalf("left in the queue: %v, want %v", left, want)
	}
}

func retry(offset uint64, after uint32) pluginv1.DeliveryResult {
	return pluginv1.DeliveryResult{Offset: offset, Outcome: pluginv1.OutcomeRetry, RetryAfterMs: after, Reason: "not now"}
}

// poisoned fails a batch as long as it has one of these offsets.
func poisoned(offsets ...uint64) func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
	return func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
		for _, o := range offsetsOf(in) {
			if slices.Contains(offsets, o) {
				return errors.New("poison")
			}
		}
		acknowledge(in, out)
		return nil
	}
}

func allGood(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
	acknowledge(in, out)
	return nil
}

// none is a Pin without an instance that counts how often it is asked.
func none(asked *int) Pin {
	return func() (instance.Plugin, func(), bool) {
		*asked++
		return nil, nil, false
	}
}

func message(topic, payload string) *packet.Message {
	return &packet.Message{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, Received: time.Now().UnixMilli()}
}

func client(id, namespace string) *hook.Client {
	return &hook.Client{ID: id, Namespace: namespace, Username: "u-" + id, Connection: 7, Attributes: map[string]string{"k": "v"}}
}
