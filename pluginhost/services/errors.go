package services

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// fail makes a HostError.
func fail(code pluginv1.HostErrorCode, format string, args ...any) error {
	return &pluginv1.HostError{Code: code, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return fail(pluginv1.HostErrorCodeInvalid, format, args...)
}

// asHostError makes of any error what a plugin gets. Errors of the broker and of Values
// that are not told apart before mean that it cannot be done now: the disk is full or broken, the
// broker is closing.
func (s *Service) asHostError(op pluginv1.HostOp, err error) error {
	var host *pluginv1.HostError
	switch {
	case errors.As(err, &host):
		return host
	case errors.Is(err, context.DeadlineExceeded):
		return fail(pluginv1.HostErrorCodeTimeout, "%s took too long", op)
	case errors.Is(err, context.Canceled):
		if s.ctx.Err() != nil {
			return errEnded(op)
		}
		return context.Canceled
	}
	return fail(pluginv1.HostErrorCodeUnavailable, "%s: %v", op, err)
}

func errEnded(op pluginv1.HostOp) error {
	return fail(pluginv1.HostErrorCodeUnavailable, "%s: the instance has ended", op)
}

// panicked makes of a panic the HostError that the plugin gets.
func (s *Service) panicked(op pluginv1.HostOp, r any) error {
	s.p.s.log.Error("a call of a plugin has failed by a fault of the broker", "plugin", s.p.name, "call", op.String(), "panic", fmt.Sprint(r),
		"stack", string(debug.Stack()))
	return fail(pluginv1.HostErrorCodeInternal, "%s: the host has failed", op)
}
