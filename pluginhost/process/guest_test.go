//go:build unix

package process

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1grpc"
)

// play is main in a role.
func play(role string) {
	go func() { // whatever it does, it ends
		time.Sleep(2 * time.Minute)
		os.Exit(99)
	}()
	role, args, _ := strings.Cut(role, ":")
	certificate := strings.Repeat("A", 100)
	switch role {
	case "broker":
		playBroker(args)
	case "lingerer": // until its input ends
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "sleeper":
		time.Sleep(time.Minute)
	case "garbage":
		fmt.Println("usage: something else")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "endless":
		fmt.Print(strings.Repeat("x", 1<<20))
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "future":
		fmt.Println("1|7|unix|/nowhere|grpc|" + certificate)
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "netrpc":
		fmt.Println("1|1|unix|/nowhere|netrpc|" + certificate)
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "elsewhere":
		fmt.Println("1|1|unix|/nowhere|grpc|" + certificate)
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "quitter":
		fmt.Fprintln(os.Stderr, "no database")
		os.Exit(4)
	case "sdk":
		sdk.Register(sdkPlugin())
		sdk.Main()
	case "bare":
		os.Unsetenv("PLUGIN_CLIENT_CERT")
		serve(guest{role: role})
	default:
		serve(guest{role: role})
	}
}

// playBroker opens a plugin, prints its process and the one that this has started, and waits to be killed.
func playBroker(role string) {
	o := self(role)
	o.SocketDir = os.Getenv("PROCESS_TEST_SOCKETS")
	program, err := Load(o)
	if err != nil {
		panic(err)
	}
	p, err := program.Open(context.Background(), plugintest.NewHost())
	if err != nil {
		panic(err)
	}
	m, err := p.Describe(context.Background(), &pluginv1.DescribeRequest{})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.(*Plugin).PID(), m.Description)
	time.Sleep(time.Hour)
}

func serve(g guest) {
	if runtime.GOOS != "linux" && os.Getenv(Lifeline) == LifelineStdin { // on Linux the tests see that it ends without
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: instance.ProtocolVersion, MagicCookieKey: instance.CookieKey, MagicCookieValue: instance.CookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{instance.ProtocolVersion: {instance.SetName: &guestSide{guest: g}}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, v1grpc.ServerOptions()...)...)
		},
	})
}

type guestSide struct {
	hostSide
	guest guest
}

func (s *guestSide) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	s.guest.broker = broker
	v1grpc.RegisterPluginServer(server, &s.guest)
	return nil
}

// guest is a plugin that does well, but for what its role says.
type guest struct {
	role   string
	broker *plugin.GRPCBroker
}

func (g *guest) Describe(ctx context.Context, _ *pluginv1.DescribeRequest) (*pluginv1.Manifest, error) {
	m := &pluginv1.Manifest{Name: g.role}
	switch g.role {
	case "environment":
		dir, _ := os.Getwd()
		m.Description = strings.Join(append(os.Environ(), "DIR="+dir), "\x00")
	case "stubborn", "parent":
		if g.role == "stubborn" {
			signal.Ignore(syscall.SIGTERM)
		}
		m.Description = strconv.Itoa(spawn("lingerer", false))
	case "leaves another", "leaves a daemon":
		m.Description = strconv.Itoa(spawn("sleeper", g.role == "leaves a daemon"))
	case "describes slowly":
		<-ctx.Done() // the broker may hear of it before it has looked at its own clock
		return nil, ctx.Err()
	case "describes badly":
		return nil, fmt.Errorf("the moon is wrong")
	}
	return m, nil
}

// spawn starts a process that has the input and output of this one: a lingerer ends with its input, a
// sleeper does not. A daemon leaves the group.
func spawn(role string, daemon bool) int {
	program, err := OwnProgram()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(program)
	cmd.Env, cmd.Stdin = []string{roleEnv + "=" + role}, os.Stdin
	cmd.Stdout, cmd.Stderr = os.NewFile(1, "stdout"), os.NewFile(2, "stderr")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: daemon}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	go cmd.Wait()
	return cmd.Process.Pid
}

func (g *guest) Start(ctx context.Context, in *pluginv1.StartRequest) (*pluginv1.StartResponse, error) {
	switch g.role {
	case "caller":
		conn, err := g.broker.Dial(instance.HostServicesID)
		if err != nil {
			return nil, err
		}
		set, err := v1grpc.NewHostClient(conn).KVSet(ctx, &pluginv1.KVSetRequest{Key: "k", Value: []byte("v")})
		if err != nil {
			return nil, err
		}
		return &pluginv1.StartResponse{Problems: []pluginv1.Problem{{Message: fmt.Sprint("version ", set.Version)}}}, nil
	case "talker":
		raw := os.NewFile(1, "stdout")
		fmt.Fprintln(raw, strings.Repeat("y", 1<<20))
		fmt.Fprintln(os.NewFile(2, "stderr"), `{"@level":"error","@message":"bad","@module":"m","count":3}`)
		fmt.Println("through gRPC")
	case "flooder":
		go func() {
			w := os.NewFile(2, "stderr")
			for {
				fmt.Fprintln(w, strings.Repeat("z", 200))
			}
		}()
	}
	return nil, nil
}

