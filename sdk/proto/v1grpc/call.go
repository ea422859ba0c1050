package v1grpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// invoke makes a unary call.
func invoke[Out any](ctx context.Context, cc grpc.ClientConnInterface, method string, in any) (*Out, error) {
	out := new(Out)
	if err := cc.Invoke(ctx, method, in, out, callOptions()...); err != nil {
		return nil, err
	}
	return out, nil
}

// invokeHost makes a unary call of Host, whose errors are HostErrors.
func invokeHost[Out any](ctx context.Context, cc grpc.ClientConnInterface, method string, in any) (*Out, error) {
	out := new(Out)
	var trailer metadata.MD
	if err := cc.Invoke(ctx, method, in, out, append(callOptions(), grpc.Trailer(&trailer))...); err != nil {
		return nil, hostError(ctx, err, trailer)
	}
	return out, nil
}

// open opens a stream.
func open[In, Out any](
	ctx context.Context, cc grpc.ClientConnInterface, desc *grpc.StreamDesc, method string,
) (grpc.BidiStreamingClient[In, Out], error) {
	s, err := cc.NewStream(ctx, desc, method, callOptions()...)
	if err != nil {
		return nil, err
	}
	return &grpc.GenericClientStream[In, Out]{ClientStream: s}, nil
}

// unary makes a handler of a server's method. An answer that is nil is an empty one.
func unary[Server, In, Out any](name string, method func(Server, context.Context, *In) (*Out, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		call := func(ctx context.Context, in any) (any, error) {
			out, err := method(srv.(Server), ctx, in.(*In))
			if err != nil {
				return nil, toStatus(ctx, err)
			}
			if out == nil {
				out = new(Out)
			}
			return out, nil
		}
		if interceptor == nil {
			return call(ctx, in)
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: name}, call)
	}
}

// bidi makes a handler of a server's stream.
func bidi[Server, In, Out any](method func(Server, grpc.BidiStreamingServer[In, Out]) error) grpc.StreamHandler {
	return func(srv any, s grpc.ServerStream) error {
		return method(srv.(Server), &grpc.GenericServerStream[In, Out]{ServerStream: s})
	}
}
