package consume

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func TestBatchesComeInOrderAndAreAcknowledged(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(10)
		b.use(allGood)
		synctest.Wait()
		b.wantBatches([]uint64{3, 6, 9, 12}, []uint64{15, 18, 21, 24}, []uint64{27, 30})
		b.wantLeft()
		b.queue.fill(1)
		synctest.Wait()
		b.wantLeft()
		s := b.runner.Stats()
		if s.HandedOver != 11 || s.Acknowledged != 11 || s.Retried != 0 || s.Failures != 0 || s.Backlog != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestBatchBytes(t *testing.T) {
	spec := consumer()
	spec.MaxBatchBytes = 10
	inBubble(t, spec, func(b *bed) {
		for _, p := range []string{"123456", "1234", "1", "12345678901234567890", "1"} {
			b.queue.put(message("a", p), nil)
		}
		b.use(allGood)
		synctest.Wait()
		b.wantBatches([]uint64{3, 6}, []uint64{9}, []uint64{12}, []uint64{15})
	})
}

func TestWhatABatchSays(t *testing.T) {
	spec := consumer()
	spec.Fields |= uint32(pluginv1.FieldUserProperties | pluginv1.FieldAttributes)
	spec.DeadlineMs = 1234
	inBubble(t, spec, func(b *bed) {
		ann, bob := client("ann", "x"), client("bob", "")
		m := message("a/1", "one")
		m.Publisher, m.Expires = "ann", time.Now().UnixMilli()+9000
		var props packet.Properties
		props.User = []packet.UserProperty{{Key: "n", Value: "v"}}
		m.Props, _ = props.AppendForward(nil)
		b.queue.put(m, ann)
		b.queue.put(message("a/2", "two"), bob)
		m = message("a/3", "three")
		m.Publisher = "gone"
		b.queue.put(m, nil)
		b.queue.put(message("a/4", "four"), ann)
		for i, ns := range []string{"x", "", "y", "x"} {
			b.queue.list[i].Namespace = ns
		}
		b.use(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
			if in.Consumer != "sink" || in.DeadlineMs != 1234 || len(in.Clients) != 2 || len(in.Deliveries) != 4 {
				t.Fatalf("batch: %+v", in)
			}
			if c := in.Clients[0]; c.ClientID != "ann" || c.Namespace != "x" || c.Username != "u-ann" || len(c.Attributes) != 1 {
				t.Errorf("first client: %+v", c)
			}
			d := in.Deliveries
			if d[0].Client != 1 || d[1].Client != 2 || d[2].Client != 0 || d[3].Client != 1 {
				t.Errorf("clients: %d %d %d %d", d[0].Client, d[1].Client, d[2].Client, d[3].Client)
			}
			one, three := d[0].Message, d[2].Message
			if one.Topic != "a/1" || string(one.Payload) != "one" || one.QoS != 1 || one.MessageExpiryInterval != 9 ||
				one.Publisher != "" || one.Namespace != "" || len(one.UserProperties) != 1 || one.UserProperties[0].Value != "v" {
				t.Errorf("first message: %+v", one)
			}
			if three.Publisher != "gone" || three.Namespace != "y" || d[1].Message.Namespace != "" {
				t.Errorf("third message: %+v", three)
			}
			return allGood(in, out)
		})
		synctest.Wait()
		b.wantLeft()
		b.use(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
			if len(in.Clients) != 1 || in.Clients[0].ClientID != "bob" || in.Deliveries[0].Client != 1 {
				t.Errorf("the next batch: %+v", in)
			}
			return allGood(in, out)
		})
		b.queue.put(message("a/5", "five"), bob)
		synctest.Wait()
		b.wantLeft()
	})
}

// What a result does not speak of comes again, before anything newer, after a pause.
func TestPartOfABatch(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(5)
		first := true
		b.use(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
			if !first {
				return allGood(in, out)
			}
			first = false
			out.AcknowledgedOffset = 7 // 6 is the last one below
			out.Error = "the disk is full"
			return nil
		})
		synctest.Wait()
		b.wantLeft(9, 12, 15)
		if s := b.runner.Stats(); s.LastError != "the disk is full" || s.Failures != 1 || s.HeadAttempts != 1 || s.Acknowledged != 2 {
			t.Errorf("stats: %+v", s)
		}
		b.wait(999 * time.Millisecond)
		b.wantBatches([]uint64{3, 6, 9, 12})
		b.wait(201 * time.Millisecond)
		b.wantBatches([]uint64{3, 6, 9, 12}, []uint64{9, 12}, []uint64{15})
		if !slices.Equal(b.attempts[1], []uint32{2, 2}) {
			t.Errorf("attempts: %v", b.attempts)
		}
		if len(b.calls) != 3 || b.calls[0] != nil {
			t.Errorf("Called was told %v", b.calls)
		}
	})
}

