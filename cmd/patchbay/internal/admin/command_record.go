package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// recorded is what `plugin record` was told.
type recorded struct {
	points, topics []string
	passwords      bool
	output         string
	count          int
	limit          time.Duration
}

// recordCommand returns `plugin record`.
func (t *target) recordCommand() *cobra.Command {
	r := &recorded{}
	cmd := &cobra.Command{
		Use:   "record [-o FILE]",
		Short: "Record what a running broker asks and tells, for plugin test --replay",
		Long: `Writes what a running broker asks and tells at the points where plugins are called, until
Ctrl-C: a batch of the contract as JSON on each line, for "patchbay plugin test --replay".
Plugins need not be there, and nothing is decided. While a recording is under way the broker
does more work for each message, and it never waits for who reads: what is too much is left
out, and counted ("lost").

A recording has topics, payloads and names of clients in it, with --with-passwords passwords
in clear, and its file can be read by its owner only.`,
		Example: `  patchbay plugin record -o events.jsonl
  patchbay plugin record --points intercept_publish --topics 'plant/#' --count 100 -o events.jsonl`,
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&r.points, "points", nil, "record these `POINTS` only, as they are called in the configuration (default: all but gate_publish, tick, and those that come for each receiver)")
	flags.StringSliceVar(&r.topics, "topics", nil, "record what is about topics of these Topic `FILTERS` only (default #, which leaves $SYS out)")
	flags.BoolVar(&r.passwords, "with-passwords", false, "record passwords too")
	flags.StringVarP(&r.output, "output", "o", "-", "write to `FILE`")
	flags.IntVar(&r.count, "count", 0, "end after `N` lines")
	flags.DurationVar(&r.limit, "for", 0, "end after `TIME`")
	return t.command(cmd, cobra.NoArgs, func(ctx context.Context, c *caller, cmd *cobra.Command, _ []string) error {
		return r.run(ctx, c, cmd)
	})
}

func (r *recorded) run(ctx context.Context, c *caller, cmd *cobra.Command) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if r.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.limit)
		defer cancel()
	}
	query := url.Values{"point": r.points, "topic": r.topics}
	if r.passwords {
		query.Set("passwords", "")
	}
	answer, err := c.call(ctx, http.MethodGet, pathPluginRecord, query, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	out := cmd.OutOrStdout()
	var file *os.File
	if r.output != "-" {
		if file, err = os.OpenFile(r.output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return err
		}
		out = file
		fmt.Fprintln(cmd.ErrOrStderr(), "recording; Ctrl-C ends it")
	}
	n, err := r.copy(out, answer)
	if file != nil {
		err = errors.Join(err, file.Close())
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s %s\n", r.output, number(n), plural(n, "batch", "batches"))
	}
	if err != nil && ctx.Err() == nil {
		return c.cutShort(err)
	}
	return nil
}

// copy writes whole lines, as they come.
func (r *recorded) copy(w io.Writer, from io.Reader) (lines int, err error) {
	b := bufio.NewReaderSize(from, 64<<10)
	for r.count == 0 || lines < r.count {
		line, err := b.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return lines, nil // the broker has ended
		}
		if err != nil {
			return lines, err
		}
		if _, err := w.Write(line); err != nil {
			return lines, err
		}
		lines++
	}
	return lines, nil
}
