package plugincmd

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/admin"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev"
	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/instance"
)

// usageError is a mistake on the command line: exit status 2.
type usageError struct{ error }

func (usageError) ExitCode() int   { return 2 }
func (e usageError) Unwrap() error { return e.error }

// Command returns `patchbay plugin`. Errors of its commands that have a method
// ExitCode() int say the exit status by it; others are 1.
func Command() *cobra.Command {
	cmd := admin.PluginCommand()
	cmd.AddCommand(serveCommand(), compileCommand())
	cmd.AddCommand(plugindev.Commands()...)
	return cmd
}

// compileCommand is what a broker starts to have WebAssembly compiled.
func compileCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "compile DIR PAGES PREEMPTIBLE",
		Short:  "Compile a WebAssembly module for the broker that has started this process",
		Hidden: true, DisableFlagParsing: true,
		SilenceUsage: true, SilenceErrors: true, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return wasm.Compile(cmd.Context(), args, cmd.InOrStdin())
		},
	}
}

// serveCommand is what a broker starts for a compiled-in plugin with runtime: process.
// Nothing but the plugin may write to its standard output.
func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "serve NAME",
		Short:  "Serve a compiled-in plugin to the broker that has started this process",
		Hidden: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return usageError{fmt.Errorf("%s: %w", cmd.CommandPath(), err)}
			}
			return nil
		},
		SilenceUsage: true, SilenceErrors: true, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := find(args[0])
			if err != nil {
				return err
			}
			if os.Getenv(instance.CookieKey) != instance.CookieValue {
				return usageError{fmt.Errorf("a broker starts this command by itself; to run %s in a process of its own, write in the broker's configuration:\n"+
					"plugins:\n  - name: %s\n    runtime: process", p.Name, p.Name)}
			}
			sdk.Serve(p)
			return nil
		},
	}
}

func find(name string) (sdk.Plugin, error) {
	if p, ok := sdk.Lookup(name); ok {
		return p, nil
	}
	var names []string
	for _, p := range sdk.Registered() {
		names = append(names, p.Name)
	}
	if names == nil {
		return sdk.Plugin{}, usageError{errors.New("this program has no plugins compiled in")}
	}
	return sdk.Plugin{}, usageError{fmt.Errorf("no plugin %q is compiled in; there are: %s", name, strings.Join(names, ", "))}
}
