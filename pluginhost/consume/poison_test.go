package consume

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// The poisonous message alone becomes a dead letter, after max_attempts and not one more.
func TestPoisonAmongGoodOnes(t *testing.T) {
	for _, attempts := range []uint32{1, 2, 3, 5, 12} {
		spec := consumer()
		spec.MaxBatch, spec.MaxAttempts, spec.DeadLetterTopic = 64, attempts, "dead"
		inBubble(t, spec, func(b *bed) {
			all := b.queue.fill(300)
			poison := []uint64{all[0], all[63], all[100], all[101], all[299]}
			b.use(poisoned(poison...))
			b.wait(24 * time.Hour)
			b.wantLeft()
			var dead []uint64
			for _, l := range b.broker.letters {
				dead = append(dead, all[binary.BigEndian.Uint64(l.message.Payload)])
			}
			slices.Sort(dead)
			if !slices.Equal(dead, poison) {
				t.Errorf("max_attempts %d: dead letters %v, want %v", attempts, dead, poison)
			}
			s := b.runner.Stats()
			if s.DeadLetters != int64(len(poison)) || s.Acknowledged != 300-int64(len(poison)) {
				t.Errorf("max_attempts %d: %+v", attempts, s)
			}
			handed := map[uint64]uint32{}
			for i, list := range b.batches {
				for j, o := range list {
					if handed[o]++; b.attempts[i][j] != handed[o] {
						t.Fatalf("attempt %d of %d is said to be %d", handed[o], o, b.attempts[i][j])
					}
				}
			}
			for o, n := range handed {
				if slices.Contains(poison, o) && n != attempts || n > attempts {
					t.Errorf("offset %d was handed over %d times of %d", o, n, attempts)
				}
			}
		})
	}
}

// Without a limit of attempts the queue waits for the poisonous message, but what comes before
// it does not.
func TestPoisonWithoutEnd(t *testing.T) {
	spec := consumer()
	spec.MaxBatch = 256
	inBubble(t, spec, func(b *bed) {
		all := b.queue.fill(400)
		b.use(poisoned(all[100]))
		b.wait(time.Hour)
		b.wantLeft(all[100:]...)
		if n := len(b.batches); n > 90 {
			t.Errorf("%d batches in an hour", n)
		}
		if last := b.batches[len(b.batches)-1]; len(last) != 1 {
			t.Errorf("the last batch is %v", last)
		}
		b.use(allGood) // a version that can deal with it
		b.wait(2 * time.Minute)
		b.wantLeft()
		b.runner.Pause()
		b.queue.fill(5000)
		b.runner.Resume()
		synctest.Wait()
		if last := b.batches[len(b.batches)-2]; len(last) != 256 {
			t.Errorf("batches have not grown beyond %d again", len(last))
		}
	})
}

func TestDeadLetter(t *testing.T) {
	spec := consumer()
	spec.DeadLetterTopic = "dead/letters"
	inBubble(t, spec, func(b *bed) {
		m := message("a/b", "content")
		m.QoS, m.Retain, m.Expires = 2, true, time.Now().UnixMilli()+60_000
		m.Origin = &packet.Origin{Plugin: "other", Hops: 3}
		var props packet.Properties
		props.SetContentType("text/plain")
		props.User = []packet.UserProperty{{Key: "own", Value: "1"}}
		m.Props, _ = props.AppendForward(nil)
		b.queue.put(m, client("ann", "x"))
		b.queue.fill(1)
		b.use(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
			_ = allGood(in, out)
			out.Results = []pluginv1.DeliveryResult{{Offset: 3, Outcome: pluginv1.OutcomeDeadLetter, Reason: "no\x00 good\xff"}}
			return nil
		})
		synctest.Wait()
		b.wantLeft()
		if len(b.broker.letters) != 1 || len(b.broker.events) != 1 {
			t.Fatalf("%d dead letters, %d events", len(b.broker.letters), len(b.broker.events))
		}
		l := b.broker.letters[0]
		d := l.message
		if l.namespace != "x" || string(d.Topic) != "dead/letters" || string(d.Payload) != "content" || d.QoS != 2 || d.Retain ||
			d.Expires != m.Expires || d.Origin.Plugin != "p" || d.Origin.Hops != 4 || d.Publisher != "" {
			t.Errorf("in %q: %+v", l.namespace, d)
		}
		want := []packet.UserProperty{
			{Key: "own", Value: "1"}, {Key: "patchbay-topic", Value: "a/b"}, {Key: "patchbay-consumer", Value: "sink"},
			{Key: "patchbay-reason", Value: "no  good\uFFFD"},
		}
		if !slices.Equal(l.user, want) {
			t.Errorf("User Properties %q, want %q", l.user, want)
		}
		var p packet.PublishProps
		if err := p.Decode(d.Props, false); err != nil || string(p.ContentType) != "text/plain" {
			t.Errorf("properties: %v, content type %q", err, p.ContentType)
		}
		e := b.broker.events[0]
		if e.Point != hook.DeadLettered || e.Plugin != "p" || e.Client.ID != "ann" || e.Namespace != "x" || e.Reason != "no  good\uFFFD" {
			t.Errorf("event: %+v", e)
		}
	})
}

