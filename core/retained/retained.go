package retained

import (
	"strings"
	"sync"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// Limits bound what is retained; 0 is no bound.
type Limits struct {
	// MaxMessages and MaxBytes (topics, properties and payloads) are totals.
	MaxMessages int
	MaxBytes    int64
	// MaxPayload is the largest payload that is retained, in bytes.
	MaxPayload int
}

// Refusal says why a message was not retained: the name of the limit.
type Refusal string

// The reasons of Set.
const (
	Accepted        Refusal = ""
	TooManyMessages Refusal = "retained.max_messages"
	TooManyBytes    Refusal = "retained.max_bytes"
	PayloadTooLarge Refusal = "retained.max_payload"
)

// Messages are the retained messages of one namespace. It is safe for concurrent
// use.
type Messages struct {
	namespace string
	store     store.Store

	mu     sync.RWMutex
	limits Limits
	root   node
	index  map[string]*node
	bytes  int64
	// mortal counts the messages with an expiry, so that a sweep of the usual
	// kind, without any, costs nothing.
	mortal int
}

// node is one level of the topic tree.
type node struct {
	parent   *node
	level    string
	children map[string]*node
	msg      *packet.Message
}

// New returns an empty set. What is retained from now on is handed to st.
func New(namespace string, st store.Store, l Limits) *Messages {
	return &Messages{namespace: namespace, store: st, limits: l, index: make(map[string]*node)}
}

// stored reports whether the messages of a topic outlive the process. Those below
// $SYS tell of the process.
func stored[T ~string | ~[]byte](topic T) bool {
	return len(topic) < 5 || string(topic[:5]) != "$SYS/"
}

// Restore puts back a message that was stored; its reference goes along.
func (r *Messages) Restore(m *packet.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(m)
}

// SetLimits replaces the limits. What is already kept stays.
func (r *Messages) SetLimits(l Limits) {
	r.mu.Lock()
	r.limits = l
	r.mu.Unlock()
}

// Set retains m, a kept message whose reference goes along, in place of the one
// that its topic had [MQTT-3.3.1-5]. When a limit refuses it, the message that
// was there before is gone all the same: it would be out of date; cleared reports
// whether there was one. The Receipt, which may be nil, waits until the Store has it.
func (r *Messages) Set(m *packet.Message, receipt *store.Receipt) (why Refusal, cleared bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if why := r.refuse(m); why != Accepted {
		cleared = r.clear(string(m.Topic), receipt)
		m.Unref()
		return why, cleared
	}
	if stored(m.Topic) {
		r.store.Retain(r.namespace, m, receipt)
	}
	r.put(m)
	return Accepted, false
}

func (r *Messages) put(m *packet.Message) {
	n := r.index[string(m.Topic)]
	if n == nil {
		n = r.node(string(m.Topic))
		r.index[string(m.Topic)] = n
	} else {
		r.account(n.msg, -1)
		n.msg.Unref()
	}
	n.msg = m
	r.account(m, +1)
}

func (r *Messages) account(m *packet.Message, sign int) {
	r.bytes += int64(sign * m.Size())
	if m.Expires != packet.NoExpiry {
		r.mortal += sign
	}
}

func (r *Messages) refuse(m *packet.Message) Refusal {
	l, old := &r.limits, r.index[string(m.Topic)]
	var freed int64
	if old != nil {
		freed = int64(old.msg.Size())
	}
	switch {
	case l.MaxPayload > 0 && len(m.Payload) > l.MaxPayload:
		return PayloadTooLarge
	case l.MaxMessages > 0 && old == nil && len(r.index) >= l.MaxMessages:
		return TooManyMessages
	case l.MaxBytes > 0 && r.bytes-freed+int64(m.Size()) > l.MaxBytes:
		return TooManyBytes
	}
	return Accepted
}

// node finds or makes the node of a topic.
func (r *Messages) node(topic string) *node {
	n := &r.root
	for more := true; more; {
		var level string
		level, topic, more = strings.Cut(topic, "/")
		c := n.children[level]
		if c == nil {
			// A copy: a level must not hold the memory of a whole topic.
			c = &node{parent: n, level: strings.Clone(level)}
			if n.children == nil {
				n.children = make(map[string]*node, 1)
			}
			n.children[c.level] = c
		}
		n = c
	}
	return n
}

// Clear removes the retained message of a topic and reports whether there was
// one [MQTT-3.3.1-6]. The Receipt, which may be nil, waits until the Store has
// forgotten it.
func (r *Messages) Clear(topic string, receipt *store.Receipt) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clear(topic, receipt)
}

