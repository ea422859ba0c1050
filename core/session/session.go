package session

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// NeverExpires is the Session Expiry Interval of a session without end
// [MQTT-3.1.2-23].
const NeverExpires = math.MaxUint32

// QueuePolicy says what happens to a message that finds its session's queue full.
type QueuePolicy uint8

const (
	// DropNew drops the message that came.
	DropNew QueuePolicy = iota
	// DropOldest drops the message that has waited longest.
	DropOldest
	// Disconnect closes the connection (Quota exceeded) and drops the message.
	Disconnect
)

// Limits bound a session. They are shared and not changed once in use.
type Limits struct {
	// MaxInflight bounds the unacknowledged messages to a client, 1 to 65,535,
	// below what its own Receive Maximum allows.
	MaxInflight int
	// MaxQueued and MaxQueuedBytes bound what waits; 0 is no bound.
	MaxQueued      int
	MaxQueuedBytes int64
	Policy         QueuePolicy
	// QueueQoS0 keeps QoS 0 messages for sessions that are away.
	QueueQoS0 bool
	// RetryInterval is how long an acknowledgement may take before the message is
	// sent again on the same connection, in milliseconds, for MQTT 3 clients only;
	// 0 never. Each further attempt waits RetryBackoff times longer, RetryMax
	// bounds their number.
	RetryInterval int64
	RetryBackoff  float64
	RetryMax      int
}

// Env is what all sessions of a broker share.
type Env struct {
	// Limits may be replaced at any time.
	Limits atomic.Pointer[Limits]
	Store  store.Store
	// Now is the time in Unix milliseconds.
	Now func() int64
	// Drop is told of every message that a session drops, with one of the
	// reasons of core/hook. It may be called with the session's lock held and
	// must neither block nor call back.
	Drop func(s *Session, m *packet.Message, qos byte, reason string)
	// GaveUp is told of a message that reached the retry cap; the same rules.
	GaveUp func(s *Session, m *packet.Message)
	// Delivered returns the function to tell of each message that Pump sends for
	// the first time, nil if nobody wants to know; the rules of that one are those
	// of Drop. It is called once for each Pump, and may be nil.
	Delivered func() func(s *Session, m *packet.Message, qos byte)
	// Ready is told that Pump may find something to send, after it had to wait for
	// the Store. It is called from any goroutine without the session's lock, and
	// may be nil as long as the Store is store.Memory.
	Ready func(s *Session)
	// MayReceive is asked about a message that was queued while the session had no
	// client whose permissions could be asked. Nil allows everything. The rules
	// are those of Drop.
	MayReceive func(s *Session, m *packet.Message, qos byte, retain bool) bool
}

// Link is the open connection of a session. Appending never blocks and never
// fails: what is appended to a closed Link is gone.
type Link interface {
	Append(b []byte)
	AppendPublish(frame []byte, idOffset int, id uint16)
	// AppendAll copies packets whose sizes add up to size.
	AppendAll(packets [][]byte, size int)
	// AppendShared copies head and refers to payload until owner.Unref is called.
	AppendShared(head []byte, idOffset int, id uint16, payload []byte, owner interface{ Unref() })
	// OverHighWater reports whether the receiver takes less than it is sent:
	// messages that can wait do. Full reports whether others have to be dropped.
	OverHighWater() bool
	Full() bool
}

// Params are the properties of one connection that bear on delivery.
type Params struct {
	Version packet.Version
	// ReceiveMaximum is the client's; 0 stands for 65,535.
	ReceiveMaximum uint16
	// MaximumPacketSize is the client's, in bytes; 0 is no limit.
	MaximumPacketSize uint32
	// TopicAliasMaximum is how many Topic Aliases to use towards the client.
	TopicAliasMaximum uint16
	// SessionExpiry is the Session Expiry Interval in seconds.
	SessionExpiry uint32
	// Username is the client's, for the record.
	Username string
	// Will is nil without one.
	Will *Will
	// Quota is nil if the Env's Limits are all in force; see SetQuota.
	Quota *Quota
	// Greeting is appended to the Link before anything else can be: CONNACK goes
	// first [MQTT-3.2.0-1].
	Greeting []byte
}

// Will is the Will Message of a connection.
type Will = store.Will

// link is a Link with what delivery has to know of it; immutable but for the
// window and the aliases, which the session's lock guards.
type link struct {
	out        Link
	version    packet.Version
	maxPacket  uint32
	receiveMax uint16
	window     int
	aliases    *aliasTable
	durable    bool // as Session.durable, which does not change meanwhile
}

