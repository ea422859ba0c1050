package process

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1grpc"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// maxHostCalls is how many calls of the host a plugin may have under way; more wait in the plugin.
const maxHostCalls = 256

// hostSide is the host's half of a go-plugin plugin.
type hostSide struct{ plugin.NetRPCUnsupportedPlugin }

var _ plugin.GRPCPlugin = hostSide{}

// GRPCServer implements plugin.GRPCPlugin; it is the plugin's affair.
func (hostSide) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is the host's side")
}

// GRPCClient implements plugin.GRPCPlugin.
func (hostSide) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, _ *grpc.ClientConn) (any, error) {
	return broker, nil
}

// hostServer serves what the plugin calls, on a socket whose address go-plugin tells it.
func hostServer(host v1host.Service, keys *tls.Config, maxMessage int) *grpc.Server {
	opts := append(v1grpc.ServerOptions(),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxHostCalls),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}))
	if keys != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(keys)))
	}
	s := grpc.NewServer(opts...)
	v1grpc.RegisterHostServer(s, host)
	return s
}

// serveHost tells the plugin where the host's services are, and serves them until the server is stopped. It is called
// when Start begins, since a plugin on go-plugin must connect within 5 seconds.
func (p *Plugin) serveHost() error {
	l, err := p.broker.Accept(instance.HostServicesID)
	if err != nil {
		return fmt.Errorf("socket of the host's services: %w", err)
	}
	go func() {
		// It ends with the server: when the plugin is closed.
		_ = p.services.Serve(l)
	}()
	return nil
}
