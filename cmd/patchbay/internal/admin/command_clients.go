package admin

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/core/broker"
)

func clientsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clients",
		Short: "List, show and disconnect the clients of a running broker",
		Long:  "Lists the clients of a running broker: those that are connected, and those that\nare away and have a session. Without a sub-command: list.",
	}
	t := newTarget(cmd).withNamespace("only clients of this `NAMESPACE` (list: default all; show, kick: the default one)")
	list := func(ctx context.Context, c *caller, cmd *cobra.Command, _ []string) error {
		return t.listClients(ctx, c, cmd)
	}
	kick := &cobra.Command{
		Use:   "kick CLIENT_ID",
		Short: "Disconnect a client",
		Long:  "Disconnects a client, with Reason Code 0x98 Administrative action in MQTT 5. Most\nclients connect again at once; with --remove-session what was kept for it is gone.",
	}
	remove := kick.Flags().Bool("remove-session", false, "end the client's session too: subscriptions, queue and all; its Will is published")
	cmd.AddCommand(
		t.command(&cobra.Command{Use: "list", Short: "List clients, connected or away"}, cobra.NoArgs, list),
		t.command(&cobra.Command{Use: "show CLIENT_ID", Short: "Show one client with its subscriptions"}, cobra.ExactArgs(1), t.showClient),
		t.command(kick, cobra.ExactArgs(1), func(ctx context.Context, c *caller, cmd *cobra.Command, args []string) error {
			return t.kick(ctx, c, cmd, kickRequest{Namespace: t.namespace, ClientID: args[0], RemoveSession: *remove})
		}),
	)
	return t.command(cmd, cobra.NoArgs, list)
}

func (t *target) listClients(ctx context.Context, c *caller, cmd *cobra.Command) error {
	now := time.Now()
	table := newTable(cmd.OutOrStdout(), "CLIENT ID", "USERNAME", "STATE", "FOR", "ADDRESS", "MQTT", "SUBS", "IN FLIGHT", "QUEUED", "NAMESPACE")
	return showList(ctx, t, c, table, pathClients, t.query(), func(i *broker.ClientInfo) []string {
		state, at := clientState(i)
		namespace := i.Namespace
		if namespace != "" {
			namespace = clean(namespace)
		}
		return []string{
			clean(i.ID), optional(i.Username), state, since(at, now), optional(i.Remote), optional(i.Version),
			number(i.SubscriptionCount), number(i.Inflight), number(i.Queued), namespace,
		}
	})
}

// clientState says whether a client is there, and since when it is so.
func clientState(i *broker.ClientInfo) (state string, at time.Time) {
	if i.Online {
		return "connected", i.ConnectedAt
	}
	return "away", i.DisconnectedAt
}

func (t *target) showClient(ctx context.Context, c *caller, cmd *cobra.Command, args []string) error {
	answer, err := c.get(ctx, pathClient, t.query("id", args[0]))
	if err != nil {
		return err
	}
	return show(t, cmd.OutOrStdout(), answer, func(w io.Writer, i broker.ClientInfo) error { return printClient(w, &i, time.Now()) })
}

func printClient(w io.Writer, i *broker.ClientInfo, now time.Time) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	state, at := clientState(i)
	line("Client", "%s", clean(i.ID))
	if i.Namespace != "" {
		line("Namespace", "%s", clean(i.Namespace))
	}
	line("State", "%s for %s", state, since(at, now))
	line("Username", "%s", optional(i.Username))
	line("Address", "%s by %s, listener %s", optional(i.Remote), optional(i.Transport), optional(i.Listener))
	line("Protocol", "MQTT %s, keep alive %s", optional(i.Version), seconds(uint32(i.KeepAlive), 0, "off"))
	line("Session", "expires %s", expiry(i.Expiry))
	line("In flight", "%s %s", number(i.Inflight), plural(i.Inflight, "message", "messages"))
	line("Queued", "%s %s, %s", number(i.Queued), plural(i.Queued, "message", "messages"), size(i.QueuedBytes))
	line("Out buffer", "%s", size(i.OutBuffer))
	for _, name := range slices.Sorted(maps.Keys(i.Attributes)) {
		line("Attribute", "%s = %s", clean(name), clean(i.Attributes[name]))
	}
	b.WriteByte('\n')
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	subs := newTable(w, "SUBSCRIPTION", "QOS", "ID", "OPTIONS")
	for _, s := range i.Subscriptions {
		id := "-"
		if s.ID != 0 {
			id = strconv.FormatUint(uint64(s.ID), 10)
		}
		if err := subs.add(clean(s.Filter), strconv.Itoa(int(s.QoS)), id, subscriptionOptions(s)); err != nil {
			return err
		}
	}
	return subs.end()
}

// seconds writes a number of seconds; one value has a name of its own.
func seconds(n, special uint32, name string) string {
	if n == special {
		return name
	}
	return duration(time.Duration(n) * time.Second)
}

// expiry writes a Session Expiry Interval (MQTT 5 §3.1.2.11.2).
func expiry(n uint32) string {
	if n == 0 {
		return "with its connection"
	}
	return seconds(n, 1<<32-1, "never")
}

func subscriptionOptions(s broker.SubscriptionInfo) string {
	var o []string
	if s.NoLocal {
		o = append(o, "no local")
	}
	if s.RetainAsPublished {
		o = append(o, "retain as published")
	}
	if s.RetainHandling != 0 {
		o = append(o, "retain handling "+strconv.Itoa(int(s.RetainHandling)))
	}
	return strings.Join(o, ", ")
}

func (t *target) kick(ctx context.Context, c *caller, cmd *cobra.Command, k kickRequest) error {
	answer, err := c.post(ctx, pathKick, k)
	if err != nil {
		return err
	}
	return show(t, cmd.OutOrStdout(), answer, func(w io.Writer, k kickRequest) error {
		done := "is disconnected"
		if k.RemoveSession {
			done = "and its session are gone"
		}
		_, err := fmt.Fprintf(w, "%s %s\n", clean(k.ClientID), done)
		return err
	})
}
