package bench

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// scenario is one kind of load: a subcommand and what it runs.
type scenario struct {
	name, short, long, example string

	defaults options
	flags    func(cmd *cobra.Command, o *options)
	check    func(o *options) error
	conns    func(o *options) int // connections at once
	run      func(ctx context.Context, r *runner) error
}

// Command returns the command `bench` with a subcommand for each scenario. A mistake
// on the command line gives an error with a method ExitCode() int that says 2; any
// other error is a run that could not be done. Losses are no error: they are the
// result.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench SCENARIO",
		Short: "Put load on an MQTT broker, and count and time what comes back",
		Long: `Puts load on an MQTT broker (any broker) and reports what was published,
delivered, lost, duplicated and put out of order, exactly, and the latency from
publisher to subscriber.

Every message carries its run, publisher, topic and sequence number, and the time
at which it was sent. With --rate messages fall due by a fixed schedule, whatever
the broker does; one that is sent late, because the broker pushes back, is stamped
with the time at which it was due, so that the latencies hide nothing. With
--rate 0 each publisher sends as fast as its window allows; latency then says
little more than window / throughput.

The generator shares the machine's CPUs with a broker on the same machine: compare
brokers under equal conditions, and do not take its figures for the limit of either.

Ctrl-C ends a run early; what was measured until then is printed.`,
		Example: `  patchbay bench pair -q 1                       # 100 pairs, 10,000 messages/s
  patchbay bench fan-out --rate 0 -d 30s         # as fast as the broker can
  patchbay bench fan-in --url mqtt://10.0.0.5:1883 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, s := range []*scenario{
		fanOutScenario(), fanInScenario(), pairScenario(), idleScenario(), churnScenario(), offlineScenario(),
	} {
		cmd.AddCommand(s.command())
	}
	return cmd
}

func (s *scenario) command() *cobra.Command {
	o := s.defaults
	o.workers = 64
	cmd := &cobra.Command{
		Use:     s.name,
		Short:   s.short,
		Long:    strings.TrimSpace(s.long),
		Example: "  " + strings.ReplaceAll(strings.TrimSpace(s.example), "\n", "\n  "),
		Args:    cobra.NoArgs,

		SilenceUsage: true, // an error is one line; --help is there
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.execute(cmd, o)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err.Error()} })
	cmd.Flags().SortFlags = false
	s.flags(cmd, &o)
	o.commonFlags(cmd)
	return cmd
}

// execute runs the scenario and prints its result.
func (s *scenario) execute(cmd *cobra.Command, o options) error {
	if err := o.check(); err != nil {
		return err
	}
	if err := s.check(&o); err != nil {
		return err
	}
	target, err := parseTarget(o.url, o.cafile, o.insecure)
	if err != nil {
		return err
	}
	conns := s.conns(&o)
	if err := needFiles(conns); err != nil {
		return err
	}
	target.spread(conns)

	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once

	r := newRunner(s.name, o, target, newProgress(cmd.ErrOrStderr()))
	err = s.run(ctx, r)
	r.finish()
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted before there was anything to report")
	}
	if err != nil {
		return err
	}
	r.result.Interrupted = ctx.Err() != nil
	if o.json {
		return r.result.writeJSON(cmd.OutOrStdout())
	}
	return r.result.writeTable(cmd.OutOrStdout())
}

// defaultDuration is the measured time of the scenarios that take one.
const defaultDuration = 10 * time.Second
