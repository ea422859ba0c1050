package admin

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
)

func topicsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "List what is subscribed to on a running broker, and by how many clients",
		Long: `Lists the Topic Filters that clients of a running broker have subscribed to, with
the number of sessions that did, connected or away; shared groups on their own.
MQTT has no list of the topics that are published to.`,
	}
	t := newTarget(cmd).withNamespace("only subscriptions in this `NAMESPACE` (default all)")
	filter := cmd.Flags().String("filter", "", "only subscriptions that lie within this Topic `FILTER`: plant/# has plant/+/temp within, and not #")
	return t.command(cmd, cobra.NoArgs, func(ctx context.Context, c *caller, cmd *cobra.Command, _ []string) error {
		query := t.query()
		if cmd.Flags().Changed("filter") {
			query.Set("filter", *filter)
		}
		table := newTable(cmd.OutOrStdout(), "TOPIC FILTER", "SHARED BY", "SUBSCRIBERS", "MAX QOS", "NAMESPACE")
		return showList(ctx, t, c, table, pathTopics, query, func(l *topicLine) []string {
			namespace := l.Namespace
			if namespace != "" {
				namespace = clean(namespace)
			}
			return []string{clean(l.Filter), optional(l.ShareName), number(l.Subscribers), strconv.Itoa(int(l.MaxQoS)), namespace}
		})
	})
}
