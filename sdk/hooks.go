package sdk

import "context"

// The interfaces of this file are optional: a plugin has those that it needs, and the
// hooks for them are asked for by themselves (see Plugin.Hooks).
//
// In the builtin and process runtimes methods are called by several goroutines at once,
// in the order of one client's events for that client. In WebAssembly an instance makes
// one call after the other, has no other goroutines running between calls, and contexts
// have no deadline there.
//
// An error means that the plugin has failed, and the failure policy answers, unless it
// is a *ReasonError, which is a refusal. A panic is an error. If some events of a batch
// fail and others do not, the failed ones get the policy that Plugin.Hooks names.

// Starter is told its config and its host before anything else. An error made by
// NewProblem, or several joined by Problems, refuses the config; the host does not try
// again with the same. Any other error is a failure, and the host tries again.
type Starter[C any] interface {
	Start(ctx context.Context, h *Host, config C) error
}

// Configurer takes a changed config while running. If it refuses, the old one has to
// stay in force; with ErrRestart, a new instance is started beside this one. Plugins
// without it are restarted.
type Configurer[C any] interface {
	Configure(ctx context.Context, config C) error
}

// Narrower says, after Start and Configure, that with its present config the plugin
// needs less than its Plugin says. Nil: all of it.
type Narrower interface {
	Narrow() *Narrowed
}

// Narrowed is what is wanted in place of Plugin.Hooks and Plugin.Queues.
type Narrowed struct {
	Hooks  []Hook
	Queues []Queue
}

// Stopper finishes within the context's deadline. Nothing is called afterwards.
type Stopper interface {
	Stop(ctx context.Context, reason StopReason) error
}

// Healther says about every 10 s whether the plugin can do its work: nil, an error made
// by Degraded (badly), or any other error (not).
type Healther interface {
	Health(ctx context.Context) error
}

// Authenticator decides who a client is (PointAuthenticate; FieldPassword). It may block.
// For an enhanced authentication (MQTT 5 §4.12) it answers with Challenge and is asked
// again with the next AUTH. One that lets nobody in says so with Hook.OnlyRefuses; else
// clients that it and all others leave alone are refused.
type Authenticator interface {
	Authenticate(ctx context.Context, r *AuthRequest) (AuthResult, error)
}

// Permitter says what a client that is let in may do (PointPermit; FieldAttributes and
// FieldConnection), if its Authenticator did not. The first that does not Continue is
// heard: Permit says it, Allow leaves the client without permissions, Refuse keeps it
// out. After Host.InvalidateDecisions it is asked again about clients that are
// connected. It may block. Hosts without the feature "permit" do not start such a plugin.
type Permitter interface {
	Permit(ctx context.Context, r *PermitRequest) (AuthResult, error)
}

// Authorizer decides what a client may do, if it got no permissions when it was
// let in (PointAuthorizePublish, PointAuthorizeSubscribe; also
// PointAuthorizeReceive if Plugin.Hooks has it). It must be quick unless Hook.Blocking.
type Authorizer interface {
	Authorize(ctx context.Context, r *AuthorizeRequest) (Decision, error)
}

// PublishInterceptor decides about messages on their way in, one by one, and may change
// them (PointInterceptPublish; FieldPayload). It must be quick unless Hook.Blocking.
type PublishInterceptor interface {
	Publish(ctx context.Context, r *PublishRequest) (Decision, error)
}

// PublishBatchInterceptor is PublishInterceptor for many messages at once. What it does
// not decide about continues.
type PublishBatchInterceptor interface {
	PublishBatch(ctx context.Context, b *PublishBatch) error
}

// SubscribeInterceptor decides about SUBSCRIBE packets (PointInterceptSubscribe). It may
// block.
type SubscribeInterceptor interface {
	Subscribe(ctx context.Context, r *SubscribeRequest) (Decision, error)
}

// UnsubscribeInterceptor decides about UNSUBSCRIBE packets (PointInterceptUnsubscribe).
// It may block.
type UnsubscribeInterceptor interface {
	Unsubscribe(ctx context.Context, r *UnsubscribeRequest) (Decision, error)
}

// WillInterceptor decides about Will Messages that are about to be published
// (PointInterceptWill; FieldPayload): Continue, Allow or Drop, changed or not. It may
// block.
type WillInterceptor interface {
	Will(ctx context.Context, r *PublishRequest) (Decision, error)
}

// DeliverInterceptor decides about one receiver's copy of a message
// (PointInterceptDeliver; FieldPayload): Continue, Allow or Drop, changed (but for the
// QoS) or not. It costs times the fan-out and must not block.
type DeliverInterceptor interface {
	Deliver(ctx context.Context, r *PublishRequest) (Decision, error)
}

// PublishGate returns when all messages of the batch are safe with the plugin; their
// acknowledgements wait for it (PointGatePublish; FieldPayload). It may block. A
// *ReasonError is what publishers get instead.
type PublishGate interface {
	Gate(ctx context.Context, b *GateBatch) error
}

// Observer is told what has happened, at the points that Plugin.Hooks lists. Of an
// instance it is called with one batch after the other. It may block; what it is too
// slow for is lost and counted (EventBatch.Lost).
type Observer interface {
	Observe(ctx context.Context, b *EventBatch) error
}

// Consumer gets the messages of Plugin.Queues, each at least once. Nil acknowledges what
// the batch's methods do not say otherwise of; after an error, what was not
// acknowledged by them comes again. It may block.
type Consumer interface {
	Consume(ctx context.Context, b *ConsumeBatch) error
}

// HTTPHandler serves Plugin.Routes. It may block. A nil response is an empty one. Package
// sdkhttp makes one of a net/http handler.
type HTTPHandler interface {
	HTTP(ctx context.Context, r *HTTPRequest) (*HTTPResponse, error)
}

// TimerHandler is called when a timer of Host.SetTimer has run out. It may block.
type TimerHandler interface {
	Timer(ctx context.Context, t *TimerFired) error
}
