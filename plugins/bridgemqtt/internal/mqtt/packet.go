package mqtt

import (
	"errors"
	"fmt"
)

// Version is a protocol version.
type Version byte

// The versions that are spoken.
const (
	V311 Version = 4
	V5   Version = 5
)

// String is as people write it.
func (v Version) String() string {
	switch v {
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	}
	return fmt.Sprintf("version %d", byte(v))
}

// Packet types (§2.1.2).
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typePubrec      = 5
	typePubrel      = 6
	typePubcomp     = 7
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
	typePingreq     = 12
	typePingresp    = 13
	typeDisconnect  = 14
)

// Identifiers of properties (MQTT 5 §2.2.2.2).
const (
	propPayloadFormat         = 0x01
	propMessageExpiry         = 0x02
	propContentType           = 0x03
	propResponseTopic         = 0x08
	propCorrelationData       = 0x09
	propSubscriptionID        = 0x0B
	propSessionExpiry         = 0x11
	propAssignedClientID      = 0x12
	propServerKeepAlive       = 0x13
	propAuthMethod            = 0x15
	propAuthData              = 0x16
	propRequestProblem        = 0x17
	propWillDelay             = 0x18
	propRequestResponse       = 0x19
	propResponseInfo          = 0x1A
	propServerReference       = 0x1C
	propReasonString          = 0x1F
	propReceiveMaximum        = 0x21
	propTopicAliasMaximum     = 0x22
	propTopicAlias            = 0x23
	propMaximumQoS            = 0x24
	propRetainAvailable       = 0x25
	propUserProperty          = 0x26
	propMaximumPacketSize     = 0x27
	propWildcardAvailable     = 0x28
	propSubscriptionAvailable = 0x29
	propSharedAvailable       = 0x2A
)

// Pair is a User Property.
type Pair struct{ Name, Value string }

// Message is what PUBLISH and Wills carry. Properties are sent to MQTT 5 servers only.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool

	// MessageExpiry is in seconds, of which 0 is none.
	MessageExpiry   uint32
	PayloadFormat   byte
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	UserProperties  []Pair
}

// Subscription is a Topic Filter with its options; those of MQTT 5 are left out for
// 3.1.1 servers.
type Subscription struct {
	Filter            string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	// RetainHandling: 0 sends retained messages, 1 if the subscription is new, 2 never.
	RetainHandling byte
}

// connect is a CONNECT.
type connect struct {
	version        Version
	bridge         bool // 3.1.1: the bit of bridges
	clientID       string
	username       string
	password       []byte
	hasPassword    bool
	cleanStart     bool
	keepAlive      uint16
	sessionExpiry  uint32
	receiveMaximum uint16
	maximumPacket  uint32
	will           *Message
}

// connack is a CONNACK with what a server of 3.1.1 does not say filled in.
type connack struct {
	sessionPresent bool
	code           byte
	reason         string
	assignedID     string
	receiveMaximum uint16
	maximumPacket  uint32 // 0: none
	maximumQoS     byte
	retain         bool
	keepAlive      uint16 // of the server; 0: ours
	hasKeepAlive   bool
	sessionExpiry  uint32
	hasExpiry      bool
}

// publish is a PUBLISH that has come.
type publish struct {
	Message
	dup bool
	id  uint16
}

// ack is PUBACK, PUBREC, PUBREL or PUBCOMP.
type ack struct {
	id     uint16
	code   byte
	reason string
}

// errMalformed is wrapped by all errors of decoding.
var errMalformed = errors.New("malformed packet")

// maximumRemaining is the largest Remaining Length (§2.1.4).
const maximumRemaining = 268_435_455
