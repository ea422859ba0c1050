package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/version"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/pluginhost/folder"
	"github.com/patchbay-mq/patchbay/pluginhost/process"
	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// plugins are the plugin host and what feeds it.
type plugins struct {
	host   *pluginhost.Host
	folder *folder.Watcher // nil: off

	// What a reload changes while others read it.
	secrets  atomic.Pointer[config.Secrets]
	required atomic.Pointer[map[string]bool] // plugins without which the broker is not ready
}

// startPlugins makes the plugin host and starts all plugins. An error is one of the
// configuration: of a plugin that must be there and cannot.
func (p *program) startPlugins(ctx context.Context, values store.Values) error {
	c := p.started
	reattach, err := process.ParseReattach(os.Getenv(process.ReattachEnv))
	if err != nil {
		return pluginError{err}
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	node, _ := os.Hostname() // it is a name for people; empty is one that is not known
	p.plugins.host, err = pluginhost.New(pluginhost.Options{
		Broker: p.broker.Plugins(), Install: p.broker.Install,
		Values: values, NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: sdk.Lookup, Secret: p.plugins.secret, Logger: p.log,
		DataDir: dir, CacheDir: filepath.Join(dir, "plugin-cache"), Compiler: compiler(), Node: node, Version: version.String(),
		DefaultAllow: c.AuthorizeDefault == "allow", Reattach: reattach, Watch: p.watch.Seen,
	})
	if err != nil {
		return fmt.Errorf("plugins: %w", err)
	}
	if _, err := p.plugins.apply(ctx, c); err != nil {
		return err
	}
	if dir := c.PluginFolder(); dir != "" {
		p.plugins.folder = folder.Start(folder.Options{Dir: dir, Settings: p.folderSettings, Changed: p.plugins.host.SetFolder})
	}
	return nil
}

// compiler is the command of this program that compiles WebAssembly (plugincmd). Where a system does not tell which file is
// running, the broker compiles by itself.
func compiler() []string {
	own, err := process.OwnProgram()
	if err != nil {
		return nil
	}
	return []string{own, "plugin", "compile"}
}

// apply makes the plugins those of c, and says what it did. On an error nothing has
// changed.
func (p *plugins) apply(ctx context.Context, c *config.Config) ([]string, error) {
	specs := make([]pluginhost.Spec, len(c.Plugins))
	required := map[string]bool{}
	for i := range c.Plugins {
		entry := &c.Plugins[i]
		specs[i] = pluginSpec(entry)
		specs[i].Source = fmt.Sprintf("plugins[%d]", i)
		required[entry.Name] = entry.Enabled && !entry.Optional
	}
	before := p.secrets.Swap(&c.Secrets)
	lines, err := p.host.Apply(ctx, specs)
	if err != nil {
		p.secrets.Store(before)
		return nil, pluginError{err}
	}
	p.required.Store(&required)
	return lines, nil
}

// pluginSpec turns an entry of plugins into what the host wants to know.
func pluginSpec(p *config.Plugin) pluginhost.Spec {
	s := pluginhost.Spec{
		Name: p.Name, Runtime: pluginhost.Runtime(p.Kind()), Plugin: p.Plugin, Path: p.Path, Args: p.Args, Env: p.Env,
		SHA256: p.SHA256, Dev: p.Dev, Config: json.RawMessage(p.Config.Text), Grants: p.Grants, Revoked: p.Revoke,
		Namespaces: p.Namespaces, Optional: p.Optional, Disabled: !p.Enabled, MemoryLimit: int64(p.MemoryLimit),
		Fuel: int64(p.Fuel), PublicRoutes: p.PublicRoutes, QueueSize: p.QueueSize,
	}
	if len(p.Hooks) > 0 {
		s.Hooks = make(map[pluginv1.Point]pluginhost.HookSpec, len(p.Hooks))
	}
	for _, h := range p.Hooks {
		s.Hooks[h.Point] = pluginhost.HookSpec{Off: h.Off, Deadline: h.Deadline.Std(), Failure: h.Failure}
	}
	return s
}

// CheckPlugin says what a compiled-in plugin would refuse of its entry: an unknown name, a
// grant that it needs, a config that its schema does not allow. Files are not looked into:
// a program would have to be run for that.
func CheckPlugin(p *config.Plugin) error {
	if p.Path != "" {
		return nil
	}
	s := pluginSpec(p)
	s.Source = "its entry"
	return pluginhost.CheckBuiltin(&s)
}

// folderSettings reads the settings of a plugin of the folder.
func (p *program) folderSettings(file string, program bool) (pluginhost.Spec, error) {
	entry, err := config.PluginFile(file, program, p.src.Environ)
	if err != nil {
		return pluginhost.Spec{}, err
	}
	return pluginSpec(entry), nil
}

// secret is what plugins with the grant for it may ask for.
func (p *plugins) secret(name string) ([]byte, bool) {
	s, ok := (*p.secrets.Load())[name]
	return []byte(s), ok
}

// ready says why the broker cannot serve clients: a plugin that they need is down, and
// will not come back by itself at once. Plugins of the folder, and optional ones, do not
// count.
func (p *plugins) ready() error {
	required := *p.required.Load()
	for _, i := range p.host.List() {
		if required[i.Name] && (i.State == "failed" || i.State == "quarantined") {
			return fmt.Errorf("plugin %s is %s: %s", i.Name, i.State, i.Error)
		}
	}
	return nil
}

// degraded names a plugin that is needed and whose failure policy answers in its place.
func (p *plugins) degraded() string {
	required := *p.required.Load()
	for _, i := range p.host.List() {
		if required[i.Name] && i.State == "degraded" {
			return "plugin " + i.Name + " fails"
		}
	}
	return ""
}

// leastDrain is how long plugins get to finish even if the clients have used up
// shutdown_timeout: what they have acknowledged to nobody yet may be on its way.
const leastDrain = time.Second

// close ends the plugins, at until or a moment later.
func (p *plugins) close(until time.Time) error {
	if p.folder != nil {
		p.folder.Close()
	}
	if p.host == nil {
		return nil
	}
	if least := time.Now().Add(leastDrain); until.Before(least) {
		until = least
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	return p.host.Close(ctx)
}

// drainingStore is the broker's store. Before it is closed, and after the last client
// has gone, the plugins end: until then somebody has to decide about clients, and what
// plugins acknowledge while they end has to be stored.
type drainingStore struct {
	store.Store
	drain func()
}

func (s drainingStore) Close() error {
	s.drain()
	return s.Store.Close()
}

// pluginError is a plugin that must be there and cannot: exit status 2.
type pluginError struct{ error }

func (e pluginError) Unwrap() error { return e.error }

// ExitCode is the exit status of the program.
func (pluginError) ExitCode() int { return 2 }