// Until a dead letter is safe elsewhere it stays in the queue; the others do not wait.
func TestDeadLetterIsRefused(t *testing.T) {
	spec := consumer()
	spec.MaxAttempts, spec.DeadLetterTopic = 1, "dead"
	inBubble(t, spec, func(b *bed) {
		b.queue.fill(3)
		refuse := true
		var pending []func(hook.PublishResult)
		b.broker.publish = func(_ letter, done func(hook.PublishResult)) {
			if refuse {
				done(hook.PublishResult{Code: packet.QuotaExceeded, Reason: "the store is full"})
				return
			}
			pending = append(pending, done)
		}
		b.use(poisoned(3))
		b.wait(time.Minute)
		b.wantLeft(3)
		n := len(b.broker.letters)
		if n < 5 || n > 8 {
			t.Errorf("%d attempts to publish in a minute", n)
		}
		if s := b.runner.Stats(); !strings.Contains(s.LastError, "the store is full") || s.DeadLetters != 0 {
			t.Errorf("stats: %+v", s)
		}
		refuse = false
		b.wait(2 * time.Minute)
		b.wantLeft(3)
		if len(pending) != 1 {
			t.Fatalf("%d are being published", len(pending))
		}
		pending[0](hook.PublishResult{Code: packet.NoMatchingSubscribers})
		synctest.Wait()
		b.wantLeft()
		b.wantBatches([]uint64{3}, []uint64{6}, []uint64{9})
	})
}

// Close with a dead letter under way waits for it, and gives it up in the end: the queue has
// it.
func TestCloseWhilePublishing(t *testing.T) {
	spec := consumer()
	spec.MaxAttempts, spec.DeadLetterTopic = 1, "dead"
	inBubble(t, spec, func(b *bed) {
		b.queue.fill(1)
		var pending []func(hook.PublishResult)
		b.broker.publish = func(_ letter, done func(hook.PublishResult)) { pending = append(pending, done) }
		b.use(poisoned(3))
		synctest.Wait()
		ended := make(chan error, 1)
		go func() { ended <- b.runner.Close(context.Background()) }()
		b.wait(time.Hour)
		select {
		case err := <-ended:
			t.Fatalf("Close has not waited: %v", err)
		default:
		}
		pending[0](hook.PublishResult{})
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		b.wantLeft()
		b.queue.fill(1)
		b.open()
		b.use(poisoned(6))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.runner.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Close: %v", err)
		}
		pending[1](hook.PublishResult{}) // too late: the fake queue panics if it is acknowledged
		b.wantLeft(6)
	})
}

func TestHopLimit(t *testing.T) {
	spec := consumer()
	spec.DeadLetterTopic, spec.MaxAttempts = "dead", 1
	inBubble(t, spec, func(b *bed) {
		m := message("a", "x")
		m.Origin = &packet.Origin{Plugin: "other", Hops: 8}
		b.queue.put(m, nil)
		b.use(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
			out.Error = "never"
			return nil
		})
		synctest.Wait()
		b.wantLeft()
		if len(b.broker.letters) != 0 || len(b.broker.events) != 1 || !strings.HasPrefix(b.broker.events[0].Reason, "never (not published") {
			t.Errorf("%d dead letters, events %+v", len(b.broker.letters), b.broker.events)
		}
	})
}

// A result that contradicts the contract is a failure of the whole batch.
func TestNonsense(t *testing.T) {
	ok := func(offset uint64) pluginv1.DeliveryResult {
		return pluginv1.DeliveryResult{Offset: offset, Outcome: pluginv1.OutcomeOk}
	}
	for name, result := range map[string]pluginv1.ConsumeResult{
		"acknowledged too far": {AcknowledgedOffset: 13},
		"offset in a gap":      {AcknowledgedOffset: 12, Results: []pluginv1.DeliveryResult{ok(4)}},
		"offset before":        {AcknowledgedOffset: 12, Results: []pluginv1.DeliveryResult{ok(0)}},
		"offset behind":        {AcknowledgedOffset: 12, Results: []pluginv1.DeliveryResult{ok(15)}},
		"twice":                {AcknowledgedOffset: 12, Results: []pluginv1.DeliveryResult{ok(3), ok(6), ok(3)}},
		"no outcome":           {AcknowledgedOffset: 12, Results: []pluginv1.DeliveryResult{{Offset: 3}}},
		"unknown outcome":      {AcknowledgedOffset: 12, Results: []pluginv1.DeliveryResult{{Offset: 3, Outcome: 9}}},
		"negative outcome":     {AcknowledgedOffset: 12, Results: []pluginv1.DeliveryResult{{Offset: 3, Outcome: -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, consumer(), func(b *bed) {
				b.queue.fill(6)
				b.use(func(_ *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
					*out = result
					return nil
				})
				synctest.Wait()
				b.wantBatches([]uint64{3, 6, 9, 12})
				b.wantLeft(3, 6, 9, 12, 15, 18)
				if len(b.calls) != 1 || !errors.Is(b.calls[0], ErrNonsense) {
					t.Errorf("Called was told %v", b.calls)
				}
				if s := b.runner.Stats(); s.Failures != 1 || !strings.HasPrefix(s.LastError, ErrNonsense.Error()) {
					t.Errorf("stats: %+v", s)
				}
				b.use(allGood)
				b.wait(2 * time.Second)
				b.wantLeft()
			})
		})
	}
}
