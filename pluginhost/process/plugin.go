package process

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1grpc"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// Plugin is a running plugin. See instance.Plugin, whose rules hold; done is called on the goroutine that receives
// answers, or the one that calls Close, and holds up all other answers while it runs.
type Plugin struct {
	starting *starting
	conn     limited
	calls    v1grpc.PluginClient
	broker   *plugin.GRPCBroker
	services *grpc.Server
	exited   <-chan struct{}

	process pipe[pluginv1.Batch, pluginv1.Answer]

	mu        sync.Mutex
	consumers map[string]*pipe[pluginv1.ConsumeBatch, pluginv1.ConsumeResult]

	closed   atomic.Bool
	closing  sync.Once
	closeErr error
}

var (
	_ instance.Plugin = (*Plugin)(nil)
	_ instance.Exited = (*Plugin)(nil)
)

var processKind = &kind[pluginv1.Batch, pluginv1.Answer]{
	op: pluginv1.PluginOpProcess, method: "/patchbay.plugin.v1.Plugin/Process",
	number: func(b *pluginv1.Batch, seq uint64) { b.Seq = seq },
	proto:  func(b *pluginv1.Batch) pluginv1.Proto { return b },
	seq:    func(a *pluginv1.Answer) uint64 { return a.Seq },
	give: func(to, from *pluginv1.Answer) error {
		to.Verdicts, to.Error = from.Verdicts, from.Error
		if to.Error != "" {
			return &Error{Op: pluginv1.PluginOpProcess, Cause: Failed, Reason: to.Error}
		}
		return nil
	},
}

var consumeKind = &kind[pluginv1.ConsumeBatch, pluginv1.ConsumeResult]{
	op: pluginv1.PluginOpConsume, method: "/patchbay.plugin.v1.Plugin/Consume",
	number: func(b *pluginv1.ConsumeBatch, seq uint64) { b.Seq = seq },
	proto:  func(b *pluginv1.ConsumeBatch) pluginv1.Proto { return b },
	seq:    func(r *pluginv1.ConsumeResult) uint64 { return r.Seq },
	// What is acknowledged counts even with an error, which is for the host to read.
	give: func(to, from *pluginv1.ConsumeResult) error {
		to.AcknowledgedOffset, to.Results, to.Error = from.AcknowledgedOffset, from.Results, from.Error
		return nil
	},
}

func newPlugin(s *starting, conn *grpc.ClientConn, broker *plugin.GRPCBroker, host v1host.Service) *Plugin {
	p := &Plugin{
		starting: s, broker: broker, conn: limited{conn, s.o.MaxMessage},
		services:  hostServer(host, s.config.TLSConfig, s.o.MaxMessage),
		consumers: map[string]*pipe[pluginv1.ConsumeBatch, pluginv1.ConsumeResult]{},
	}
	p.calls = v1grpc.NewPluginClient(p.conn)
	p.process.kind, p.process.plugin, p.process.window = processKind, p, s.o.Window
	if s.other != nil {
		p.exited = s.other.exited
	} else {
		p.exited = s.child.exited
	}
	return p
}

// Exited implements instance.Exited.
func (p *Plugin) Exited() <-chan struct{} { return p.exited }

// Err says how the process has ended, or nil while it runs. It is an *Error with the cause Crashed, also if the process
// has ended with status 0: a plugin does not end by itself.
func (p *Plugin) Err() error {
	select {
	case <-p.exited:
		return p.crash()
	default:
		return nil
	}
}

func (p *Plugin) crash() *Error {
	if p.starting.other != nil {
		return &Error{Cause: Crashed, Reason: fmt.Sprintf("process %d has ended", p.starting.other.process)}
	}
	return p.starting.child.crash("the process has ended")
}

// PID of the process.
func (p *Plugin) PID() int {
	if p.starting.other != nil {
		return p.starting.other.process
	}
	return p.starting.child.pid()
}

// over says why nothing can be called any more.
func (p *Plugin) over(op pluginv1.PluginOp) error {
	if p.closed.Load() {
		return ErrClosed
	}
	select {
	case <-p.exited:
		e := p.crash()
		e.Op = op
		return e
	default:
		return nil
	}
}

// exitDelay is how long after a connection has broken the end of its process is awaited, which says more.
const exitDelay = 100 * time.Millisecond

// failure makes an error of one that gRPC has returned.
func (p *Plugin) failure(op pluginv1.PluginOp, err error) error {
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	s, _ := status.FromError(err)
	if s.Code() == codes.Unavailable {
		t := time.NewTimer(exitDelay)
		defer t.Stop()
		select {
		case <-p.exited:
		case <-t.C:
		}
	}
	if over := p.over(op); over != nil {
		return over
	}
	e := &Error{Op: op, Cause: Failed, Reason: s.Message(), Err: err}
	switch s.Code() {
	case codes.Unavailable, codes.Canceled:
		e.Cause, e.Reason = Broken, "the connection is broken: "+s.Message()
	case codes.ResourceExhausted:
		e.Cause, e.Reason = BadAnswer, "a message is too large: "+s.Message()
	case codes.Internal:
		e.Cause, e.Reason = BadAnswer, "its answer cannot be read: "+s.Message()
	case codes.Unimplemented:
		e.Reason = "it does not know this call: " + s.Message()
	}
	return e
}

