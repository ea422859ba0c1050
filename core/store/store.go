package store

import "github.com/patchbay-mq/patchbay/core/packet"

// Store makes queues and knows when what they hold is safe. Implementations are
// safe for concurrent use.
type Store interface {
	// Queue opens the queue of one session, empty if it is new.
	Queue(namespace, clientID string) Queue
	// Sync reports whether everything handed over before the call is safe. If
	// not, it returns false and calls done later from another goroutine, with nil
	// once it is, or with the reason why it never will be.
	Sync(done func(error)) bool
	// Close makes everything safe and gives up all resources.
	Close() error
}

// Route is how a message came to a session: needed to send its Subscription
// Identifiers, and to find another member of a shared group should this one
// leave it. It is immutable.
type Route struct {
	IDs           []uint32 // Subscription Identifiers
	Group, Filter string   // of a shared subscription, else empty
}

// Entry is one message that waits for a session. It holds a reference to the
// Message.
type Entry struct {
	Message *packet.Message
	// Route is nil when there is nothing to remember.
	Route *Route
	// QoS and Retain are those of delivery.
	QoS    byte
	Retain bool
}

// Queue holds a session's waiting messages in order. It is not safe for
// concurrent use: it belongs to one session and is used under its lock. The
// references that entries hold go in with Push and come out with Pop.
type Queue interface {
	Push(Entry)
	// Front returns the oldest entry without taking it; ok is false when the
	// queue is empty.
	Front() (e Entry, ok bool)
	// Pop takes the oldest entry.
	Pop() (e Entry, ok bool)
	// Len is the number of entries, Bytes the size of their messages.
	Len() int
	Bytes() int64
	// Clear drops everything and gives the references back.
	Clear()
}
