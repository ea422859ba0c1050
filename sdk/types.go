package sdk

import pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"

// The contract's own types, which CONTRACT.md describes field by field.
type (
	Client         = pluginv1.Client
	Pair           = pluginv1.Pair
	TLS            = pluginv1.TLS
	Certificate    = pluginv1.Certificate
	Message        = pluginv1.Message
	Subscription   = pluginv1.Subscription
	Authentication = pluginv1.Authentication
	Connect        = pluginv1.Connect
	// Identity is what an authenticated client gets.
	Identity   = pluginv1.AuthResult
	Permission = pluginv1.Permission
	RetainRule = pluginv1.RetainRule
	Quotas     = pluginv1.Quotas
	Grant      = pluginv1.Grant
	HTTPRoute  = pluginv1.HTTPRoute
	// HTTPRequest and HTTPResponse are of HTTPHandler. See package sdkhttp for net/http.
	HTTPRequest  = pluginv1.HTTPRequest
	HTTPResponse = pluginv1.HTTPResponse
	TimerFired   = pluginv1.TimerFired
	HostInfo     = pluginv1.HostInfo
	// HostError is why a call of Host failed; Grant is the name of a grant that is
	// missing. Errors of Host are *HostError, or those of the context.
	HostError     = pluginv1.HostError
	StopReason    = pluginv1.StopReason
	Point         = pluginv1.Point
	Field         = pluginv1.Field
	Access        = pluginv1.Access
	FailurePolicy = pluginv1.FailurePolicy
)

// The points at which a plugin is called; see pluginv1.Point.
const (
	PointAuthenticate         = pluginv1.PointAuthenticate
	PointAuthorizePublish     = pluginv1.PointAuthorizePublish
	PointAuthorizeSubscribe   = pluginv1.PointAuthorizeSubscribe
	PointAuthorizeReceive     = pluginv1.PointAuthorizeReceive
	PointInterceptPublish     = pluginv1.PointInterceptPublish
	PointInterceptSubscribe   = pluginv1.PointInterceptSubscribe
	PointInterceptUnsubscribe = pluginv1.PointInterceptUnsubscribe
	PointInterceptWill        = pluginv1.PointInterceptWill
	PointInterceptDeliver     = pluginv1.PointInterceptDeliver
	PointPermit               = pluginv1.PointPermit
	PointGatePublish          = pluginv1.PointGatePublish
	PointConnected            = pluginv1.PointConnected
	PointDisconnected         = pluginv1.PointDisconnected
	PointAuthFailed           = pluginv1.PointAuthFailed
	PointSessionCreated       = pluginv1.PointSessionCreated
	PointSessionResumed       = pluginv1.PointSessionResumed
	PointSessionTakenOver     = pluginv1.PointSessionTakenOver
	PointSessionExpired       = pluginv1.PointSessionExpired
	PointSubscribed           = pluginv1.PointSubscribed
	PointUnsubscribed         = pluginv1.PointUnsubscribed
	PointPublished            = pluginv1.PointPublished
	PointDelivered            = pluginv1.PointDelivered
	PointAcknowledged         = pluginv1.PointAcknowledged
	PointDropped              = pluginv1.PointDropped
	PointDeadLettered         = pluginv1.PointDeadLettered
	PointRetainedSet          = pluginv1.PointRetainedSet
	PointRetainedCleared      = pluginv1.PointRetainedCleared
	PointWillPublished        = pluginv1.PointWillPublished
	PointBrokerStarted        = pluginv1.PointBrokerStarted
	PointBrokerStopping       = pluginv1.PointBrokerStopping
	PointPluginStateChanged   = pluginv1.PointPluginStateChanged
	PointLimitReached         = pluginv1.PointLimitReached
	PointTick                 = pluginv1.PointTick
)

// What is sent of an event, for Hook.Fields; see pluginv1.Field.
const (
	FieldPayload        = pluginv1.FieldPayload
	FieldUserProperties = pluginv1.FieldUserProperties
	FieldProperties     = pluginv1.FieldProperties
	FieldConnection     = pluginv1.FieldConnection
	FieldAttributes     = pluginv1.FieldAttributes
	FieldTLS            = pluginv1.FieldTLS
	FieldCertificate    = pluginv1.FieldCertificate
	FieldPassword       = pluginv1.FieldPassword
	FieldConnect        = pluginv1.FieldConnect
)

// Bits of Permission.Actions, and what an AuthorizeRequest is about.
const (
	AccessPublish   = pluginv1.AccessPublish
	AccessSubscribe = pluginv1.AccessSubscribe
	AccessReceive   = pluginv1.AccessReceive
)

// Values of Permission.Retain; see pluginv1.RetainRule.
const (
	RetainAny          = pluginv1.RetainRuleAny
	RetainOnlyRetained = pluginv1.RetainRuleOnlyRetained
	RetainNotRetained  = pluginv1.RetainRuleNotRetained
)

// What becomes of an event if the plugin fails; see pluginv1.FailurePolicy.
const (
	FailureDefault  = pluginv1.FailurePolicyDefault
	FailureDeny     = pluginv1.FailurePolicyDeny
	FailureContinue = pluginv1.FailurePolicyContinue
	FailureDrop     = pluginv1.FailurePolicyDrop
)

// Values of HostInfo.Runtime; see pluginv1.Runtime.
const (
	RuntimeBuiltin = pluginv1.RuntimeBuiltin
	RuntimeProcess = pluginv1.RuntimeProcess
	RuntimeWasm    = pluginv1.RuntimeWasm
)

// ReasonCode is a Reason Code of MQTT 5.0 (§2.4). Codes from 0x80 are refusals.
type ReasonCode uint8

// Reason Codes that plugins give.
const (
	UnspecifiedError      ReasonCode = 0x80
	ImplementationError   ReasonCode = 0x83
	BadUserNameOrPassword ReasonCode = 0x86
	NotAuthorized         ReasonCode = 0x87
	ServerUnavailable     ReasonCode = 0x88
	ServerBusy            ReasonCode = 0x89
	Banned                ReasonCode = 0x8A
	BadAuthMethod         ReasonCode = 0x8C
	TopicFilterInvalid    ReasonCode = 0x8F
	TopicNameInvalid      ReasonCode = 0x90
	PacketTooLarge        ReasonCode = 0x95
	MessageRateTooHigh    ReasonCode = 0x96
	QuotaExceeded         ReasonCode = 0x97
	AdministrativeAction  ReasonCode = 0x98
	PayloadFormatInvalid  ReasonCode = 0x99
)

// Clone returns a copy of a message of the contract that shares no memory with it, and
// so may be kept: Clone(r.Message), Clone(r.Client).
func Clone[M any, P interface {
	*M
	pluginv1.Proto
}](m P) *M {
	out := new(M)
	// What was encoded can be decoded, except past the contract's limits; then the host
	// has broken them.
	if err := P(out).Unmarshal(m.AppendTo(nil)); err != nil {
		panic("sdk.Clone: " + err.Error())
	}
	return out
}
