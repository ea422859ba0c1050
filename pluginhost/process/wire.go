package process

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1grpc"
)

// frame is a message that is encoded already. A batch is encoded before anybody could answer it, since it is its
// owner's again with the answer, even while gRPC is still sending.
type frame struct{ data mem.Buffer }

func encode(m pluginv1.Proto) (frame, error) {
	n := m.Size()
	if n > v1grpc.MaxMessage {
		return frame{}, fmt.Errorf("process plugin: a batch of %d bytes is too large: at most %d are possible", n, v1grpc.MaxMessage)
	}
	pool := mem.DefaultBufferPool()
	buf := pool.Get(n)
	if _, err := m.MarshalTo(*buf); err != nil {
		pool.Put(buf)
		return frame{}, err
	}
	return frame{mem.NewBuffer(buf, pool)}, nil
}

// wireCodec is that of v1grpc, for frames too.
type wireCodec struct{ encoding.CodecV2 }

func (c wireCodec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return mem.BufferSlice{f.data}, nil
	}
	return c.CodecV2.Marshal(v)
}

// limited is a connection that takes messages up to a size.
type limited struct {
	grpc.ClientConnInterface
	max int
}

// Invoke implements grpc.ClientConnInterface.
func (l limited) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	return l.ClientConnInterface.Invoke(ctx, method, in, out, append(opts, grpc.MaxCallRecvMsgSize(l.max))...)
}

// stream opens a stream for frames.
func (l limited) stream(ctx context.Context, method string) (grpc.ClientStream, error) {
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	return l.NewStream(ctx, desc, method, grpc.ForceCodecV2(wireCodec{v1grpc.Codec()}),
		grpc.MaxCallRecvMsgSize(l.max), grpc.MaxCallSendMsgSize(v1grpc.MaxMessage))
}
