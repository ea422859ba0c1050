package v1grpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// MaxMessage is the largest message that is sent or received, in bytes: the largest
// packet of MQTT, 256 MiB, with room for what goes along with it.
const MaxMessage = 272 << 20

// Codec returns the codec of the contract. It is named "proto", as it is on the wire,
// and takes the place of gRPC's own where it is forced on a server or a call. It is not
// registered with gRPC: that would change other servers of the process.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(proto.Name)} }

// ServerOptions are what a server of Plugin or Host needs.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(Codec()), grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
	}
}

// callOptions are what a client needs; the clients of this package have them.
func callOptions() []grpc.CallOption {
	return []grpc.CallOption{
		grpc.ForceCodecV2(Codec()), grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage),
	}
}

type codec struct{ other encoding.CodecV2 }

func (codec) Name() string { return proto.Name }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(pluginv1.Proto)
	if !ok {
		return c.other.Marshal(v)
	}
	n := m.Size()
	if mem.IsBelowBufferPoolingThreshold(n) {
		return mem.BufferSlice{mem.SliceBuffer(m.AppendTo(make([]byte, 0, n)))}, nil
	}
	pool := mem.DefaultBufferPool()
	buf := pool.Get(n)
	if _, err := m.MarshalTo(*buf); err != nil {
		pool.Put(buf)
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(buf, pool)}, nil
}

// Unmarshal copies data, since the message points into what it was made of and nobody
// says when it is not in use any more.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(pluginv1.Proto); ok {
		return m.Unmarshal(data.Materialize())
	}
	return c.other.Unmarshal(data, v)
}
