package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/core/broker"
)

func retainedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retained",
		Short: "List, read and clear the retained messages of a running broker",
		Long:  "Lists the retained messages of a running broker. Without a sub-command: list.",
	}
	t := newTarget(cmd).withNamespace("`NAMESPACE` of the messages (default: the default one)")
	list := func(ctx context.Context, c *caller, cmd *cobra.Command, args []string) error {
		filter := "#"
		if len(args) == 1 {
			filter = args[0]
		}
		return t.listRetained(ctx, c, cmd, filter)
	}
	clear := &cobra.Command{
		Use:   "clear FILTER",
		Short: "Remove the retained messages that match a Topic Filter",
	}
	yes := clear.Flags().Bool("yes", false, "do not ask")
	cmd.AddCommand(
		t.command(&cobra.Command{
			Use:   "list [FILTER]",
			Short: "List retained messages without their payloads",
			Long:  "Lists the retained messages that match a Topic Filter, # if none is given. That\nhas not those below $SYS: 'patchbay retained list $SYS/#', quoted for the shell.",
		}, cobra.MaximumNArgs(1), list),
		t.command(&cobra.Command{
			Use:   "get TOPIC",
			Short: "Write the payload of a retained message",
			Long:  "Writes the payload of a retained message: as it is to a file or pipe; to a\nterminal as text, quoted if it is not printable. --json has it in base64.",
		}, cobra.ExactArgs(1), t.getRetained),
		t.command(clear, cobra.ExactArgs(1), func(ctx context.Context, c *caller, cmd *cobra.Command, args []string) error {
			return t.clearRetained(ctx, c, cmd, args[0], *yes)
		}),
	)
	return t.command(cmd, cobra.NoArgs, list)
}

func (t *target) listRetained(ctx context.Context, c *caller, cmd *cobra.Command, filter string) error {
	now := time.Now()
	table := newTable(cmd.OutOrStdout(), "TOPIC", "QOS", "PAYLOAD", "AGE", "EXPIRES IN", "PUBLISHER")
	return showList(ctx, t, c, table, pathRetained, t.query("filter", filter), func(m *retainedLine) []string {
		expires := "never"
		if !m.Expires.IsZero() {
			expires = duration(m.Expires.Sub(now))
		}
		publisher := m.Publisher
		if publisher != "" { // empty: the broker itself
			publisher = clean(publisher)
		}
		return []string{clean(m.Topic), strconv.Itoa(int(m.QoS)), size(m.Size), since(m.Received, now), expires, publisher}
	})
}

func (t *target) getRetained(ctx context.Context, c *caller, cmd *cobra.Command, args []string) error {
	answer, err := c.get(ctx, pathRetainedGet, t.query("topic", args[0]))
	if err != nil {
		return err
	}
	return show(t, cmd.OutOrStdout(), answer, func(w io.Writer, m broker.RetainedInfo) error {
		if !isTerminal(w) {
			_, err := w.Write(m.Payload)
			return err
		}
		_, err := fmt.Fprintln(w, forTerminal(m.Payload))
		return err
	})
}

// isTerminal reports whether somebody is looking, as far as a file's mode tells.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// forTerminal leaves text of several lines as it is.
func forTerminal(payload []byte) string {
	text := strings.TrimSuffix(string(payload), "\n")
	if !printable(strings.NewReplacer("\n", "", "\t", "").Replace(text)) {
		return strconv.Quote(text)
	}
	return text
}

func (t *target) clearRetained(ctx context.Context, c *caller, cmd *cobra.Command, filter string, yes bool) error {
	if !yes {
		if err := t.confirmClear(ctx, c, cmd, filter); err != nil {
			return err
		}
	}
	answer, err := c.post(ctx, pathRetainedClear, clearRequest{t.namespace, filter})
	if err != nil {
		return err
	}
	return show(t, cmd.OutOrStdout(), answer, func(w io.Writer, r clearResult) error {
		_, err := fmt.Fprintf(w, "%s retained %s cleared\n", number(r.Cleared), plural(r.Cleared, "message", "messages"))
		return err
	})
}

// confirmClear asks, on standard error as standard output is for the result.
func (t *target) confirmClear(ctx context.Context, c *caller, cmd *cobra.Command, filter string) error {
	n := 0
	if err := c.list(ctx, pathRetained, t.query("filter", filter), func(json.RawMessage) error { n++; return nil }); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s retained %s %s. Clear? [y/N] ", number(n), plural(n, "message matches", "messages match"), clean(filter))
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("standard input: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was cleared; --yes clears without asking")
}
