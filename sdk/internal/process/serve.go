package process

import (
	"context"
	"io"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1grpc"
)

// Serve serves a plugin until the host ends it. It is the last thing that a program does.
// Standard output belongs to the handshake; what is written to it afterwards, and
// standard error, reaches the host's log.
func Serve(open instance.Open) {
	if os.Getenv(instance.LifelineKey) == instance.LifelineStdin {
		go endWithHost()
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: instance.ProtocolVersion, MagicCookieKey: instance.CookieKey, MagicCookieValue: instance.CookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{
			instance.ProtocolVersion: {instance.SetName: &grpcPlugin{open: open}},
		},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, v1grpc.ServerOptions()...)...)
		},
		// The plugin's log goes through the contract; go-plugin's own has nothing to add.
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: io.Discard}),
	})
}

// endWithHost ends the program when the host has ended, however that was.
func endWithHost() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

// grpcPlugin is the plugin's half of a go-plugin plugin.
type grpcPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	open instance.Open
}

// GRPCServer implements plugin.GRPCPlugin.
func (p *grpcPlugin) GRPCServer(broker *plugin.GRPCBroker, s *grpc.Server) error {
	host := &hostConn{dial: func() (*grpc.ClientConn, error) { return broker.Dial(instance.HostServicesID) }}
	inst, err := p.open(context.Background(), v1grpc.NewHostClient(host))
	if err != nil {
		return err
	}
	v1grpc.RegisterPluginServer(s, server{inst, host})
	return nil
}

// GRPCClient implements plugin.GRPCPlugin; it is the host's affair.
func (p *grpcPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errHostSide
}
