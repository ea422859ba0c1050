package hook

import (
	"errors"
	"time"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// Broker is the other direction: what a Host may ask of the broker. All methods are
// safe for concurrent use, and must not be called from within a method of Host that
// the broker is waiting for, but for Publish, PublishAs and Emit.
//
// A namespace that does not exist has no clients and no messages.
type Broker interface {
	// Publish routes a message that comes from no client: no decision and no gate is
	// asked about it, observers are told. m is a view; Origin names the plugin that it
	// comes from. Who did what is said to done: once, from any goroutine, perhaps
	// before Publish returns, when the message is as safe as PUBACK promises.
	Publish(namespace string, m *packet.Message, done func(PublishResult))
	// PublishAs does as if a client had sent m: with the permissions of its session,
	// through all decisions and gates. The client may be away, but must have a session.
	PublishAs(namespace, clientID string, m *packet.Message, done func(PublishResult))

	// Disconnect closes a client's connection, or ends its session. It reports whether
	// there was one that r speaks of.
	Disconnect(r DisconnectRequest) bool
	// SetPermissions gives the connection of that number other permissions, soon: before
	// the next packet that it has not read yet. It reports whether there is such a
	// connection.
	SetPermissions(namespace, clientID string, connection uint64, p *access.Permissions) bool
	// Sessions calls fn for sessions, connected or not, until it returns false, in no
	// order. Those that come or go meanwhile may be missing. All namespaces are walked
	// if all is set.
	Sessions(namespace string, all bool, fn func(SessionInfo) bool)
	// Session describes one session, its Subscriptions included.
	Session(namespace, clientID string) (SessionInfo, bool)
	// Retained calls fn for the retained messages that match a valid Topic Filter, until
	// it returns false. They are kept messages, valid during the call.
	Retained(namespace, filter string, fn func(*packet.Message) bool)

	// Screen says what a client would be shown of messages if it subscribed to their
	// topics: its permissions, AuthorizeSubscribe, AuthorizeReceive and both interceptors
	// have their say, nothing is subscribed to and nothing delivered. The client may be away,
	// but must have a session. done is called once, from any goroutine; the screened
	// messages are valid during the call, and in the order of list, which may be used again
	// when Screen returns.
	Screen(namespace, clientID string, list []*packet.Message, done func([]Screened))

	// OpenQueue opens a queue of messages, or makes it. One that is open already is an
	// error.
	OpenQueue(spec QueueSpec, ready func()) (Queue, error)
	// Queues lists all queues, open or not.
	Queues() []QueueInfo
	// RemoveQueue ends a queue that is not open, with all that it holds. It reports
	// whether there was one.
	RemoveQueue(owner, name string) bool

	// ForgetAnswers makes the broker ask again where it has kept answers of Authorize
	// (AuthorizeRequest.CacheMillis), of all clients. From its return on no old answer
	// is given.
	ForgetAnswers()
	// Emit tells an event to the Host that is installed, as if the broker had observed
	// it.
	Emit(e *Event)
}

// PublishResult is what has become of a message.
type PublishResult struct {
	// Code is Success, NoMatchingSubscribers or an error.
	Code   packet.ReasonCode
	Reason string
	// Receivers is how many sessions, queues and others the message went to.
	Receivers int
	// ID is that of the message, 0 if it was not kept.
	ID uint64
}

// Screened says what a client would be shown of a message.
type Screened struct {
	// Code is Success or an error.
	Code   packet.ReasonCode
	Reason string
	// Message is what it would get; nil with an error.
	Message *packet.Message
	// Changed says that Message is not as it was given.
	Changed bool
}

// DisconnectRequest says whose connection is to be closed, and how.
type DisconnectRequest struct {
	Namespace, ClientID string
	// Code and Reason are sent to MQTT 5 clients.
	Code   packet.ReasonCode
	Reason string
	// EndSession ends the session as well; the Will is published.
	EndSession bool
	// Connection restricts it to the connection of that number; 0 is any.
	Connection uint64
}

// SessionInfo describes a session.
type SessionInfo struct {
	// Client is that of the present connection, or of the last one; it is never nil,
	// and may have no more than ID and Namespace.
	Client    *Client
	Connected bool
	// Disconnected is when the last connection ended, in Unix milliseconds; 0 while
	// there is one.
	Disconnected int64
	// SessionExpiry is in seconds.
	SessionExpiry uint32
	// SubscriptionCount is there where Subscriptions is left out.
	SubscriptionCount int
	Subscriptions     []packet.Subscription
	// Identifiers are the Subscription Identifiers of Subscriptions; 0 is none.
	Identifiers      []uint32
	Inflight, Queued int
	QueuedBytes      int64
}

// QueueSpec says what a Queue is to hold.
type QueueSpec struct {
	// Owner and Name identify the queue. Owner is the plugin: what it publishes itself
	// (Message.Origin) is left out.
	Owner, Name string
	// Filters are valid Topic Filters without `$share`; a message that matches several
	// is queued once.
	Filters []string
	// MinQoS leaves out messages that were published with less.
	MinQoS byte
	// Namespaces restricts it; empty is all, also those that come later.
	Namespaces []string
}

// Queue holds messages, durably if the broker's store is durable, in the order of
// their acceptance, until they are acknowledged: a message of QoS 1 or 2 is
// acknowledged to its publisher once it is safe in all queues. It goes on filling
// while it is closed, and after a restart before it is opened; so that only Remove
// ends it. Its methods are safe for concurrent use and do not wait for a disk.
type Queue interface {
	// Read returns messages after an offset (0 for the first), in order: up to max, and
	// up to maxBytes of payload, but one at least. It skips what is acknowledged. An
	// empty result with more set says that what follows has to be read from disk first:
	// ready is called then, as it is when something comes into a queue whose end Read
	// has seen. The references to the messages are the caller's.
	Read(after uint64, max, maxBytes int) (list []Queued, more bool)
	// Ack forgets messages by their offsets. Unknown offsets are ignored. After a crash
	// acknowledged messages may come again.
	Ack(offsets ...uint64)
	// Info describes the queue.
	Info() QueueInfo
	// Close leaves the queue to itself; ready is not called any more.
	Close()
}

// Queued is one message of a Queue.
type Queued struct {
	// Offset grows from message to message, and stays the same.
	Offset    uint64
	Namespace string
	// Client is the publisher, nil if it is not known (any more) or was no client.
	Client  *Client
	Message *packet.Message
}

// QueueInfo describes a Queue.
type QueueInfo struct {
	QueueSpec
	Open bool
	// Messages and Bytes are not acknowledged yet. After a restart they are too small
	// until what is stored has been counted.
	Messages int
	Bytes    int64
	// Oldest is when the first message that is not acknowledged was received; the zero
	// time if there is none, or it has to be read from disk first.
	Oldest time.Time
}

// ErrQueueOpen is returned by OpenQueue.
var ErrQueueOpen = errors.New("the queue is open already")
