package trial

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Replay asks the plugin what a line of a recording asks. It is asked only about what it
// wants, as its hooks say; asked is false if that is nothing. A failure of the plugin is
// both in the answer and the error; after it the plugin can be asked on.
func (p *Plugin) Replay(ctx context.Context, l *Line) (a Answer, asked bool, err error) {
	if l.Consume != nil {
		return p.consume(ctx, l.Consume)
	}
	a = Answer{Answer: new(pluginv1.Answer)}
	i := slices.IndexFunc(p.Hooks, func(h pluginv1.Hook) bool { return h.Point == l.Batch.Point })
	if i < 0 {
		return a, false, nil
	}
	k := &p.Hooks[i]
	b, index := narrow(l.Batch, k)
	if len(b.Events) == 0 {
		return a, false, nil
	}
	got, err := p.process(ctx, k, b)
	if err != nil {
		a.Answer.Error = err.Error()
		return a, true, err
	}
	for i := range got.Verdicts {
		got.Verdicts[i].Event = index[got.Verdicts[i].Event]
	}
	slices.SortFunc(got.Verdicts, func(x, y pluginv1.Verdict) int { return int(x.Event) - int(y.Event) })
	// One that says nothing is as none.
	got.Verdicts = slices.DeleteFunc(got.Verdicts, func(v pluginv1.Verdict) bool { return v.Action == pluginv1.ActionContinue })
	a.Answer = got
	return a, true, nil
}

// process makes a call, and waits for verdicts that are put off.
func (p *Plugin) process(ctx context.Context, k *pluginv1.Hook, b *pluginv1.Batch) (*pluginv1.Answer, error) {
	if b.Point.Mode() != pluginv1.Observation {
		for i := range b.Events {
			p.events++
			b.Events[i].ID = p.events
		}
	}
	limit := deadline(b)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a := new(pluginv1.Answer)
	err := p.wait(ctx, func(done func(error)) (bool, error) { return p.inst.Process(b, a, done) })
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("no answer within %s", limit)
	case err != nil:
		return nil, err
	}
	own := new(pluginv1.Answer)
	if err := own.Unmarshal(a.AppendTo(nil)); err != nil {
		return nil, fmt.Errorf("bad answer: %w", err)
	}
	if err := pluginhost.CheckAnswer(k, b, own); err != nil {
		return nil, err
	}
	own.Seq = 0
	return own, p.settle(ctx, k, b, own, limit)
}

// deadline is how long a broker would wait, or for an observation would not be content.
func deadline(b *pluginv1.Batch) time.Duration {
	if b.DeadlineMs > 0 {
		return max(time.Duration(b.DeadlineMs)*time.Millisecond, time.Second)
	}
	return 5 * time.Second
}

func (p *Plugin) wait(ctx context.Context, call func(done func(error)) (bool, error)) error {
	end := make(chan error, 1)
	if answered, err := call(func(err error) { end <- err }); answered {
		return err
	}
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle puts verdicts in the place of deferrals.
func (p *Plugin) settle(ctx context.Context, k *pluginv1.Hook, b *pluginv1.Batch, a *pluginv1.Answer, limit time.Duration) error {
	for i := range a.Verdicts {
		v := &a.Verdicts[i]
		if v.Action != pluginv1.ActionDefer {
			continue
		}
		id := b.Events[v.Event].ID
		if !p.host.WaitFor(ctx, func() bool { return p.host.completed(id) != nil }) {
			return fmt.Errorf("event %d was put off and not decided within %s", v.Event, limit)
		}
		event := v.Event
		*v = *p.host.completed(id)
		v.Event = event
	}
	return pluginhost.CheckAnswer(k, b, a)
}

// completed is the verdict on an event that was put off, nil if there is none yet.
func (h *host) completed(id uint64) *pluginv1.Verdict {
	for _, c := range h.Calls(pluginv1.HostOpComplete) {
		for i, x := range c.Request.(*pluginv1.CompleteRequest).Completions {
			if x.EventID == id && x.Verdict != nil {
				return c.Request.(*pluginv1.CompleteRequest).Completions[i].Verdict
			}
		}
	}
	return nil
}

func (p *Plugin) consume(ctx context.Context, in *pluginv1.ConsumeBatch) (a Answer, asked bool, err error) {
	a = Answer{Result: new(pluginv1.ConsumeResult)}
	i := slices.IndexFunc(p.Consumers, func(c pluginv1.Consumer) bool { return c.Name == in.Consumer })
	if i < 0 {
		return a, false, nil
	}
	b := &pluginv1.ConsumeBatch{Consumer: in.Consumer, DeadlineMs: in.DeadlineMs}
	for _, c := range in.Clients {
		b.Clients = append(b.Clients, client(c, p.Consumers[i].Fields))
	}
	for _, d := range in.Deliveries {
		if d.Message != nil {
			d.Message = message(d.Message, p.Consumers[i].Fields)
		}
		b.Deliveries = append(b.Deliveries, d)
	}
	ctx, cancel := context.WithTimeout(ctx, consumeTime)
	defer cancel()
	r := new(pluginv1.ConsumeResult)
	err = p.wait(ctx, func(done func(error)) (bool, error) { return p.inst.Consume(b, r, done) })
	if err == nil {
		err = a.Result.Unmarshal(r.AppendTo(nil))
		a.Result.Seq = 0
		slices.SortFunc(a.Result.Results, func(x, y pluginv1.DeliveryResult) int { return int(int64(x.Offset) - int64(y.Offset)) })
	}
	if err != nil {
		a.Result = &pluginv1.ConsumeResult{Error: err.Error()}
	}
	return a, true, err
}

// consumeTime is the contract's deadline for a batch of a consumer.
const consumeTime = 30 * time.Second
