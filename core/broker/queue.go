package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
)

// queue is a queue of messages for a plugin (hook.Queue). In the router it is a
// subscriber of the namespaces that it is about. What waits in it is in its state;
// what has been read and not acknowledged is noted in taken, and its messages are
// where the state has them.
//
// Locks: Broker.mu, then mu, then those of the store. ready is called without any.
type queue struct {
	b    *Broker
	key  uint64
	spec atomic.Pointer[hook.QueueSpec] // immutable; changed under Broker.mu

	mu     sync.Mutex
	state  store.Session
	opened *openQueue // nil: nobody reads
	cold   bool       // stored by a process before: what was in flight has to be asked for first
	gone   bool
	dry    bool // Read has seen the end
	taken  takenList
	last   uint64 // the last offset, where the state gives none
}

var (
	_ router.Subscriber = (*queue)(nil)
	_ store.Owner       = (*queue)(nil)
	_ hook.Queue        = (*openQueue)(nil)
)

func (q *queue) Online() bool { return true }
func (q *queue) Load() int    { return 0 }
func (q *queue) Key() uint64  { return q.key }

// wants reports whether a message is for the queue whose topic is.
func (q *queue) wants(m *packet.Message) bool {
	s := q.spec.Load()
	return m.QoS >= s.MinQoS && (m.Origin == nil || m.Origin.Plugin != s.Owner)
}

// put adds f's present message. It returns false if the queue does not take it.
func (q *queue) put(f *session.Frames, n *namespace, from *source) bool {
	m := f.Message()
	if !q.wants(m) {
		return false
	}
	q.mu.Lock()
	if q.gone {
		q.mu.Unlock()
		return false
	}
	durable := q.state.Durable()
	if m.QoS == 0 && durable && q.b.store.Full() {
		q.mu.Unlock()
		q.b.dropped(n.name, from.client, m, 0, hook.DropStoreFull)
		return true
	}
	// Of QoS 1, whatever the message is of: until it is acknowledged, it stays.
	e := store.Entry{Message: f.Keep(), Route: from.route(n), QoS: 1, Retain: m.Retain}
	var r *store.Receipt
	lazy := true
	if m.QoS > 0 && durable {
		// A reader may well be through with it before it is worth to be written.
		r, lazy = f.ReceiptFor(), q.opened != nil && !f.Enclosed()
	}
	q.state.Add(e, 0, lazy, r)
	var ready func()
	if q.dry && q.opened != nil {
		q.dry, ready = false, q.opened.ready
	}
	q.mu.Unlock()
	if ready != nil {
		ready()
	}
	return true
}

// route is what a queue remembers of where a message comes from.
func (s *source) route(n *namespace) *store.Route {
	if s.client == nil {
		return n.queueRoute
	}
	if c := s.conn; c != nil {
		o := c.publisher()
		if r := o.route; r == nil || r.Note != s.client {
			o.route = &store.Route{Filter: n.name, Note: s.client}
		}
		return o.route
	}
	return &store.Route{Filter: n.name, Note: s.client}
}

// open makes h the reader; false if there is one.
func (q *queue) open(h *openQueue) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.opened != nil {
		return false
	}
	q.opened, q.dry = h, false
	return true
}

// save stores the record as it is now.
func (q *queue) save() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.gone {
		q.state.Save(q.record())
	}
}

// end gives everything back; false if somebody reads.
func (q *queue) end() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.opened != nil {
		return false
	}
	q.gone = true
	q.state.End(func(e store.Entry) { e.Message.Unref() })
	q.taken.clear()
	return true
}

// Ready is part of store.Owner.
func (q *queue) Ready() {
	q.mu.Lock()
	h := q.opened
	q.mu.Unlock()
	if h != nil {
		h.ready()
	}
}

// Expired is part of store.Owner.
func (q *queue) Expired(e store.Entry) {
	q.expired(&e)
	e.Message.Unref()
}

func (q *queue) expired(e *store.Entry) {
	namespace, client := origin(e.Route)
	q.b.dropped(namespace, client, e.Message, e.Message.QoS, hook.DropExpired)
}

// origin is where a message of a queue comes from.
func origin(r *store.Route) (namespace string, client *hook.Client) {
	if r == nil {
		return "", nil
	}
	client, _ = r.Note.(*hook.Client)
	return r.Filter, client
}

