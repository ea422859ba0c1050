package hook

import (
	"crypto/tls"
	"net"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// Host is what the broker calls. Every decision works the same way: the host
// fills in the answer fields of the request and returns true, or returns false
// and calls done later, once, from any goroutine, after it has filled them in;
// meanwhile the broker has paused the connection. Requests and what they point
// to belong to the host until it has answered, and not after. No method may
// block.
type Host interface {
	Authenticate(r *AuthRequest, done func()) bool
	Authorize(r *AuthorizeRequest, done func()) bool
	// Publish is called with all messages that one read of a connection brought
	// (one to 64), in order.
	Publish(batch []*PublishRequest, done func()) bool
	Subscribe(r *SubscribeRequest, done func()) bool
	Unsubscribe(r *UnsubscribeRequest, done func()) bool
	Will(r *PublishRequest, done func()) bool
	// Receive decides about one delivery (AuthorizeReceive and InterceptDeliver).
	// It has no way to wait: it is called with the message of one publisher for
	// each of its receivers, inline.
	Receive(r *ReceiveRequest)
	// Gate gets kept messages that have been routed and are not acknowledged yet.
	Gate(r *GateRequest, done func()) bool
	// Observe tells an event. It must return at once; e and what it points to are
	// valid only during the call.
	Observe(e *Event)
}

// Client describes a connected client (or the last connection of a session). It
// is immutable once handed out.
type Client struct {
	// Connection is a number that no other connection to this broker has, from 1; 0 if
	// the session has had none since the start.
	Connection uint64

	ID        string
	Username  string
	Namespace string
	Listener  string
	// Transport is tcp, tls, ws, wss or unix.
	Transport string
	Remote    net.Addr
	Version   packet.Version
	KeepAlive uint16
	// CleanStart, SessionExpiry (seconds) are as granted in CONNACK.
	CleanStart    bool
	SessionExpiry uint32
	// TLS is nil without TLS.
	TLS *tls.ConnectionState
	// ConnectedAt is in Unix milliseconds.
	ConnectedAt int64
	// Permissions were given at authentication, or later; nil allows everything.
	Permissions *access.Permissions
	// Permitted says that they came from somebody else than who has accepted the client,
	// and so may be given anew; see AuthResult.Permitted.
	Permitted bool
	// Attributes were given at authentication, for later hooks.
	Attributes map[string]string
}

// AuthRequest asks who the client is. In an enhanced authentication (MQTT 5
// §4.12) it is asked once per AUTH packet, with the same Exchange value.
type AuthRequest struct {
	Client *Client
	// Connect is the client's CONNECT; on a re-authentication the one that opened
	// the connection, without its password.
	Connect *packet.Connect
	// Reauthenticate is set for an exchange on a connection that is open already.
	Reauthenticate bool
	// Method and Data are of the CONNECT or AUTH packet; Method is empty for
	// plain user name and password.
	Method string
	Data   []byte
	// Step counts the packets of this exchange from 0.
	Step int
	// State is the host's own, kept between the steps.
	State any

	// Result is the answer.
	Result AuthResult
}

// AuthResult is the answer to an AuthRequest. The zero value denies: a host that
// forgets to answer lets nobody in.
type AuthResult struct {
	// Code decides: Success lets the client in when Accept is set,
	// ContinueAuthentication sends AuthData and waits for an AUTH, any error code
	// refuses and is sent.
	Accept bool
	Code   packet.ReasonCode
	Reason string
	// AuthData is sent in CONNACK or AUTH.
	AuthData []byte

	// What follows counts when Accept is set.

	// Username, ClientID and Namespace replace what the client claimed; empty
	// keeps it.
	Username, ClientID, Namespace string
	// Permissions are evaluated by the broker itself; nil allows everything. They also
	// count when Undecided is set. Permitted is kept in Client.Permitted.
	Permissions *access.Permissions
	Permitted   bool
	// MaxSessionExpiry caps the Session Expiry Interval, in seconds, when
	// CapSessionExpiry is set.
	CapSessionExpiry bool
	MaxSessionExpiry uint32
	// ExpiresAt ends the connection with 0x87 Not authorized, in Unix
	// milliseconds; 0 never.
	ExpiresAt  int64
	Attributes map[string]string
	// Quotas take the place of the broker's limits; nil leaves them all in force.
	Quotas *Quotas

	// Undecided says that nobody has an opinion: the client is treated as if there was
	// no host. It counts when neither Accept nor Code is set.
	Undecided bool
}

// Quotas bound one client. A field that is 0 leaves the broker's limit in force.
type Quotas struct {
	// PublishRate is in messages, PublishBytesRate in bytes a second.
	PublishRate, PublishBytesRate float64
	MaxSubscriptions              int
	// MaxInflight is how many messages are sent without being acknowledged, MaxQueued
	// how many wait, MaxQueuedBytes their size.
	MaxInflight, MaxQueued int
	MaxQueuedBytes         int64
}

// Verdict says what is to become of a message.
type Verdict uint8

const (
	// Continue goes on with the message as it stands in the request.
	Continue Verdict = iota
	// Drop acknowledges the message and goes no further with it.
	Drop
	// Deny refuses it with Code (or Not authorized).
	Deny
	// Disconnect closes the publisher's connection with Code.
	Disconnect
)

// AuthorizeRequest asks whether a client may do what its permissions do not
// speak of.
type AuthorizeRequest struct {
	Client *Client
	Point  Point // AuthorizePublish, AuthorizeSubscribe
	// Topic is a Topic Name, or the Topic Filter of a subscription without
	// `$share`.
	Topic  string
	QoS    byte
	Retain bool

	// Allow is the answer; Code and Reason go to the client if it is false
	// (Not authorized by default).
	Allow  bool
	Code   packet.ReasonCode
	Reason string
	// Disconnect closes the connection with Code if Allow is not set.
	Disconnect bool
	// CacheMillis is how long the broker may reuse the answer for this client,
	// topic and action; 0 not at all.
	CacheMillis int64
}

// PublishRequest is one message on its way in. A host may replace Message, or
// its slices, but must not write to the bytes that they point to.
type PublishRequest struct {
	Client  *Client
	Message *packet.Message

	Verdict Verdict
	Code    packet.ReasonCode
	Reason  string
	// Extra are messages to be routed after this one, as the same client's.
	Extra []*packet.Message
}

// SubscribeRequest is a SUBSCRIBE. A host may change the subscriptions in place
// and refuse each by an error in Codes.
type SubscribeRequest struct {
	Client        *Client
	Subscriptions []packet.Subscription
	ID            uint32 // Subscription Identifier, 0 none
	Codes         []packet.ReasonCode
	// UserProperties are those of the packet; they must not be changed.
	UserProperties []packet.UserProperty
	// Disconnect closes the connection with DisconnectCode instead of answering.
	Disconnect     bool
	DisconnectCode packet.ReasonCode
	Reason         string
}

// UnsubscribeRequest is an UNSUBSCRIBE; an error in Codes refuses a filter.
type UnsubscribeRequest struct {
	Client  *Client
	Filters []string
	Codes   []packet.ReasonCode
	// UserProperties, Disconnect, DisconnectCode and Reason: see SubscribeRequest.
	UserProperties []packet.UserProperty
	Disconnect     bool
	DisconnectCode packet.ReasonCode
	Reason         string
}

// ReceiveRequest is one delivery to one receiver.
type ReceiveRequest struct {
	Client  *Client
	Message *packet.Message // replace, do not write to it
	Drop    bool
}

// GateRequest holds the acknowledgement of one message.
type GateRequest struct {
	Client *Client
	// Message is kept; it stays valid until the answer.
	Message *packet.Message
	// Code is the answer: Success releases the acknowledgement, an error code is
	// sent instead of it to MQTT 5 clients, and withholds it from others.
	Code packet.ReasonCode
}

// Event is something that happened. Fields without a meaning for its Point are
// zero.
type Event struct {
	Point  Point
	Time   int64 // Unix milliseconds
	Client *Client
	// Message is the message that was published, delivered, acknowledged, dropped
	// or retained.
	Message *packet.Message
	// Topic is a Topic Filter or Topic Name where there is no message.
	Topic string
	QoS   byte
	// Code is the Reason Code of Disconnected, AuthFailed, Acknowledged.
	Code packet.ReasonCode
	// Reason says why in words: of Dropped one of the Drop… reasons, of
	// LimitReached the configuration key.
	Reason string
	// Publisher is who published the message of a Delivered or Dropped event.
	Publisher string
	// Namespace is that of Message or Topic if Client is nil; empty is the default one.
	Namespace string
	// Subscription and its Identifier (0 none) are those of Subscribed.
	Subscription   *packet.Subscription
	SubscriptionID uint32
	// Plugin is the plugin of PluginStateChanged, or the one that dropped or gave up the
	// message of Dropped or DeadLettered; State is the host's own.
	Plugin string
	State  uint8
}

// Why a message was dropped: the Reason of a Dropped event and the label of the
// dropped counter.
const (
	DropNotAuthorized   = "not_authorized"
	DropNoSubscriber    = "no_subscriber"
	DropExpired         = "expired"
	DropQueueFull       = "queue_full"
	DropOutBufferFull   = "out_buffer_full"
	DropPacketTooLarge  = "packet_too_large"
	DropByPlugin        = "plugin"
	DropQuota           = "quota"
	DropOffline         = "offline"
	DropSessionEnded    = "session_ended"
	DropRefusedByClient = "refused_by_client"
	DropStoreFull       = "store_full"
)

// DropReasons lists all of them, for metrics.
var DropReasons = [...]string{
	DropNotAuthorized, DropNoSubscriber, DropExpired, DropQueueFull, DropOutBufferFull, DropPacketTooLarge,
	DropByPlugin, DropQuota, DropOffline, DropSessionEnded, DropRefusedByClient, DropStoreFull,
}
