package authhttp

import (
	"errors"

	"github.com/patchbay-mq/patchbay/sdk"
)

// count counts an answer, and logs one that the service has got wrong.
func (s *service) count(endpoint string, a answer, err error) {
	result := a.result.String()
	var bad *invalid
	switch {
	case errors.Is(err, errBusy):
		result = "busy"
	case errors.Is(err, errUnusable):
		result = "unusable"
	case errors.As(err, &bad):
		result = "invalid"
		s.host.Logger().Warn("an answer of the service cannot be used", "endpoint", endpoint, "error", err)
	case err != nil:
		result = "unavailable"
	}
	s.metrics.answers.Add(1, sdk.Pair{Name: "endpoint", Value: endpoint}, sdk.Pair{Name: "result", Value: result})
}

// auth is the verdict about a client. What is said to the client of a service in trouble
// does not say why.
func (s *service) auth(endpoint string, a answer, err error) sdk.AuthResult {
	s.count(endpoint, a, err)
	switch {
	case err == nil:
		return a.auth()
	case errors.Is(err, errUnusable):
		return sdk.Refuse(sdk.BadUserNameOrPassword, err.Error())
	case errors.Is(err, errExpired):
		return sdk.Refuse(sdk.NotAuthorized, "the login has expired")
	case s.leaveLogins:
		return sdk.AuthResult{}
	case errors.Is(err, errBusy):
		return sdk.Refuse(sdk.ServerBusy, err.Error())
	}
	return sdk.Refuse(sdk.ServerUnavailable, "who may connect cannot be asked now")
}

// auth is the verdict that an answer is.
func (a *answer) auth() sdk.AuthResult {
	switch a.result {
	case allow:
		return sdk.Accept(a.identity)
	case deny:
		return sdk.Refuse(a.code, a.reason)
	case challenge:
		return sdk.Challenge(a.identity.Data, a.identity.State)
	}
	return sdk.AuthResult{}
}

// decision is the verdict about a topic.
func (s *service) decision(q *question, a answer, err error) sdk.Decision {
	s.count("authorize", a, err)
	switch {
	case errors.Is(err, errUnusable):
		return sdk.Deny(sdk.NotAuthorized, err.Error())
	case err != nil && s.leaveTopics:
		return sdk.Continue()
	case err != nil && q.access == sdk.AccessPublish && q.qos > 0 && q.client.ProtocolVersion < 5:
		// Before MQTT 5 an acknowledgement cannot say no. The client would take its message
		// for delivered; now it sends it again with its next connection.
		return sdk.Disconnect(sdk.ServerUnavailable, "what clients may do cannot be asked now")
	case err != nil:
		return sdk.Deny(sdk.ImplementationError, "what clients may do cannot be asked now")
	}
	ttl := s.config.CacheTTL.Std()
	if a.ttl >= 0 {
		ttl = a.ttl
	}
	switch a.result {
	case allow:
		return sdk.Allow().Cached(ttl)
	case deny:
		return sdk.Deny(a.code, a.reason).Cached(ttl)
	}
	return sdk.Continue()
}
