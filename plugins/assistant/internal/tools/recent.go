package tools

import (
	"bytes"
	"container/list"
	"slices"
	"strings"
	"sync"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// recent remembers the last messages of topics, within bounds: a busy topic loses its own
// oldest, and when there is no more room, the topic goes that has been silent longest in the
// namespace that takes the most.
type recent struct {
	perTopic, maxPayload int
	maxBytes             int

	mu     sync.Mutex
	bytes  int
	spaces map[string]*space
}

// space is a namespace.
type space struct {
	bytes  int
	order  list.List // of *line, the one that spoke last in front
	topics map[string]*list.Element
}

// line is a topic with its last messages, oldest first.
type line struct {
	topic string
	bytes int
	list  []sdk.Message
}

// overhead is about what a topic or a message takes beside its bytes.
const overhead = 300

func newRecent(c *Recent) *recent {
	return &recent{perTopic: c.PerTopic, maxPayload: int(c.MaxPayload), maxBytes: int(c.MaxBytes), spaces: map[string]*space{}}
}

func sizeOf(m *sdk.Message) int {
	return len(m.Payload) + len(m.ContentType) + len(m.Publisher) + overhead
}

// add remembers a message. Nothing of m is kept.
func (r *recent) add(namespace string, m *sdk.Message) {
	kept := sdk.Message{
		PayloadSize: uint32(len(m.Payload)), QoS: m.QoS, ReceivedMs: m.ReceivedMs, ContentType: strings.Clone(m.ContentType), Publisher: strings.Clone(m.Publisher),
	}
	// All of it or nothing: plugins that mask payloads may not understand a part.
	if len(m.Payload) <= r.maxPayload {
		kept.Payload = bytes.Clone(m.Payload)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	sp := r.spaces[namespace]
	if sp == nil {
		sp = &space{topics: map[string]*list.Element{}}
		r.spaces[strings.Clone(namespace)] = sp
	}
	e := sp.topics[m.Topic]
	if e == nil {
		l := &line{topic: strings.Clone(m.Topic)}
		e = sp.order.PushFront(l)
		sp.topics[l.topic] = e
		r.take(sp, l, len(l.topic)+overhead)
	} else {
		sp.order.MoveToFront(e)
	}
	l := e.Value.(*line)
	kept.Topic = l.topic
	if len(l.list) == r.perTopic {
		r.take(sp, l, -sizeOf(&l.list[0]))
		l.list = slices.Delete(l.list, 0, 1)
	}
	l.list = append(l.list, kept)
	r.take(sp, l, sizeOf(&kept))
	for r.bytes > r.maxBytes {
		r.forget()
	}
}

func (r *recent) take(sp *space, l *line, n int) {
	r.bytes, sp.bytes, l.bytes = r.bytes+n, sp.bytes+n, l.bytes+n
}

// forget forgets the most silent topic of the largest namespace.
func (r *recent) forget() {
	var largest *space
	name := ""
	for n, sp := range r.spaces {
		if largest == nil || sp.bytes > largest.bytes {
			largest, name = sp, n
		}
	}
	e := largest.order.Back()
	l := e.Value.(*line)
	r.take(largest, l, -l.bytes)
	largest.order.Remove(e)
	if delete(largest.topics, l.topic); len(largest.topics) == 0 {
		delete(r.spaces, name)
	}
}

// find returns what is remembered of topics that match. The messages are not changed any
// more.
func (r *recent) find(namespace, filter string) (out []sdk.Message) {
	r.each(namespace, filter, func(l *line) { out = append(out, l.list...) })
	return out
}

// topics lists topics that match.
func (r *recent) topics(namespace, filter string) (out []string) {
	r.each(namespace, filter, func(l *line) { out = append(out, l.topic) })
	return out
}

func (r *recent) each(namespace, filter string, fn func(*line)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sp := r.spaces[namespace]
	if sp == nil {
		return
	}
	for e := sp.order.Front(); e != nil; e = e.Next() {
		if l := e.Value.(*line); bridge.Match(filter, l.topic) {
			fn(l)
		}
	}
}
