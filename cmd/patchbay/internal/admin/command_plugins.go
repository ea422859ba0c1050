package admin

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// PluginCommand returns `patchbay plugin` with those of its commands that speak to a
// running broker.
func PluginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "List, show and reload the plugins of a running broker",
		Long: `Lists the plugins of a running broker in the order in which they are asked, and what
has become of them. Without a sub-command: list.`,
	}
	t := newTarget(cmd)
	list := func(ctx context.Context, c *caller, cmd *cobra.Command, _ []string) error {
		return t.listPlugins(ctx, c, cmd)
	}
	cmd.AddCommand(
		t.command(&cobra.Command{Use: "list", Short: "List plugins in their order"}, cobra.NoArgs, list),
		t.command(&cobra.Command{Use: "info NAME", Short: "Show one plugin: its hooks, grants, consumers and figures"}, cobra.ExactArgs(1), t.showPlugin),
		t.pluginChange(pathPluginReload, "reloaded", &cobra.Command{
			Use: "reload NAME", Short: "Start a plugin anew from its file, and let it take its own place",
			Long: `Starts a plugin anew from its file beside the one that runs. When it is healthy it takes
its place between two calls; clients notice nothing. On a failure the old one goes on.`,
		}),
		t.pluginChange(pathPluginDisable, "disabled", &cobra.Command{
			Use: "disable NAME", Short: "Stop a plugin until it is enabled or the broker starts again",
			Long: `Stops a plugin: from now on nobody asks it. What it had to decide others decide, or
nobody; its consumers' messages wait. For good: enabled: false in the configuration.`,
		}),
		t.recordCommand(),
		queueCommand(),
		t.pluginChange(pathPluginEnable, "enabled", &cobra.Command{Use: "enable NAME", Short: "Start a plugin that is disabled"}),
	)
	return t.command(cmd, cobra.NoArgs, list)
}

// listPlugins keeps the order of the broker: it is that in which plugins are asked.
func (t *target) listPlugins(ctx context.Context, c *caller, cmd *cobra.Command) error {
	now := time.Now()
	table := newTable(cmd.OutOrStdout(), "NAME", "STATE", "FOR", "RUNTIME", "VERSION", "CALLS", "P99", "FAILURES", "RESTARTS", "BACKLOG", "PROBLEM")
	table.inOrder = true
	return showList(ctx, t, c, table, pathPlugins, nil, func(i *pluginhost.Info) []string {
		f := figuresOf(i)
		return []string{
			clean(i.Name), i.State, since(i.Since, now), string(i.Runtime), optional(i.Version), number(f.calls), latency(f.p99),
			number(f.failures), number(i.Restarts), number(f.backlog), short(cmp.Or(i.Error, i.Health)),
		}
	})
}

// pluginFigures are those of all hooks and consumers of a plugin.
type pluginFigures struct {
	calls, failures int64
	p99             time.Duration // of the slowest hook
	backlog         int
}

func figuresOf(i *pluginhost.Info) (f pluginFigures) {
	for _, h := range i.Hooks {
		f.calls += h.Calls
		f.failures += h.Failures
		f.p99 = max(f.p99, h.P99)
	}
	for _, c := range i.Consumers {
		f.failures += c.Failures
		f.backlog += c.Backlog
	}
	return f
}

// latency writes the time of a call.
func latency(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.String()
}

// maxProblem is how much of a problem a list shows, in characters.
const maxProblem = 70

func short(s string) string {
	if s == "" {
		return ""
	}
	line, _, more := strings.Cut(s, "\n")
	if r := []rune(line); len(r) > maxProblem {
		line, more = string(r[:maxProblem]), true
	}
	if more {
		line += "…"
	}
	return clean(line)
}

func (t *target) showPlugin(ctx context.Context, c *caller, cmd *cobra.Command, args []string) error {
	answer, err := c.get(ctx, pathPlugin, t.query("name", args[0]))
	if err != nil {
		return err
	}
	return show(t, cmd.OutOrStdout(), answer, func(w io.Writer, d pluginDetail) error { return printPlugin(w, &d, time.Now()) })
}

