package storecmd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes. That of an error that knows none is 1.
const (
	exitProblems = 1 // of check
	exitUsage    = 2
	exitUnable   = 2 // of check: it cannot say whether all is well
)

// exitError is an error that knows the exit code of the process.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// ExitCode is the exit code of the process.
func (e *exitError) ExitCode() int { return e.code }

func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// Command returns `patchbay store`. version is that of the program. The caller
// prints the error that executing it returns, and exits with its ExitCode, 1 if it
// has none.
func Command(version string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look at, back up and restore what is kept on disk",
		Long: `Look at, back up and restore what the broker keeps on disk, in data_dir.

stats, check and export read the folder, or ask the broker that has it open: they
need not wait for it to stop, and see the state of one moment.`,
		Example: `  patchbay store stats
  patchbay store export -o backup.jsonl
  patchbay store import backup.jsonl --data-dir /var/lib/patchbay`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(statsCommand(), checkCommand(), exportCommand(version), importCommand())
	return cmd
}

func statsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "stats", Short: "Count what is stored, and what it takes on disk"}
	p := newPlace(cmd.Flags(), true)
	asJSON := cmd.Flags().Bool("json", false, "write JSON")
	return p.command(cmd, cobra.NoArgs, func(ctx context.Context, cmd *cobra.Command, _ []string) error {
		st, err := p.stats(ctx, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		return printStats(cmd.OutOrStdout(), st, *asJSON)
	})
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read every record, and say what is wrong",
		Long: `Read every record, and what refers to each other, and say what is wrong, a line
for each problem. Nothing is changed.
Exit codes: 0 all is well, 1 there are problems, 2 it could not be checked.`,
	}
	p := newPlace(cmd.Flags(), true)
	asJSON := cmd.Flags().Bool("json", false, "write JSON lines: problems, and a summary at the end")
	return p.command(cmd, cobra.NoArgs, func(ctx context.Context, cmd *cobra.Command, _ []string) error {
		findings, err := p.check(ctx, cmd.ErrOrStderr())
		if err == nil {
			err = printFindings(cmd.OutOrStdout(), findings, *asJSON)
			findings.Close()
		}
		var coded interface{ ExitCode() int }
		if err != nil && !errors.As(err, &coded) {
			err = &exitError{exitUnable, err}
		}
		return err
	})
}

func exportCommand(version string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write everything that is stored as JSON lines: a backup",
		Long: `Write everything that is stored as JSON lines: sessions with their subscriptions
and messages, retained messages, and values of plugins. It is the state of one
moment, also while a broker runs. An export that was cut short lacks its last line,
{"end":…}, and is not imported.`,
		Example: `  patchbay store export -o backup.jsonl
  patchbay store export | zstd > backup.jsonl.zst`,
	}
	p := newPlace(cmd.Flags(), true)
	file := cmd.Flags().StringP("output", "o", "", "write to `FILE` (mode 0600), which appears when it is whole; - is standard output")
	return p.command(cmd, cobra.NoArgs, func(ctx context.Context, cmd *cobra.Command, _ []string) error {
		write := func(ctx context.Context, w io.Writer) error { return p.export(ctx, w, cmd.ErrOrStderr(), version) }
		if *file == "" || *file == "-" {
			return write(ctx, cmd.OutOrStdout())
		}
		return replaceFile(ctx, *file, write)
	})
}

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Fill a new data_dir from an export",
		Long: `Fill a new data_dir from an export, from standard input without FILE or with -.
There must not be a store in it. It is there when all of it is; if anything is
wrong with the export, the line is named and nothing is left behind.`,
		Example: `  patchbay store import backup.jsonl --data-dir /var/lib/patchbay
  zstd -d < backup.jsonl.zst | patchbay store import`,
	}
	p := newPlace(cmd.Flags(), false)
	p.command(cmd, cobra.MaximumNArgs(1), func(ctx context.Context, cmd *cobra.Command, args []string) error {
		in, name, err := openInput(cmd.InOrStdin(), args)
		if err != nil {
			return err
		}
		defer in.Close()
		return p.restore(ctx, in, name, cmd.OutOrStdout())
	})
	cmd.ValidArgsFunction = nil // files
	return cmd
}

// command completes a command.
func (p *place) command(cmd *cobra.Command, args cobra.PositionalArgs, run func(ctx context.Context, cmd *cobra.Command, args []string) error) *cobra.Command {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef("%w; see %s --help", err, cmd.CommandPath()) })
	cmd.Args = func(cmd *cobra.Command, a []string) error {
		if err := args(cmd, a); err != nil {
			return usagef("%s: %w", cmd.CommandPath(), err)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		return run(ctx, cmd, args)
	}
	return cmd
}

// register adds the flags that say where the store is.
func (p *place) register(flags *pflag.FlagSet, socket bool) {
	flags.StringVarP(&p.config, "config", "c", "", "configuration `FILE` of the broker (default as for serve)")
	flags.StringVar(&p.dataDir, "data-dir", "", "data_dir to use: no configuration is read then, unless --config names one (`DIR`)")
	if socket {
		flags.StringVar(&p.socket, "socket", "", "ask the broker behind this unix `SOCKET`, and look at no folder")
	}
}
