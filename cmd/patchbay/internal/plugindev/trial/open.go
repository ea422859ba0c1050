package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/pluginhost/process"
	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Options say what a plugin is given. The zero value gives it the config {} and all grants
// that it asks for.
type Options struct {
	// Config is a JSON object.
	Config string
	// Deny names grants that it does not get, those included that every plugin has.
	Deny []string
	// Secrets by name.
	Secrets map[string]string
	// MemoryLimit in bytes and Fuel of a call of the worker, of WebAssembly; 0 stands for
	// the broker's defaults.
	MemoryLimit, Fuel int64
	// CacheDir keeps compiled WebAssembly, as wasm.Options has it; empty: nowhere.
	CacheDir string
	// Log gets what the plugin says; nil discards it.
	Log func(level pluginv1.LogLevel, text string)
	// Version of this program, which the plugin is told as the broker's.
	Version string
}

// Code is a plugin's file, checked, of which any number of Plugins can be made.
type Code struct {
	Path    string
	Runtime pluginhost.Runtime
	// Module is nil for a program.
	Module *wasm.Module

	open instance.Open
}

// Clock is what time it is for plugins on trial: recorded answers stay right.
var Clock = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// Load makes a file ready to be run: a module if its name ends with ".wasm" or it begins
// like one, else a program. A module that a broker would refuse is a *wasm.Refusal.
func Load(ctx context.Context, path string, o Options) (*Code, error) {
	c := &Code{Path: path, Runtime: pluginhost.Process}
	if isModule(path) {
		c.Runtime = pluginhost.WASM
		m, err := wasm.LoadFile(ctx, path, wasm.Options{
			MemoryLimit: int(o.MemoryLimit), FuelWorker: o.Fuel, Inline: 1, Log: o.Log, LogRate: 10_000, CacheDir: o.CacheDir,
			Now: func() time.Time { return Clock },
		})
		if err != nil {
			return nil, err
		}
		c.Module, c.open = m, m.Open
		return c, nil
	}
	p, err := process.Load(process.Options{Path: path, Dev: true, Log: o.Log})
	if err != nil {
		return nil, err
	}
	c.open = p.Open
	return c, nil
}

// isModule goes by the beginning of a file too, so that a module under another name is
// not run as a program.
func isModule(path string) bool {
	if filepath.Ext(path) == ".wasm" {
		return true
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var begin [4]byte
	n, _ := f.Read(begin[:])
	return string(begin[:n]) == "\x00asm"
}

// Close gives the code up.
func (c *Code) Close() {
	if c.Module != nil {
		_ = c.Module.Close()
	}
}

// Plugin is a plugin that runs. It is not safe for concurrent use.
type Plugin struct {
	*Code
	Manifest *pluginv1.Manifest
	// Hooks and Consumers are what it wants with its config.
	Hooks     []pluginv1.Hook
	Consumers []pluginv1.Consumer

	options Options
	inst    instance.Plugin
	host    *host
	started bool
	events  uint64
}

// Describe opens the plugin and asks what it is; it is not started. Close it.
func (c *Code) Describe(ctx context.Context, o Options) (*Plugin, error) {
	p := &Plugin{Code: c, options: o, host: newHost(o)}
	var err error
	if p.inst, err = c.open(ctx, p.host); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, describeTime)
	defer cancel()
	m, err := p.inst.Describe(ctx, &pluginv1.DescribeRequest{Host: p.hostInfo()})
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("describe: %w", err)
	}
	p.Manifest = new(pluginv1.Manifest)
	// What a runtime returns may be views of its memory.
	if err := p.Manifest.Unmarshal(m.AppendTo(nil)); err != nil {
		p.Close()
		return nil, fmt.Errorf("its manifest: %w", err)
	}
	return p, nil
}

// The times that a broker gives a plugin.
const (
	describeTime = 5 * time.Second
	startTime    = 30 * time.Second
	healthTime   = 15 * time.Second
	stopTime     = 5 * time.Second
)