func printPlugin(w io.Writer, d *pluginDetail, now time.Time) error {
	manifest := &pluginv1.Manifest{}
	if d.Manifest != nil {
		if err := v1json.UnmarshalJSON(d.Manifest, manifest); err != nil {
			return fmt.Errorf("answer of the broker: %w", err)
		}
	}
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	more := func(name, text string) {
		if text != "" {
			line(name, "%s", clean(text))
		}
	}
	line("Plugin", "%s, %s", clean(d.Name), d.Runtime)
	line("State", "%s for %s", d.State, since(d.Since, now))
	more("Problem", d.Error)
	more("Health", d.Health)
	if d.Plugin != "" {
		line("Implements", "%s %s", clean(d.Plugin), clean(d.Version))
	}
	more("About", manifest.Description)
	more("Author", manifest.Author)
	line("From", "%s", clean(d.Source))
	more("File", d.Path)
	more("SHA-256", d.SHA256)
	if d.PID != 0 {
		line("Process", "%d", d.PID)
	}
	line("Restarts", "%s, reloads %s", number(d.Restarts), number(d.Reloads))
	if d.MemoryBytes > 0 {
		line("Memory", "%s", size(d.MemoryBytes))
	}
	if d.FuelMax > 0 {
		line("Fuel", "%s in the dearest call", number(d.FuelMax))
	}
	line("Events", "%s wait, %s lost", number(d.Queued), number(d.Lost))
	line("Config", "%s", clean(string(d.Config)))
	line("Grants", "%s", clean(string(d.Grants)))
	if len(d.Missing) > 0 {
		line("Missing", "%s", clean(strings.Join(d.Missing, ", ")))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Refused)) {
		line("Refused", "%s %s for want of the grant %s", number(d.Refused[name]), plural(d.Refused[name], "call", "calls"), clean(name))
	}
	for _, r := range manifest.HTTPRoutes {
		public := ""
		if r.Public {
			public = " (public, if public_routes allows it)"
		}
		line("Route", "%s%s", clean("/plugins/"+d.Name+"/"+r.Path), public)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if err := printHooks(w, d.Hooks); err != nil {
		return err
	}
	return printConsumers(w, d.Consumers)
}

func printHooks(w io.Writer, hooks []pluginhost.HookInfo) error {
	if len(hooks) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	table := newTable(w, "HOOK", "CALLS", "EVENTS", "P50", "P99", "FAILURES", "TIMEOUTS", "BY POLICY", "DEADLINE", "ON FAILURE", "VERDICTS", "FOR")
	table.inOrder = true
	for _, h := range hooks {
		var verdicts []string
		for _, action := range slices.Sorted(maps.Keys(h.Verdicts)) {
			verdicts = append(verdicts, action+" "+number(h.Verdicts[action]))
		}
		err := table.add(h.Point, number(h.Calls), number(h.Events), latency(h.P50), latency(h.P99), number(h.Failures), number(h.Timeouts),
			number(h.Policy), latency(h.Deadline), cmp.Or(h.Failure, "-"), cmp.Or(strings.Join(verdicts, ", "), "-"), hookFilter(&h))
		if err != nil {
			return err
		}
	}
	return table.end()
}

// hookFilter says what a hook is called for.
func hookFilter(h *pluginhost.HookInfo) string {
	var parts []string
	for _, f := range h.TopicFilters {
		parts = append(parts, clean(f))
	}
	if h.MinQoS > 0 {
		parts = append(parts, fmt.Sprintf("QoS %d or more", h.MinQoS))
	}
	text := cmp.Or(strings.Join(parts, ", "), "everything")
	if h.OnlyRefuses {
		text += ", only to refuse"
	}
	return text
}

func printConsumers(w io.Writer, consumers []pluginhost.ConsumerInfo) error {
	if len(consumers) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	table := newTable(w, "CONSUMER", "BACKLOG", "SIZE", "OLDEST", "ACKNOWLEDGED", "RETRIED", "DEAD LETTERS", "FAILURES", "FOR", "PROBLEM")
	for _, c := range consumers {
		oldest := "-"
		if c.Backlog > 0 {
			oldest = duration(time.Duration(c.OldestAge) * time.Millisecond)
		}
		var filters []string
		for _, f := range c.TopicFilters {
			filters = append(filters, clean(f))
		}
		err := table.add(clean(c.Name), number(c.Backlog), size(c.BacklogBytes), oldest, number(c.Acknowledged), number(c.Retried),
			number(c.DeadLetters), number(c.Failures), strings.Join(filters, ", "), short(c.Error))
		if err != nil {
			return err
		}
	}
	return table.end()
}

// pluginChange completes a command that makes a call about one plugin.
func (t *target) pluginChange(path, done string, cmd *cobra.Command) *cobra.Command {
	return t.command(cmd, cobra.ExactArgs(1), func(ctx context.Context, c *caller, cmd *cobra.Command, args []string) error {
		answer, err := c.post(ctx, path, pluginRequest{args[0]})
		if err != nil {
			return err
		}
		return show(t, cmd.OutOrStdout(), answer, func(w io.Writer, i pluginhost.Info) error {
			state := ": " + i.State
			if i.State == done {
				state = ""
			} else if i.Version != "" {
				state += ", version " + clean(i.Version)
			}
			_, err := fmt.Fprintf(w, "%s %s%s\n", clean(i.Name), done, state)
			return err
		})
	})
}
