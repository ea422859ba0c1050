package v1grpc

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// serve runs a server on a loopback port until the test ends, and connects to it.
func serve(t *testing.T, register func(*grpc.Server), options ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	register(s)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// plugin drops what is published below drop/, and denies batches without events.
type plugin struct{ PluginServer }

func (plugin) Describe(_ context.Context, in *pluginv1.DescribeRequest) (*pluginv1.Manifest, error) {
	return &pluginv1.Manifest{Name: "dropper", Description: "on " + in.Host.Node, Hooks: []pluginv1.Hook{{Point: pluginv1.PointInterceptPublish}}}, nil
}

func (plugin) Stop(context.Context, *pluginv1.StopRequest) (*pluginv1.StopResponse, error) {
	return nil, nil
}

func (plugin) Configure(context.Context, *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	return nil, errors.New("broken")
}

func (plugin) Process(stream grpc.BidiStreamingServer[pluginv1.Batch, pluginv1.Answer]) error {
	for {
		batch, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		answer := &pluginv1.Answer{Seq: batch.Seq}
		if len(batch.Events) == 0 {
			answer.Error = "nothing to do"
		}
		for i := range batch.Events {
			if m := batch.Events[i].Message; m != nil && strings.HasPrefix(m.Topic, "drop/") {
				answer.Verdicts = append(answer.Verdicts, pluginv1.Verdict{Event: uint32(i), Action: pluginv1.ActionDrop})
			}
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func TestPlugin(t *testing.T) {
	var seen []string
	intercept := func(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		seen = append(seen, info.FullMethod)
		return next(ctx, in)
	}
	cc := serve(t, func(s *grpc.Server) {
		RegisterPluginServer(s, plugin{})
		healthpb.RegisterHealthServer(s, health.NewServer())
	}, append(ServerOptions(), grpc.UnaryInterceptor(intercept))...)
	c, ctx := NewPluginClient(cc), deadline(t)
	m, err := c.Describe(ctx, &pluginv1.DescribeRequest{Host: &pluginv1.HostInfo{Node: "n1"}})
	if err != nil || m.Name != "dropper" || m.Description != "on n1" || len(m.Hooks) != 1 || m.Hooks[0].Point != pluginv1.PointInterceptPublish {
		t.Errorf("Describe: %+v, %v", m, err)
	}
	if r, err := c.Stop(ctx, &pluginv1.StopRequest{}); err != nil || r == nil {
		t.Errorf("Stop, whose answer is nil: %v, %v", r, err)
	}
	if r, err := c.Configure(ctx, &pluginv1.ConfigureRequest{}); status.Code(err) != codes.Unknown || !strings.Contains(err.Error(), "broken") || r != nil {
		t.Errorf("Configure: %v, %v", r, err)
	}
	// Other messages go by gRPC's own codec on the same connection and server.
	if r, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", r, err)
	}
	if len(seen) != 4 || seen[0] != "/patchbay.plugin.v1.Plugin/Describe" {
		t.Errorf("an interceptor sees %q", seen)
	}
}

func TestProcess(t *testing.T) {
	cc := serve(t, func(s *grpc.Server) { RegisterPluginServer(s, plugin{}) }, ServerOptions()...)
	stream, err := NewPluginClient(cc).Process(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 5<<20) // above gRPC's limit of 4 MiB
	for seq := range uint64(3) {
		batch := &pluginv1.Batch{Seq: seq + 1, Events: []pluginv1.Event{
			{Message: &pluginv1.Message{Topic: "keep/1", Payload: []byte(large)}}, {Message: &pluginv1.Message{Topic: "drop/1"}},
		}}
		if err := stream.Send(batch); err != nil {
			t.Fatal(err)
		}
	}
	var answer pluginv1.Answer // used again for each
	for seq := range uint64(3) {
		if err := stream.RecvMsg(&answer); err != nil {
			t.Fatal(err)
		}
		if answer.Seq != seq+1 || len(answer.Verdicts) != 1 || answer.Verdicts[0].Event != 1 || answer.Verdicts[0].Action != pluginv1.ActionDrop {
			t.Errorf("answer is %+v", &answer)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// host has one value, and refuses to store another.
type host struct{ v1host.Service }

func (host) KVGet(_ context.Context, in *pluginv1.KVGetRequest) (*pluginv1.KVGetResponse, error) {
	return &pluginv1.KVGetResponse{Value: []byte("of " + in.Key), Version: 1}, nil
}

func (host) KVSet(context.Context, *pluginv1.KVSetRequest) (*pluginv1.KVSetResponse, error) {
	return nil, &pluginv1.HostError{Code: pluginv1.HostErrorCodeDenied, Message: "KvSet is not allowed", Grant: "kv"}
}

func (host) KVDelete(context.Context, *pluginv1.KVDeleteRequest) (*pluginv1.KVDeleteResponse, error) {
	return nil, &pluginv1.HostError{Code: -99}
}

func (host) KVScan(context.Context, *pluginv1.KVScanRequest) (*pluginv1.KVScanResponse, error) {
	return nil, status.Error(codes.Unavailable, "shutting down")
}

func (host) Now(ctx context.Context, _ *pluginv1.NowRequest) (*pluginv1.NowResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestHost(t *testing.T) {
	c := NewHostClient(serve(t, func(s *grpc.Server) { RegisterHostServer(s, host{}) }, ServerOptions()...))
	ctx := deadline(t)
	if r, err := c.KVGet(ctx, &pluginv1.KVGetRequest{Key: "k"}); err != nil || string(r.Value) != "of k" || r.Version != 1 {
		t.Errorf("KvGet: %+v, %v", r, err)
	}
	r, err := c.KVSet(ctx, &pluginv1.KVSetRequest{})
	var e *pluginv1.HostError
	if !errors.As(err, &e) || r != nil {
		t.Fatalf("KvSet: %v, %v", r, err)
	}
	if want := (&pluginv1.HostError{Code: pluginv1.HostErrorCodeDenied, Message: "KvSet is not allowed", Grant: "kv"}); !pluginv1.Equal(e, want) {
		t.Errorf("KvSet: error is %+v, want %+v", e, want)
	}
	if _, err := c.KVDelete(ctx, &pluginv1.KVDeleteRequest{}); !errors.Is(err, &pluginv1.HostError{Code: -99}) {
		t.Errorf("a code that is not known: %v", err)
	}
	if _, err := c.KVScan(ctx, &pluginv1.KVScanRequest{}); !errors.Is(err, &pluginv1.HostError{Code: pluginv1.HostErrorCodeUnavailable}) {
		t.Errorf("an error that is not a HostError: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Now(canceled, &pluginv1.NowRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was given up: %v", err)
	}
	gone := NewHostClient(unreachable(t))
	if _, err := gone.Now(ctx, &pluginv1.NowRequest{}); !errors.Is(err, &pluginv1.HostError{Code: pluginv1.HostErrorCodeUnavailable}) {
		t.Errorf("without a host: %v", err)
	}
}

// unreachable connects to a port that nobody listens on.
func unreachable(t *testing.T) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// A gRPC stub that was made from the descriptors, as other languages have it.
type stub struct{ files *protoregistry.Files }

func newStub(t *testing.T) stub {
	t.Helper()
	raw, err := os.ReadFile("../v1.binpb")
	if err != nil {
		t.Fatal(err)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(raw, set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	return stub{files}
}

func (s stub) message(t *testing.T, name, json string) *dynamicpb.Message {
	t.Helper()
	d, err := s.files.FindDescriptorByName(protoreflect.FullName("patchbay.plugin.v1." + name))
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// equal compares with the JSON of what is expected.
func (s stub) equal(t *testing.T, got *dynamicpb.Message, json string) {
	t.Helper()
	if want := s.message(t, string(got.Descriptor().Name()), json); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStubCallsOurServers(t *testing.T) {
	cc := serve(t, func(s *grpc.Server) {
		RegisterPluginServer(s, plugin{})
		RegisterHostServer(s, host{})
	}, ServerOptions()...)
	s, ctx := newStub(t), deadline(t)

	manifest := s.message(t, "Manifest", `{}`)
	if err := cc.Invoke(ctx, "/patchbay.plugin.v1.Plugin/Describe", s.message(t, "DescribeRequest", `{"host":{"node":"n2"}}`), manifest); err != nil {
		t.Fatal(err)
	}
	s.equal(t, manifest, `{"name":"dropper","description":"on n2","hooks":[{"point":"POINT_INTERCEPT_PUBLISH"}]}`)

	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/patchbay.plugin.v1.Plugin/Process")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(s.message(t, "Batch", `{"seq":"9","events":[{},{"message":{"topic":"drop/x"}}]}`)); err != nil {
		t.Fatal(err)
	}
	answer := s.message(t, "Answer", `{}`)
	if err := stream.RecvMsg(answer); err != nil {
		t.Fatal(err)
	}
	s.equal(t, answer, `{"seq":"9","verdicts":[{"event":1,"action":"ACTION_DROP"}]}`)

	var trailer metadata.MD
	err = cc.Invoke(ctx, "/patchbay.plugin.v1.Host/KvSet", s.message(t, "KvSetRequest", `{"key":"k"}`), s.message(t, "KvSetResponse", `{}`), grpc.Trailer(&trailer))
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), `missing grant "kv"`) {
		t.Errorf("KvSet: %v", err)
	}
	hostError := s.message(t, "HostError", `{}`)
	if raw := trailer.Get("patchbay-error-bin"); len(raw) != 1 || proto.Unmarshal([]byte(raw[0]), hostError) != nil {
		t.Fatalf("trailer is %v", trailer)
	}
	s.equal(t, hostError, `{"code":"HOST_ERROR_CODE_DENIED","message":"KvSet is not allowed","grant":"kv"}`)
}

// A plugin that was written with protobuf's own library, on a usual gRPC server.
func TestOurClientCallsAStub(t *testing.T) {
	s := newStub(t)
	desc := grpc.ServiceDesc{
		ServiceName: "patchbay.plugin.v1.Plugin", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Health", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := decode(s.message(t, "HealthRequest", `{}`)); err != nil {
				return nil, err
			}
			return s.message(t, "HealthResponse", `{"status":"HEALTH_STATUS_DEGRADED","message":"slow"}`), nil
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Process", ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			batch := s.message(t, "Batch", `{}`)
			if err := stream.RecvMsg(batch); err != nil {
				return err
			}
			s.equal(t, batch, `{"seq":"3","point":"POINT_TICK","events":[{"timeMs":"5"}]}`)
			return stream.SendMsg(s.message(t, "Answer", `{"seq":"3","verdicts":[{"reason":"fine"}]}`))
		}}},
	}
	c, ctx := NewPluginClient(serve(t, func(srv *grpc.Server) { srv.RegisterService(&desc, nil) })), deadline(t)
	h, err := c.Health(ctx, &pluginv1.HealthRequest{})
	if err != nil || h.Status != pluginv1.HealthStatusDegraded || h.Message != "slow" {
		t.Errorf("Health: %+v, %v", h, err)
	}
	stream, err := c.Process(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pluginv1.Batch{Seq: 3, Point: pluginv1.PointTick, Events: []pluginv1.Event{{TimeMs: 5}}}); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil || answer.Seq != 3 || len(answer.Verdicts) != 1 || answer.Verdicts[0].Reason != "fine" {
		t.Errorf("Process: %+v, %v", answer, err)
	}
}
