package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// keepAlive notices a connection that is dead but not closed. Servers of gRPC refuse more than a ping in 5 minutes unless told otherwise; the
// host's Health calls are what finds a process that hangs.
var keepAlive = keepalive.ClientParameters{Time: 6 * time.Minute, Timeout: 20 * time.Second}

// Open starts the program, or reattaches, and waits until it can be called; nothing of the contract has been called then. A
// program that does not get as far is an *Error whose cause says why, or the error of ctx. The Plugin is a *Plugin.
func (p *Program) Open(ctx context.Context, host v1host.Service) (instance.Plugin, error) {
	if p.o.Reattach == nil {
		if err := p.verify(); err != nil {
			return nil, err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, p.o.StartTimeout)
	defer cancel()
	s := &starting{o: &p.o, ctx: bounded, log: newLogger(host, &p.o), tail: new(tail)}
	s.config = s.clientConfig()
	s.client = plugin.NewClient(s.config)
	stop := context.AfterFunc(bounded, s.abort)
	conn, broker, err := s.connect()
	if err == nil && !stop() {
		err = bounded.Err()
	}
	if err == nil {
		return newPlugin(s, conn, broker, host), nil
	}
	stop()
	s.abort()
	s.clean(conn)
	return nil, s.explain(ctx, err)
}

// starting is what Open works on.
type starting struct {
	o      *Options
	ctx    context.Context // with the time limit
	log    *logger
	tail   *tail
	said   [2]*output           // what comes through gRPC, instead of stdout and stderr
	config *plugin.ClientConfig // go-plugin puts the keys of the connection into it
	client *plugin.Client
	child  *child        // nil with Reattach, and before it is made
	ready  chan struct{} // closed when child is made
	other  *attached     // with Reattach
}

func (s *starting) clientConfig() *plugin.ClientConfig {
	s.said = [2]*output{newOutput(s.log, nil), newOutput(s.log, s.tail)}
	set := plugin.PluginSet{instance.SetName: hostSide{}}
	config := &plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: instance.ProtocolVersion, MagicCookieKey: instance.CookieKey, MagicCookieValue: instance.CookieValue,
		},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		StartTimeout:     s.o.StartTimeout,
		// What it has to say is in the errors of this package.
		Logger:          hclog.NewNullLogger(),
		GRPCDialOptions: []grpc.DialOption{grpc.WithKeepaliveParams(keepAlive)},
		// The Go SDK sends what a plugin prints this way, but for the runtime's own words.
		SyncStdout: s.said[0], SyncStderr: s.said[1],
	}
	if r := s.o.Reattach; r != nil {
		addr, _ := r.Addr.resolve() // checked by Load
		s.other = newAttached(r.PID)
		config.Plugins = set
		config.Reattach = &plugin.ReattachConfig{
			Protocol: plugin.ProtocolGRPC, ProtocolVersion: instance.ProtocolVersion, Addr: addr, Pid: r.PID, Test: true,
			ReattachFunc: func() (runner.AttachedRunner, error) { return s.other, nil },
		}
		return config
	}
	s.ready = make(chan struct{})
	config.VersionedPlugins = map[int]plugin.PluginSet{instance.ProtocolVersion: set}
	config.AutoMTLS, config.SkipHostEnv = true, true
	config.UnixSocketConfig = &plugin.UnixSocketConfig{TempDir: s.o.SocketDir}
	config.RunnerFunc = func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
		s.child = newChild(s.command(cmd.Env), s.log, s.tail)
		close(s.ready)
		if s.ctx.Err() != nil { // abort may have been called too early
			s.abort()
		}
		return s.child, nil
	}
	return config
}

// command is the program with the environment of the handshake and its own.
func (s *starting) command(handshake []string) *exec.Cmd {
	cmd := &exec.Cmd{Path: s.o.Path, Dir: s.o.Dir}
	cmd.Args = append([]string{filepath.Base(s.o.Path)}, s.o.Args...)
	if s.o.Self {
		cmd.Args[0] = filepath.Base(os.Args[0])
	}
	cmd.Env = append(s.o.environment(), Lifeline+"="+LifelineStdin)
	cmd.Env = append(cmd.Env, handshake...)
	return cmd
}

// connect starts the program, connects to it, and sees that it answers.
func (s *starting) connect() (*grpc.ClientConn, *plugin.GRPCBroker, error) {
	protocol, err := s.client.Client()
	if err != nil {
		return nil, nil, err
	}
	conn := protocol.(*plugin.GRPCClient).Conn
	if s.child != nil {
		if line, found := s.child.firstLine(); found {
			if err := checkHandshake(line); err != nil {
				return conn, nil, err
			}
		}
	}
	broker, err := protocol.Dispense(instance.SetName)
	if err != nil {
		return conn, nil, err
	}
	_, err = grpc_health_v1.NewHealthClient(conn).Check(s.ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
	return conn, broker.(*plugin.GRPCBroker), err
}

// abort ends what was started, at any time.
func (s *starting) abort() {
	if s.other != nil {
		s.other.leave()
		return
	}
	select {
	case <-s.ready:
		s.child.signal(killGroup)
	default:
	}
}

// clean gives up what is left of the connection when the process has ended, or was left.
func (s *starting) clean(conn *grpc.ClientConn) {
	for _, o := range s.said {
		o.hurry()
	}
	if conn != nil {
		conn.Close()
	}
	// go-plugin kills nothing by now, but it removes the socket. It would wait for a process that cannot be killed.
	if s.child != nil && s.child.endsWithin(killTime) {
		s.client.Kill()
	}
}

// explain finds out why connect has failed.
func (s *starting) explain(ctx context.Context, err error) error {
	e := &Error{Cause: Broken, Reason: "no connection: " + err.Error(), Err: err}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("process plugin: start: %w", ctx.Err())
	case s.ctx.Err() != nil:
		e = &Error{Cause: TimedOut, Reason: fmt.Sprintf("it was not ready within %v", s.o.StartTimeout), Err: context.DeadlineExceeded}
	}
	if s.other != nil {
		e.Reason = fmt.Sprintf("reattaching to process %d at %s: %s", s.o.Reattach.PID, s.o.Reattach.Addr.String, e.Reason)
		return e
	}
	if s.child == nil {
		return fmt.Errorf("process plugin: start: %w", err)
	}
	line, found := s.child.firstLine()
	var known *Error
	switch {
	case s.child.pid() == 0 && s.ctx.Err() == nil:
		failure := cause(s.child.startError())
		e = &Error{Cause: NotExecutable, Reason: fmt.Sprintf("%s cannot be run: %v", s.o.Path, failure), Err: failure}
	case found && errors.As(checkHandshake(line), &known):
		e = known
	case s.child.endsWithin(time.Second) && s.child.byself:
		return s.child.crash("the process has ended before it was ready")
	}
	if s.child.endsWithin(time.Second) {
		e.Stderr = s.tail.get()
		if s.child.byself {
			e.Exit = s.child.exit
		}
	}
	return e
}
