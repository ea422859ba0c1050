package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/admin"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/version"
	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
	"github.com/patchbay-mq/patchbay/pluginhost"
)

// Command is `patchbay serve`.
func Command() *cobra.Command {
	var flags config.Flags
	cmd := &cobra.Command{
		Short: "Run the broker",
		Long: `Run the broker until SIGTERM or Ctrl-C. Without a configuration file it listens
on port 1883 of this machine only.

SIGHUP, or "patchbay reload", reads the configuration again: it is checked first,
applied where that needs no restart, and what does is named.`,
		Example: `  patchbay serve --config /etc/patchbay.yaml
  patchbay serve --listen tcp://127.0.0.1:1883 --listen ws://127.0.0.1:8083/mqtt
  patchbay serve --set session.max_inflight=100 --log-level debug`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			src, err := flags.Sources(os.Environ(), ".")
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			// Who asks twice does not want to wait for the shutdown.
			context.AfterFunc(ctx, stop)
			return Run(ctx, src, cmd.ErrOrStderr())
		},
	}
	flags.Register(cmd.Flags())
	return cmd
}

// program is a running broker with what it was made from.
type program struct {
	src     config.Sources
	level   *slog.LevelVar
	log     *slog.Logger
	broker  *broker.Broker
	durable *disk.Store // nil with store: memory
	plugins plugins
	watch   Watch
	sockets []socket
	started *config.Config // what needs a restart is as in here

	running context.Context // ends when the shutdown begins
	until   time.Time       // when it has to be over; set before it begins

	mu     sync.Mutex     // one reload at a time
	config *config.Config // guarded by mu: what was applied last
}

// Run serves until ctx ends. It writes the log, and at the start what it listens
// on, to stderr. An error that has a method ExitCode is one of the configuration.
func Run(ctx context.Context, src config.Sources, stderr io.Writer) error {
	return RunWatched(ctx, src, stderr, Watch{})
}

// Watch is for those who look on while plugins work.
type Watch struct {
	// Seen is told of every call of a plugin; see pluginhost.Options. It may be nil.
	Seen func(pluginhost.Seen)
	// Started is told once when clients can connect. It may be nil.
	Started func(*pluginhost.Host)
}

// RunWatched is Run with somebody who looks on.
func RunWatched(ctx context.Context, src config.Sources, stderr io.Writer, watch Watch) error {
	// Before anything listens: until then SIGHUP ends the process.
	hangup := make(chan os.Signal, 1)
	notifyHangup(hangup)
	defer signal.Stop(hangup)
	c, meta, err := config.Load(src)
	if err != nil {
		return err
	}
	p := &program{src: src, started: c, config: c, level: new(slog.LevelVar), watch: watch}
	p.level.Set(logLevel(c))
	people := format(c, stderr) == "text"
	p.log = newLogger(people, p.level, stderr)
	tuneCollector(c)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	values, err := p.makeBroker(fail)
	if err != nil {
		return sourced(err, meta)
	}
	p.running = ctx
	server, err := p.start(ctx, values)
	if err != nil {
		closeNow, cancel := context.WithCancel(context.Background())
		cancel()
		p.broker.Close(closeNow)
		return sourced(err, meta)
	}
	p.announce(stderr, people, server, meta)
	if watch.Started != nil {
		watch.Started(p.plugins.host)
	}
	return p.serve(ctx, hangup, server)
}

// makeBroker opens the store, makes a broker of what it holds, and returns what of it
// is the plugins'. fail is called if the store cannot go on later: nothing more can
// be acknowledged then, and only a new start can tell what is left.
func (p *program) makeBroker(fail func(error)) (store.Values, error) {
	st, err := openStore(p.started, p.log, func(err error) { fail(storeError{err}) })
	if err != nil {
		return nil, err
	}
	p.durable, _ = st.(*disk.Store)
	begin := time.Now()
	// Next to nothing of what is loaded is garbage: the collector need not look
	// at a growing heap again and again.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	drained := drainingStore{st, func() {
		if err := p.plugins.close(p.until); err != nil {
			p.log.Warn("plugins were cut off", "error", err)
		}
	}}
	p.broker, err = newBroker(p.started, version.String(), p.log, drained)
	if err != nil {
		st.Close()
		return nil, err
	}
	if g := p.broker.Gauges(); g.Sessions > 0 || g.Retained > 0 {
		p.log.Info("restored", "sessions", g.Sessions, "subscriptions", g.Subscriptions, "retained", g.Retained,
			"took", time.Since(begin).Round(time.Millisecond).String())
	}
	return st.Values(), nil
}

// start starts the plugins, which have to be there before the first client, and then
// opens all listeners, that for operators last: when it says that the broker is ready,
// it is.
func (p *program) start(ctx context.Context, values store.Values) (*admin.Server, error) {
	if err := p.startPlugins(ctx, values); err != nil {
		return nil, err
	}
	c := p.started
	all, err := places(c, p.plugins.host.Authenticates())
	if err != nil {
		return nil, err
	}
	if p.sockets, err = open(p.broker, all); err != nil {
		return nil, err
	}
	return admin.Start(ctx, admin.Options{
		Broker: p.broker, Config: c.Admin, DataDir: c.DataDir, Version: version.String(), Reload: p.reload, Logger: p.log,
		Store: p.durable, StoreDir: StoreDir(c), Plugins: p.plugins.host, Bans: p.plugins.host.Services(),
		Ready: p.plugins.ready, Degraded: p.plugins.degraded,
	})
}

// serve runs until ctx ends and shuts down within shutdown_timeout.
func (p *program) serve(ctx context.Context, hangup <-chan os.Signal, server *admin.Server) error {
	running, end := context.WithCancel(context.Background())
	defer end()
	go settle(running, p.broker.Stats())
	served := make(chan struct{})
	go func() {
		defer close(served)
		// It gives no time of its own to the shutdown: how long that may take is
		// known when it comes, since a reload can change it.
		_ = p.broker.Serve(running, 0)
	}()
	for ctx.Err() == nil {
		select {
		case <-hangup:
			if _, err := p.reload(); err != nil {
				p.log.Error("reload failed, the configuration before stays in force", "error", err)
			}
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	grace := p.config.ShutdownTimeout.Std()
	p.mu.Unlock()
	begin := time.Now()
	p.log.Info("shutting down", "shutdown_timeout", grace.String())
	p.until = begin.Add(grace)
	until, cancel := context.WithDeadline(context.Background(), p.until)
	defer cancel()
	err := p.broker.Close(until)
	end()
	<-served
	if closeErr := server.Close(until); closeErr != nil && !errors.Is(closeErr, context.DeadlineExceeded) {
		err = errors.Join(err, closeErr)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		p.log.Warn("shutdown_timeout is over: some connections were cut off")
		err = nil
	}
	if failed := (storeError{}); errors.As(context.Cause(ctx), &failed) {
		err = errors.Join(failed, err)
	}
	p.log.Info("stopped", "took", time.Since(begin).Round(time.Millisecond).String())
	return err
}
