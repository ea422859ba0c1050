package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/topic"
)

// A queue is stored like a session that never expires, in a namespace of its own
// that no client can be in: so that it has part in group commits, in what is stored
// once for many, in export, import and checks, and needs no second way to survive a
// crash. In the tables of sessions it never is.
const queueNamespace = "$queues"

// queueID names a queue.
type queueID struct{ owner, name string }

// storedSpec is the part of a QueueSpec that its record does not name; it has the
// place of the user name there.
type storedSpec struct {
	Filters    []string `json:"filters"`
	MinQoS     byte     `json:"min_qos,omitempty"`
	Namespaces []string `json:"namespaces,omitempty"`
}

func (pl plugins) OpenQueue(spec hook.QueueSpec, ready func()) (hook.Queue, error) {
	b := pl.b
	if err := checkSpec(&spec); err != nil {
		return nil, fmt.Errorf("queue %q of plugin %q: %w", spec.Name, spec.Owner, err)
	}
	spec.Filters, spec.Namespaces = slices.Clone(spec.Filters), slices.Clone(spec.Namespaces)
	id := queueID{spec.Owner, spec.Name}
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queues[id]
	if q == nil {
		if b.store.Full() {
			return nil, fmt.Errorf("queue %q of plugin %q: %w", spec.Name, spec.Owner, store.ErrFull)
		}
		q = &queue{b: b, key: b.nextKey.Add(1)}
		q.spec.Store(&hook.QueueSpec{Owner: spec.Owner, Name: spec.Name})
		q.state = b.store.Create(q.record(), q)
		b.addQueue(q)
	}
	h := &openQueue{q: q, ready: ready}
	if !q.open(h) {
		return nil, fmt.Errorf("queue %q of plugin %q: %w", spec.Name, spec.Owner, hook.ErrQueueOpen)
	}
	before := q.spec.Swap(&spec)
	b.everyNamespace(func(n *namespace) { n.subscribeQueue(q, before, &spec) })
	q.save()
	return h, nil
}

func checkSpec(s *hook.QueueSpec) error {
	if s.Owner == "" || s.Name == "" || strings.Contains(s.Owner, "/") {
		return errors.New("a queue needs a name, and an owner without a slash")
	}
	if s.MinQoS > 2 {
		return fmt.Errorf("minimum QoS %d", s.MinQoS)
	}
	for _, f := range s.Filters {
		if p, err := topic.ParseFilter(f); err != nil {
			return fmt.Errorf("topic filter %q: %w", f, err)
		} else if p.Shared {
			return fmt.Errorf("topic filter %q: shared subscriptions are for clients", f)
		}
	}
	return nil
}

func (pl plugins) Queues() (list []hook.QueueInfo) {
	for _, q := range pl.b.allQueues() {
		list = append(list, q.info())
	}
	return list
}

func (b *Broker) allQueues() (list []*queue) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, q := range b.queues {
		list = append(list, q)
	}
	return list
}

func (pl plugins) RemoveQueue(owner, name string) bool {
	b := pl.b
	b.mu.Lock()
	defer b.mu.Unlock()
	id := queueID{owner, name}
	q := b.queues[id]
	if q == nil || !q.end() {
		return false
	}
	delete(b.queues, id)
	none := &hook.QueueSpec{Owner: owner, Name: name}
	b.everyNamespace(func(n *namespace) { n.subscribeQueue(q, q.spec.Load(), none) })
	return true
}

// addQueue takes q into the table; b.mu is held.
func (b *Broker) addQueue(q *queue) {
	if b.queues == nil {
		b.queues = make(map[queueID]*queue)
	}
	s := q.spec.Load()
	b.queues[queueID{s.Owner, s.Name}] = q
}

// everyNamespace is eachNamespace for who holds b.mu, so that no namespace comes
// meanwhile.
func (b *Broker) everyNamespace(fn func(*namespace)) {
	fn(b.root)
	for _, n := range b.namespaces {
		fn(n)
	}
}

// subscribeQueue has the router send a queue what it wants of this namespace from
// now on; what both specs want is not missed meanwhile. The Broker's mu is held.
func (n *namespace) subscribeQueue(q *queue, before, now *hook.QueueSpec) {
	old, wanted := n.filters(before), n.filters(now)
	for _, f := range wanted {
		if !n.router.Subscribe(q, "", f, router.Options{QoS: 2}) {
			n.queueFilters.Add(1)
		}
	}
	for _, f := range old {
		if !slices.Contains(wanted, f) && n.router.Unsubscribe(q, "", f) {
			n.queueFilters.Add(-1)
		}
	}
}

// filters are those that a queue has in this namespace.
func (n *namespace) filters(s *hook.QueueSpec) []string {
	if len(s.Namespaces) > 0 && !slices.Contains(s.Namespaces, n.name) {
		return nil
	}
	return s.Filters
}

// restoreQueue takes over a queue that was stored.
func (b *Broker) restoreQueue(saved store.Saved) *queue {
	owner, name, _ := strings.Cut(saved.ClientID, "/")
	spec := &hook.QueueSpec{Owner: owner, Name: name}
	var stored storedSpec
	if err := json.Unmarshal([]byte(saved.Username), &stored); err != nil {
		b.log.Error("what a stored queue is to hold cannot be read: it gets nothing new until its plugin opens it", "plugin", owner, "queue", name, "error", err)
	}
	spec.Filters, spec.MinQoS, spec.Namespaces = stored.Filters, stored.MinQoS, stored.Namespaces
	if err := checkSpec(spec); err != nil {
		b.log.Error("a stored queue is not valid: it gets nothing new until its plugin opens it", "plugin", owner, "queue", name, "error", err)
		spec.Filters = nil
	}
	q := &queue{b: b, key: b.nextKey.Add(1), state: saved.State, cold: true}
	q.spec.Store(spec)
	none := new(hook.QueueSpec)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addQueue(q)
	b.everyNamespace(func(n *namespace) { n.subscribeQueue(q, none, spec) })
	return q
}

// record is what is stored of the queue itself.
func (q *queue) record() store.Record {
	s := q.spec.Load()
	spec, err := json.Marshal(storedSpec{s.Filters, s.MinQoS, s.Namespaces})
	if err != nil {
		panic(err) // of strings and a number: impossible
	}
	r := store.Record{
		Namespace: queueNamespace, ClientID: s.Owner + "/" + s.Name, Username: string(spec), Expiry: session.NeverExpires,
	}
	if q.opened == nil {
		// For the store this is a client that is away: nothing is kept in memory for it.
		r.Detached = q.b.clock.Now()
	}
	return r
}
