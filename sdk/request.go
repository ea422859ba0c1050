package sdk

import pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"

// AuthRequest is one step of an authentication: a CONNECT, an AUTH, or the first packet
// of a re-authentication.
type AuthRequest struct {
	// Client as it claims to be. Never nil.
	Client *Client
	// Authentication has password, method, data, step and state. Never nil.
	*Authentication
}

// PermitRequest asks what a client may do.
type PermitRequest struct {
	// Client as authentication has left it. Never nil.
	Client *Client
}

// AuthorizeRequest asks whether a client may do something.
type AuthorizeRequest struct {
	Client *Client
	// Access is what: AccessPublish, AccessSubscribe or AccessReceive.
	Access Access
	// Topic is a Topic Name, or with AccessSubscribe a Topic Filter without $share.
	Topic string
	// QoS is 0 to 2.
	QoS uint32
	// Retain is the RETAIN flag, with AccessPublish.
	Retain bool
	// Message is what is to be received, with AccessReceive; else nil.
	Message *Message
}

// PublishRequest is a message on its way, which the plugin may change: what the Set
// methods set replaces the field, all else stays, also what the plugin does not see.
// What is set is kept until the host has it and must not be changed afterwards.
type PublishRequest struct {
	// Client published it, or at PointInterceptDeliver receives it. An empty one if there
	// is none.
	Client *Client
	// Message as it came. Never nil.
	Message *Message

	changed    uint32
	change     Message
	additional []Message
}

func (r *PublishRequest) reset(c *Client, m *Message) {
	r.Client, r.Message = c, m
	if r.changed != 0 || r.additional != nil {
		r.changed, r.change, r.additional = 0, Message{}, nil
	}
}

func (r *PublishRequest) set(c pluginv1.Change) *Message {
	r.changed |= uint32(c)
	return &r.change
}

// SetTopic replaces the Topic Name.
func (r *PublishRequest) SetTopic(topic string) { r.set(pluginv1.ChangeTopic).Topic = topic }

// SetPayload replaces the payload.
func (r *PublishRequest) SetPayload(p []byte) { r.set(pluginv1.ChangePayload).Payload = p }

// SetQoS replaces the QoS. Not for DeliverInterceptor.
func (r *PublishRequest) SetQoS(qos uint32) { r.set(pluginv1.ChangeQoS).QoS = qos }

// SetRetain replaces the RETAIN flag.
func (r *PublishRequest) SetRetain(retain bool) { r.set(pluginv1.ChangeRetain).Retain = retain }

// SetMessageExpiryInterval replaces the Message Expiry Interval, in seconds; 0 takes it
// away.
func (r *PublishRequest) SetMessageExpiryInterval(seconds uint32) {
	r.set(pluginv1.ChangeMessageExpiryInterval).MessageExpiryInterval = seconds
}

// SetUserProperties replaces all User Properties.
func (r *PublishRequest) SetUserProperties(p ...Pair) {
	r.set(pluginv1.ChangeUserProperties).UserProperties = p
}

// SetContentType replaces the Content Type; empty takes it away.
func (r *PublishRequest) SetContentType(s string) {
	r.set(pluginv1.ChangeContentType).ContentType = s
}

// SetResponseTopic replaces the Response Topic; empty takes it away.
func (r *PublishRequest) SetResponseTopic(s string) {
	r.set(pluginv1.ChangeResponseTopic).ResponseTopic = s
}

// SetCorrelationData replaces the Correlation Data; empty takes it away.
func (r *PublishRequest) SetCorrelationData(b []byte) {
	r.set(pluginv1.ChangeCorrelationData).CorrelationData = b
}

// SetPayloadFormat replaces the Payload Format Indicator, 0 or 1.
func (r *PublishRequest) SetPayloadFormat(f uint32) {
	r.set(pluginv1.ChangePayloadFormat).PayloadFormat = f
}

// Add has further messages routed after this one, as the same client's, without asking
// plugins about them; up to 256. Not for DeliverInterceptor.
func (r *PublishRequest) Add(messages ...Message) { r.additional = append(r.additional, messages...) }

// SubscribeRequest is a SUBSCRIBE, of which single filters may be refused or changed.
type SubscribeRequest struct {
	Client *Client
	// Subscriptions in the packet's order.
	Subscriptions []Subscription
	// UserProperties of the packet, with FieldUserProperties.
	UserProperties []Pair

	results []pluginv1.FilterResult
}

// UnsubscribeRequest is an UNSUBSCRIBE; of its subscriptions only the filter is there.
type UnsubscribeRequest = SubscribeRequest

// Refuse refuses the i-th filter; 0 stands for NotAuthorized.
func (r *SubscribeRequest) Refuse(i int, code ReasonCode) {
	if code == 0 {
		code = NotAuthorized
	}
	r.results = append(r.results, pluginv1.FilterResult{Index: uint32(i), ReasonCode: uint32(code)})
}

// Replace puts s in the place of the i-th subscription, whole.
func (r *SubscribeRequest) Replace(i int, s Subscription) {
	r.results = append(r.results, pluginv1.FilterResult{Index: uint32(i), Subscription: &s})
}
