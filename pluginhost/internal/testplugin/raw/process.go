//go:build !wasip1

package main

import (
	"context"
	"errors"
	"io"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1grpc"
)

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: instance.ProtocolVersion, MagicCookieKey: instance.CookieKey, MagicCookieValue: instance.CookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{instance.ProtocolVersion: {instance.SetName: side{}}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, v1grpc.ServerOptions()...)...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Output: io.Discard}),
	})
}

// side is the plugin's half of a go-plugin plugin.
type side struct{ plugin.NetRPCUnsupportedPlugin }

func (side) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	v1grpc.RegisterPluginServer(s, guest{})
	return nil
}

func (side) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin's side")
}

type guest struct{}

func (guest) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.Manifest, error) {
	return manifest(), nil
}

func (guest) Start(_ context.Context, in *pluginv1.StartRequest) (*pluginv1.StartResponse, error) {
	return started(in), nil
}

func (guest) Configure(context.Context, *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	return nil, nil
}

func (guest) Stop(context.Context, *pluginv1.StopRequest) (*pluginv1.StopResponse, error) {
	return nil, nil
}

func (guest) Health(context.Context, *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	return nil, nil
}

func (guest) HTTP(context.Context, *pluginv1.HTTPRequest) (*pluginv1.HTTPResponse, error) {
	return nil, nil
}

func (guest) Timer(context.Context, *pluginv1.TimerFired) (*pluginv1.TimerResponse, error) {
	return nil, nil
}

func (guest) Consume(grpc.BidiStreamingServer[pluginv1.ConsumeBatch, pluginv1.ConsumeResult]) error {
	return nil
}

func (guest) Process(stream grpc.BidiStreamingServer[pluginv1.Batch, pluginv1.Answer]) error {
	for {
		b, err := stream.Recv()
		if err != nil {
			return err
		}
		a := answerTo(b)
		switch kind(b) {
		case "bytes":
			if err := stream.SendMsg(raw{a}); err != nil {
				return err
			}
			continue
		case "seq":
			a.Seq += 1000
		case "silence":
			continue
		case "end":
			return nil
		}
		if err := stream.Send(a); err != nil {
			return err
		}
	}
}

// raw is nonsense on the wire.
type raw struct{ *pluginv1.Answer }

func (raw) Size() int                       { return len(nonsense) }
func (raw) AppendTo(b []byte) []byte        { return append(b, nonsense...) }
func (raw) MarshalTo(b []byte) (int, error) { return copy(b, nonsense), nil }
