package admin

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show what a running broker is doing"}
	t := newTarget(cmd)
	return t.command(cmd, cobra.NoArgs, func(ctx context.Context, c *caller, cmd *cobra.Command, _ []string) error {
		answer, err := c.get(ctx, pathStatus, nil)
		if err != nil {
			return err
		}
		return show(t, cmd.OutOrStdout(), answer, printStatus)
	})
}

func printStatus(w io.Writer, s status) error {
	// The order is that of the lines, not of the alphabet: no table.
	ready := "ready"
	if !s.Ready {
		ready = "NOT READY: " + clean(s.NotReady)
	}
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("Broker", "%s, process %d, up %s, %s", clean(s.Version), s.PID, duration(time.Duration(s.UptimeSeconds*float64(time.Second))), ready)
	line("Connections", "%s now, %s at most, %s in all", number(s.Connections), number(s.ConnectionsPeak), number(s.Accepted))
	line("Sessions", "%s", number(s.Sessions))
	line("Subscriptions", "%s, %s shared %s", number(s.Subscriptions), number(s.SharedGroups), plural(s.SharedGroups, "group", "groups"))
	line("Retained", "%s %s, %s", number(s.Retained), plural(s.Retained, "message", "messages"), size(s.RetainedBytes))
	line("In flight", "%s %s", number(s.Inflight), plural(s.Inflight, "message", "messages"))
	line("Queued", "%s %s, %s", number(s.Queued), plural(s.Queued, "message", "messages"), size(s.QueuedBytes))
	line("Received", "%s PUBLISH, %s in all", number(s.PublishReceived), size(s.BytesReceived))
	line("Sent", "%s PUBLISH, %s in all", number(s.PublishSent), size(s.BytesSent))
	line("Dropped", "%s", dropped(s.Dropped))
	line("Refused", "%s for authentication, %s for protocol errors", number(s.AuthFailures), number(s.ProtocolErrors))
	pushback := ""
	if s.MemoryPushback {
		pushback = ", above the watermark: publishers are held back"
	}
	line("Memory", "%s%s", size(s.MemoryBytes), pushback)
	line("Store", "%s", s.Store.String())
	b.WriteByte('\n')
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	listeners := newTable(w, "LISTENER", "NETWORK", "ADDRESS", "CONNECTIONS", "ACCEPTED", "REFUSED", "FAILED")
	for _, l := range s.Listeners {
		if err := listeners.add(clean(l.Name), l.Network, clean(l.Address), number(l.Connections), number(l.Accepted), number(l.Refused), number(l.Failed)); err != nil {
			return err
		}
	}
	return listeners.end()
}

// String is the line for people.
func (s storeStatus) String() string {
	if s.Mode != "disk" {
		return s.Mode
	}
	text := fmt.Sprintf("%s, %s, %s free", clean(s.Folder), size(s.DiskBytes), size(s.FreeBytes))
	if s.Full {
		text += ", FULL: nothing new is stored"
	}
	if s.Quarantined > 0 {
		text += fmt.Sprintf(", %s %s put aside: see patchbay store check", number(s.Quarantined), plural(s.Quarantined, "record", "records"))
	}
	return text
}

func dropped(by map[string]int64) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, reason+" "+number(by[reason]))
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

func reloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Let a running broker read its configuration and certificates again",
		Long: `Lets a running broker read its configuration and certificates again, as SIGHUP
does. What is wrong is shown, and then nothing has changed. What can be changed in
place is, without a client noticing; the rest is named and waits for a restart.`,
	}
	t := newTarget(cmd)
	return t.command(cmd, cobra.NoArgs, func(ctx context.Context, c *caller, cmd *cobra.Command, _ []string) error {
		answer, err := c.post(ctx, pathReload, nil)
		if err != nil {
			return err
		}
		return show(t, cmd.OutOrStdout(), answer, printReload)
	})
}

func printReload(w io.Writer, r ReloadResult) error {
	var b strings.Builder
	if len(r.Applied)+len(r.NeedRestart) == 0 {
		b.WriteString("reloaded; no key has changed\n")
	}
	for _, part := range []struct {
		title string
		lines []string
	}{{"reloaded", r.Applied}, {"needs a restart", r.NeedRestart}} {
		if len(part.lines) > 0 {
			fmt.Fprintf(&b, "%s:\n", part.title)
		}
		for _, l := range part.lines {
			fmt.Fprintf(&b, "  %s\n", l)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
