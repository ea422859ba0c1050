// Command patchbay is an MQTT broker and its tools: serve (the default), pub,
// sub and rr (clients), bench, config, passwd, plugin, acl, store, and the commands
// that speak to a running broker.
//
// It only puts the commands together; each lives in a package below internal.
// Exit status: 0 success, 1 run-time error, 2 usage or configuration, 27 a time
// limit of sub or rr.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/admin"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/ask"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/bench"
	_ "github.com/patchbay-mq/patchbay/cmd/patchbay/internal/builtin" // the plugins that are compiled in
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/client"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/mosquittoconf"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/passwd"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugincmd"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/serve"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/storecmd"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/version"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stderr))
}

func run(args []string, stderr io.Writer) int {
	root := command()
	begun := false
	watch(root, &begun)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return 0
	}
	for line := range strings.Lines(strings.TrimRight(err.Error(), "\n")) {
		fmt.Fprintln(stderr, "patchbay: "+strings.TrimRight(line, "\n"))
	}
	var coded interface{ ExitCode() int }
	switch {
	case errors.As(err, &coded):
		return coded.ExitCode()
	case !begun:
		return 2 // what cobra itself refuses is a mistake on the command line
	}
	return 1
}

// watch sets begun when a command has got past its arguments and flags.
func watch(cmd *cobra.Command, begun *bool) {
	if do := cmd.RunE; do != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*begun = true
			return do(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		watch(sub, begun)
	}
}

// usageError is a mistake on the command line: exit status 2.
type usageError struct{ error }

func (usageError) ExitCode() int   { return 2 }
func (e usageError) Unwrap() error { return e.error }

func command() *cobra.Command {
	root := serve.Command()
	root.Use = "patchbay"
	root.Short = "An MQTT broker that people extend without forking it"
	root.Long = `Patchbay is an MQTT 3.1.1 and 5.0 broker. Without a command it serves; see
"patchbay serve --help" for what it can be told.`
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = fmt.Sprintf(" (did you mean %q?)", near[0])
			}
			return usageError{fmt.Errorf("unknown command %q%s; see patchbay --help", args[0], hint)}
		}
		return nil
	}
	root.SuggestionsMinimumDistance = 2
	serving := serve.Command()
	serving.Use = "serve"
	configuration := config.Command(serve.CheckPlugin)
	configuration.AddCommand(mosquittoconf.Command(serve.CheckPlugin))
	root.AddCommand(serving, configuration, bench.Command(), passwd.Command(), plugincmd.Command(), plugincmd.ACLCommand(), admin.BridgeCommand(),
		admin.BanCommand(), storecmd.Command(version.String()), version.Command())
	root.AddCommand(client.Commands()...)
	root.AddCommand(ask.Command())
	root.AddCommand(admin.Commands()...)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	return root
}
