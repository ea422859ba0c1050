package packet

import (
	"bytes"
	"sync"
	"sync/atomic"
)

// NoExpiry is the Expires of a Message without a Message Expiry Interval.
const NoExpiry = 0

// Message is an Application Message on its way through the broker.
//
// It is either a view or kept. A view (the zero value filled in by its maker)
// has slices that belong to somebody else, typically a read buffer, and is valid
// only during the call that it was passed to. Keep makes a kept Message, which
// owns its memory, is immutable, may be read by any number of goroutines, and
// lives until the last reference is given back with Unref.
type Message struct {
	// Topic is the Topic Name, with Topic Aliases resolved.
	Topic []byte
	// Payload is the Application Message's content.
	Payload []byte
	// Props are the MQTT 5 properties that a Server passes on unaltered, in wire
	// form without a length (see PublishProps.Forward).
	Props []byte
	// Publisher is the Client Identifier of the publisher; empty for messages
	// that the broker itself made.
	Publisher string
	// ID is unique among all messages that this broker ever kept.
	ID uint64
	// Received is when the broker got the message, in Unix milliseconds.
	Received int64
	// Expires is when the Message Expiry Interval ends, in Unix milliseconds;
	// NoExpiry if it has none.
	Expires int64
	// Origin says that a plugin published it; nil otherwise. It is immutable, and lost
	// when a message is read back from a store.
	Origin *Origin
	// QoS is the QoS of publication.
	QoS byte
	// Retain is the RETAIN flag of publication.
	Retain bool

	refs  atomic.Int32
	class int8
	buf   []byte
}

// Origin is the plugin that a message comes from.
type Origin struct {
	Plugin string
	// Hops counts the plugins that have published this message or what it answers to.
	Hops uint8
}

// Kept messages live in size classes so that a steady flow of QoS 1 and 2
// allocates nothing. The payloads of larger ones are left to the garbage collector.
var (
	messageClasses = [...]int{256, 1 << 10, 4 << 10, 16 << 10}
	messagePools   [len(messageClasses)]sync.Pool
)

const unpooled = -1

// Keep returns a kept Message with one reference that the caller owns: m itself
// with one reference more when it is kept already, else a copy with the given id.
func (m *Message) Keep(id uint64) *Message {
	if m.buf != nil {
		m.refs.Add(1)
		return m
	}
	n := len(m.Topic) + len(m.Props) + len(m.Payload)
	large := n > messageClasses[len(messageClasses)-1]
	if large {
		n -= len(m.Payload)
	}
	k := newMessage(n)
	b := append(k.buf[:0], m.Topic...)
	b = append(b, m.Props...)
	t, p := len(m.Topic), len(m.Topic)+len(m.Props)
	k.Topic, k.Props = b[:t:t], b[t:p:p]
	if large {
		k.Payload = bytes.Clone(m.Payload) // which does not clear it first
	} else {
		b = append(b, m.Payload...)
		k.Payload = b[p:n:n]
	}
	k.Publisher, k.ID, k.Received, k.Expires = m.Publisher, id, m.Received, m.Expires
	k.QoS, k.Retain, k.Origin = m.QoS, m.Retain, m.Origin
	k.refs.Store(1)
	return k
}

// Kept reports whether m owns its memory.
func (m *Message) Kept() bool { return m.buf != nil }

// Ref adds a reference to a kept Message.
func (m *Message) Ref() { m.refs.Add(1) }

// Unref gives a reference back. After its last one a Message must not be
// touched. On a view it does nothing.
func (m *Message) Unref() {
	if m.buf == nil {
		return
	}
	switch n := m.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("packet: Message.Unref without a reference")
	}
	if m.class != unpooled {
		m.Publisher, m.Origin, m.Payload = "", nil, nil
		messagePools[m.class].Put(m)
	}
}

// Size is the memory that the message's content takes, in bytes.
func (m *Message) Size() int { return len(m.Topic) + len(m.Props) + len(m.Payload) }

// Expired reports whether the Message Expiry Interval has passed at now (Unix
// milliseconds) [MQTT-3.3.2-5].
func (m *Message) Expired(now int64) bool { return m.Expires != NoExpiry && now >= m.Expires }

// RemainingExpiry is the Message Expiry Interval to send at now: what the
// publisher set minus the time that the message waited in the broker, in seconds,
// at least 1 as long as it has not expired [MQTT-3.3.2-6].
func (m *Message) RemainingExpiry(now int64) (seconds uint32, ok bool) {
	if m.Expires == NoExpiry {
		return 0, false
	}
	// Whole seconds waited are taken off, so that a message delivered at once
	// keeps the value that its publisher gave.
	left := (m.Expires - now + 999) / 1000
	return uint32(max(left, 1)), true
}

func newMessage(n int) *Message {
	for i, size := range messageClasses {
		if n > size {
			continue
		}
		if m, _ := messagePools[i].Get().(*Message); m != nil {
			return m
		}
		return &Message{class: int8(i), buf: make([]byte, size)}
	}
	return &Message{class: unpooled, buf: make([]byte, n)}
}
