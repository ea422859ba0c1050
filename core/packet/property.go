package packet

import "strconv"

// Property is the identifier of an MQTT 5.0 property (§2.2.2.2).
type Property byte

// The properties of MQTT 5.0.
const (
	PropPayloadFormatIndicator          Property = 0x01
	PropMessageExpiryInterval           Property = 0x02
	PropContentType                     Property = 0x03
	PropResponseTopic                   Property = 0x08
	PropCorrelationData                 Property = 0x09
	PropSubscriptionIdentifier          Property = 0x0B
	PropSessionExpiryInterval           Property = 0x11
	PropAssignedClientIdentifier        Property = 0x12
	PropServerKeepAlive                 Property = 0x13
	PropAuthenticationMethod            Property = 0x15
	PropAuthenticationData              Property = 0x16
	PropRequestProblemInformation       Property = 0x17
	PropWillDelayInterval               Property = 0x18
	PropRequestResponseInformation      Property = 0x19
	PropResponseInformation             Property = 0x1A
	PropServerReference                 Property = 0x1C
	PropReasonString                    Property = 0x1F
	PropReceiveMaximum                  Property = 0x21
	PropTopicAliasMaximum               Property = 0x22
	PropTopicAlias                      Property = 0x23
	PropMaximumQoS                      Property = 0x24
	PropRetainAvailable                 Property = 0x25
	PropUserProperty                    Property = 0x26
	PropMaximumPacketSize               Property = 0x27
	PropWildcardSubscriptionAvailable   Property = 0x28
	PropSubscriptionIdentifierAvailable Property = 0x29
	PropSharedSubscriptionAvailable     Property = 0x2A
)

// PropSet is a set of properties, one bit per identifier.
type PropSet uint64

// Has reports whether the set holds id.
func (s PropSet) Has(id Property) bool { return s&(1<<id) != 0 }

// Add puts id into the set.
func (s *PropSet) Add(id Property) { *s |= 1 << id }

// Remove takes id out of the set.
func (s *PropSet) Remove(id Property) { *s &^= 1 << id }

// propKind is the data type of a property's value (§2.2.2.2).
type propKind byte

const (
	kindNone   propKind = iota // no such property
	kindByte                   // Byte; every such property is 0 or 1
	kindU16                    // Two Byte Integer
	kindU32                    // Four Byte Integer
	kindVar                    // Variable Byte Integer
	kindString                 // UTF-8 Encoded String
	kindBinary                 // Binary Data
	kindPair                   // UTF-8 String Pair
)

// packets is a set of packet types, one bit each; bit 0, a type that does not
// exist, stands for the Will Properties of CONNECT.
type packets uint16

const inWill packets = 1 << 0

func in(types ...Type) (s packets) {
	for _, t := range types {
		s |= 1 << t
	}
	return s
}

const userPropertyName = "User Property"

type propSpec struct {
	kind    propKind
	in      packets
	nonZero bool // 0 is a Protocol Error
	name    string
}

// propSpecs is Table 2-4 of MQTT 5.0 §2.2.2.2.
var propSpecs = [43]propSpec{
	PropPayloadFormatIndicator:     {kindByte, in(TypePublish) | inWill, false, "Payload Format Indicator"},
	PropMessageExpiryInterval:      {kindU32, in(TypePublish) | inWill, false, "Message Expiry Interval"},
	PropContentType:                {kindString, in(TypePublish) | inWill, false, "Content Type"},
	PropResponseTopic:              {kindString, in(TypePublish) | inWill, false, "Response Topic"},
	PropCorrelationData:            {kindBinary, in(TypePublish) | inWill, false, "Correlation Data"},
	PropSubscriptionIdentifier:     {kindVar, in(TypePublish, TypeSubscribe), true, "Subscription Identifier"},
	PropSessionExpiryInterval:      {kindU32, in(TypeConnect, TypeConnack, TypeDisconnect), false, "Session Expiry Interval"},
	PropAssignedClientIdentifier:   {kindString, in(TypeConnack), false, "Assigned Client Identifier"},
	PropServerKeepAlive:            {kindU16, in(TypeConnack), false, "Server Keep Alive"},
	PropAuthenticationMethod:       {kindString, in(TypeConnect, TypeConnack, TypeAuth), false, "Authentication Method"},
	PropAuthenticationData:         {kindBinary, in(TypeConnect, TypeConnack, TypeAuth), false, "Authentication Data"},
	PropRequestProblemInformation:  {kindByte, in(TypeConnect), false, "Request Problem Information"},
	PropWillDelayInterval:          {kindU32, inWill, false, "Will Delay Interval"},
	PropRequestResponseInformation: {kindByte, in(TypeConnect), false, "Request Response Information"},
	PropResponseInformation:        {kindString, in(TypeConnack), false, "Response Information"},
	PropServerReference:            {kindString, in(TypeConnack, TypeDisconnect), false, "Server Reference"},
	PropReasonString: {kindString, in(TypeConnack, TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeSuback,
		TypeUnsuback, TypeDisconnect, TypeAuth), false, "Reason String"},
	PropReceiveMaximum:    {kindU16, in(TypeConnect, TypeConnack), true, "Receive Maximum"},
	PropTopicAliasMaximum: {kindU16, in(TypeConnect, TypeConnack), false, "Topic Alias Maximum"},
	PropTopicAlias:        {kindU16, in(TypePublish), false, "Topic Alias"}, // 0 has a Reason Code of its own
	PropMaximumQoS:        {kindByte, in(TypeConnack), false, "Maximum QoS"},
	PropRetainAvailable:   {kindByte, in(TypeConnack), false, "Retain Available"},
	PropUserProperty: {kindPair, in(TypeConnect, TypeConnack, TypePublish, TypePuback, TypePubrec, TypePubrel,
		TypePubcomp, TypeSubscribe, TypeSuback, TypeUnsubscribe, TypeUnsuback, TypeDisconnect, TypeAuth) | inWill,
		false, userPropertyName},
	PropMaximumPacketSize:               {kindU32, in(TypeConnect, TypeConnack), true, "Maximum Packet Size"},
	PropWildcardSubscriptionAvailable:   {kindByte, in(TypeConnack), false, "Wildcard Subscription Available"},
	PropSubscriptionIdentifierAvailable: {kindByte, in(TypeConnack), false, "Subscription Identifier Available"},
	PropSharedSubscriptionAvailable:     {kindByte, in(TypeConnack), false, "Shared Subscription Available"},
}

// String returns the specification's name, "Session Expiry Interval".
func (id Property) String() string {
	if int(id) < len(propSpecs) && propSpecs[id].kind != kindNone {
		return propSpecs[id].name
	}
	return "property 0x" + strconv.FormatUint(uint64(id), 16)
}
