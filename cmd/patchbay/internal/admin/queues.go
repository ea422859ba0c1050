package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// queueLine is a queue that the broker keeps for a plugin's consumer.
type queueLine struct {
	Plugin       string    `json:"plugin"`
	Consumer     string    `json:"consumer"`
	TopicFilters []string  `json:"topic_filters"`
	Open         bool      `json:"open"` // the plugin takes from it
	Messages     int       `json:"messages"`
	Bytes        int64     `json:"bytes"`
	Oldest       time.Time `json:"oldest,omitzero"`
}

type queueRequest struct {
	Plugin   string `json:"plugin"`
	Consumer string `json:"consumer"`
}

func (s *Server) serveQueues(w http.ResponseWriter, _ *http.Request) *failure {
	l := newLines(w)
	for _, q := range s.opts.Broker.Plugins().Queues() {
		l.put(&queueLine{
			Plugin: q.Owner, Consumer: q.Name, TopicFilters: q.Filters, Open: q.Open, Messages: q.Messages, Bytes: q.Bytes, Oldest: q.Oldest,
		})
	}
	l.end()
	return nil
}

func (s *Server) serveQueueRemove(w http.ResponseWriter, r *http.Request) *failure {
	var in queueRequest
	if err := body(w, r, &in); err != nil {
		return err
	}
	broker := s.opts.Broker.Plugins()
	for _, q := range broker.Queues() {
		if q.Owner != in.Plugin || q.Name != in.Consumer {
			continue
		}
		if q.Open || !broker.RemoveQueue(in.Plugin, in.Consumer) {
			return failf(http.StatusConflict, "plugin %s takes from queue %s: stop it first (patchbay plugin disable %s)", in.Plugin, in.Consumer, in.Plugin)
		}
		s.log.Warn("queue removed by an operator", "plugin", in.Plugin, "consumer", in.Consumer, "messages", q.Messages)
		return answer(w, http.StatusOK, queueLine{Plugin: q.Owner, Consumer: q.Name, Messages: q.Messages, Bytes: q.Bytes})
	}
	return failf(http.StatusNotFound, "there is no queue %q of plugin %q; patchbay plugin queue list shows which there are", in.Consumer, in.Plugin)
}

// queueCommand is `patchbay plugin queue`.
func queueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "queue", Short: "List and remove the queues that the broker keeps for plugins' consumers",
		Long: `The broker keeps what matches a consumer until its plugin has acknowledged it, also
while the plugin is stopped and after it was taken out of the configuration: it may
come back. Without a sub-command: list.`,
	}
	t := newTarget(cmd)
	list := func(ctx context.Context, c *caller, cmd *cobra.Command, _ []string) error {
		now := time.Now()
		table := newTable(cmd.OutOrStdout(), "PLUGIN", "CONSUMER", "OPEN", "MESSAGES", "BYTES", "OLDEST", "TOPIC FILTERS")
		return showList(ctx, t, c, table, pathQueues, nil, func(q *queueLine) []string {
			oldest := "-"
			if !q.Oldest.IsZero() {
				oldest = since(q.Oldest, now)
			}
			return []string{
				clean(q.Plugin), clean(q.Consumer), strconv.FormatBool(q.Open), number(q.Messages), number(q.Bytes), oldest,
				clean(strings.Join(q.TopicFilters, " ")),
			}
		})
	}
	remove := &cobra.Command{
		Use: "remove PLUGIN CONSUMER", Short: "Remove a queue that no plugin takes from, with all its messages",
	}
	cmd.AddCommand(
		t.command(&cobra.Command{Use: "list", Short: "List the queues"}, cobra.NoArgs, list),
		t.command(remove, cobra.ExactArgs(2), func(ctx context.Context, c *caller, cmd *cobra.Command, args []string) error {
			answer, err := c.post(ctx, pathQueueRemove, queueRequest{Plugin: args[0], Consumer: args[1]})
			if err != nil {
				return err
			}
			return show(t, cmd.OutOrStdout(), answer, func(w io.Writer, q queueLine) error {
				_, err := fmt.Fprintf(w, "queue %s of plugin %s removed with %s messages\n", clean(q.Consumer), clean(q.Plugin), number(q.Messages))
				return err
			})
		}),
	)
	return t.command(cmd, cobra.NoArgs, list)
}
