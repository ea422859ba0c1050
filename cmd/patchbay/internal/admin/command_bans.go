package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
)

// BanCommand returns `patchbay ban`.
func BanCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ban",
		Short: "Keep clients out of a running broker, and let them in again",
		Long: `Bans keep clients out by client id, user name or address, before anybody is asked who they
are, and survive a restart. Operators make them, and plugins that may (guard, for one).
Without a sub-command: list.`,
	}
	t := newTarget(cmd).withNamespace("`NAMESPACE` of the clients (default: all)")
	cmd.AddCommand(
		t.command(&cobra.Command{Use: "list", Short: "List the bans, the oldest first"}, cobra.NoArgs, t.listBans),
		t.addBanCommand(), t.removeBanCommand(),
	)
	return t.command(cmd, cobra.NoArgs, t.listBans)
}

func (t *target) listBans(ctx context.Context, c *caller, cmd *cobra.Command, _ []string) error {
	now := time.Now()
	table := newTable(cmd.OutOrStdout(), "ID", "CLIENTS", "NAMESPACE", "FOR", "LEFT", "BY", "REASON")
	table.inOrder = true
	return showList(ctx, t, c, table, pathBans, t.query(), func(b *banLine) []string {
		namespace, left, by := "all", "for ever", "operator"
		if b.Namespace != nil {
			namespace = clean(*b.Namespace)
		}
		if !b.Expires.IsZero() {
			left = duration(b.Expires.Sub(now))
		}
		if b.AddedBy != "" {
			by = clean(b.AddedBy)
		}
		return []string{b.ID, b.who(), namespace, since(b.Added, now), left, by, optional(b.Reason)}
	})
}

// who says whom a ban is for.
func (l *banLine) who() string {
	var parts []string
	for _, p := range [][2]string{{"client id ", l.ClientID}, {"user ", l.Username}, {"address ", l.Address}} {
		if p[1] != "" {
			parts = append(parts, p[0]+clean(p[1]))
		}
	}
	return strings.Join(parts, ", ")
}

// withClients adds the flags that name clients.
func (l *banLine) withClients(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.ClientID, "client-id", "", "clients with this client `ID`")
	cmd.Flags().StringVar(&l.Username, "username", "", "clients of this user `NAME`")
	cmd.Flags().StringVar(&l.Address, "address", "", "clients from this `ADDRESS`, or from a range as 192.0.2.0/24")
}

// named reports whether the flags name somebody, and takes the namespace over.
func (l *banLine) named(t *target) bool {
	if t.flags.Changed("namespace") {
		l.Namespace = &t.namespace
	}
	return l.ClientID != "" || l.Username != "" || l.Address != ""
}

func (t *target) addBanCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add", Short: "Keep clients out, and close the connections of those that are in",
		Long: `Keeps clients out: those that fit all of --client-id, --username and --address that are given,
exactly. MQTT 5 clients are told Reason Code 0x8A (Banned) with the reason, others that they are
not authorised. Connections of clients that fit are closed at once; their sessions stay, and
'patchbay clients kick --remove-session' ends them.`,
		Example: `  patchbay ban add --client-id pump-7 --for 30m --reason "floods plant/#"
  patchbay ban add --address 192.0.2.0/24
  patchbay ban add --username ann --namespace acme --until 2030-01-31T12:00:00Z`,
	}
	var in banLine
	in.withClients(cmd)
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, for the `TEXT` of the log and for MQTT 5 clients")
	length := cmd.Flags().String("for", "never", "how long, as 90s, 30m, 12h or 7d (`DURATION`); never: until it is removed")
	until := cmd.Flags().String("until", "", "until when, as 2030-01-31T12:00:00Z (RFC 3339 `TIME`)")
	cmd.MarkFlagsMutuallyExclusive("for", "until")
	return t.command(cmd, cobra.NoArgs, func(ctx context.Context, c *caller, cmd *cobra.Command, _ []string) error {
		if !in.named(t) {
			return usageError(errors.New("whom? give --client-id, --username or --address, or several of them"))
		}
		if err := in.expire(*length, *until, time.Now()); err != nil {
			return usageError(err)
		}
		answer, err := c.post(ctx, pathBanAdd, &in)
		if err != nil {
			return err
		}
		return show(t, cmd.OutOrStdout(), answer, func(w io.Writer, b banLine) error {
			n := 0
			if b.Disconnected != nil {
				n = *b.Disconnected
			}
			_, err := fmt.Fprintf(w, "%s banned, %s %s closed (ban %s)\n", b.who(), number(n), plural(n, "connection", "connections"), b.ID)
			return err
		})
	})
}

// expire sets when a ban ends.
func (l *banLine) expire(length, until string, now time.Time) error {
	if until != "" {
		at, err := time.Parse(time.RFC3339, until)
		if err != nil {
			return fmt.Errorf("--until %q is not a time as 2030-01-31T12:00:00Z", until)
		}
		l.Expires = at
		return nil
	}
	var d config.Duration
	if err := d.UnmarshalText([]byte(length)); err != nil {
		return fmt.Errorf("--for: %w", err)
	}
	switch {
	case d == config.Never:
	case d <= 0:
		return fmt.Errorf("--for %s is over at once", length)
	default:
		l.Expires = now.Add(d.Std())
	}
	return nil
}

func (t *target) removeBanCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove [ID...]", Short: "Let clients in again",
		Long: `Removes bans by their ids, or those that name exactly the clients that --client-id, --username
and --address name.`,
		Example: "  patchbay ban remove --client-id pump-7\n  patchbay ban remove 0190c6a3f1be5a2d9c1e77a0b3c4",
	}
	var in banRemoval
	in.withClients(cmd)
	return t.command(cmd, cobra.ArbitraryArgs, func(ctx context.Context, c *caller, cmd *cobra.Command, ids []string) error {
		if in.IDs = ids; in.named(t) == (len(ids) > 0) {
			return usageError(errors.New("which? give ids, or --client-id, --username and --address as the bans have them"))
		}
		answer, err := c.post(ctx, pathBanRemove, &in)
		if err != nil {
			return err
		}
		return show(t, cmd.OutOrStdout(), answer, func(w io.Writer, r banRemoved) error {
			for _, b := range r.Removed {
				if _, err := fmt.Fprintf(w, "%s no longer banned (ban %s)\n", b.who(), b.ID); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