// unary makes a call and an error of what it returns.
func unary[In, Out any](
	ctx context.Context, p *Plugin, op pluginv1.PluginOp, method func(context.Context, *In) (*Out, error), in *In,
) (*Out, error) {
	if err := p.over(op); err != nil {
		return nil, err
	}
	out, err := method(ctx, in)
	if err == nil {
		return out, nil
	}
	if late := expired(ctx, err); late != nil {
		return nil, fmt.Errorf("process plugin: %s: %w", opName(op), late)
	}
	return nil, p.failure(op, err)
}

// expired returns the error of ctx if that has ended a call. The plugin knows the deadline too, and may be
// the first to see that it has passed.
func expired(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	deadline, ok := ctx.Deadline()
	if code := status.Code(err); ok && (code == codes.Canceled || code == codes.DeadlineExceeded) && time.Until(deadline) < exitDelay {
		return context.DeadlineExceeded
	}
	return nil
}

// Describe asks for the Manifest.
func (p *Plugin) Describe(ctx context.Context, in *pluginv1.DescribeRequest) (*pluginv1.Manifest, error) {
	return unary(ctx, p, pluginv1.PluginOpDescribe, p.calls.Describe, in)
}

// Start serves the host's services, and starts the plugin.
func (p *Plugin) Start(ctx context.Context, in *pluginv1.StartRequest) (*pluginv1.StartResponse, error) {
	if err := p.over(pluginv1.PluginOpStart); err != nil {
		return nil, err
	}
	if err := p.serveHost(); err != nil {
		return nil, p.failure(pluginv1.PluginOpStart, err)
	}
	return unary(ctx, p, pluginv1.PluginOpStart, p.calls.Start, in)
}

// Configure hands over another config.
func (p *Plugin) Configure(ctx context.Context, in *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	return unary(ctx, p, pluginv1.PluginOpConfigure, p.calls.Configure, in)
}

// Stop asks the plugin to finish. The process goes on until Close.
func (p *Plugin) Stop(ctx context.Context, in *pluginv1.StopRequest) (*pluginv1.StopResponse, error) {
	return unary(ctx, p, pluginv1.PluginOpStop, p.calls.Stop, in)
}

// Health asks whether the plugin can do its work.
func (p *Plugin) Health(ctx context.Context, in *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	return unary(ctx, p, pluginv1.PluginOpHealth, p.calls.Health, in)
}

// HTTP serves a request.
func (p *Plugin) HTTP(ctx context.Context, in *pluginv1.HTTPRequest) (*pluginv1.HTTPResponse, error) {
	return unary(ctx, p, pluginv1.PluginOpHTTP, p.calls.HTTP, in)
}

// Timer tells that a timer has run out.
func (p *Plugin) Timer(ctx context.Context, in *pluginv1.TimerFired) (*pluginv1.TimerResponse, error) {
	return unary(ctx, p, pluginv1.PluginOpTimer, p.calls.Timer, in)
}

// Process sends a batch, or queues it until others have been answered. It answers at once only with an error.
func (p *Plugin) Process(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	l := ordinary
	if b.Point.Mode() == pluginv1.Observation {
		l = background
	}
	err := p.process.ask(call[pluginv1.Batch, pluginv1.Answer]{b, a, done, l})
	return err != nil, err
}

// Consume sends a batch on the stream of its consumer, or queues it until the one before has been answered.
func (p *Plugin) Consume(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, done func(error)) (bool, error) {
	err := p.consumer(b.Consumer).ask(call[pluginv1.ConsumeBatch, pluginv1.ConsumeResult]{b, r, done, ordinary})
	return err != nil, err
}

func (p *Plugin) consumer(name string) *pipe[pluginv1.ConsumeBatch, pluginv1.ConsumeResult] {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.consumers[name]
	if c == nil {
		c = &pipe[pluginv1.ConsumeBatch, pluginv1.ConsumeResult]{kind: consumeKind, plugin: p, window: 1}
		p.consumers[name] = c
	}
	return c
}

// Close ends what is under way with ErrClosed, then the process and what it has started: by SIGTERM, and if it has not ended
// within Options.Grace by SIGKILL. It waits for that. A plugin that was reattached runs on.
func (p *Plugin) Close() error {
	p.closed.Store(true)
	p.process.close()
	p.mu.Lock()
	consumers := make([]*pipe[pluginv1.ConsumeBatch, pluginv1.ConsumeResult], 0, len(p.consumers))
	for _, c := range p.consumers {
		consumers = append(consumers, c)
	}
	p.mu.Unlock()
	for _, c := range consumers {
		c.close()
	}
	p.closing.Do(p.shut)
	return p.closeErr
}

func (p *Plugin) shut() {
	s := p.starting
	if s.other != nil {
		s.other.leave()
	} else if !s.child.end(s.o.Grace) {
		p.closeErr = fmt.Errorf("process plugin: process %d has not ended, though it was killed", s.child.pid())
	}
	p.services.Stop()
	_ = p.broker.Close() // it has no errors
	s.clean(p.conn.ClientConnInterface.(*grpc.ClientConn))
}
