package pluginhost

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const (
	// gateWindow is how many batches of a gate may be unanswered. Meanwhile further
	// messages gather, so that a slow gate gets larger batches.
	gateWindow = 8
	// gateBehind is how many batches may be through and wait to be handed on, behind one
	// that is unanswered.
	gateBehind = 1024
	// gateMessages and gateBytes are how much may gather; the failure policy answers for
	// what comes then. The broker stops reading from a client that owes it too much, so
	// that it takes many clients to get here.
	gateMessages = 1 << 16
	gateBytes    = 64 << 20
)

// gated is one message whose acknowledgement waits for gates, one after the other.
type gated struct {
	request *hook.GateRequest
	done    func()
	hook    *hooked   // the gate that it waits for
	passed  []*plugin // and those before, whatever becomes of the table meanwhile
}

// gate gathers messages for one plugin. It belongs to the plugin, not to a generation:
// what waits here during a reload goes to the new one.
type gate struct {
	host   *Host
	plugin *plugin

	mu      sync.Mutex
	waiting []*gated
	first   int // of waiting
	bytes   int // of waiting
	// under are the batches that are unanswered, or behind one of these, in order.
	under      []*gating
	unanswered int
	active     bool // a goroutine takes batches from waiting
	passing    bool // a goroutine hands on what has passed
}

// Gate holds an acknowledgement back. It is part of hook.Host.
func (h *Host) Gate(r *hook.GateRequest, done func()) bool {
	r.Code = packet.Success
	if len(h.table.Load().at(pluginv1.PointGatePublish)) == 0 {
		return true
	}
	return h.gateNext(&gated{request: r, done: done})
}

// nextGate returns the next gate that is about g, nil if there is none.
func (h *Host) nextGate(g *gated) *hooked {
	m := g.request.Message
	for _, k := range h.table.Load().at(pluginv1.PointGatePublish) {
		if !slices.Contains(g.passed, k.plugin) && k.sees(namespaceOf(g.request.Client), text(m.Topic), m.QoS) && !k.plugin.published(m) {
			return k
		}
	}
	return nil
}

// gateNext hands g to the next gate that is about it, and reports whether there is none.
func (h *Host) gateNext(g *gated) bool {
	for {
		k := h.nextGate(g)
		if k == nil {
			return true
		}
		g.hook, g.passed = k, append(g.passed, k.plugin)
		if k.plugin.gate.put(g) {
			return false
		}
		k.stats.policy.Add(1)
		if k.failure != pluginv1.FailurePolicyContinue {
			g.request.Code = packet.ImplementationSpecificError
			return true
		}
	}
}

// put queues g, and reports whether there was room.
func (q *gate) put(g *gated) bool {
	size := g.request.Message.Size()
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.waiting) - q.first; n >= gateMessages || n > 0 && q.bytes+size > gateBytes {
		return false
	}
	q.waiting = append(q.waiting, g)
	q.bytes += size
	q.activate()
	return true
}

// activate is called with mu held.
func (q *gate) activate() {
	if !q.active && q.ready() {
		q.active = true
		go q.pump()
	}
}

// ready reports whether a batch can be handed out. It is called with mu held.
func (q *gate) ready() bool {
	return len(q.waiting) > q.first && q.unanswered < gateWindow && len(q.under) < gateBehind
}

// pump hands out batches until nothing waits or too many are unanswered.
func (q *gate) pump() {
	for {
		q.mu.Lock()
		if !q.ready() {
			q.active = false
			q.mu.Unlock()
			return
		}
		k := q.waiting[q.first].hook
		w := &gating{gate: q, items: q.take(k)}
		q.under = append(q.under, w)
		q.unanswered++
		q.mu.Unlock()
		w.begin(q.host, w, []*hooked{k}, w.passed)
		if w.start() {
			w.passed()
		}
	}
}

// maxBatchBytes is how large the messages of a batch may be together.
const maxBatchBytes = 64 << 10

// take takes what a batch for k has room for. It is called with mu held.
func (q *gate) take(k *hooked) []*gated {
	rest := q.waiting[q.first:]
	n, size := 0, 0
	for n < len(rest) {
		m := rest[n].request.Message
		if n > 0 && (n == k.maxBatch || size+sentSize(m, k.fields) > maxBatchBytes) {
			break
		}
		size += sentSize(m, k.fields)
		q.bytes -= m.Size()
		n++
	}
	items := slices.Clone(rest[:n])
	clear(rest[:n])
	q.first += n
	if q.first == len(q.waiting) || q.first >= 1024 {
		left := copy(q.waiting, q.waiting[q.first:])
		clear(q.waiting[left:])
		q.waiting, q.first = q.waiting[:left], 0
	}
	return items
}

// gating is the work of one batch of a gate.
type gating struct {
	run
	gate  *gate
	items []*gated
	ended bool // all have been decided; guarded by gate.mu
}

func (w *gating) fill(c *call, from int) int {
	for ; from < len(w.items); from++ {
		r := w.items[from].request
		if !c.fits(r.Message) {
			break
		}
		e := c.add(from, r.Client)
		e.Message = c.message(r.Message, r.Message, len(w.items))
		e.Message.Publisher = "" // it is the client
	}
	return from
}

func (w *gating) decide(c *call, i int, v *pluginv1.Verdict) {
	if v.Action == pluginv1.ActionDeny {
		w.items[c.index[i]].request.Code = codeOf(v, packet.NotAuthorized)
	}
}

func (w *gating) fail(c *call, i int) {
	w.items[c.index[i]].request.Code = packet.ImplementationSpecificError
}

func (w *gating) settled() bool { return false }

func (w *gating) finish() bool { return true }

// passed gives the messages back to the broker for which no further gate has to be
// asked. The others are handed on, in the order in which they came here: so that the
// next gate gets those of one client in order too.
func (w *gating) passed() {
	var on []*gated
	for _, g := range w.items {
		if g.request.Code.IsError() || w.host.nextGate(g) == nil {
			g.done()
		} else {
			on = append(on, g)
		}
	}
	w.gate.ended(w, on)
}

// ended notes that w is through but for what is to be handed on.
func (q *gate) ended(w *gating, on []*gated) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.items, w.ended = on, true
	q.unanswered--
	q.activate()
	if q.passing {
		return
	}
	q.passing = true
	for len(q.under) > 0 && q.under[0].ended {
		w := q.under[0]
		q.under = slices.Delete(q.under, 0, 1)
		q.mu.Unlock()
		for _, g := range w.items {
			if q.host.gateNext(g) {
				g.done()
			}
		}
		q.mu.Lock()
	}
	q.passing = false
	q.activate()
}

// flush waits, within ctx, until everything that is there has been decided.
func (q *gate) flush(ctx context.Context) {
	for {
		q.mu.Lock()
		left := len(q.waiting) - q.first + len(q.under)
		q.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-time.After(flushPause):
		case <-ctx.Done():
			return
		}
	}
}
