package client

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Commands returns pub, sub and rr, newly made. The caller adds them to its root and prints the error that
// executing one returns; the error's method ExitCode() int is the exit code: 1 run-time, 2 usage, 27 when
// -W ran out.
//
// Each command ends cleanly (DISCONNECT, exit code 0 unless something is unacknowledged) on SIGINT,
// SIGTERM and when its context is cancelled; a second signal kills as usual.
func Commands() []*cobra.Command {
	return []*cobra.Command{newPub(), newSub(), newRR()}
}

// finish gives a command what the three have in common. run gets the context that signals end.
func finish(cmd *cobra.Command, run func(ctx context.Context, args []string) error) *cobra.Command {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.DisableFlagsInUseLine = true
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	// Declared here, cobra does not take -h for it: that is the host.
	cmd.Flags().Bool("help", false, "show this help")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	cmd.Args = func(cmd *cobra.Command, _ []string) error {
		// Cobra would check these later, and its error would have no exit code. Arguments are resolve's.
		if err := cmd.ValidateFlagGroups(); err != nil {
			return usagef("%w", err)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // so that a second Ctrl-C ends at once
		return runtimeError(run(ctx, args))
	}
	return cmd
}

// endClean says whether err only means that the user asked to stop.
func endClean(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err()))
}
