package sdk

import (
	"errors"

	"github.com/patchbay-mq/patchbay/sdk/internal/config"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// ReasonError, returned as an error, refuses: with it an Authenticator, Authorizer,
// interceptor or PublishGate says Deny.
type ReasonError struct {
	Code   ReasonCode
	Reason string
}

// Error returns the reason.
func (e *ReasonError) Error() string {
	if e.Reason == "" {
		return "refused"
	}
	return e.Reason
}

// ParseError lists everything that is wrong with a config, each with a JSON Pointer.
type ParseError = config.ParseError

// ErrRestart is returned by a Configurer that cannot take the new config while running.
var ErrRestart = errors.New("a restart is needed")

// NewProblem makes the error of a Starter or Configurer that cannot work with a value of
// the config. The pointer is a JSON Pointer (RFC 6901) as "/brokers/0", or empty if the
// config is not to blame; the message says what is wrong and what would be right.
func NewProblem(pointer, message string) error {
	return &ParseError{Problems: []pluginv1.Problem{{Pointer: pointer, Message: message}}}
}

// Problems joins errors made by NewProblem; nil if there are none.
func Problems(errs ...error) error {
	out := &ParseError{}
	for _, err := range errs {
		var p *ParseError
		switch {
		case errors.As(err, &p):
			out.Problems = append(out.Problems, p.Problems...)
		case err != nil:
			out.Problems = append(out.Problems, pluginv1.Problem{Message: err.Error()})
		}
	}
	if len(out.Problems) == 0 {
		return nil
	}
	return out
}

// Degraded makes the error of a Healther that does its work badly.
func Degraded(message string) error { return degraded(message) }

type degraded string

func (d degraded) Error() string { return string(d) }
