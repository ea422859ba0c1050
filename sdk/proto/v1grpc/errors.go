package v1grpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// ErrorTrailer is the name of the trailer that has the encoded HostError of a call of
// Host that failed.
const ErrorTrailer = "patchbay-error-bin"

// statusCodes pairs the codes of HostError and gRPC; the first of equals is taken on
// the way back.
var statusCodes = []struct {
	host pluginv1.HostErrorCode
	grpc codes.Code
}{
	{pluginv1.HostErrorCodeDenied, codes.PermissionDenied},
	{pluginv1.HostErrorCodeNotFound, codes.NotFound},
	{pluginv1.HostErrorCodeLimit, codes.ResourceExhausted},
	{pluginv1.HostErrorCodeTooLarge, codes.ResourceExhausted},
	{pluginv1.HostErrorCodeUnavailable, codes.Unavailable},
	{pluginv1.HostErrorCodeInvalid, codes.InvalidArgument},
	{pluginv1.HostErrorCodeTimeout, codes.DeadlineExceeded},
	{pluginv1.HostErrorCodeUnsupported, codes.Unimplemented},
	{pluginv1.HostErrorCodeWorkerOnly, codes.FailedPrecondition},
	{pluginv1.HostErrorCodeInternal, codes.Internal},
}

// toStatus makes a HostError a gRPC status with a trailer, and leaves other errors as
// they are.
func toStatus(ctx context.Context, err error) error {
	var e *pluginv1.HostError
	if !errors.As(err, &e) {
		return err
	}
	// It fails only where there is no stream, and then nobody reads it.
	_ = grpc.SetTrailer(ctx, metadata.Pairs(ErrorTrailer, string(e.AppendTo(nil))))
	for _, c := range statusCodes {
		if c.host == e.Code {
			return status.Error(c.grpc, e.Error())
		}
	}
	return status.Error(codes.Internal, e.Error())
}

// hostError makes a HostError of what a call has returned; an error of ctx stays one.
func hostError(ctx context.Context, err error, trailer metadata.MD) error {
	if raw := trailer.Get(ErrorTrailer); len(raw) == 1 {
		e := new(pluginv1.HostError)
		if e.Unmarshal([]byte(raw[0])) == nil {
			return e
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s, _ := status.FromError(err)
	e := &pluginv1.HostError{Code: pluginv1.HostErrorCodeInternal, Message: s.Message()}
	for _, c := range statusCodes {
		if c.grpc == s.Code() {
			e.Code = c.host
			break
		}
	}
	return e
}
