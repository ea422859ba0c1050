package plugindev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/trial"
)

func benchCommand() *cobra.Command {
	f := &trialFlags{}
	replay := ""
	each := 500 * time.Millisecond
	asJSON := false
	cmd := &cobra.Command{
		Use:   "bench [FILE|DIR]",
		Short: "Measure how long a plugin's calls take, and what they use",
		Long: `Starts a plugin without a broker, and measures each of its hooks and consumers with batches of
1, 16 and 64: the time of a call and of an event, all of the broker's work on the call
included, the fuel of an event, and the memory of the instance. The events are those of
--replay or of the project's testdata/events.jsonl for that hook; where there are none they
are made up. What fuel is worth: 1,000,000 units take 1 to 3 ms.`,
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&replay, "replay", "", "ask what `FILE` says")
	cmd.Flags().DurationVar(&each, "time", each, "how long to measure each, `TIME`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	return command(cmd, cobra.MaximumNArgs(1), func(ctx context.Context, cmd *cobra.Command, args []string) error {
		t, err := targetOf(args)
		if err != nil {
			return err
		}
		if replay != "" {
			t.events = replay
		}
		var lines []trial.Line
		if t.events != "" {
			err := reading(t.events, func(r io.Reader) (err error) {
				lines, err = trial.Read(r)
				return err
			})
			if err != nil {
				return usageError{err}
			}
		}
		f.quiet = true // a line for each call says nothing
		p, err := f.open(ctx, t, cmd)
		if err != nil {
			return err
		}
		defer p.Code.Close()
		list, err := p.Bench(ctx, lines, each)
		return errors.Join(showFigures(cmd.OutOrStdout(), list, asJSON), err, p.Close())
	})
}

func showFigures(w io.Writer, list []trial.Figures, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		for i := range list {
			if err := e.Encode(&list[i]); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "hook\tbatch\tns/call\tns/event\tfuel/event\tmemory\tanswer\t")
	for _, f := range list {
		fuel := "-"
		if f.FuelPerEvent > 0 {
			fuel = thousands(f.FuelPerEvent)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t\n", f.Hook, f.Batch, thousands(f.NsPerCall), thousands(f.NsPerEvent), fuel,
			size(int64(f.MemoryBytes)), f.Answer)
	}
	return t.Flush()
}
