package broker

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/core/transport"
)

var queueSeed = flag.Uint64("queue.seed", 0, "run the property test of queues with this seed only")

// TestQueueProperty does random things to queues, with crashes in between, and
// compares them with lists: what was accepted is there, once and in order and under
// its offset, until it is acknowledged; what was not meant for a queue is not.
func TestQueueProperty(t *testing.T) {
	for name, mode := range map[string]struct {
		sync disk.SyncMode
		keep int // percent of unsynced data that a crash keeps; -1 at random
	}{"power loss": {disk.SyncAlways, -1}, "process crash": {disk.SyncNever, 100}, "memory": {keep: -2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, n := uint64(1), uint64(6)
			if raceEnabled {
				n = 2
			}
			if *queueSeed != 0 {
				first, n = *queueSeed, 1
			}
			for seed := first; seed < first+n; seed++ {
				p := &queueProperty{T: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 11)), sync: mode.sync, keep: mode.keep}
				p.run()
			}
		})
	}
}

type queueProperty struct {
	*testing.T
	seed uint64
	rng  *rand.Rand
	sync disk.SyncMode
	keep int
	fs   *vfs.MemFS
	b    *Broker
	n    int

	queues []*queueModel
	wrong  atomic.Pointer[string] // what a result said
}

// queueModel is what a queue should be.
type queueModel struct {
	spec  hook.QueueSpec
	made  bool // it exists, for sure
	open  *consumer
	list  []*queueMessage
	acked []*queueMessage // perhaps not surely
}

// queueMessage is in one or more queues.
type queueMessage struct {
	text, topic, namespace string
	qos                    byte
	safe                   *atomic.Bool
	offset                 map[*queueModel]uint64
}

func (p *queueProperty) fatalf(format string, args ...any) {
	p.Helper()
	p.Fatalf("seed %d (-queue.seed): "+format, append([]any{p.seed}, args...)...)
}

func (p *queueProperty) run() {
	for i := range 3 {
		p.queues = append(p.queues, &queueModel{spec: hook.QueueSpec{Owner: fmt.Sprint("p", i%2), Name: fmt.Sprint("q", i)}})
	}
	p.fs = vfs.NewCrashableMem()
	p.start()
	for range 6 {
		for range 60 + p.rng.IntN(120) {
			p.step()
		}
		if p.keep > -2 {
			p.crash()
		}
	}
	for _, q := range p.queues {
		p.reopen(q)
		p.compare(q, p.everything(q))
	}
	p.stop()
}

func (p *queueProperty) start() {
	var s store.Store = new(store.Memory)
	if p.keep > -2 {
		s = openDisk(p, disk.Options{FS: p.fs, Sync: p.sync})
	}
	p.b, _ = start(p, withStore(s), func(o *Options) { o.Sys.Interval = 0 })
}

func (p *queueProperty) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.b.Close(ctx); err != nil {
		p.fatalf("close: %v", err)
	}
}

func (p *queueProperty) step() {
	q := p.queues[p.rng.IntN(len(p.queues))]
	switch k := p.rng.IntN(100); {
	case k < 50:
		for range 1 + p.rng.IntN(40) {
			p.publish()
		}
		p.routed()
	case k < 75:
		p.read(q)
	case k < 85:
		p.reopen(q)
	case k < 90:
		if q.open != nil {
			q.open.Close()
			q.open = nil
		}
	case k < 93:
		p.settled()
	case k < 94:
		p.remove(q)
	case k < 97:
		if i := p.info(q); q.made && i.Messages < len(q.list) && p.keep == -2 || i.Messages > len(q.list) {
			p.fatalf("%s: %d messages, there are %d", q.spec.Name, i.Messages, len(q.list))
		}
	default:
		time.Sleep(time.Duration(p.rng.IntN(8)) * time.Millisecond)
	}
}

func (p *queueProperty) info(q *queueModel) (found hook.QueueInfo) {
	for _, i := range p.b.Plugins().Queues() {
		if i.Owner == q.spec.Owner && i.Name == q.spec.Name {
			found = i
		}
	}
	return found
}

