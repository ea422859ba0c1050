package plugindev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/project"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/trial"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/serve"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/version"
	"github.com/patchbay-mq/patchbay/pluginhost"
)

func runCommand() *cobra.Command {
	r := &running{level: "warn"}
	var listen []string
	cmd := &cobra.Command{
		Use:   "run [FILE|DIR]",
		Short: "Run a throw-away broker with just this plugin, and show its calls",
		Long: `Runs a broker with this one plugin until Ctrl-C, and shows what the plugin is asked and
answers. It keeps everything in memory. The plugin gets the grants that it asks for. When its
file changes, the new version takes its place as in any broker.`,
		Example: `  patchbay plugin run
  patchbay plugin run my-auth.wasm --config '{"password": "hush"}' --listen tcp://127.0.0.1:1883`,
	}
	flags := cmd.Flags()
	flags.StringVar(&r.config, "config", "", "the plugin's config: `JSON`, @FILE, or - for standard input (default: {}, or testdata/config.json of a project)")
	flags.StringArrayVar(&listen, "listen", nil, "listen at `URL` (default tcp://127.0.0.1:1883); may be given several times")
	flags.StringArrayVar(&r.deny, "deny", nil, "do not give it this `GRANT`; may be given several times")
	flags.StringArrayVar(&r.secrets, "secret", nil, "a secret that it may ask for, `NAME=VALUE`; may be given several times")
	flags.StringVar(&r.level, "log-level", r.level, "least `LEVEL` of lines of the broker's log; what the plugin logs is in there with info")
	return command(cmd, cobra.MaximumNArgs(1), func(ctx context.Context, cmd *cobra.Command, args []string) error {
		t, err := targetOf(args)
		if err != nil {
			return err
		}
		if r.config, err = configOf(r.config, t.config, cmd.InOrStdin()); err != nil {
			return err
		}
		if len(listen) == 0 {
			listen = []string{"tcp://127.0.0.1:1883"}
		}
		r.target, r.listen, r.out, r.err = t, listen, cmd.OutOrStdout(), cmd.ErrOrStderr()
		return r.run(ctx)
	})
}

// running is a `plugin run` under way.
type running struct {
	target
	config, level         string
	listen, deny, secrets []string
	out, err              io.Writer
	name                  string
}

func (r *running) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "pby-run-") // short: sockets lie in it
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	entry, err := r.entry(ctx, filepath.Join(dir, "data", "plugin-cache"))
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "patchbay.yaml")
	if err := os.WriteFile(file, []byte(entry), 0o600); err != nil {
		return err
	}
	src := config.Sources{File: file, Environ: ownEnviron(), Flags: map[string]string{
		"listeners": strings.Join(r.listen, ","), "data_dir": filepath.Join(dir, "data"), "store": "memory", "plugin_dir": "off",
		"admin.listen": "off", "log.level": r.level, "log.format": "text",
	}}
	v := newView(r.out)
	defer v.close()
	return serve.RunWatched(ctx, src, r.err, serve.Watch{Seen: v.seen, Started: func(h *pluginhost.Host) {
		fmt.Fprintf(r.err, "  %-6s %s\nWhat %s is asked and answers follows; a new version of %s takes its place. Ctrl-C ends.\n",
			"socket", filepath.Join(dir, "data", "admin.sock"), r.name, r.file)
		go r.follow(ctx, h)
	}})
}

// ownEnviron is the environment without what configures brokers: this one is another.
func ownEnviron() (list []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PATCHBAY_") {
			list = append(list, e)
		}
	}
	return list
}

// entry is the configuration of the broker. The grants are those that the manifest asks
// for, so the plugin is described first.
func (r *running) entry(ctx context.Context, cache string) (string, error) {
	if !json.Valid([]byte(r.config)) {
		return "", usageError{errors.New("config: it is not JSON")}
	}
	// The broker needs the compiled code in a moment.
	o := trial.Options{Version: version.String(), CacheDir: cache}
	code, err := trial.Load(ctx, r.file, o)
	if err != nil {
		return "", fmt.Errorf("%s: %w", r.file, err)
	}
	defer code.Close()
	p, err := code.Describe(ctx, o)
	if err != nil {
		return "", fmt.Errorf("%s: %w", r.file, err)
	}
	defer p.Close()
	path, err := filepath.Abs(r.file)
	if err != nil {
		return "", err
	}
	if r.name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)); !project.ValidName(r.name) {
		r.name = p.Manifest.Name
	}
	var b strings.Builder
	// JSON is YAML, but for tabs.
	fmt.Fprintf(&b, "plugins:\n  - name: %s\n    path: %s\n    config: %s\n", strconv.Quote(r.name), strconv.Quote(path), compact(r.config))
	if code.Runtime == pluginhost.Process {
		b.WriteString("    dev: true\n    env: [PATH, HOME]\n")
	} else {
		b.WriteString("    runtime: wasm\n")
	}
	if grants := trial.Asked(p.Manifest, r.deny); grants != nil {
		fmt.Fprintf(&b, "    grants: %s\n", config.Grants(grants))
	}
	for _, name := range r.deny {
		if name == "log" || name == "metrics" || name == "timers" {
			fmt.Fprintf(&b, "    revoke: [%s]\n", name)
		}
	}
	if len(r.secrets) > 0 {
		b.WriteString("secrets:\n")
	}
	for _, s := range r.secrets {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return "", usageError{fmt.Errorf("--secret %s is not NAME=VALUE", name)}
		}
		fmt.Fprintf(&b, "  %s: %s\n", strconv.Quote(name), strconv.Quote(value))
	}
	return b.String(), nil
}

func compact(text string) string {
	var v json.RawMessage = []byte(text)
	out, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return string(out)
}

// lookEvery is how often follow looks at the file. A file that is the same for two looks
// is whole.
const lookEvery = 300 * time.Millisecond

// follow exchanges the plugin when its file has changed.
func (r *running) follow(ctx context.Context, h *pluginhost.Host) {
	stamp := func() string {
		info, err := os.Stat(r.file)
		if err != nil {
			return ""
		}
		return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
	}
	runs, last := stamp(), ""
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := stamp()
		if now == "" || now == runs || now != last {
			last = now
			continue
		}
		runs = now
		if err := h.Reload(ctx, r.name); err != nil {
			fmt.Fprintf(r.err, "the new %s is refused, the one before goes on:\n", r.file)
			indent(r.err, err.Error())
		} else {
			fmt.Fprintf(r.err, "the new %s is in force\n", r.file)
		}
	}
}
