package broker

import (
	"log/slog"
	"math"
	"time"

	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/retained"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// Options set a broker up. Start from DefaultOptions, or let New do it.
type Options struct {
	Logger *slog.Logger
	// Store keeps what outlives a connection; store.Memory by default. The broker
	// closes it.
	Store store.Store
	// Clock is the broker's time; a test may turn it by hand. The default follows
	// the system's.
	Clock *clock.Clock
	// Version is told on $SYS/broker/version.
	Version string
	// NodeID distinguishes brokers that exchange messages, 0 to 65,535: it is
	// the upper part of every message's id.
	NodeID uint16
	// SharedStrategy picks the member of a shared subscription.
	SharedStrategy router.Strategy
	// OutBufferHigh and OutBufferLow are marks on the bytes that wait for one
	// receiver's socket; WriteTimeout closes a receiver that takes none.
	OutBufferHigh, OutBufferLow int
	WriteTimeout                time.Duration
	// Driver waits for the connections' sockets; nil is the best one for this
	// system. A Driver serves one broker.
	Driver transport.Driver

	Live
}

// Live are the options that can be changed while the broker runs (SetLive).
type Live struct {
	MQTT     MQTT
	Session  Session
	Retained Retained
	Limits   Limits
	Sys      Sys
}

// MQTT is what the server offers and accepts.
type MQTT struct {
	MaxQoS                  byte
	RetainAvailable         bool
	WildcardSubscriptions   bool
	SharedSubscriptions     bool
	SubscriptionIdentifiers bool
	// MaxPacketSize and MaxPacketSizeBeforeAuth are in bytes, with the header.
	MaxPacketSize, MaxPacketSizeBeforeAuth int
	// ConnectTimeout is the time until CONNECT and authentication are done.
	ConnectTimeout time.Duration
	// ReceiveMaximum bounds a client's unacknowledged QoS 1 and 2 messages.
	ReceiveMaximum            uint16
	TopicAliasMaximum         uint16
	OutboundTopicAliasMaximum uint16
	// KeepAliveMax is in seconds; 0 takes what the client asks for.
	KeepAliveMax        uint16
	MaxTopicLength      int
	MaxTopicLevels      int // 0 no limit
	MaxClientIDLength   int
	AllowEmptyClientID  bool
	ResponseInformation string
	ServerReference     string
	CheckPayloadFormat  bool
}

// Session bounds what is kept for one client.
type Session struct {
	session.Limits
	// MaxExpiry and Expiry311 (for MQTT 3 clients without clean session) are
	// Session Expiry Intervals in seconds; session.NeverExpires is no end.
	MaxExpiry, Expiry311 uint32
	// MaxSubscriptions of one client, MaxSessions of the broker; 0 no limit.
	MaxSubscriptions, MaxSessions int
	// MaxWillDelay is in seconds.
	MaxWillDelay uint32
}

// Retained bounds the retained messages of each namespace.
type Retained struct {
	Enabled bool
	retained.Limits
	// MaxAge removes a retained message, as a Message Expiry Interval would; 0
	// never.
	MaxAge time.Duration
}

// Limits protect the broker and its clients from each other; 0 is no limit.
type Limits struct {
	MaxConnections int
	// Memory is the watermark in bytes above which publishers are not read from.
	Memory int64
	// PublisherStall is how long a publisher waits for the only receiver of its
	// message to catch up, before messages are dropped.
	PublisherStall time.Duration
	// PublishRate is in messages a second for one client, PublishBytesRate in
	// bytes a second; the bursts are one second's worth by default.
	PublishRate, PublishBurst           float64
	PublishBytesRate, PublishBytesBurst float64
	// DisconnectOnRate closes a client above a rate instead of pausing it.
	DisconnectOnRate bool
}

// Sys configures the $SYS topics.
type Sys struct {
	// Interval of publication; 0 publishes none.
	Interval time.Duration
	// Disable holds Topic Filters below $SYS/broker to leave out.
	Disable []string
}

// DefaultOptions returns what a broker starts with.
func DefaultOptions() Options {
	return Options{
		Logger:       slog.Default(),
		Version:      "patchbay",
		WriteTimeout: transport.DefaultWriteTimeout, OutBufferHigh: transport.DefaultHighWater, OutBufferLow: transport.DefaultLowWater,
		Live: Live{
			MQTT: MQTT{
				MaxQoS: 2, RetainAvailable: true, WildcardSubscriptions: true, SharedSubscriptions: true, SubscriptionIdentifiers: true,
				MaxPacketSize: 16 << 20, MaxPacketSizeBeforeAuth: 64 << 10, ConnectTimeout: 10 * time.Second,
				ReceiveMaximum: 1024, TopicAliasMaximum: 64, OutboundTopicAliasMaximum: 10, MaxTopicLength: math.MaxUint16, MaxTopicLevels: 128,
				MaxClientIDLength: math.MaxUint16, AllowEmptyClientID: true, CheckPayloadFormat: true,
			},
			Session: Session{
				Limits: session.Limits{
					MaxInflight: 1024, MaxQueued: 10_000, MaxQueuedBytes: 64 << 20, RetryBackoff: 2, RetryMax: 5,
				},
				MaxExpiry: session.NeverExpires, Expiry311: session.NeverExpires, MaxWillDelay: math.MaxUint32,
			},
			Retained: Retained{Enabled: true},
			Limits:   Limits{PublisherStall: 100 * time.Millisecond},
			Sys:      Sys{Interval: 10 * time.Second},
		},
	}
}

// Listener is one place where clients connect.
type Listener struct {
	// Transport says where and how. Its User field is the broker's.
	Transport transport.ListenerConfig
	// Namespace of clients that authentication does not put into another.
	Namespace string
	// AllowAnonymous lets clients in while no authenticator is installed.
	AllowAnonymous bool
	// IdentityAsUsername takes the user name from the Common Name of the client's
	// certificate.
	IdentityAsUsername bool
}

// limits of the protocol itself.
const maxPacketSize = 268_435_455 + 5

// maxPacket is the largest packet that is accepted, with its header.
func (m *MQTT) maxPacket(authenticated bool) int {
	if n := min(m.MaxPacketSize, maxPacketSize); authenticated || n < m.MaxPacketSizeBeforeAuth {
		return n
	}
	return m.MaxPacketSizeBeforeAuth
}

// keepAlive is what the server grants: what the client asked for, or less
// [MQTT-3.2.2-21].
func (m *MQTT) keepAlive(asked uint16) uint16 {
	if m.KeepAliveMax != 0 && (asked == 0 || asked > m.KeepAliveMax) {
		return m.KeepAliveMax
	}
	return asked
}

// reasonError is an error that a client is told by its Reason Code.
type reasonError struct {
	code   packet.ReasonCode
	reason string
}

func (e *reasonError) Error() string {
	if e.reason == "" {
		return e.code.String()
	}
	return e.code.String() + ": " + e.reason
}

func refuse(code packet.ReasonCode, reason string) error { return &reasonError{code, reason} }
