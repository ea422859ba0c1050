package store

import (
	"errors"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// Store keeps what outlives a connection, or the process. All its methods are
// safe for concurrent use and, but for Load, Close and those of Values, never
// wait for a disk: what is handed over becomes safe later, and Receipts and Sync
// tell when.
type Store interface {
	// Load hands out everything that is stored. It is called once, before any
	// other method.
	Load(l Loader) error
	// Create makes the state of a new session. Of an older session of the same
	// client nothing is found any more once that one's End was called.
	Create(r Record, o Owner) Session
	// Retain stores m, a kept message, as its topic's retained message in place of
	// the one that was there; it takes a reference of its own. Calls for the same
	// topic have to come in the order in which they take effect.
	Retain(namespace string, m *packet.Message, r *Receipt)
	// Unretain removes the retained message of a topic.
	Unretain(namespace, topic string, r *Receipt)
	// Values returns the store for keys and values.
	Values() Values
	// Begin and End enclose changes that become safe together or not at all: a
	// crash leaves all of them or none. They do not nest, and what is between them
	// must not block.
	Begin()
	End()
	// Sync reports whether everything is safe that was handed over before the
	// call, but for messages, which have Receipts. If not, it returns false and
	// calls done later from another goroutine: with nil once it is, or with the
	// reason why it never will be.
	Sync(done func(error)) bool
	// Full reports whether the disk has no room for anything new. What was
	// accepted before still becomes safe; whoever can refuse more should.
	Full() bool
	// Stats returns figures for people and metrics.
	Stats() Stats
	// Close makes everything safe and gives up all resources.
	Close() error
}

// Loader takes what Load finds. Its functions may be called from several
// goroutines at once, each session and retained message once.
type Loader struct {
	// Session takes a session and returns its Owner.
	Session func(Saved) Owner
	// Retained takes a retained message; the reference goes along.
	Retained func(namespace string, m *packet.Message)
	// Orphan takes what Session.End had not yet handed out when the process
	// ended: a message of a shared subscription. It may be called after Load has
	// returned.
	Orphan func(namespace string, e Entry)
}

// Saved is a session that was stored.
type Saved struct {
	Record
	// State goes on storing it. Its queue is not in memory yet.
	State Session
	// Subscriptions, each Topic Filter once, and Received, the Packet Identifiers
	// of QoS 2 messages from the client that are not released; they are the
	// receiver's.
	Subscriptions []Subscribed
	Received      []uint16
}

// Record is what is stored of a session itself.
type Record struct {
	Namespace, ClientID string
	Username            string
	// Expiry is the Session Expiry Interval in seconds.
	Expiry uint32
	// Detached is when the last connection ended, in Unix milliseconds; 0 while
	// there is one.
	Detached int64
	// Will is that of the last connection, if it has not been published or
	// deleted. WillDue is when it has to be published, in Unix milliseconds; 0
	// while there is a connection.
	Will    *Will
	WillDue int64
}

// Will is the Will Message of a connection.
type Will struct {
	// Message is kept; the reference goes along with the Will.
	Message *packet.Message
	// Delay is the Will Delay Interval in seconds.
	Delay uint32
	// Expiry is the Will's Message Expiry Interval in seconds, counted from its
	// publication.
	Expiry    uint32
	HasExpiry bool
}

// Subscription is what a session remembers of one of its Topic Filters; the
// router does the matching.
type Subscription struct {
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte
	ID                uint32 // Subscription Identifier, 0 none
}

// Subscribed is a Topic Filter, with `$share` if it has that, and how it is
// subscribed.
type Subscribed struct {
	Filter string
	Subscription
}

// Route is how a message came to a session: needed to send its Subscription
// Identifiers, and to find another member of a shared group should this one
// leave it. It is immutable.
type Route struct {
	IDs           []uint32 // Subscription Identifiers
	Group, Filter string   // of a shared subscription, else empty
	// Note is whatever who added the message wants to know of it as long as it is in
	// memory; it is not stored.
	Note any
}

// Entry is one message for a session. It holds a reference to the Message.
type Entry struct {
	Message *packet.Message
	// Route is nil when there is nothing to remember.
	Route *Route
	// Pos is the message's place in the session's state; Add assigns it.
	Pos uint64
	// QoS and Retain are those of delivery.
	QoS    byte
	Retain bool
	// Unscreened is set for a message that came while nobody knew what its
	// receiver may receive.
	Unscreened bool
}

// Inflight is a message that was sent, or was about to be sent, and is not
// settled.
type Inflight struct {
	// Entry is without Message, Route and QoS when Released is set.
	Entry
	// Seq is the number that it was sent under.
	Seq uint64
	// Released is set when PUBREC has come.
	Released bool
}

// Ticket names one change of a session; see Session.Safe. Tickets increase.
type Ticket uint64

// Owner is told by a Session what happens in the background. Its methods are
// called from goroutines of the store, without any lock held.
type Owner interface {
	// Ready says that Front, Inflight or Safe may answer differently now, after
	// they have answered false.
	Ready()
	// Expired says that a message that waited has been removed because its
	// Message Expiry Interval was over. The reference is the caller's.
	Expired(e Entry)
}

// Session is the state of one session: its record, subscriptions, messages on
// their way in both directions, and the queue of what waits. It is not safe for
// concurrent use: it belongs to one session and is used under its lock.
//
// A message is added once (Add). Either it goes out at once, with a sequence
// number, or it waits until Pop takes it and Sent gives it one. From then it is
// in flight, until Settle. Messages in flight and waiting messages keep their
// order each.
type Session interface {
	// Durable reports whether anything of this outlives the process. If not, no
	// Receipt is ever waited for, and every Ticket is safe.
	Durable() bool
	// FirstSeq is the smallest sequence number to use for new messages.
	FirstSeq() uint64
	// Save replaces the record. It takes a reference to the Will's message for as
	// long as it needs it.
	Save(r Record)
	// Subscribe and Unsubscribe note a change of subscription.
	Subscribe(filter string, s Subscription)
	Unsubscribe(filter string)
	// Received notes the Packet Identifier of a QoS 2 PUBLISH from the client, and
	// Released that it is free again.
	Received(id uint16, r *Receipt)
	Released(id uint16, r *Receipt)

	// Add stores a message and returns its place. With seq it is in flight at
	// once, and the entry's reference stays the caller's; with seq 0 it waits, and
	// the reference goes along. lazy says that it may well be settled within the
	// next milliseconds: then it is not worth to hurry, and if so, nothing is
	// written at all. The Receipt, which may be nil, waits for it.
	Add(e Entry, seq uint64, lazy bool, r *Receipt) (pos uint64, t Ticket)
	// Front returns the oldest message that waits, without taking it. ok is false
	// if none does, or if it has to be read first; then the Owner is told.
	Front() (e *Entry, ok bool)
	// Pop takes the message that Front showed, with its reference; with ok false
	// it has taken nothing. A message of QoS 0 is forgotten with that; others are
	// told to Sent or Settle next.
	Pop() (e Entry, ok bool)
	// Empty reports that nothing waits, surely.
	Empty() bool
	// Len is the number of messages that wait, Bytes their size. After a restart
	// they are too small until what is stored has been counted.
	Len() int
	Bytes() int64
	// Sent notes that a popped message is in flight under seq.
	Sent(e Entry, seq uint64) Ticket
	// PubrecReceived forgets the content of a QoS 2 message in flight.
	PubrecReceived(pos, seq uint64) Ticket
	// Settle forgets a message that was popped or is in flight; seq is 0 if it
	// was never sent.
	Settle(pos, seq uint64)
	// Again returns messages that were popped and are not settled, behind a place and
	// in order: up to max, and up to maxBytes of their size, but one at least. The
	// references are the caller's. One that cannot be read any more comes without its
	// Message. ok is false if the first has to be read first; then the Owner is told.
	// A Session that is not durable has none of them.
	Again(after uint64, max, maxBytes int) (list []Entry, ok bool)
	// Safe reports whether the change with the given Ticket, and all before it,
	// are safe. If not, the Owner is told once they are.
	Safe(t Ticket) bool
	// Inflight returns what was in flight when the process ended, in the order of
	// sending, with the references. ok is false if it has to be read first; then
	// the Owner is told. It is called until ok, once for each restored session,
	// before Front.
	Inflight() (list []Inflight, ok bool)
	// End forgets the session. orphan is called, at once or later from another
	// goroutine, for each waiting message of a shared subscription; the reference
	// goes along.
	End(orphan func(Entry))
}

// Values keeps small values by key, in buckets that do not see each other: state
// of plugins, bans. Its methods wait until what they
// change is safe.
type Values interface {
	// Get returns a copy of a value and its version; ErrNotFound if there is none
	// or it has expired.
	Get(bucket, key string) (value []byte, version uint64, err error)
	// Set stores a value for ttl (0 for ever) and returns its version.
	Set(bucket, key string, value []byte, ttl time.Duration) (version uint64, err error)
	// CompareAndSet stores a value only if the present one has the given version;
	// 0 stands for no value. Otherwise it returns ErrConflict.
	CompareAndSet(bucket, key string, value []byte, ttl time.Duration, version uint64) (newVersion uint64, err error)
	// Delete removes a value; it is no error if there is none.
	Delete(bucket, key string) error
	// Scan calls fn for the keys with a prefix, in order, until it returns false.
	// The value is valid during the call only. fn must not change the bucket.
	Scan(bucket, prefix string, fn func(key string, value []byte, version uint64) bool) error
}

// Errors of Values and of Receipts.
var (
	ErrNotFound = errors.New("store: no such key")
	ErrConflict = errors.New("store: the value was changed meanwhile")
	ErrClosed   = errors.New("store: closed")
	ErrFull     = errors.New("store: the disk is full")
)

// Stats are figures about a store since its opening, but for those of the
// moment: DiskBytes, FreeBytes and Full.
type Stats struct {
	// Commits is the number of group commits, Written that of messages for
	// sessions that they contained, and Skipped that of those that were settled
	// before they had to be written.
	Commits, Written, Skipped int64
	// BytesWritten is what the commits contained.
	BytesWritten int64
	// Shared is the number of messages that were stored once for several sessions.
	Shared int64
	// Quarantined is the number of records that could not be read.
	Quarantined int64
	DiskBytes   int64
	FreeBytes   int64
	Full        bool
}
