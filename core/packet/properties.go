package packet

// UserProperty is one User Property: a name and value pair. The same name may
// come more than once, and order is significant [MQTT-3.3.2-18].
type UserProperty struct{ Key, Value string }

// Properties holds the properties of any packet but PUBLISH, and of a Will. Set
// says which are present; use the Set… methods, which keep it up to date. User
// Properties are present when User is not empty.
//
// Encoding leaves out what the packet in question may not carry.
type Properties struct {
	Set PropSet

	SessionExpiry           uint32 // seconds; 0xFFFFFFFF is never
	AssignedClientID        string
	ServerKeepAlive         uint16 // seconds
	AuthMethod              string
	AuthData                []byte
	RequestProblemInfo      byte   // 0 or 1
	WillDelay               uint32 // seconds
	RequestResponseInfo     byte   // 0 or 1
	ResponseInfo            string
	ServerReference         string
	ReasonString            string
	ReceiveMaximum          uint16 // 1..65,535
	TopicAliasMaximum       uint16
	MaximumQoS              byte   // 0 or 1
	RetainAvailable         byte   // 0 or 1
	MaximumPacketSize       uint32 // bytes, from 1
	WildcardAvailable       byte   // 0 or 1
	SubscriptionIDAvailable byte   // 0 or 1
	SharedAvailable         byte   // 0 or 1
	SubscriptionID          uint32 // 1..268,435,455
	PayloadFormat           byte   // 0 or 1
	MessageExpiry           uint32 // seconds
	ContentType             string
	ResponseTopic           string
	CorrelationData         []byte
	User                    []UserProperty
}

// Has reports whether the property is present.
func (p *Properties) Has(id Property) bool { return p.Set.Has(id) }

// SetSessionExpiry sets the Session Expiry Interval, in seconds.
func (p *Properties) SetSessionExpiry(v uint32) {
	p.SessionExpiry = v
	p.Set.Add(PropSessionExpiryInterval)
}

// SetAssignedClientID sets the Assigned Client Identifier.
func (p *Properties) SetAssignedClientID(v string) {
	p.AssignedClientID = v
	p.Set.Add(PropAssignedClientIdentifier)
}

// SetServerKeepAlive sets the Server Keep Alive, in seconds.
func (p *Properties) SetServerKeepAlive(v uint16) {
	p.ServerKeepAlive = v
	p.Set.Add(PropServerKeepAlive)
}

// SetAuthMethod sets the Authentication Method.
func (p *Properties) SetAuthMethod(v string) {
	p.AuthMethod = v
	p.Set.Add(PropAuthenticationMethod)
}

// SetAuthData sets the Authentication Data; v is retained.
func (p *Properties) SetAuthData(v []byte) {
	p.AuthData = v
	p.Set.Add(PropAuthenticationData)
}

// SetRequestProblemInfo sets Request Problem Information, 0 or 1.
func (p *Properties) SetRequestProblemInfo(v byte) {
	p.RequestProblemInfo = v
	p.Set.Add(PropRequestProblemInformation)
}

// SetWillDelay sets the Will Delay Interval, in seconds.
func (p *Properties) SetWillDelay(v uint32) {
	p.WillDelay = v
	p.Set.Add(PropWillDelayInterval)
}

// SetRequestResponseInfo sets Request Response Information, 0 or 1.
func (p *Properties) SetRequestResponseInfo(v byte) {
	p.RequestResponseInfo = v
	p.Set.Add(PropRequestResponseInformation)
}

// SetResponseInfo sets the Response Information.
func (p *Properties) SetResponseInfo(v string) {
	p.ResponseInfo = v
	p.Set.Add(PropResponseInformation)
}

// SetServerReference sets the Server Reference.
func (p *Properties) SetServerReference(v string) {
	p.ServerReference = v
	p.Set.Add(PropServerReference)
}

// SetReasonString sets the Reason String.
func (p *Properties) SetReasonString(v string) {
	p.ReasonString = v
	p.Set.Add(PropReasonString)
}

// SetReceiveMaximum sets the Receive Maximum, from 1.
func (p *Properties) SetReceiveMaximum(v uint16) {
	p.ReceiveMaximum = v
	p.Set.Add(PropReceiveMaximum)
}

// SetTopicAliasMaximum sets the Topic Alias Maximum.
func (p *Properties) SetTopicAliasMaximum(v uint16) {
	p.TopicAliasMaximum = v
	p.Set.Add(PropTopicAliasMaximum)
}

// SetMaximumQoS sets the Maximum QoS, 0 or 1.
func (p *Properties) SetMaximumQoS(v byte) {
	p.MaximumQoS = v
	p.Set.Add(PropMaximumQoS)
}

// SetRetainAvailable sets Retain Available, 0 or 1.
func (p *Properties) SetRetainAvailable(v byte) {
	p.RetainAvailable = v
	p.Set.Add(PropRetainAvailable)
}

// SetMaximumPacketSize sets the Maximum Packet Size, in bytes, from 1.
func (p *Properties) SetMaximumPacketSize(v uint32) {
	p.MaximumPacketSize = v
	p.Set.Add(PropMaximumPacketSize)
}

// SetWildcardAvailable sets Wildcard Subscription Available, 0 or 1.
func (p *Properties) SetWildcardAvailable(v byte) {
	p.WildcardAvailable = v
	p.Set.Add(PropWildcardSubscriptionAvailable)
}

// SetSubscriptionIDAvailable sets Subscription Identifier Available, 0 or 1.
func (p *Properties) SetSubscriptionIDAvailable(v byte) {
	p.SubscriptionIDAvailable = v
	p.Set.Add(PropSubscriptionIdentifierAvailable)
}

// SetSharedAvailable sets Shared Subscription Available, 0 or 1.
func (p *Properties) SetSharedAvailable(v byte) {
	p.SharedAvailable = v
	p.Set.Add(PropSharedSubscriptionAvailable)
}

// SetSubscriptionID sets the Subscription Identifier, 1..268,435,455.
func (p *Properties) SetSubscriptionID(v uint32) {
	p.SubscriptionID = v
	p.Set.Add(PropSubscriptionIdentifier)
}

// SetPayloadFormat sets the Payload Format Indicator, 0 or 1.
func (p *Properties) SetPayloadFormat(v byte) {
	p.PayloadFormat = v
	p.Set.Add(PropPayloadFormatIndicator)
}

// SetMessageExpiry sets the Message Expiry Interval, in seconds.
func (p *Properties) SetMessageExpiry(v uint32) {
	p.MessageExpiry = v
	p.Set.Add(PropMessageExpiryInterval)
}

// SetContentType sets the Content Type.
func (p *Properties) SetContentType(v string) {
	p.ContentType = v
	p.Set.Add(PropContentType)
}

// SetResponseTopic sets the Response Topic.
func (p *Properties) SetResponseTopic(v string) {
	p.ResponseTopic = v
	p.Set.Add(PropResponseTopic)
}

// SetCorrelationData sets the Correlation Data; v is retained.
func (p *Properties) SetCorrelationData(v []byte) {
	p.CorrelationData = v
	p.Set.Add(PropCorrelationData)
}

// AddUser appends a User Property.
func (p *Properties) AddUser(key, value string) {
	p.User = append(p.User, UserProperty{key, value})
	p.Set.Add(PropUserProperty)
}
