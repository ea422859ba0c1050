package v1host

import (
	"context"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Caller makes a Service of a function that carries encoded requests and responses to
// a host. It must not keep request; what it returns must stay as it is, since the
// messages that are made of it point into it.
type Caller func(ctx context.Context, op pluginv1.HostOp, request []byte) (response []byte, err error)

var _ Service = Caller(nil)

// serve is one case of Serve.
func serve[In, Out pluginv1.Proto](
	ctx context.Context, dst, request []byte, in In, method func(context.Context, In) (Out, error),
) ([]byte, error) {
	if err := in.Unmarshal(request); err != nil {
		return dst, &pluginv1.HostError{Code: pluginv1.HostErrorCodeInvalid, Message: err.Error()}
	}
	out, err := method(ctx, in)
	if err != nil {
		return dst, err
	}
	return out.AppendTo(dst), nil
}

func unknown(op pluginv1.HostOp) error {
	return &pluginv1.HostError{
		Code: pluginv1.HostErrorCodeUnsupported, Message: "this host does not know the call " + op.String(),
	}
}

// call is one method of Caller.
func call[Out pluginv1.Proto](ctx context.Context, c Caller, op pluginv1.HostOp, in pluginv1.Proto, out Out) (Out, error) {
	var none Out
	response, err := c(ctx, op, in.AppendTo(nil))
	if err != nil {
		return none, err
	}
	if err := out.Unmarshal(response); err != nil {
		return none, err
	}
	return out, nil
}
