package hook

import "sync/atomic"

// Point is a place in the broker's course at which a Host can be called.
type Point uint8

// Decisions: the broker waits for the answer.
const (
	// Authenticate is a CONNECT, an AUTH of an exchange, or a re-authentication.
	Authenticate Point = iota
	// AuthorizePublish is asked for a message that the client's own permissions
	// do not decide.
	AuthorizePublish
	// AuthorizeSubscribe is asked for each Topic Filter of a SUBSCRIBE.
	AuthorizeSubscribe
	// AuthorizeReceive is asked for each delivery; it costs times the fan-out.
	AuthorizeReceive
	// InterceptPublish may change, replace, multiply or drop a message.
	InterceptPublish
	// InterceptSubscribe may change or refuse the filters of a SUBSCRIBE.
	InterceptSubscribe
	// InterceptUnsubscribe may refuse filters of an UNSUBSCRIBE.
	InterceptUnsubscribe
	// InterceptWill may change or drop a Will Message before it is published.
	InterceptWill
	// InterceptDeliver may change or drop one receiver's copy; it costs times the
	// fan-out.
	InterceptDeliver

	// GatePublish holds PUBACK or PUBREC back until the host says that the
	// message is safe on its side.
	GatePublish

	// Events: told after the fact, in the order in which they happened to one
	// client.

	Connected
	Disconnected
	AuthFailed
	SessionCreated
	SessionResumed
	SessionTakenOver
	SessionExpired
	Subscribed
	Unsubscribed
	Published
	Delivered
	Acknowledged
	Dropped
	DeadLettered
	RetainedSet
	RetainedCleared
	WillPublished
	BrokerStarted
	BrokerStopping
	PluginStateChanged
	LimitReached
	Tick

	numPoints
)

var pointNames = [numPoints]string{
	"Authenticate", "AuthorizePublish", "AuthorizeSubscribe", "AuthorizeReceive", "InterceptPublish",
	"InterceptSubscribe", "InterceptUnsubscribe", "InterceptWill", "InterceptDeliver", "GatePublish",
	"Connected", "Disconnected", "AuthFailed", "SessionCreated", "SessionResumed", "SessionTakenOver",
	"SessionExpired", "Subscribed", "Unsubscribed", "Published", "Delivered", "Acknowledged", "Dropped",
	"DeadLettered", "RetainedSet", "RetainedCleared", "WillPublished", "BrokerStarted", "BrokerStopping",
	"PluginStateChanged", "LimitReached", "Tick",
}

func (p Point) String() string {
	if int(p) < len(pointNames) {
		return pointNames[p]
	}
	return "unknown point"
}

// Set is a set of Points.
type Set uint64

// SetOf returns the set of the given points.
func SetOf(points ...Point) Set {
	var s Set
	for _, p := range points {
		s |= 1 << p
	}
	return s
}

// Has reports whether p is in the set.
func (s Set) Has(p Point) bool { return s&(1<<p) != 0 }

// Chain is the broker's end of the interface: which Host is installed, and what
// it wants. The zero value has none. It is safe for concurrent use.
type Chain struct {
	wants atomic.Uint64
	host  atomic.Pointer[Host]
}

// Install makes h the host that is called for the points of wants, from the next
// call on; nil takes it away. Calls under way finish on the host before.
func (c *Chain) Install(h Host, wants Set) {
	if h == nil {
		c.wants.Store(0)
		return
	}
	c.host.Store(&h)
	c.wants.Store(uint64(wants))
}

// Wants reports whether p has to be called: one atomic load.
func (c *Chain) Wants(p Point) bool { return Set(c.wants.Load()).Has(p) }

// Host returns the installed host. It must only be used after Wants was true.
func (c *Chain) Host() Host { return *c.host.Load() }