// Session is one client's session. The zero value is not usable; see New.
type Session struct {
	// What a delivery at QoS 0 looks at comes first: all that it touches of a
	// session's memory.

	// Client describes the client of the present or last connection; its owner
	// sets it.
	Client atomic.Pointer[hook.Client]

	link   atomic.Pointer[link]
	key    uint64
	load   atomic.Int32
	behind atomic.Bool // QoS 0 messages have to queue: something older waits

	id, namespace string
	env           *Env

	// Timer is for the session's owner: it ends the session, or publishes the
	// delayed Will, of a client that is away.
	Timer clock.Timer

	quota atomic.Pointer[Quota]

	mu         sync.Mutex
	ended      bool
	prepared   bool // what is stored fits the connection that is about to be attached
	durable    bool // messages outlive the process
	cold       bool // what was in flight before a restart has not been read yet
	restored   bool // QoS 0 messages of before a restart may wait
	ring       ring
	flight     int           // PUBLISH packets on the present Link that count against its window
	unsent     uint64        // messages of the ring from this seq on have not been resent on the present Link
	held       *[]held       // messages of the ring that go out when the Store has them; nil: none
	replaying  *replaying    // nil: nothing
	state      store.Session // nil while there is nothing that has to outlive the connection
	queue      store.Session // what waits: state, or in memory, nil at first
	queuedQoS0 int
	inbound    idSet
	subs       subscriptions
	expiry     uint32
	will       *Will
	willDue    int64 // Unix ms at which the Will of a closed connection is to be published
	detached   int64 // Unix ms of the end of the last connection
}

// New returns an empty session that is not attached. key has to be unique.
func New(env *Env, namespace, clientID string, key uint64) *Session {
	s := &Session{env: env, namespace: namespace, id: clientID, key: key}
	s.startAt(firstSeq)
	return s
}

// firstSeq makes 1 the first Packet Identifier of a session that is not stored.
const firstSeq = 65535

// startAt sets the sequence number of the next message.
func (s *Session) startAt(seq uint64) { s.ring.next, s.unsent = seq, seq }

// ID is the Client Identifier.
func (s *Session) ID() string { return s.id }

// Namespace is the namespace that the client belongs to.
func (s *Session) Namespace() string { return s.namespace }

// Key is unique among all sessions of the process.
func (s *Session) Key() uint64 { return s.key }

// Online reports whether the session has a connection.
func (s *Session) Online() bool { return s.link.Load() != nil }

// Load is the number of messages that are not acknowledged or wait, about.
func (s *Session) Load() int { return int(s.load.Load()) }

// Link returns the session's open connection, nil if there is none.
func (s *Session) Link() Link {
	if l := s.link.Load(); l != nil {
		return l.out
	}
	return nil
}

// Attach makes out the session's connection. It returns the Link that was
// attached before, if any (the caller closes it), and the Will of that
// connection if it has to be published now: one without a delay, since a
// delayed Will is withdrawn by the new connection [MQTT-3.1.3-9]. ok is false if
// the session has ended meanwhile. The caller calls Pump next.
func (s *Session) Attach(out Link, p Params) (old Link, will *Will, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, nil, false
	}
	if l := s.link.Load(); l != nil {
		old = l.out
		if s.will != nil && s.will.Delay == 0 {
			will, s.will = s.will, nil
		}
	}
	s.dropWill()
	if !s.prepared {
		s.prepare(p)
	}
	s.prepared = false
	s.quota.Store(p.Quota)
	l := &link{out: out, version: p.Version, maxPacket: p.MaximumPacketSize, receiveMax: p.ReceiveMaximum, durable: s.durable}
	l.window = s.window(p.ReceiveMaximum)
	if p.TopicAliasMaximum > 0 {
		l.aliases = &aliasTable{max: p.TopicAliasMaximum}
	}
	s.will, s.expiry = p.Will, p.SessionExpiry
	s.flight = 0
	if s.ring.n > 0 {
		s.unsent = s.ring.at(0).seq
		for i := range s.ring.n {
			e := s.ring.at(i)
			e.flags &^= flagCounted | flagGivenUp
			e.attempts = 0
		}
	} else {
		s.unsent = s.ring.next
	}
	out.Append(p.Greeting)
	s.link.Store(l)
	return old, will, true
}

// Resumable reports whether a new connection would find the session's state: it
// has not ended, and would outlive the connection that it may have.
func (s *Session) Resumable(now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && s.expiry > 0 && (s.link.Load() != nil || !s.expired(now))
}

func (s *Session) expired(now int64) bool {
	return s.expiry != NeverExpires && now >= s.detached+int64(s.expiry)*1000
}

// SetExpiry changes the Session Expiry Interval, as a DISCONNECT may.
func (s *Session) SetExpiry(seconds uint32) {
	s.mu.Lock()
	s.expiry = seconds
	s.mu.Unlock()
}

