package plugindev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/trial"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/version"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// trialFlags are those of the commands that start a plugin without a broker.
type trialFlags struct {
	config  string
	deny    []string
	secrets []string
	memory  int64
	fuel    int64
	quiet   bool
}

func (f *trialFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.config, "config", "", "the plugin's config: `JSON`, @FILE, or - for standard input (default: {}, or testdata/config.json of a project)")
	fs.StringArrayVar(&f.deny, "deny", nil, "do not give it this `GRANT`; it gets all others that it asks for. May be given several times")
	fs.StringArrayVar(&f.secrets, "secret", nil, "a secret that it may ask for, `NAME=VALUE`; may be given several times")
	fs.Int64Var(&f.memory, "memory-limit", 0, "memory that a module may have, in `BYTES` (default 16 MiB)")
	fs.Int64Var(&f.fuel, "fuel", 0, "fuel that a call of a module may use outside of the hot path, in `UNITS` (default 20000000)")
	fs.BoolVar(&f.quiet, "quiet", false, "do not show what the plugin logs")
}

// options makes what the flags say into what package trial wants.
func (f *trialFlags) options(t target, stdin io.Reader, stderr io.Writer) (o trial.Options, err error) {
	o = trial.Options{Deny: f.deny, MemoryLimit: f.memory, Fuel: f.fuel, Version: version.String(), CacheDir: trial.CacheDir(), Secrets: map[string]string{}}
	if o.Config, err = configOf(f.config, t.config, stdin); err != nil {
		return o, err
	}
	for _, s := range f.secrets {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return o, usageError{fmt.Errorf("--secret %s is not NAME=VALUE", name)}
		}
		o.Secrets[name] = value
	}
	if !f.quiet {
		o.Log = func(level pluginv1.LogLevel, text string) {
			fmt.Fprintf(stderr, "  log %-5s %s\n", strings.ToLower(strings.TrimPrefix(level.String(), "LOG_LEVEL_")), clean(text))
		}
	}
	return o, nil
}

// open starts the plugin that t names.
func (f *trialFlags) open(ctx context.Context, t target, cmd *cobra.Command) (*trial.Plugin, error) {
	o, err := f.options(t, cmd.InOrStdin(), cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	code, err := trial.Load(ctx, t.file, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.file, err)
	}
	p, err := code.Open(ctx, o)
	if err != nil {
		code.Close()
		return nil, fmt.Errorf("%s: %w", t.file, err)
	}
	return p, nil
}

func testCommand() *cobra.Command {
	f := &trialFlags{}
	replay, expect := "", ""
	update := false
	cmd := &cobra.Command{
		Use:   "test [FILE|DIR]",
		Short: "Start a plugin without a broker, and compare its answers with those expected",
		Long: `Starts a plugin (a WebAssembly module or a program) as a broker would, in the same sandbox
with the same limits, and asks it what a file of recorded events says: a batch of the
contract as JSON on each line, made by hand or by "patchbay plugin record". Its answers are
compared with those of another file, which --update writes.

Of a project's folder, by default the working directory, it takes the module that "patchbay
plugin build" makes, and config.json, events.jsonl and verdicts.jsonl of testdata. The
plugin's clock stands at ` + trial.Clock.Format("2006-01-02 15:04:05 MST") + `.`,
		Example: `  patchbay plugin test
  patchbay plugin test my-auth.wasm --config '{"password": "hush"}' --replay events.jsonl --expect verdicts.jsonl`,
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&replay, "replay", "", "ask what `FILE` says")
	cmd.Flags().StringVar(&expect, "expect", "", "the answers that are right, in `FILE`")
	cmd.Flags().BoolVar(&update, "update", false, "write the answers that are given into the file of --expect")
	return command(cmd, cobra.MaximumNArgs(1), func(ctx context.Context, cmd *cobra.Command, args []string) error {
		t, err := targetOf(args)
		if err != nil {
			return err
		}
		if replay != "" {
			t.events, t.verdicts = replay, ""
		}
		if expect != "" {
			t.verdicts = expect
		}
		if update && t.verdicts == "" && t.events != "" {
			t.verdicts = filepath.Join(filepath.Dir(t.events), "verdicts.jsonl")
		}
		if t.verdicts != "" && t.events == "" {
			return usageError{errors.New("--expect without --replay: answers to what?")}
		}
		r := &replaying{target: t, update: update, out: cmd.OutOrStdout()}
		if err := r.read(); err != nil {
			return usageError{err}
		}
		if r.plugin, err = f.open(ctx, t, cmd); err != nil {
			return err
		}
		defer r.plugin.Code.Close()
		return errors.Join(r.run(ctx), r.plugin.Close())
	})
}

