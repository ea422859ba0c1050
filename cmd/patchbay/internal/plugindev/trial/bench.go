package trial

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/pluginhost/process"
	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Figures are those of one hook or consumer with batches of one size.
type Figures struct {
	// Hook is its name as in a broker's config, or "consume NAME".
	Hook  string `json:"hook"`
	Batch int    `json:"batch"`
	Calls int    `json:"calls"`
	// NsPerCall and NsPerEvent are nanoseconds of wall-clock time, all of the host's work
	// on a call included; the median.
	NsPerCall  float64 `json:"ns_per_call"`
	NsPerEvent float64 `json:"ns_per_event"`
	// FuelPerEvent is 0 where it is not known, as for programs.
	FuelPerEvent float64 `json:"fuel_per_event,omitempty"`
	// MemoryBytes is how large the instance was in the end.
	MemoryBytes uint64 `json:"memory_bytes"`
	// Answer is what the first call of them has said.
	Answer string `json:"answer"`
}

// BenchSizes are the sizes of batches that Bench tries.
var BenchSizes = []int{1, 16, 64}

// blockTime is how long calls are made between two looks at the clock. What counts is the
// median of blocks: a busy machine spoils some of them.
const blockTime = 200 * time.Microsecond

// maxHostCalls ends a measurement: the host keeps what it was called with.
const maxHostCalls = 20_000

// Bench measures every hook and consumer for a time each, with what the lines have for it,
// in batches of several sizes, or with made up events where they have nothing. It stops at
// the first failure of the plugin.
func (p *Plugin) Bench(ctx context.Context, lines []Line, each time.Duration) ([]Figures, error) {
	var list []Figures
	for i := range p.Hooks {
		k := &p.Hooks[i]
		events := p.eventsFor(k, lines)
		for _, size := range p.sizes(k.MaxBatch) {
			f, err := p.benchHook(ctx, k, events, size, each)
			if err != nil {
				return list, fmt.Errorf("%s: %w", f.Hook, err)
			}
			list = append(list, f)
		}
	}
	for i := range p.Consumers {
		c := &p.Consumers[i]
		batch := SampleMessages(c)
		for _, l := range lines {
			if l.Consume != nil && l.Consume.Consumer == c.Name {
				batch = l.Consume
				break
			}
		}
		for _, size := range p.sizes(c.MaxBatch) {
			f, err := p.benchConsumer(ctx, batch, size, each)
			if err != nil {
				return list, fmt.Errorf("%s: %w", f.Hook, err)
			}
			list = append(list, f)
		}
	}
	return list, nil
}

func (p *Plugin) sizes(most uint32) []int {
	return slices.DeleteFunc(slices.Clone(BenchSizes), func(n int) bool { return most > 0 && n > int(most) })
}

// eventsFor returns batches of one event each.
func (p *Plugin) eventsFor(k *pluginv1.Hook, lines []Line) []*pluginv1.Batch {
	var list []*pluginv1.Batch
	add := func(b *pluginv1.Batch) {
		b, _ = narrow(b, k)
		for _, e := range b.Events {
			one := &pluginv1.Batch{Point: b.Point, Events: []pluginv1.Event{e}}
			if e.Client > 0 {
				one.Clients = []pluginv1.Client{b.Clients[e.Client-1]}
				one.Events[0].Client = 1
			}
			list = append(list, one)
		}
	}
	for _, l := range lines {
		if l.Batch != nil && l.Batch.Point == k.Point {
			add(l.Batch)
		}
	}
	if list == nil {
		add(Sample(k))
	}
	return list
}

// together makes one batch of events, over and over until there are enough.
func together(events []*pluginv1.Batch, size int) *pluginv1.Batch {
	b := &pluginv1.Batch{Point: events[0].Point, DeadlineMs: 5000}
	for i := range size {
		one := events[i%len(events)]
		e := one.Events[0]
		if e.Client > 0 {
			b.Clients = append(b.Clients, one.Clients[0])
			e.Client = uint32(len(b.Clients))
		}
		b.Events = append(b.Events, e)
	}
	return b
}