// Expiry is the Session Expiry Interval in seconds.
func (s *Session) Expiry() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry
}

// DiscardWill deletes the Will without publishing it [MQTT-3.1.2-10].
func (s *Session) DiscardWill() {
	s.mu.Lock()
	s.dropWill()
	s.mu.Unlock()
}

func (s *Session) dropWill() {
	if s.will != nil {
		s.will.Message.Unref()
		s.will, s.willDue = nil, 0
	}
}

// Detach takes the connection away, if out still is the session's. It returns
// the Will if it has to be published now, and at, the time in Unix milliseconds
// when the owner has to look after the session again (Due): 0 if never.
func (s *Session) Detach(out Link) (will *Will, at int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.link.Load(); l == nil || l.out != out {
		return nil, 0, false
	}
	s.link.Store(nil)
	s.prepared = false
	// The clock may be a tick behind, and nothing may happen early.
	now := s.env.Now() + clock.Tick.Milliseconds()
	s.detached = now
	s.ring.trim()
	s.inbound.trim()
	if s.will != nil {
		// The Will goes out after its delay or when the session ends, whichever
		// happens first [MQTT-3.1.3-9].
		if delay := min(s.will.Delay, s.expiry); delay == 0 {
			will, s.will = s.will, nil
		} else {
			s.willDue = now + int64(delay)*1000
		}
	}
	s.save()
	return will, s.nextDue(), true
}

// Due is called at the time that Detach or Due named: it returns the Will if its
// time has come, whether the session has expired, and when to call again. On a
// session that is attached again it does nothing.
func (s *Session) Due(now int64) (will *Will, expired bool, at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.link.Load() != nil {
		return nil, false, 0
	}
	expired = s.expired(now)
	if s.will != nil && (expired || now >= s.willDue) {
		will, s.will, s.willDue = s.will, nil, 0
		s.save()
	}
	return will, expired, s.nextDue()
}

func (s *Session) nextDue() int64 {
	var at int64
	if s.expiry != NeverExpires {
		at = s.detached + int64(s.expiry)*1000
	}
	if s.will != nil && s.willDue != 0 && (at == 0 || s.willDue < at) {
		at = s.willDue
	}
	return at
}

// End ends the session: everything is given back. It returns the link that was
// open, the Will to publish (the session's end publishes it in any case), the
// Topic Filters that were subscribed, and the messages in flight that other
// members of shared groups should get. Those that waited go to late, at once or
// later from another goroutine; it must not call the session. ok is false if it
// had ended before.
func (s *Session) End(late func(store.Entry)) (old Link, will *Will, subs []store.Subscribed, orphans []store.Entry, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, nil, nil, nil, false
	}
	s.ended = true
	if l := s.link.Swap(nil); l != nil {
		old = l.out
	}
	will, s.will = s.will, nil
	subs, s.subs = s.subs.list, subscriptions{}
	for i := range s.ring.n {
		switch e := s.ring.at(i); {
		case e.msg == nil:
		case e.qos == 2:
			// The client may have it already: nobody else may get it
			// [MQTT-4.8.2-5].
			s.env.Drop(s, e.msg, e.qos, hook.DropSessionEnded)
			e.msg.Unref()
		case e.route != nil && e.route.Group != "":
			orphans = append(orphans, store.Entry{Message: e.msg, Route: e.route, QoS: e.qos})
		default:
			e.msg.Unref()
		}
	}
	s.ring = ring{}
	s.held = nil
	if s.replaying != nil {
		for _, e := range s.replaying.list {
			e.Message.Unref()
		}
		s.replaying = nil
	}
	s.queuedQoS0 = 0
	s.behind.Store(false)
	if s.queue != nil && s.queue != s.state {
		s.queue.End(late)
	}
	if s.state != nil {
		s.state.End(late)
	}
	s.queue = nil
	s.inbound = idSet{}
	s.load.Store(0)
	return old, will, subs, orphans, true
}

// Trim gives memory back that an idle session does not need. It is meant to be
// called now and then, not for each message.
func (s *Session) Trim() {
	s.mu.Lock()
	s.ring.trim()
	s.inbound.trim()
	s.mu.Unlock()
}

// Stats is a snapshot of a session for people and metrics.
type Stats struct {
	Inflight, Queued int
	QueuedBytes      int64
	InboundQoS2      int
	Subscriptions    int
	Expiry           uint32
	Detached         int64 // Unix milliseconds, 0 if never
}

// Stats returns a snapshot.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Inflight: s.ring.live(), InboundQoS2: s.inbound.n, Subscriptions: len(s.subs.list), Expiry: s.expiry, Detached: s.detached}
	if s.queue != nil {
		st.Queued, st.QueuedBytes = s.queue.Len(), s.queue.Bytes()
	}
	return st
}