// Open describes and starts the plugin as a broker does, up to where it would be called.
// The error says what a broker would say.
func (c *Code) Open(ctx context.Context, o Options) (*Plugin, error) {
	if o.Config == "" {
		o.Config = "{}"
	}
	p, err := c.Describe(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Plugin) start(ctx context.Context) error {
	var any json.RawMessage
	if err := json.Unmarshal([]byte(p.options.Config), &any); err != nil {
		return fmt.Errorf("config: it is not JSON: %w", err)
	}
	spec := p.spec()
	if err := pluginhost.Check(p.Manifest, spec); err != nil {
		return err
	}
	p.host.give(pluginhost.GrantsOf(spec))
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	in := &pluginv1.StartRequest{
		Name: spec.Name, Config: p.options.Config, Grants: pluginhost.GrantsOf(spec), Host: p.hostInfo(), Worker: true,
	}
	out, err := p.inst.Start(ctx, in)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if len(out.Problems) > 0 {
		return problems(out.Problems)
	}
	p.started = true
	p.Hooks, p.Consumers = p.Manifest.Hooks, p.Manifest.Consumers
	if out.Narrowed != nil {
		n := new(pluginv1.Narrowed)
		if err := n.Unmarshal(out.Narrowed.AppendTo(nil)); err != nil {
			return err
		}
		p.Hooks, p.Consumers = n.Hooks, n.Consumers
	}
	return p.awaitHealth(ctx)
}

// awaitHealth waits until the plugin says that it can do its work.
func (p *Plugin) awaitHealth(ctx context.Context) error {
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		r, err := p.inst.Health(ctx, &pluginv1.HealthRequest{})
		switch {
		case err != nil:
			return fmt.Errorf("health: %w", err)
		case r.Status != pluginv1.HealthStatusNotServing:
			return nil
		case time.Since(begin) > healthTime:
			return fmt.Errorf("it has not become healthy within %s: %s", healthTime, r.Message)
		}
	}
}

// spec is what an operator would have to write to run the plugin like this.
func (p *Plugin) spec() *pluginhost.Spec {
	return &pluginhost.Spec{
		Name: p.Manifest.Name, Source: "its entry", Runtime: p.Runtime, Path: p.Path, Config: json.RawMessage(p.options.Config),
		Grants: Asked(p.Manifest, p.options.Deny), Revoked: p.options.Deny,
	}
}

// Asked are the grants that a manifest asks for, as they would be given, less some.
func Asked(m *pluginv1.Manifest, deny []string) []pluginv1.Grant {
	var list []pluginv1.Grant
	for _, g := range m.Grants {
		if !slices.Contains(deny, g.Name) {
			g.Optional, g.Reason = false, ""
			list = append(list, g)
		}
	}
	return list
}

func (p *Plugin) hostInfo() *pluginv1.HostInfo {
	runtime := pluginv1.RuntimeProcess
	if p.Runtime == pluginhost.WASM {
		runtime = pluginv1.RuntimeWasm
	}
	return &pluginv1.HostInfo{BrokerVersion: p.options.Version, Node: "trial", Features: []string{"permit"}, Runtime: runtime}
}

// problems makes an error of what a plugin finds wrong with its config.
func problems(list []pluginv1.Problem) error {
	var texts []string
	for _, x := range list {
		if x.Pointer != "" {
			texts = append(texts, "config: "+x.Pointer+": "+strings.Clone(x.Message))
		} else {
			texts = append(texts, strings.Clone(x.Message))
		}
	}
	return errors.New(strings.Join(texts, "; "))
}

// Close stops the plugin, if it was started, and ends it.
func (p *Plugin) Close() error {
	var err error
	if p.started {
		p.started = false
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		_, err = p.inst.Stop(ctx, &pluginv1.StopRequest{
			Reason: pluginv1.StopReasonShutdown, DeadlineMs: uint32(stopTime / time.Millisecond),
		})
		if err != nil {
			err = fmt.Errorf("stop: %w", err)
		}
	}
	return errors.Join(err, p.inst.Close())
}

// host stands in for the broker.
type host struct {
	*plugintest.Host
	log func(level pluginv1.LogLevel, text string)
}

func newHost(o Options) *host {
	h := &host{plugintest.NewHost(), o.Log}
	h.State.Secrets = o.Secrets
	return h
}

// give takes away all grants that are not in the list.
func (h *host) give(list []pluginv1.Grant) {
	for _, name := range grantNames {
		if !slices.ContainsFunc(list, func(g pluginv1.Grant) bool { return g.Name == name }) {
			h.Deny(name)
		}
	}
}

// grantNames are those of the contract (Grant in manifest.proto).
var grantNames = []string{
	"publish", "publish_as_client", "disconnect", "ban", "clients", "retained", "kv", "http", "password", "secrets",
	"log", "metrics", "timers",
}

// Log implements v1host.Service, for plugins that log by the call.
func (h *host) Log(ctx context.Context, in *pluginv1.LogRequest) (*pluginv1.LogResponse, error) {
	out, err := h.Host.Log(ctx, in)
	if err == nil && h.log != nil {
		for _, r := range in.Records {
			h.log(r.Level, r.Message)
		}
	}
	return out, err
}