func (r *Messages) clear(topic string, receipt *store.Receipt) bool {
	n := r.index[topic]
	if n == nil {
		if receipt != nil && stored(topic) {
			// It may have been cleared a moment ago, and the Store has not got that yet.
			r.store.Unretain(r.namespace, topic, receipt)
		}
		return false
	}
	if stored(topic) {
		r.store.Unretain(r.namespace, topic, receipt)
	}
	delete(r.index, topic)
	r.account(n.msg, -1)
	n.msg.Unref()
	n.msg = nil
	for n.msg == nil && len(n.children) == 0 && n.parent != nil {
		delete(n.parent.children, n.level)
		n = n.parent
	}
	return true
}

// Get returns the retained message of a topic with a reference of the caller's
// own, nil if there is none or it has expired at now (Unix milliseconds).
func (r *Messages) Get(topic string, now int64) *packet.Message {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := r.index[topic]
	if n == nil || n.msg.Expired(now) {
		return nil
	}
	n.msg.Ref()
	return n.msg
}

// MayMatch reports whether Match might find anything: false is certain, and is what most
// subscriptions to one topic get, for next to nothing.
func (r *Messages) MayMatch(filter string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if strings.ContainsAny(filter, "+#") {
		return len(r.index) > 0
	}
	return r.index[filter] != nil
}

// Match appends to dst the retained messages that match a valid Topic Filter and
// have not expired at now, each with a reference of the caller's own. Filters
// that begin with a wildcard do not match topics that begin with `$`
// [MQTT-4.7.2-1].
func (r *Messages) Match(filter string, now int64, dst []*packet.Message) []*packet.Message {
	if !strings.ContainsAny(filter, "+#") {
		if m := r.Get(filter, now); m != nil {
			dst = append(dst, m)
		}
		return dst
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	w := walk{now: now, found: dst}
	w.match(&r.root, filter)
	return w.found
}

type walk struct {
	now   int64
	found []*packet.Message
}

func (w *walk) add(n *node) {
	if n.msg != nil && !n.msg.Expired(w.now) {
		n.msg.Ref()
		w.found = append(w.found, n.msg)
	}
}

// match goes down one chain of literal levels in a loop and recurses at `+`
// only, so that its depth is bounded by the wildcards of the filter.
func (w *walk) match(n *node, filter string) {
	for {
		level, rest, more := strings.Cut(filter, "/")
		switch level {
		case "#":
			w.add(n) // "a/#" matches "a" [MQTT-4.7.1-2]
			w.below(n)
			return
		case "+":
			for name, c := range n.children {
				if n.parent == nil && strings.HasPrefix(name, "$") {
					continue
				}
				if more {
					w.match(c, rest)
				} else {
					w.add(c)
				}
			}
			return
		}
		if n = n.children[level]; n == nil {
			return
		}
		if !more {
			w.add(n)
			return
		}
		filter = rest
	}
}

// below adds everything under n, without recursion: topics have up to 32,768
// levels.
func (w *walk) below(n *node) {
	stack := []*node{n}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for name, c := range n.children {
			if n.parent == nil && strings.HasPrefix(name, "$") {
				continue
			}
			w.add(c)
			if len(c.children) > 0 {
				stack = append(stack, c)
			}
		}
	}
}

// Sweep removes what has expired at now, and calls gone with each topic, without any
// lock held.
func (r *Messages) Sweep(now int64, gone func(topic string)) {
	r.mu.Lock()
	var topics []string
	if r.mortal > 0 {
		for topic, node := range r.index {
			if node.msg.Expired(now) {
				r.clear(topic, nil)
				topics = append(topics, topic)
			}
		}
	}
	r.mu.Unlock()
	for _, topic := range topics {
		gone(topic)
	}
}

// Len is the number of retained messages, Bytes the size of their topics,
// properties and payloads.
func (r *Messages) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.index)
}

// Bytes is described at Len.
func (r *Messages) Bytes() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.bytes
}