func (p *queueProperty) publish() {
	p.n++
	m := &queueMessage{
		text: fmt.Sprint("m", p.n), topic: []string{"a", "a/b", "a/b/c", "b", "$x"}[p.rng.IntN(5)], namespace: []string{"", "n"}[p.rng.IntN(2)],
		qos: byte(p.rng.IntN(3)), safe: new(atomic.Bool), offset: make(map[*queueModel]uint64),
	}
	pm := text(m.topic, m.text, m.qos)
	from := p.rng.IntN(6)
	if from < 2 {
		pm.Origin = &packet.Origin{Plugin: fmt.Sprint("p", from)}
	}
	wanted := 0
	for _, q := range p.queues {
		own := pm.Origin != nil && pm.Origin.Plugin == q.spec.Owner
		matches := slices.ContainsFunc(q.spec.Filters, func(f string) bool { return topic.Match(f, m.topic) })
		inside := len(q.spec.Namespaces) == 0 || slices.Contains(q.spec.Namespaces, m.namespace)
		if q.made && !own && matches && inside && m.qos >= q.spec.MinQoS {
			q.list = append(q.list, m)
			wanted++
		}
	}
	p.b.Plugins().Publish(m.namespace, pm, func(r hook.PublishResult) {
		switch {
		case r.Code.IsError():
			// The store was closed: nothing is promised.
		case r.Receivers != wanted:
			wrong := fmt.Sprintf("%s went to %d queues, not to %d", m.text, r.Receivers, wanted)
			p.wrong.Store(&wrong)
		case m.qos > 0:
			m.safe.Store(true)
		}
	})
}

// routed waits until all that was published is in its queues.
func (p *queueProperty) routed() {
	done := make(chan struct{})
	p.b.errand(func(*transport.Pass) { close(done) })
	<-done
	if wrong := p.wrong.Load(); wrong != nil {
		p.fatalf("%s", *wrong)
	}
}

// settled waits until all is safe.
func (p *queueProperty) settled() {
	done := make(chan error, 1)
	if !p.b.store.Sync(func(err error) { done <- err }) {
		if err := <-done; err != nil {
			p.fatalf("Sync: %v", err)
		}
	}
	for _, q := range p.queues {
		for _, m := range q.list {
			if m.qos > 0 {
				eventually(p, m.text+" is safe", m.safe.Load)
			}
		}
		q.acked = nil
	}
}

// reopen opens a queue, perhaps with other wishes.
func (p *queueProperty) reopen(q *queueModel) {
	if q.open != nil {
		q.open.Close()
	}
	if !q.made || p.rng.IntN(2) == 0 {
		filters := []string{"a", "a/#", "+/b", "#", "b"}
		p.rng.Shuffle(len(filters), func(i, j int) { filters[i], filters[j] = filters[j], filters[i] })
		q.spec.Filters, q.spec.MinQoS = slices.Clone(filters[:p.rng.IntN(4)]), byte(p.rng.IntN(2))
		q.spec.Namespaces = [][]string{nil, {""}, {"n"}, {"n", ""}}[p.rng.IntN(4)]
	}
	q.open, q.made = open(p, p.b, q.spec), true
}

func (p *queueProperty) remove(q *queueModel) {
	if q.open != nil {
		q.open.Close()
		q.open = nil
	}
	if got := p.b.Plugins().RemoveQueue(q.spec.Owner, q.spec.Name); got != q.made {
		p.fatalf("%s: removed: %v, want %v", q.spec.Name, got, q.made)
	}
	q.made, q.list, q.acked = false, nil, nil
	p.settled() // else it may come back
}

// read reads from somewhere and acknowledges some.
func (p *queueProperty) read(q *queueModel) {
	if q.open == nil {
		return
	}
	var after uint64
	rest := q.list
	if at := p.rng.IntN(len(q.list) + 1); at > 0 && p.rng.IntN(3) > 0 {
		if o := q.list[at-1].offset[q]; o != 0 {
			after, rest = o, q.list[at:]
		}
	}
	limit, bytes := 1+p.rng.IntN(30), 1+p.rng.IntN(200)
	list := q.open.next(after, limit, bytes, true)
	if len(list) > limit || len(list) > len(rest) || len(rest) > 0 && len(list) == 0 {
		p.fatalf("%s: %d messages behind %x, want up to %d of %d", q.spec.Name, len(list), after, limit, len(rest))
	}
	size := 0
	for i, got := range list {
		size += len(got.Message.Payload)
		p.check(q, rest[i], got)
		got.Message.Unref()
	}
	if len(list) > 1 && size > bytes {
		p.fatalf("%d bytes, want up to %d", size, bytes)
	}
	var offsets []uint64
	for i := range list {
		if m := rest[i]; p.rng.IntN(4) > 0 {
			offsets = append(offsets, m.offset[q])
			q.acked = append(q.acked, m)
		}
	}
	q.open.Ack(offsets...)
	q.list = slices.DeleteFunc(slices.Clone(q.list), func(m *queueMessage) bool { return slices.Contains(offsets, m.offset[q]) })
}

