package sdk

import (
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Decision is a plugin's verdict on an event. The zero value is Continue. Which ones a
// point has is said at its interface; another one counts as a failure of the plugin.
type Decision struct {
	action pluginv1.Action
	code   ReasonCode
	reason string
	ttl    time.Duration
	later  func(complete func(Decision))
}

// Continue leaves it to the next plugin, with the changes made to the request.
func Continue() Decision { return Decision{} }

// Allow says yes; no further plugin is asked. Changes made to the request count.
func Allow() Decision { return Decision{action: pluginv1.ActionAllow} }

// Deny refuses, with a Reason Code from 0x80 (0 stands for NotAuthorized) and a reason in
// words for logs and for clients that want it, which may be empty.
func Deny(code ReasonCode, reason string) Decision {
	return Decision{action: pluginv1.ActionDeny, code: code, reason: reason}
}

// Drop acknowledges a message and goes no further with it. The reason is for logs.
func Drop(reason string) Decision {
	return Decision{action: pluginv1.ActionDrop, reason: reason}
}

// Disconnect closes the client's connection; 0 stands for AdministrativeAction.
func Disconnect(code ReasonCode, reason string) Decision {
	return Decision{action: pluginv1.ActionDisconnect, code: code, reason: reason}
}

// Cached lets the host give the same answer to the same question for ttl without asking.
// For Authorizer; Host.InvalidateDecisions takes it back.
func (d Decision) Cached(ttl time.Duration) Decision {
	d.ttl = ttl
	return d
}

// AuthResult is the verdict of an Authenticator, or of a Permitter. The zero value is
// Continue: the next plugin is asked, and if no Authenticator allows the client is
// refused.
type AuthResult struct {
	Decision
	// Identity goes with Allow and Challenge; of Deny only its Data counts.
	Identity *Identity

	later func(complete func(AuthResult))
}

// Accept lets the client in, as identity says. With Identity.HasPermissions the broker
// evaluates Identity.Permissions by itself, which is what scales.
func Accept(identity Identity) AuthResult {
	return AuthResult{Decision: Allow(), Identity: &identity}
}

// Permit gives the client permissions, and no others: the first that applies decides, and
// what none speaks of is denied. For Permitter; an Authenticator has Accept.
func Permit(permissions ...Permission) AuthResult {
	return Accept(Identity{HasPermissions: true, Permissions: permissions})
}

// Refuse keeps the client out; 0 stands for NotAuthorized.
func Refuse(code ReasonCode, reason string) AuthResult {
	return AuthResult{Decision: Deny(code, reason)}
}

// Challenge sends data in an AUTH. The client's answer comes to this plugin alone, with
// state (up to 64 KiB) in AuthRequest.State.
func Challenge(data, state []byte) AuthResult {
	return AuthResult{
		Decision: Decision{action: pluginv1.ActionChallenge}, Identity: &Identity{Data: data, State: state},
	}
}

// Later puts a decision off: the connection stays paused (or the acknowledgement held
// back) until complete is called, once, from any goroutine, within the deadline of the
// hook. start is called at once and must not block: it hands complete to whoever will
// know, together with clones of what that needs of the request. In WebAssembly nobody
// runs between calls, so complete has to be called from another method, as Timer.
//
// It is possible at all points but PointAuthorizeReceive and PointInterceptDeliver, and
// changes made to the request before are lost.
func Later[R Decision | AuthResult](start func(complete func(R))) R {
	var r R
	switch p := any(&r).(type) {
	case *Decision:
		p.later = any(start).(func(func(Decision)))
	case *AuthResult:
		p.later = any(start).(func(func(AuthResult)))
	}
	return r
}
