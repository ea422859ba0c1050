package pluginhost

import (
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// gateWindow is how many batches of a gate may be unanswered. Meanwhile further
// messages gather, so that a slow gate gets larger batches.
const gateWindow = 8

// gated is one message whose acknowledgement waits for gates, one after the other.
type gated struct {
	request *hook.GateRequest
	done    func()
	next    int // in the hooks of the point
}

// gate gathers messages for one plugin. It belongs to the plugin, not to a generation:
// what waits here during a reload goes to the new one.
type gate struct {
	host   *Host
	plugin *plugin

	mu      sync.Mutex
	waiting []*gated
	under   int  // batches
	active  bool // a goroutine takes batches from waiting
}

// Gate holds an acknowledgement back. It is part of hook.Host.
func (h *Host) Gate(r *hook.GateRequest, done func()) bool {
	r.Code = packet.Success
	return h.gateNext(&gated{request: r, done: done})
}

// gateNext hands g to the next gate that is about it, and reports whether there is none.
func (h *Host) gateNext(g *gated) bool {
	hooks := h.table.Load().at(pluginv1.PointGatePublish)
	m := g.request.Message
	for ; g.next < len(hooks); g.next++ {
		k := hooks[g.next]
		if k.sees(namespaceOf(g.request.Client), text(m.Topic), m.QoS) && !k.plugin.published(m) {
			g.next++
			k.plugin.gate.put(g)
			return false
		}
	}
	return true
}

func (q *gate) put(g *gated) {
	q.mu.Lock()
	q.waiting = append(q.waiting, g)
	q.activate()
	q.mu.Unlock()
}

// activate is called with mu held.
func (q *gate) activate() {
	if !q.active && len(q.waiting) > 0 && q.under < gateWindow {
		q.active = true
		go q.pump()
	}
}

// pump hands out batches until nothing waits or too many are unanswered.
func (q *gate) pump() {
	for {
		q.mu.Lock()
		k := q.host.table.Load().of(q.plugin, pluginv1.PointGatePublish)
		n := len(q.waiting)
		if n == 0 || q.under >= gateWindow {
			q.active = false
			q.mu.Unlock()
			return
		}
		if k != nil {
			n = min(n, k.maxBatch)
		}
		size := 0
		for i := range n {
			if size += q.waiting[i].request.Message.Size(); size > maxBatchBytes && i > 0 {
				n = i
				break
			}
		}
		w := &gating{gate: q, items: append([]*gated(nil), q.waiting[:n]...)}
		q.waiting = append(q.waiting[:0], q.waiting[n:]...)
		q.under++
		q.mu.Unlock()
		var hooks []*hooked
		if k != nil {
			hooks = []*hooked{k}
		}
		w.begin(q.host, w, hooks, w.passed)
		if w.start() {
			w.passed()
		}
	}
}

// maxBatchBytes is how large the messages of a batch may be together.
const maxBatchBytes = 64 << 10

// gating is the work of one batch of a gate.
type gating struct {
	run
	gate  *gate
	items []*gated
}

func (w *gating) fill(c *call, from int) int {
	now := time.Now().UnixMilli()
	for ; from < len(w.items) && !c.full(); from++ {
		r := w.items[from].request
		e := c.add(from, r.Client)
		e.Message = c.message(r.Message, len(w.items), now)
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

// passed hands the messages on, to the next gate or back to the broker.
func (w *gating) passed() {
	for _, g := range w.items {
		if g.request.Code.IsError() || w.host.gateNext(g) {
			g.done()
		}
	}
	q := w.gate
	q.mu.Lock()
	q.under--
	q.activate()
	q.mu.Unlock()
}