// check compares one message.
func (p *queueProperty) check(q *queueModel, m *queueMessage, got hook.Queued) {
	p.Helper()
	if string(got.Message.Payload) != m.text || string(got.Message.Topic) != m.topic || got.Message.QoS != m.qos || got.Namespace != m.namespace {
		p.fatalf("%s: got %s %s QoS %d of %q, want %+v", q.spec.Name, got.Message.Topic, got.Message.Payload, got.Message.QoS, got.Namespace, m)
	}
	if o := m.offset[q]; o != 0 && o != got.Offset {
		p.fatalf("%s: %s had offset %x, now %x", q.spec.Name, m.text, o, got.Offset)
	}
	m.offset[q] = got.Offset
}

// everything reads all that an open queue has.
func (p *queueProperty) everything(q *queueModel) (all []hook.Queued) {
	var after uint64
	for {
		list := q.open.next(after, 50, 1000, true)
		if len(list) == 0 {
			return all
		}
		all, after = append(all, list...), list[len(list)-1].Offset
	}
}

func (p *queueProperty) compare(q *queueModel, all []hook.Queued) {
	p.Helper()
	if len(all) != len(q.list) {
		p.fatalf("%s: %d messages, want %d", q.spec.Name, len(all), len(q.list))
	}
	for i, got := range all {
		p.check(q, q.list[i], got)
		got.Message.Unref()
	}
}

// crash takes the power away, or the process, compares what comes back with the
// models, and goes on with it.
func (p *queueProperty) crash() {
	keep := p.keep
	if keep < 0 {
		keep = []int{0, 50, 100, p.rng.IntN(100)}[p.rng.IntN(4)]
	}
	type frozen struct{ must, may []*queueMessage }
	before := make(map[*queueModel]frozen)
	for _, q := range p.queues {
		var f frozen
		for _, m := range q.list {
			if m.safe.Load() {
				f.must = append(f.must, m)
			}
		}
		f.may = append(slices.Clone(q.list), q.acked...)
		before[q] = f
	}
	p.fs = p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: p.rng})
	p.stop()
	p.start()
	for _, q := range p.queues {
		f := before[q]
		q.open, q.acked, q.list = nil, nil, nil
		i := p.info(q)
		if i.Name == "" {
			if len(f.must) > 0 {
				p.fatalf("%s is gone", q.spec.Name)
			}
			q.made = false
			continue
		}
		// Its wishes of before are in force until it is opened.
		q.made, q.spec = true, i.QueueSpec
	}
	for range p.rng.IntN(10) {
		p.publish()
	}
	p.routed()
	for _, q := range p.queues {
		if !q.made {
			continue
		}
		f, added := before[q], q.list
		q.list = nil
		q.open = open(p, p.b, q.spec)
		all := p.everything(q)
		last := 0
		for _, got := range all {
			text := string(got.Message.Payload)
			k := slices.IndexFunc(append(f.may, added...), func(m *queueMessage) bool { return m.text == text })
			if k < 0 {
				p.fatalf("%s: %s came back, or never was", q.spec.Name, text)
			}
			m := append(f.may, added...)[k]
			p.check(q, m, got)
			if n := number(text); n <= last {
				p.fatalf("%s: %s behind m%d", q.spec.Name, text, last)
			} else {
				last = n
			}
			got.Message.Unref()
			m.safe.Store(true)
			q.list = append(q.list, m)
		}
		for _, m := range append(f.must, added...) {
			if !slices.Contains(q.list, m) {
				p.fatalf("%s: %s is lost", q.spec.Name, m.text)
			}
		}
	}
}

func number(text string) (n int) {
	fmt.Sscanf(text, "m%d", &n)
	return n
}