// A single retry is overtaken by all that follows, until it is due.
func TestRetryOfOne(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(6)
		first := true
		b.use(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
			_ = allGood(in, out)
			if first {
				out.Results = []pluginv1.DeliveryResult{retry(6, 90_000)}
			}
			first = false
			return nil
		})
		b.wait(time.Minute)
		b.wantBatches([]uint64{3, 6, 9, 12}, []uint64{15, 18})
		b.wantLeft(6)
		b.wait(31 * time.Second)
		b.wantBatches([]uint64{3, 6, 9, 12}, []uint64{15, 18}, []uint64{6})
		if b.when[2] != 90*time.Second || b.attempts[2][0] != 2 {
			t.Errorf("attempt %d came after %v", b.attempts[2][0], b.when[2])
		}
		b.wantLeft()
	})
}

// Retries of all that is left of a batch, as the Go SDK's StopAt makes them, keep the order,
// and what has come since is with them.
func TestRetryOfTheRest(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(6)
		first := true
		b.use(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
			_ = allGood(in, out)
			if first {
				out.Results = []pluginv1.DeliveryResult{retry(9, 5000), retry(12, 5000)}
			}
			first = false
			return nil
		})
		b.wait(4 * time.Second)
		b.wantBatches([]uint64{3, 6, 9, 12})
		b.wait(2 * time.Second)
		b.wantBatches([]uint64{3, 6, 9, 12}, []uint64{9, 12, 15, 18})
		b.wantLeft()
	})
}

func TestPausesDouble(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(1)
		b.use(poisoned(3))
		b.wait(10 * time.Minute)
		for i := 1; i < len(b.when); i++ {
			low, pause := min(time.Second<<(i-1), 48*time.Second), b.when[i]-b.when[i-1]
			if high := min(low*6/5, time.Minute); i < 6 && (pause < low || pause > high) || pause > time.Minute {
				t.Errorf("pause %d is %v", i, pause)
			}
		}
		if n := len(b.when); n < 12 || n > 17 {
			t.Errorf("%d attempts in 10 minutes", n)
		}
	})
}

// A batch that is late comes again; the runtime keeps its memory until it is done, and what
// it says then does not count.
func TestDeadline(t *testing.T) {
	spec := consumer()
	spec.DeadlineMs = 5000
	inBubble(t, spec, func(b *bed) {
		b.queue.fill(2)
		open := b.hang()
		b.wait(5 * time.Second)
		if s := b.runner.Stats(); s.InFlight != 2 || s.Abandoned != 0 {
			t.Fatalf("stats: %+v", s)
		}
		b.wait(grace + time.Millisecond)
		if s := b.runner.Stats(); s.InFlight != 0 || s.Abandoned != 1 || s.Failures != 1 || s.HeadAttempts != 1 {
			t.Fatalf("stats: %+v", s)
		}
		if len(b.calls) != 1 || !errors.Is(b.calls[0], ErrLate) {
			t.Fatalf("Called was told %v", b.calls)
		}
		for _, m := range b.queue.list {
			if n := refs(m.Message); n != 3 { // the queue's, the window's, the runtime's
				t.Errorf("%d references", n)
			}
		}
		if b.held != 1 {
			t.Errorf("%d pins, want 1 as long as the runtime is not done", b.held)
		}
		open()[0](nil)
		synctest.Wait()
		b.wantLeft(3, 6)
		if s := b.runner.Stats(); s.Abandoned != 0 {
			t.Fatalf("stats: %+v", s)
		}
		b.wait(2 * time.Second)
		b.wantBatches([]uint64{3, 6}, []uint64{3, 6})
		open()[1](nil)
		synctest.Wait()
		b.wantLeft()
	})
}

// A plugin that stops at its deadline is heard.
func TestGrace(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(1)
		open := b.hang()
		b.wait(defaultDeadline + grace/2)
		open()[0](nil)
		synctest.Wait()
		b.wantLeft()
	})
}

func TestAbandonedBatchesAreBounded(t *testing.T) {
	spec := consumer()
	spec.DeadlineMs, spec.RetryAfterMs = 100, 1
	inBubble(t, spec, func(b *bed) {
		b.queue.fill(1)
		open := b.hang()
		b.wait(time.Hour)
		if n := len(open()); n != maxAbandoned {
			t.Fatalf("%d batches were handed over and not answered, want %d", n, maxAbandoned)
		}
		if n := refs(b.queue.list[0].Message); n != 2+maxAbandoned {
			t.Errorf("%d references", n)
		}
		open()[2](nil)
		b.wait(time.Second)
		if n := len(open()); n != maxAbandoned+1 {
			t.Errorf("%d batches after one of them is done", n)
		}
		for i, done := range open() {
			if i != 2 {
				done(errCrashed)
			}
		}
	})
}

func TestReload(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(8)
		open := b.hang()
		synctest.Wait()
		old := b.batches
		b.use(allGood)
		synctest.Wait()
		b.wantBatches([]uint64{3, 6, 9, 12}) // one at a time, also across a reload
		open()[0](errCrashed)
		b.wait(2 * time.Second)
		b.wantBatches(append(old, []uint64{3, 6, 9, 12}, []uint64{15, 18, 21, 24})...)
		b.wantLeft()
	})
}

