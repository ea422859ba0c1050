package process

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1grpc"
)

var _ v1grpc.PluginServer = server{}

// server is service Plugin of an instance.
type server struct {
	instance.Plugin
	host *hostConn
}

// Start connects to the host's services before it starts the plugin: go-plugin forgets their
// address 5 seconds after it has heard of it.
func (s server) Start(ctx context.Context, in *pluginv1.StartRequest) (*pluginv1.StartResponse, error) {
	if _, err := s.host.get(); err != nil {
		return nil, err
	}
	return s.Plugin.Start(ctx, in)
}

// Process answers the batches of a stream, in the order in which the answers come.
func (s server) Process(stream grpc.BidiStreamingServer[pluginv1.Batch, pluginv1.Answer]) error {
	out := newSender[pluginv1.Answer](stream)
	defer out.wait()
	for {
		b, err := stream.Recv()
		if err != nil {
			return end(err)
		}
		a := &pluginv1.Answer{Seq: b.Seq}
		out.add()
		done := func(err error) {
			if err != nil {
				*a = pluginv1.Answer{Seq: b.Seq, Error: cut(err.Error())}
			}
			out.send(a)
		}
		if answered, err := s.Plugin.Process(b, a, done); answered {
			done(err)
		}
	}
}

// Consume answers the batches of one consumer's stream.
func (s server) Consume(stream grpc.BidiStreamingServer[pluginv1.ConsumeBatch, pluginv1.ConsumeResult]) error {
	out := newSender[pluginv1.ConsumeResult](stream)
	defer out.wait()
	for {
		b, err := stream.Recv()
		if err != nil {
			return end(err)
		}
		r := &pluginv1.ConsumeResult{Seq: b.Seq}
		out.add()
		done := func(err error) {
			if err != nil {
				*r = pluginv1.ConsumeResult{Seq: b.Seq, Error: cut(err.Error())}
			}
			out.send(r)
		}
		if answered, err := s.Plugin.Consume(b, r, done); answered {
			done(err)
		}
	}
}

func end(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// maxError bounds Answer.error, in bytes.
const maxError = 1024

func cut(s string) string { return s[:min(len(s), maxError)] }

// sender sends answers one after the other, from any goroutine.
type sender[T any] struct {
	stream interface{ Send(*T) error }
	mu     sync.Mutex
	open   sync.WaitGroup
}

func newSender[T any](stream interface{ Send(*T) error }) *sender[T] {
	return &sender[T]{stream: stream}
}

func (s *sender[T]) add() { s.open.Add(1) }

// send sends the answer of one that was added. A stream that cannot send is broken, and
// its Recv says so.
func (s *sender[T]) send(x *T) {
	defer s.open.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.stream.Send(x)
}

// wait lets what is under way end, since a stream must not be used after its handler.
func (s *sender[T]) wait() { s.open.Wait() }

// hostConn is a connection to the host's services that is made when it is first used, at
// Start at the latest: the host serves them from before Start on, but not before Describe.
type hostConn struct {
	dial func() (*grpc.ClientConn, error)

	mu   sync.Mutex
	conn *grpc.ClientConn
}

func (c *hostConn) get() (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		conn, err := c.dial()
		if err != nil {
			return nil, err
		}
		c.conn = conn
	}
	return c.conn, nil
}

// Invoke implements grpc.ClientConnInterface.
func (c *hostConn) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	conn, err := c.get()
	if err != nil {
		return &pluginv1.HostError{Code: pluginv1.HostErrorCodeUnavailable, Message: "no connection to the host: " + err.Error()}
	}
	return conn.Invoke(ctx, method, in, out, opts...)
}

// NewStream implements grpc.ClientConnInterface. Service Host has no streams.
func (c *hostConn) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	conn, err := c.get()
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}

var errHostSide = errors.New("this is the plugin's side")
