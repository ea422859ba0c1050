package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// BridgeCommand returns `patchbay bridge`.
func BridgeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bridge",
		Short: "Show the bridges of a running broker",
		Long:  `Shows where messages go and come from beside MQTT. Without a sub-command: status.`,
	}
	t := newTarget(cmd)
	cmd.AddCommand(t.command(&cobra.Command{
		Use: "status [NAME...]", Short: "Show the connections and routes of bridges, and what waits for them",
		Long: `Shows each route of each bridge, in either direction: how many messages have gone over
since the bridge was started, how many go in a second (over about a minute), how many wait in
the broker and how long the first of them has, failures, and what the last one was.`,
		Example: "  patchbay bridge status\n  patchbay bridge status to-hq --json",
	}, cobra.ArbitraryArgs, t.bridgeStatus))
	return t.command(cmd, cobra.NoArgs, t.bridgeStatus)
}

func (t *target) bridgeStatus(ctx context.Context, c *caller, cmd *cobra.Command, names []string) error {
	found := map[string]bool{}
	table := newTable(cmd.OutOrStdout(), "BRIDGE", "STATE", "ROUTE", "WAY", "ACK", "MESSAGES", "RATE", "BACKLOG", "OLDEST", "ERRORS", "GIVEN-UP", "PROBLEM")
	table.inOrder = true
	err := c.list(ctx, pathBridges, nil, func(line json.RawMessage) error {
		var b bridgeStatus
		if err := json.Unmarshal(line, &b); err != nil {
			return fmt.Errorf("answer of the broker: %w", err)
		}
		if len(names) > 0 && !slices.Contains(names, b.Name) {
			return nil
		}
		found[b.Name] = true
		if t.json {
			_, err := table.w.Write(append(line, '\n'))
			return err
		}
		return b.rows(table)
	})
	for _, name := range names {
		if err == nil && !found[name] {
			err = fmt.Errorf("there is no bridge %q; patchbay plugin list shows which plugins there are", name)
		}
	}
	if t.json {
		return err
	}
	return errors.Join(table.end(), err)
}

// problem is what is wrong with the bridge as a whole.
func (b *bridgeStatus) problem() string {
	for _, r := range b.Remotes {
		if !r.Connected && b.Error == "" && b.Health == "" {
			return "remote " + r.Name + ": " + cmp.Or(r.Error, "not connected")
		}
	}
	return cmp.Or(b.Error, b.Health)
}

// rows adds a row for each route.
func (b *bridgeStatus) rows(table *table) error {
	if len(b.Routes) == 0 {
		return table.add(clean(b.Name), b.State, "-", "-", "-", "-", "-", "-", "-", "-", "-", short(b.problem()))
	}
	for _, r := range b.Routes {
		oldest := "-"
		if r.OldestUnsent > 0 {
			oldest = duration(time.Duration(r.OldestUnsent * float64(time.Second)))
		}
		problem := b.problem()
		if r.LastError != "" && r.LastErrorTime.After(r.LastTime) {
			problem = r.LastError
		}
		backlog := number(r.Backlog)
		if r.Direction == "in" {
			backlog = "-"
		}
		err := table.add(clean(b.Name), b.State, clean(r.Name), r.Direction, optional(r.Ack), number(r.Messages),
			strconv.FormatFloat(r.Rate, 'f', 1, 64)+"/s", backlog, oldest, number(r.Errors), number(r.Refused), short(problem))
		if err != nil {
			return err
		}
	}
	return nil
}
