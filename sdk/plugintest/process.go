package plugintest

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1grpc"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// Process opens a plugin as a child process, by the name of its program.
func Process(program string, args ...string) Runner {
	return Runner{"process", func(_ context.Context, h v1host.Service) (instance.Plugin, error) {
		return openProcess(exec.Command(program, args...), h)
	}, pluginv1.RuntimeProcess}
}

// grpcPlugin is the host's half of a go-plugin plugin.
type grpcPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	host v1host.Service
}

// GRPCServer implements plugin.GRPCPlugin; it is the plugin's affair.
func (p *grpcPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is the host's side")
}

// GRPCClient implements plugin.GRPCPlugin.
func (p *grpcPlugin) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	go broker.AcceptAndServe(instance.HostServicesID, func(opts []grpc.ServerOption) *grpc.Server {
		s := grpc.NewServer(append(opts, v1grpc.ServerOptions()...)...)
		v1grpc.RegisterHostServer(s, p.host)
		return s
	})
	return v1grpc.NewPluginClient(conn), nil
}

// child is an instance.Plugin in a process.
type child struct {
	v1grpc.PluginClient
	client  *plugin.Client
	ctx     context.Context // of the streams
	cancel  context.CancelFunc
	process pipe[pluginv1.Batch, pluginv1.Answer]
	consume pipe[pluginv1.ConsumeBatch, pluginv1.ConsumeResult]
}

func openProcess(cmd *exec.Cmd, h v1host.Service) (instance.Plugin, error) {
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: instance.ProtocolVersion, MagicCookieKey: instance.CookieKey, MagicCookieValue: instance.CookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{
			instance.ProtocolVersion: {instance.SetName: &grpcPlugin{host: h}},
		},
		Cmd: cmd, AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, AutoMTLS: true,
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard}),
	})
	conn, err := client.Client()
	if err != nil {
		client.Kill()
		return nil, err
	}
	stub, err := conn.Dispense(instance.SetName)
	if err != nil {
		client.Kill()
		return nil, err
	}
	c := &child{PluginClient: stub.(v1grpc.PluginClient), client: client}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Process implements instance.Plugin.
func (c *child) Process(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	c.process.ask(func() (duplex[pluginv1.Batch, pluginv1.Answer], error) {
		return c.PluginClient.Process(c.ctx)
	}, func(seq uint64) *pluginv1.Batch {
		out := *b
		out.Seq = seq
		return &out
	}, func(got *pluginv1.Answer) uint64 { return got.Seq }, func(got *pluginv1.Answer, err error) {
		if err == nil {
			a.Verdicts, a.Error = got.Verdicts, got.Error
			if got.Error != "" {
				err = errors.New(got.Error)
			}
		}
		done(err)
	})
	return false, nil
}

// Consume implements instance.Plugin.
func (c *child) Consume(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, done func(error)) (bool, error) {
	c.consume.ask(func() (duplex[pluginv1.ConsumeBatch, pluginv1.ConsumeResult], error) {
		return c.PluginClient.Consume(c.ctx)
	}, func(seq uint64) *pluginv1.ConsumeBatch {
		out := *b
		out.Seq = seq
		return &out
	}, func(got *pluginv1.ConsumeResult) uint64 { return got.Seq }, func(got *pluginv1.ConsumeResult, err error) {
		if err == nil {
			r.AcknowledgedOffset, r.Results, r.Error = got.AcknowledgedOffset, got.Results, got.Error
		}
		done(err)
	})
	return false, nil
}

// Close implements instance.Plugin.
func (c *child) Close() error {
	c.cancel()
	c.client.Kill()
	return nil
}

// duplex is a stream.
type duplex[In, Out any] interface {
	Send(*In) error
	Recv() (*Out, error)
}

// pipe pairs what is sent into a stream with what comes out of it.
type pipe[In, Out any] struct {
	mu      sync.Mutex
	stream  duplex[In, Out]
	seq     uint64
	waiting map[uint64]func(*Out, error)
}

// ask sends what number makes of the next seq, and calls done with what comes back.
func (p *pipe[In, Out]) ask(
	open func() (duplex[In, Out], error), number func(seq uint64) *In, seqOf func(*Out) uint64, done func(*Out, error),
) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stream == nil {
		s, err := open()
		if err != nil {
			go done(nil, err)
			return
		}
		p.stream, p.waiting = s, map[uint64]func(*Out, error){}
		go p.read(s, seqOf)
	}
	p.seq++
	p.waiting[p.seq] = done
	// A stream that cannot send ends, and read tells who waits.
	_ = p.stream.Send(number(p.seq))
}

func (p *pipe[In, Out]) read(s duplex[In, Out], seqOf func(*Out) uint64) {
	for {
		out, err := s.Recv()
		p.mu.Lock()
		if err != nil {
			waiting := p.waiting
			p.stream, p.waiting = nil, nil
			p.mu.Unlock()
			for _, done := range waiting {
				done(nil, err)
			}
			return
		}
		done := p.waiting[seqOf(out)]
		delete(p.waiting, seqOf(out))
		p.mu.Unlock()
		if done != nil {
			done(out, nil)
		}
	}
}
