package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
)

// Exit codes of the commands.
const (
	exitRuntime = 1
	exitUsage   = 2
)

// exitError is an error that knows the exit code of the process.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// ExitCode is 1 for run-time errors and 2 for usage and configuration.
func (e *exitError) ExitCode() int { return e.code }

func usageError(err error) error { return &exitError{exitUsage, err} }

// Commands returns reload, status, clients, topics and retained, newly made; plugin
// is PluginCommand. They
// speak to a running broker through its unix socket. The caller adds them to its
// root and prints the error that executing one returns; the error's method
// ExitCode() int is the exit code, 1 where it has none.
func Commands() []*cobra.Command {
	return []*cobra.Command{statusCommand(), reloadCommand(), clientsCommand(), topicsCommand(), retainedCommand()}
}

// target is which broker a command speaks to, and how it shows the answer.
type target struct {
	socket, config string
	json           bool
	namespace      string
	flags          *pflag.FlagSet
}

// newTarget adds the flags that all commands have; sub-commands inherit them.
func newTarget(cmd *cobra.Command) *target {
	t := &target{flags: cmd.PersistentFlags()}
	t.flags.StringVar(&t.socket, "socket", "", "unix `SOCKET` of the broker (default: what its configuration says)")
	t.flags.StringVarP(&t.config, "config", "c", "", "configuration `FILE` of the broker (default as for serve)")
	t.flags.BoolVar(&t.json, "json", false, "write JSON; lists as one object a line")
	return t
}

// withNamespace adds --namespace.
func (t *target) withNamespace(usage string) *target {
	t.flags.StringVar(&t.namespace, "namespace", "", usage)
	return t
}

// command completes a command. run gets the broker to call; args have been
// checked.
func (t *target) command(cmd *cobra.Command, args cobra.PositionalArgs, run func(ctx context.Context, c *caller, cmd *cobra.Command, args []string) error) *cobra.Command {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError(err) })
	cmd.Args = func(cmd *cobra.Command, a []string) error {
		if err := args(cmd, a); err != nil {
			return usageError(fmt.Errorf("%s: %w", cmd.CommandPath(), err))
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		socket, err := t.find(os.Environ())
		if err != nil {
			return err
		}
		err = run(cmd.Context(), newCaller(socket), cmd, args)
		var coded interface{ ExitCode() int }
		if err == nil || errors.As(err, &coded) {
			return err
		}
		return &exitError{exitRuntime, err}
	}
	return cmd
}

// find returns the socket: --socket, else that of the configuration.
func (t *target) find(environ []string) (string, error) {
	if t.socket != "" {
		return t.socket, nil
	}
	file, err := config.Find(t.config, environ, ".")
	if err != nil {
		return "", err
	}
	c, _, err := config.Load(config.Sources{File: file, Environ: environ})
	if err != nil {
		return "", usageError(fmt.Errorf("%w\nthe configuration cannot tell where the broker is: correct it, or give --socket", err))
	}
	socket := c.AdminSocket()
	if socket == "" {
		return "", usageError(errors.New("admin.socket is off in the configuration: give --socket"))
	}
	return socket, nil
}

// query has the namespace if it was given: an empty one is the default namespace,
// none is all of them where that makes sense.
func (t *target) query(pairs ...string) url.Values {
	q := url.Values{}
	if t.flags.Changed("namespace") {
		q.Set("namespace", t.namespace)
	}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return q
}

// show writes an answer: as indented JSON, or for people by way of text.
func show[T any](t *target, w io.Writer, answer json.RawMessage, text func(w io.Writer, v T) error) error {
	if t.json {
		var b bytes.Buffer
		if err := json.Indent(&b, bytes.TrimSpace(answer), "", "  "); err != nil {
			return fmt.Errorf("answer of the broker: %w", err)
		}
		b.WriteByte('\n')
		_, err := b.WriteTo(w)
		return err
	}
	var v T
	if err := json.Unmarshal(answer, &v); err != nil {
		return fmt.Errorf("answer of the broker: %w", err)
	}
	return text(w, v)
}

// showList writes a list as it comes: JSON lines to where table would write, or the
// table with the rows that row makes.
func showList[T any](ctx context.Context, t *target, c *caller, table *table, path string, query url.Values, row func(v *T) []string) error {
	if t.json {
		return c.list(ctx, path, query, func(line json.RawMessage) error {
			_, err := table.w.Write(append(line, '\n'))
			return err
		})
	}
	err := c.list(ctx, path, query, func(line json.RawMessage) error {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("answer of the broker: %w", err)
		}
		return table.add(row(&v)...)
	})
	return errors.Join(table.end(), err)
}
