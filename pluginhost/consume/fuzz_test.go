package consume

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Whatever a plugin answers, only offsets that it names are acknowledged or given up, and
// nothing is lost for it.
func FuzzResult(f *testing.F) {
	add := func(r pluginv1.ConsumeResult) { f.Add(r.AppendTo(nil)) }
	add(pluginv1.ConsumeResult{AcknowledgedOffset: 12})
	add(pluginv1.ConsumeResult{AcknowledgedOffset: 9, Results: []pluginv1.DeliveryResult{retry(3, 1)}, Error: "x"})
	add(pluginv1.ConsumeResult{Results: []pluginv1.DeliveryResult{{Offset: 6, Outcome: pluginv1.OutcomeDeadLetter}}})
	add(pluginv1.ConsumeResult{Results: []pluginv1.DeliveryResult{retry(12, 0), {Offset: 3, Outcome: pluginv1.OutcomeOk}}})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var result pluginv1.ConsumeResult
		if result.Unmarshal(raw) != nil {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			b := &bed{t: t, queue: newFakeQueue(), spec: consumer(), start: time.Now()}
			b.broker = &fakeBroker{queue: b.queue}
			b.open()
			b.queue.fill(4)
			b.use(func(_ *pluginv1.ConsumeBatch, out *pluginv1.ConsumeResult) error {
				*out = result
				return nil
			})
			synctest.Wait()
			b.runner.Pause()
			synctest.Wait()
			done := func(o uint64) bool {
				i := slices.IndexFunc(result.Results, func(d pluginv1.DeliveryResult) bool { return d.Offset == o })
				if i >= 0 {
					return result.Results[i].Outcome == pluginv1.OutcomeOk || result.Results[i].Outcome == pluginv1.OutcomeDeadLetter
				}
				return o <= result.AcknowledgedOffset
			}
			nonsense := errors.Is(b.calls[0], ErrNonsense)
			for _, o := range []uint64{3, 6, 9, 12} {
				if acked := b.queue.isAcked(o); acked && (nonsense || !done(o)) {
					t.Errorf("%d is acknowledged by %+v", o, result)
				} else if !acked && !nonsense && done(o) {
					t.Errorf("%d is not acknowledged by %+v", o, result)
				}
			}
			b.use(allGood)
			b.runner.Resume()
			b.wait(2000 * time.Hour) // the longest pause that a result can ask for
			b.wantLeft()
			if err := b.runner.Close(t.Context()); err != nil {
				t.Error(err)
			}
			b.queue.references(t)
		})
	})
}