func (p *Plugin) benchHook(ctx context.Context, k *pluginv1.Hook, events []*pluginv1.Batch, size int, each time.Duration) (Figures, error) {
	f := Figures{Hook: pluginhost.PointName(k.Point), Batch: size}
	b := together(events, size)
	first, err := p.process(ctx, k, b)
	if err != nil {
		return f, err
	}
	f.Answer = summary(first, size)
	a := new(pluginv1.Answer)
	return f, p.measure(ctx, &f, each, func(done func(error)) (bool, error) {
		a.Reset()
		return p.inst.Process(b, a, done)
	})
}

// summary tells which verdicts there are, as "64 ALLOW".
func summary(a *pluginv1.Answer, size int) string {
	counts := map[pluginv1.Action]int{}
	for _, v := range a.Verdicts {
		counts[v.Action]++
		size--
	}
	counts[pluginv1.ActionContinue] += size
	text := ""
	for action := pluginv1.ActionContinue; action <= pluginv1.ActionChallenge; action++ {
		if n := counts[action]; n > 0 {
			if text != "" {
				text += ", "
			}
			text += fmt.Sprintf("%d %s", n, ActionName(action))
		}
	}
	return text
}

func (p *Plugin) benchConsumer(ctx context.Context, one *pluginv1.ConsumeBatch, size int, each time.Duration) (Figures, error) {
	f := Figures{Hook: "consume " + one.Consumer, Batch: size}
	b := &pluginv1.ConsumeBatch{Consumer: one.Consumer, Clients: one.Clients, DeadlineMs: 30_000}
	for i := range size {
		d := one.Deliveries[i%len(one.Deliveries)]
		d.Offset = uint64(i + 1)
		b.Deliveries = append(b.Deliveries, d)
	}
	a, _, err := p.consume(ctx, b)
	if err != nil {
		return f, err
	}
	f.Answer = a.String()
	r := new(pluginv1.ConsumeResult)
	return f, p.measure(ctx, &f, each, func(done func(error)) (bool, error) {
		r.Reset()
		return p.inst.Consume(b, r, done)
	})
}

// measure makes calls for a time, after some to warm up.
func (p *Plugin) measure(ctx context.Context, f *Figures, each time.Duration, call func(done func(error)) (bool, error)) error {
	for range 20 {
		if err := p.wait(ctx, call); err != nil {
			return err
		}
	}
	before, instances := p.host.count(), p.instances()
	var blocks []float64
	for begin, n := time.Now(), 1; time.Since(begin) < each && ctx.Err() == nil; {
		block := time.Now()
		for range n {
			if err := p.wait(ctx, call); err != nil {
				return err
			}
		}
		took := time.Since(block)
		f.Calls += n
		if took < blockTime && len(blocks) == 0 { // too short to be measured well
			n *= 2
			continue
		}
		blocks = append(blocks, float64(took)/float64(n))
		if len(blocks)%16 == 0 && p.host.count()-before > maxHostCalls {
			break
		}
	}
	if len(blocks) == 0 {
		return fmt.Errorf("%s are not enough for a measurement", each)
	}
	slices.Sort(blocks)
	f.NsPerCall = blocks[len(blocks)/2]
	f.NsPerEvent = f.NsPerCall / float64(f.Batch)
	f.FuelPerEvent, f.MemoryBytes = p.used(instances, f.Batch)
	return ctx.Err()
}

// count is how many calls the plugin has made.
func (h *host) count() (n int) {
	for op := pluginv1.HostOp(0); op < 64; op++ {
		n += len(h.Calls(op))
	}
	return n
}

// instances are those of a module, with what they have done.
func (p *Plugin) instances() []wasm.InstanceStats {
	if w, ok := p.inst.(*wasm.Plugin); ok {
		return w.Stats().Instances
	}
	return nil
}

// used is what the last call of the instance that was used has taken.
func (p *Plugin) used(before []wasm.InstanceStats, batch int) (fuel float64, memory uint64) {
	switch inst := p.inst.(type) {
	case *wasm.Plugin:
		for i, x := range inst.Stats().Instances {
			memory = max(memory, x.MemoryBytes)
			if i >= len(before) || x.Calls > before[i].Calls {
				fuel = float64(x.FuelLast) / float64(batch)
			}
		}
	case *process.Plugin:
		memory = uint64(inst.Stats().MemoryBytes)
	}
	return fuel, memory
}

// ActionName is "ALLOW" of ACTION_ALLOW.
func ActionName(a pluginv1.Action) string {
	const prefix = "ACTION_"
	if s := a.String(); len(s) > len(prefix) {
		return s[len(prefix):]
	}
	return a.String()
}