func TestNoInstance(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(3)
		asked := 0
		b.runner.Use(none(&asked))
		b.wait(100 * time.Second)
		if asked < 100 || asked > 104 { // once a second, and for what has come
			t.Errorf("asked %d times for an instance", asked)
		}
		before := asked
		b.queue.fill(1)
		b.runner.Resume()
		synctest.Wait()
		if asked == before {
			t.Error("Resume has not asked for an instance")
		}
		b.use(allGood)
		synctest.Wait()
		b.wantLeft()
	})
}

// What Pin lends is used: a breaker may have let one call through.
func TestPinsAreUsed(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		pins := 0
		p := answering(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error { return errCrashed })
		pin := p.pinned(&b.held)
		b.runner.Use(func() (instance.Plugin, func(), bool) {
			pins++
			return pin()
		})
		b.wait(time.Minute)
		if pins != 0 {
			t.Errorf("%d pins for an empty queue", pins)
		}
		b.queue.fill(3)
		for range 100 {
			b.runner.Resume()
			b.wait(100 * time.Millisecond)
		}
		if pins == 0 || pins != len(b.calls) {
			t.Errorf("%d pins, %d calls", pins, len(b.calls))
		}
	})
}

func TestPause(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		open := b.hang()
		b.queue.fill(5)
		synctest.Wait()
		b.runner.Pause()
		open()[0](nil) // goes on
		b.wait(time.Hour)
		b.wantLeft(15)
		b.wantBatches([]uint64{3, 6, 9, 12})
		b.runner.Resume()
		open()[1](nil)
		synctest.Wait()
		b.wantLeft()
	})
}

func TestCloseWaits(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(5)
		open := b.hang()
		synctest.Wait()
		time.AfterFunc(7*time.Second, func() { open()[0](nil) })
		start := time.Now()
		if err := b.runner.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 7*time.Second {
			t.Errorf("Close took %v", d)
		}
		b.wantLeft(15)
		if b.queue.Info().Open {
			t.Error("the queue is open")
		}
		b.open()
		b.use(allGood)
		synctest.Wait()
		b.wantLeft()
	})
}

func TestCloseDoesNotWaitForever(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(5)
		open := b.hang()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.runner.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"sink"`) {
			t.Fatalf("Close: %v", err)
		}
		if len(b.calls) != 1 || !errors.Is(b.calls[0], ErrLate) {
			t.Errorf("Called was told %v", b.calls)
		}
		if n := refs(b.queue.list[0].Message); n != 2 {
			t.Errorf("%d references while the runtime has the batch", n)
		}
		open()[0](nil)
		b.wantLeft(3, 6, 9, 12, 15)
	})
}

// While the plugin is busy, the next two batches are read, and no more.
func TestReadsAhead(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(100)
		synctest.Wait()
		open := b.hang()
		synctest.Wait()
		taken := 0
		for _, m := range b.queue.list {
			if refs(m.Message) > 1 {
				taken++
			}
		}
		if taken != 12 {
			t.Errorf("%d messages in memory, want a batch of 4 and two ahead", taken)
		}
		open()[0](nil)
		synctest.Wait()
		open()[1](nil)
		b.runner.Pause()
	})
}

// A plugin that retries everything singly is not read for without end.
func TestHeldIsBounded(t *testing.T) {
	spec := consumer()
	spec.MaxBatch = 2
	inBubble(t, spec, func(b *bed) {
		b.queue.fill(5000)
		b.use(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
			_ = allGood(in, out)
			if list := offsetsOf(in); len(list) == 2 && time.Since(b.start) < time.Hour {
				out.Results = []pluginv1.DeliveryResult{retry(list[0], 3_600_000)}
			}
			return nil
		})
		b.wait(time.Minute)
		if s := b.runner.Stats(); s.HandedOver < 2*maxHeld || s.HandedOver > 2*maxHeld+16 {
			t.Errorf("%d messages were handed over, want about %d", s.HandedOver, 2*maxHeld)
		}
		b.wait(2 * time.Hour)
		b.wantLeft()
	})
}

func TestExpiry(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		b.queue.fill(1)
		m := message("a/x", "x")
		m.Expires = time.Now().UnixMilli() + 800
		b.queue.put(m, client("ann", ""))
		first := true
		b.use(func(in *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
			if first {
				first = false
				return errCrashed
			}
			return allGood(in, out)
		})
		b.wait(time.Minute)
		b.wantBatches([]uint64{3, 6}, []uint64{3})
		b.wantLeft()
		if len(b.broker.events) != 1 || b.broker.events[0].Point != hook.Dropped || b.broker.events[0].Reason != hook.DropExpired ||
			b.broker.events[0].Client.ID != "ann" {
			t.Errorf("events: %+v", b.broker.events)
		}
		if s := b.runner.Stats(); s.Expired != 1 || s.Acknowledged != 1 {
			t.Errorf("stats: %+v", s)
		}
	})
}