func (g *guest) Configure(context.Context, *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	return nil, nil
}

func (g *guest) Stop(context.Context, *pluginv1.StopRequest) (*pluginv1.StopResponse, error) {
	return nil, nil
}

func (g *guest) Health(context.Context, *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	return &pluginv1.HealthResponse{Status: pluginv1.HealthStatusServing}, nil
}

func (g *guest) HTTP(context.Context, *pluginv1.HTTPRequest) (*pluginv1.HTTPResponse, error) {
	return nil, nil
}

func (g *guest) Timer(context.Context, *pluginv1.TimerFired) (*pluginv1.TimerResponse, error) {
	return nil, nil
}

// answerTo denies the first message, with its topic as the reason.
func answerTo(b *pluginv1.Batch) *pluginv1.Answer {
	a := &pluginv1.Answer{Seq: b.Seq}
	if m := b.Events[0].Message; m != nil {
		a.Verdicts = []pluginv1.Verdict{{Action: pluginv1.ActionDeny, Reason: m.Topic}}
	}
	return a
}

func (g *guest) Process(stream grpc.BidiStreamingServer[pluginv1.Batch, pluginv1.Answer]) error {
	if g.role == "quick" {
		return answerAll(stream)
	}
	batches := make(chan *pluginv1.Batch)
	go func() {
		defer close(batches)
		for {
			b, err := stream.Recv()
			if err != nil {
				return
			}
			batches <- b
		}
	}()
	var held []*pluginv1.Batch
	for b := range batches {
		a := answerTo(b)
		switch g.role {
		case "silent":
			continue
		case "watches slowly":
			if b.Point.Mode() == pluginv1.Observation {
				continue
			}
		case "reverse":
			if held = append(held, b); len(held) < 8 {
				continue
			}
			select {
			case <-batches:
				panic("a ninth batch has come while 8 are unanswered")
			case <-time.After(100 * time.Millisecond):
			}
			for _, b := range slices.Backward(held) {
				if err := stream.Send(answerTo(b)); err != nil {
					return err
				}
			}
			held = nil
			continue
		case "panics", "exits", "ends streams", "answers others", "answers too much", "fails", "leaves another", "leaves a daemon":
			if !strings.HasPrefix(b.Events[0].Message.Topic, "bad") {
				break
			}
			if end := g.misbehave(b, a); end {
				return nil
			}
		}
		if err := stream.Send(a); err != nil {
			return err
		}
	}
	return nil
}

// answerAll lets everything continue.
func answerAll(stream grpc.BidiStreamingServer[pluginv1.Batch, pluginv1.Answer]) error {
	for {
		b, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := stream.Send(&pluginv1.Answer{Seq: b.Seq}); err != nil {
			return err
		}
	}
}

func (g *guest) misbehave(b *pluginv1.Batch, a *pluginv1.Answer) (end bool) {
	switch g.role {
	case "panics":
		panic("the sky has fallen")
	case "exits":
		fmt.Fprintln(os.NewFile(2, "stderr"), "[ERROR] enough")
		os.Exit(3)
	case "leaves another", "leaves a daemon":
		os.Exit(5)
	case "ends streams":
		return true
	case "answers others":
		a.Seq += 1000
	case "answers too much":
		a.Verdicts[0].Reason = strings.Repeat("m", 2<<20)
	case "fails":
		*a = pluginv1.Answer{Seq: b.Seq, Error: "cannot decide"}
	}
	return false
}

func (g *guest) Consume(stream grpc.BidiStreamingServer[pluginv1.ConsumeBatch, pluginv1.ConsumeResult]) error {
	for {
		b, err := stream.Recv()
		if err != nil {
			return err
		}
		r := &pluginv1.ConsumeResult{Seq: b.Seq, AcknowledgedOffset: b.Deliveries[0].Offset, Error: "as an example"}
		if err := stream.Send(r); err != nil {
			return err
		}
	}
}

// sdkPlugin is one that is written with the SDK.
func sdkPlugin() sdk.Plugin {
	return sdk.Plugin{Name: "written", Version: "1.0.0", New: func() any { return new(written) }}
}

type written struct{}

func (*written) Publish(_ context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
	switch r.Message.Topic {
	case "deny":
		return sdk.Deny(0x87, "not this"), nil
	case "panic":
		panic("as asked for")
	}
	return sdk.Continue(), nil
}

// firstLine reads what a process prints first.
func firstLine(r io.Reader) string {
	line, _ := bufio.NewReader(r).ReadString('\n')
	return strings.TrimSpace(line)
}