// replaying is a `plugin test` under way.
type replaying struct {
	target
	update bool
	out    io.Writer

	lines  []trial.Line
	want   []trial.Answer // nil: nothing is expected
	plugin *trial.Plugin
	got    []trial.Answer

	silent, wrong int // lines that the plugin was not asked about, and those with another answer
}

func (r *replaying) read() (err error) {
	if r.events == "" {
		return nil
	}
	err = reading(r.events, func(f io.Reader) (err error) {
		r.lines, err = trial.Read(f)
		return err
	})
	if err != nil || r.verdicts == "" || r.update {
		return err
	}
	return reading(r.verdicts, func(f io.Reader) (err error) {
		r.want, err = trial.ReadAnswers(f, r.lines)
		return err
	})
}

// reading opens a file, and says in which one something is wrong.
func reading(name string, fn func(io.Reader) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := fn(f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (r *replaying) run(ctx context.Context) error {
	m := r.plugin.Manifest
	fmt.Fprintf(r.out, "%s: %s %s (%s) starts, and is healthy\n", r.file, clean(m.Name), clean(m.Version), r.plugin.Runtime)
	for i := range r.lines {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.line(ctx, i)
	}
	if r.update && r.verdicts != "" {
		if err := r.write(); err != nil {
			return err
		}
	}
	if len(r.lines) == 0 {
		return nil
	}
	fmt.Fprintf(r.out, "%s: %s", r.events, plural(len(r.lines), "batch"))
	if r.silent > 0 {
		fmt.Fprintf(r.out, ", %d of them not for this plugin", r.silent)
	}
	switch {
	case r.update:
		fmt.Fprintf(r.out, "; answers written to %s\n", r.verdicts)
	case r.wrong > 0 && r.want != nil:
		fmt.Fprintf(r.out, ", %d with another answer than in %s\n", r.wrong, r.verdicts)
	case r.wrong > 0:
		fmt.Fprintf(r.out, ", %d failed\n", r.wrong)
	case r.want != nil:
		fmt.Fprintln(r.out, ", all answered as expected")
	default:
		fmt.Fprintln(r.out)
	}
	if r.wrong > 0 {
		return fmt.Errorf("%s: %d of %s wrong; if it is right so: patchbay plugin test --update", r.file, r.wrong, plural(len(r.lines), "answer"))
	}
	return nil
}

// line asks about one line, and shows what is other than expected.
func (r *replaying) line(ctx context.Context, i int) {
	l := &r.lines[i]
	got, asked, err := r.plugin.Replay(ctx, l)
	r.got = append(r.got, got)
	if !asked {
		r.silent++
	}
	var faults []string
	switch {
	case r.want != nil:
		faults = trial.Compare(&r.want[i], &got)
	case err != nil && !r.update:
		faults = []string{"it failed"}
	}
	if len(faults) == 0 {
		if r.want == nil && !r.update {
			fmt.Fprintf(r.out, "%s:%d: %s: %s\n", r.events, l.Number, clean(l.String()), clean(got.String()))
		}
		return
	}
	r.wrong++
	fmt.Fprintf(r.out, "%s:%d: %s\n", r.events, l.Number, clean(l.String()))
	if err != nil {
		indent(r.out, "it failed: "+err.Error())
		if faults = nil; r.want != nil {
			faults = []string{"want " + r.want[i].String()}
		}
	}
	for _, f := range faults {
		fmt.Fprintf(r.out, "    %s\n", clean(f))
	}
	places := r.plugin.Trace(ctx, err, r.lines[:i+1])
	for _, place := range places[:min(len(places), maxPlaces)] {
		if wd, err := os.Getwd(); err == nil {
			place = strings.ReplaceAll(place, " at "+wd+string(filepath.Separator), " at ")
		}
		fmt.Fprintf(r.out, "    in %s\n", clean(place))
	}
}

// maxPlaces is how many lines of a trace are shown.
const maxPlaces = 8

func (r *replaying) write() error {
	var text []byte
	for i := range r.got {
		text = r.got[i].Append(text)
	}
	return os.WriteFile(r.verdicts, text, 0o644)
}