func (q *queue) info() hook.QueueInfo {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := hook.QueueInfo{QueueSpec: *q.spec.Load(), Open: q.opened != nil}
	if q.gone {
		return i
	}
	i.Messages, i.Bytes = q.state.Len()+q.taken.live, q.state.Bytes()+q.taken.bytes
	if t := q.taken.first(); t != nil {
		i.Oldest = time.UnixMilli(t.received)
	} else if q.thaw() {
		if e, ok := q.state.Front(); ok {
			i.Oldest = time.UnixMilli(e.Message.Received)
		}
	}
	return i
}

// thaw reports whether the state can be read: of one that was stored, what was in
// flight has to be asked for first. There is none, since a queue never says Sent.
func (q *queue) thaw() bool {
	if q.cold {
		_, ok := q.state.Inflight()
		q.cold = !ok
	}
	return !q.cold
}

// openQueue is a queue while somebody reads it.
type openQueue struct {
	q     *queue
	ready func()
}

func (h *openQueue) Info() hook.QueueInfo { return h.q.info() }

func (h *openQueue) Close() {
	q := h.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.opened == h {
		q.opened = nil
		q.state.Save(q.record())
	}
}

func (h *openQueue) Ack(offsets ...uint64) {
	q := h.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone {
		return
	}
	for _, o := range offsets {
		q.forget(o)
	}
}

// forget settles a message that was read.
func (q *queue) forget(offset uint64) {
	t, ok := q.taken.take(offset)
	if !ok {
		return
	}
	if q.state.Durable() {
		q.state.Settle(offset, 0)
	} else {
		t.message.Unref()
	}
}

func (h *openQueue) Read(after uint64, max, maxBytes int) (list []hook.Queued, more bool) {
	q := h.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.opened != h || max < 1 {
		return nil, false
	}
	r := reading{q: q, after: after, max: max, maxBytes: maxBytes, now: q.b.clock.Now()}
	if !q.thaw() {
		return nil, true
	}
	if !r.again() || !r.fresh() {
		more = true
	}
	return r.list, more
}

// reading is one Read.
type reading struct {
	q             *queue
	after         uint64
	max, maxBytes int
	now           int64
	list          []hook.Queued
	bytes         int
}

// fits reports whether the list takes a message of a size.
func (r *reading) fits(payload int) bool {
	return len(r.list) == 0 || len(r.list) < r.max && r.bytes+payload <= r.maxBytes
}

// add takes a message and its reference into the list, unless it has expired.
func (r *reading) add(offset uint64, m *packet.Message, route *store.Route) {
	if m.Expired(r.now) {
		r.q.expired(&store.Entry{Message: m, Route: route})
		r.q.forget(offset)
		m.Unref()
		return
	}
	namespace, client := origin(route)
	r.list = append(r.list, hook.Queued{Offset: offset, Namespace: namespace, Client: client, Message: m})
	r.bytes += len(m.Payload)
}

// again goes over what was read before. It returns false if that does not all fit
// in, or has to be read from disk first.
func (r *reading) again() bool {
	for t := r.q.taken.after(r.after); t != nil; t = r.q.taken.after(r.after) {
		if len(r.list) >= r.max {
			return false
		}
		if !r.q.state.Durable() {
			if !r.fits(len(t.message.Payload)) {
				return false
			}
			r.after = t.offset
			t.message.Ref()
			r.add(t.offset, t.message, t.route)
			continue
		}
		entries, ok := r.q.state.Again(r.after, r.max-len(r.list), max(r.maxBytes-r.bytes, 1))
		if !ok {
			return false
		}
		full := false
		for _, e := range entries {
			switch {
			case full || e.Message != nil && !r.fits(len(e.Message.Payload)):
				full = true
				if e.Message != nil {
					e.Message.Unref()
				}
				continue
			case e.Message == nil:
				r.q.forget(e.Pos) // damaged; the store has said so
			default:
				r.add(e.Pos, e.Message, e.Route)
			}
			r.after = e.Pos
		}
		if full || len(entries) == 0 {
			return false
		}
	}
	return true
}

// fresh goes on with what was not read before. It returns false if there is more.
func (r *reading) fresh() bool {
	q := r.q
	for {
		front, ok := q.state.Front()
		if !ok {
			q.dry = q.state.Empty()
			return q.dry
		}
		if len(r.list) >= r.max || !r.fits(len(front.Message.Payload)) {
			return false
		}
		e, _ := q.state.Pop()
		t := taken{offset: e.Pos, size: int64(e.Message.Size()), received: e.Message.Received, route: e.Route}
		if !q.state.Durable() {
			q.last++
			t.offset = q.last
			e.Message.Ref()
			t.message = e.Message
		}
		q.taken.add(t)
		if t.offset <= r.after {
			e.Message.Unref()
			continue
		}
		r.add(t.offset, e.Message, e.Route)
	}
}
