package plugindev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Commands returns the commands, newly made, for `patchbay plugin`. Errors that have a
// method ExitCode() int say the exit status by it; others are 1.
func Commands() []*cobra.Command {
	return []*cobra.Command{
		newCommand(), buildCommand(), testCommand(), benchCommand(), inspectCommand(),
		runCommand(), keygenCommand(), packCommand(), installCommand(),
	}
}

// usageError is a mistake on the command line, or in what it names: exit status 2.
type usageError struct{ error }

func (usageError) ExitCode() int   { return 2 }
func (e usageError) Unwrap() error { return e.error }

// command completes a command. Ctrl-C ends its context.
func command(cmd *cobra.Command, args cobra.PositionalArgs, run func(ctx context.Context, cmd *cobra.Command, args []string) error) *cobra.Command {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	// Those of `patchbay plugin` are for commands that speak to a broker.
	cmd.SetUsageTemplate(strings.ReplaceAll(cmd.UsageTemplate(), "{{if .HasAvailableInheritedFlags}}", "{{if false}}"))
	cmd.Args = func(cmd *cobra.Command, a []string) error {
		if err := args(cmd, a); err != nil {
			return usageError{fmt.Errorf("%s: %w", cmd.CommandPath(), err)}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return run(ctx, cmd, args)
	}
	return cmd
}

// target is what the argument of a command names: a module or program, or the folder of a
// project, whose module and sample files have their usual places.
type target struct {
	// file is the module or program.
	file string
	// config, events and verdicts are files that are there, "" for those that are not.
	config, events, verdicts string
}

// targetOf finds out what args name; without any it is the working directory.
func targetOf(args []string) (t target, err error) {
	t.file = "."
	if len(args) > 0 {
		t.file = args[0]
	}
	info, err := os.Stat(t.file)
	if err != nil {
		return t, usageError{err}
	}
	if !info.IsDir() {
		return t, nil
	}
	dir := t.file
	for _, sample := range []struct {
		name string
		to   *string
	}{{"config.json", &t.config}, {"events.jsonl", &t.events}, {"verdicts.jsonl", &t.verdicts}} {
		path := filepath.Join(dir, "testdata", sample.name)
		if _, err := os.Stat(path); err == nil {
			*sample.to = path
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return t, err
	}
	t.file = filepath.Join(dir, filepath.Base(abs)+".wasm")
	if _, err := os.Stat(t.file); err == nil {
		return t, nil
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.wasm"))
	if err == nil && len(found) == 1 {
		t.file = found[0]
		return t, nil
	}
	return t, usageError{fmt.Errorf("%s: there is no %s; make it with: patchbay plugin build %s", dir, filepath.Base(t.file), dir)}
}

// maxConfig bounds a config that is read from a file.
const maxConfig = 16 << 20

// configOf returns what --config says: JSON, or @FILE, or - for standard input.
func configOf(flag, file string, stdin io.Reader) (string, error) {
	var from io.Reader
	switch path, named := strings.CutPrefix(flag, "@"); {
	case flag == "-":
		file, from = "standard input", stdin
	case named:
		file = path
	case flag != "":
		return flag, nil
	case file == "":
		return "{}", nil
	}
	if from == nil {
		f, err := os.Open(file)
		if err != nil {
			return "", usageError{fmt.Errorf("config: %w", err)}
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = errors.New("it is larger than 16 MiB")
	}
	if err != nil {
		return "", usageError{fmt.Errorf("config: %s: %w", file, err)}
	}
	return strings.TrimSpace(string(text)), nil
}
