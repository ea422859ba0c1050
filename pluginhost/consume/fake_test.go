package consume

import (
	"cmp"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// fakeQueue is a hook.Queue in memory that outlives those who open it. Every third Read
// that finds something says first that it has to come from disk, if paged is set.
type fakeQueue struct {
	mu    sync.Mutex
	list  []hook.Queued // one reference to each message, until drop
	acked map[uint64]int
	ready func()
	next  uint64
	spec  hook.QueueSpec
	opens int

	paged   bool
	reads   int
	seenEnd bool
	onAck   func(offsets []uint64)
	scratch []hook.Queued
}

func newFakeQueue() *fakeQueue { return &fakeQueue{acked: map[uint64]int{}} }

// put appends a message and returns its offset. Offsets have gaps.
func (q *fakeQueue) put(m *packet.Message, client *hook.Client) uint64 {
	q.mu.Lock()
	q.next += 3
	offset := q.next
	e := hook.Queued{Offset: offset, Client: client, Message: m.Keep(offset)}
	if client != nil {
		e.Namespace = client.Namespace
	}
	q.list = append(q.list, e)
	ready := q.ready
	if !q.seenEnd {
		ready = nil
	}
	q.seenEnd = false
	q.mu.Unlock()
	if ready != nil {
		ready()
	}
	return offset
}

// fill puts n messages whose payload is their number.
func (q *fakeQueue) fill(n int) (offsets []uint64) {
	for i := range n {
		m := packet.Message{Topic: []byte("a/b"), Payload: binary.BigEndian.AppendUint64(nil, uint64(i)), QoS: 1, Received: time.Now().UnixMilli()}
		offsets = append(offsets, q.put(&m, nil))
	}
	return offsets
}

func (q *fakeQueue) Read(after uint64, limit, maxBytes int) ([]hook.Queued, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.scratch = q.scratch[:0]
	bytes := 0
	start, _ := slices.BinarySearchFunc(q.list, after+1, func(e hook.Queued, offset uint64) int { return cmp.Compare(e.Offset, offset) })
	for _, e := range q.list[start:] {
		if q.acked[e.Offset] > 0 {
			continue
		}
		if n := len(q.scratch); n > 0 && (n >= limit || bytes+len(e.Message.Payload) > maxBytes) {
			break
		}
		if q.reads++; q.paged && len(q.scratch) == 0 && q.reads%3 == 0 && q.ready != nil {
			ready := q.ready
			time.AfterFunc(3*time.Millisecond, ready)
			return nil, true
		}
		bytes += len(e.Message.Payload)
		e.Message.Ref()
		q.scratch = append(q.scratch, e)
	}
	q.seenEnd = len(q.scratch) == 0
	return q.scratch, !q.seenEnd
}

func (q *fakeQueue) Ack(offsets ...uint64) {
	if q.onAck != nil {
		q.onAck(offsets)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ready == nil {
		panic("Ack of a queue that is closed")
	}
	for _, o := range offsets {
		q.acked[o]++
	}
}

func (q *fakeQueue) Info() hook.QueueInfo {
	q.mu.Lock()
	defer q.mu.Unlock()
	info := hook.QueueInfo{QueueSpec: q.spec, Open: q.ready != nil}
	for _, e := range q.list {
		if q.acked[e.Offset] > 0 {
			continue
		}
		if info.Messages == 0 {
			info.Oldest = time.UnixMilli(e.Message.Received)
		}
		info.Messages++
		info.Bytes += int64(e.Message.Size())
	}
	return info
}

func (q *fakeQueue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ready, q.seenEnd = nil, false
}

func (q *fakeQueue) isAcked(offset uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.acked[offset] > 0
}

// unacked are the offsets that are left.
func (q *fakeQueue) unacked() (left []uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.list {
		if q.acked[e.Offset] == 0 {
			left = append(left, e.Offset)
		}
	}
	return left
}

// references fails the test if anybody but the queue has a reference to a message.
func (q *fakeQueue) references(t *testing.T) {
	t.Helper()
	for _, e := range q.list {
		if n := refs(e.Message); n != 1 {
			t.Errorf("message %d has %d references, not the queue's one alone", e.Offset, n)
		}
	}
}

// refs reads the count that package packet keeps to itself.
func refs(m *packet.Message) int64 {
	return reflect.ValueOf(m).Elem().FieldByName("refs").FieldByName("v").Int()
}

// letter is a message that was published to a fakeBroker.
type letter struct {
	namespace string
	message   *packet.Message
	user      []packet.UserProperty
}

// fakeBroker is a hook.Broker with one queue.
type fakeBroker struct {
	hook.Broker
	queue *fakeQueue

	mu      sync.Mutex
	letters []letter
	events  []hook.Event
	// publish, if not nil, answers instead.
	publish func(l letter, done func(hook.PublishResult))
	onEvent func(e *hook.Event)
}

func (b *fakeBroker) OpenQueue(spec hook.QueueSpec, ready func()) (hook.Queue, error) {
	b.queue.mu.Lock()
	defer b.queue.mu.Unlock()
	if b.queue.ready != nil {
		return nil, hook.ErrQueueOpen
	}
	b.queue.spec, b.queue.ready = spec, ready
	b.queue.opens++
	return b.queue, nil
}

func (b *fakeBroker) Publish(namespace string, m *packet.Message, done func(hook.PublishResult)) {
	l := letter{namespace: namespace, message: m.Keep(0)}
	var p packet.PublishProps
	if err := p.Decode(l.message.Props, false); err != nil {
		panic(err)
	}
	for k, v := range p.UserProperties() {
		l.user = append(l.user, packet.UserProperty{Key: string(k), Value: string(v)})
	}
	b.mu.Lock()
	b.letters = append(b.letters, l)
	b.mu.Unlock()
	if b.publish != nil {
		b.publish(l, done)
		return
	}
	done(hook.PublishResult{Receivers: 1})
}

func (b *fakeBroker) Emit(e *hook.Event) {
	if b.onEvent != nil {
		b.onEvent(e)
	}
	b.mu.Lock()
	b.events = append(b.events, *e)
	b.mu.Unlock()
}

var errCrashed = errors.New("the plugin has crashed")

// fakePlugin is an instance whose batches the test answers.
type fakePlugin struct {
	instance.Plugin
	consume func(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, done func(error)) (bool, error)
}

func (p *fakePlugin) Consume(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, done func(error)) (bool, error) {
	return p.consume(b, r, done)
}

// pinned is a Pin of p that counts who holds it.
func (p *fakePlugin) pinned(held *int) Pin {
	var mu sync.Mutex
	return func() (instance.Plugin, func(), bool) {
		mu.Lock()
		*held++
		mu.Unlock()
		return p, func() {
			mu.Lock()
			*held--
			mu.Unlock()
		}, true
	}
}

// answering is a plugin that answers at once.
func answering(f func(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult) error) *fakePlugin {
	return &fakePlugin{consume: func(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, done func(error)) (bool, error) {
		return true, f(b, r)
	}}
}

// acknowledge acknowledges all of a batch.
func acknowledge(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult) {
	r.AcknowledgedOffset = b.Deliveries[len(b.Deliveries)-1].Offset
}

func offsetsOf(b *pluginv1.ConsumeBatch) (list []uint64) {
	for i := range b.Deliveries {
		list = append(list, b.Deliveries[i].Offset)
	}
	return list
}
