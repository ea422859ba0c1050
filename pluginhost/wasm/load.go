package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm/meter"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// maxFile bounds what LoadFile reads.
const maxFile = 64 << 20

// Module is a plugin's code, checked and compiled, of which any number of plugins can be
// made. Its methods are safe for concurrent use.
type Module struct {
	o        Options
	info     meter.Info
	json     bool
	metered  []byte
	warnings []error
	began    time.Time

	mu     sync.Mutex
	code   [2]*code // uninterruptible, and preemptible when that has been asked for
	users  int      // plugins that are open, and one until Close
	closed bool
}

// code is a module as compiled by one wazero runtime.
type code struct {
	*Module
	preemptible bool
	runtime     wazero.Runtime
	compiled    wazero.CompiledModule
	cache       wazero.CompilationCache
}

var _ instance.Open = (*Module)(nil).Open

// LoadFile is Load for a file of at most 64 MiB.
func LoadFile(ctx context.Context, path string, o Options) (*Module, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("wasm plugin: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("wasm plugin: %s has %d bytes; at most %d are read", path, info.Size(), maxFile)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("wasm plugin: %w", err)
	}
	return Load(ctx, file, o)
}

// Load checks and compiles a module; none of its code runs. A module that cannot be a plugin of this
// broker is a *Refusal, or a *meter.Error where that concerns its code. Load keeps nothing of file. It
// may take a second for a Go guest that is not in the cache.
func Load(ctx context.Context, file []byte, o Options) (*Module, error) {
	o = o.withDefaults()
	info, json, err := inspect(file, o)
	if err != nil {
		return nil, err
	}
	m := &Module{o: o, info: info, json: json, users: 1, began: o.Now()}
	m.metered, err = meter.Rewrite(file, meter.Options{StartFuel: o.FuelWorker, MaxPages: o.pages(), PageFuel: pageFuel})
	if err != nil {
		return nil, fmt.Errorf("wasm plugin refused: %w", err)
	}
	if _, err := m.compiled(ctx, o.Preemptible); err != nil {
		return nil, err
	}
	return m, nil
}

// Info is what the module says of itself.
func (m *Module) Info() meter.Info { return m.info }

// JSON reports whether messages go in and out as JSON (patchbay_abi_v1_json).
func (m *Module) JSON() bool { return m.json }

// Warnings are faults that do not keep the module from running: a compile cache that cannot be used.
func (m *Module) Warnings() []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]error(nil), m.warnings...)
}

// compiled returns the code for a mode, and compiles it if that has not been done.
func (m *Module) compiled(ctx context.Context, preemptible bool) (*code, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mode := 0
	if preemptible {
		mode = 1
	}
	if m.code[mode] != nil {
		return m.code[mode], nil
	}
	e, err := openEntry(m.o.CacheDir, append([]byte{byte(mode)}, m.metered...))
	if err != nil {
		m.warnings = append(m.warnings, err)
	}
	if e, err = m.precompile(ctx, e, preemptible); err != nil {
		return nil, err
	}
	c, err := m.compile(ctx, e, preemptible)
	if err != nil && e != (entry{}) {
		e.drop()
		m.warnings = append(m.warnings, fmt.Errorf("compile cache: not used: %w", err))
		c, err = m.compile(ctx, entry{}, preemptible)
	}
	if err != nil {
		e.drop()
		return nil, err
	}
	if err := e.keep(); err != nil {
		m.warnings = append(m.warnings, err)
	}
	m.code[mode] = c
	return c, nil
}

func (m *Module) compile(ctx context.Context, e entry, preemptible bool) (_ *code, err error) {
	c := &code{Module: m, preemptible: preemptible}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("wasm plugin: the compiler panicked: %v", r)
		}
		if err != nil {
			c.close()
		}
	}()
	config := runtimeConfig(m.o.pages(), preemptible)
	if c.cache, err = e.cache(); err != nil {
		return nil, fmt.Errorf("compile cache: %w", err)
	}
	if c.cache != nil {
		config = config.WithCompilationCache(c.cache)
	}
	c.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if c.compiled, err = c.runtime.CompileModule(ctx, m.metered); err != nil {
		return nil, fmt.Errorf("wasm plugin refused: %w", err)
	}
	if err = provide(ctx, c.runtime, m.info); err != nil {
		return nil, err
	}
	return c, nil
}

// runtimeConfig is all that the compiled code depends on but the module.
func runtimeConfig(pages uint32, preemptible bool) wazero.RuntimeConfig {
	// Offsets in DWARF sections are those of the module before it was metered: its lines would be wrong ones.
	return wazero.NewRuntimeConfig().WithMemoryLimitPages(pages).WithDebugInfoEnabled(false).
		WithCloseOnContextDone(preemptible).WithCoreFeatures(api.CoreFeaturesV2)
}

// precompile has Options.Compiler make what is not in the cache. The entry that it returns, of which e may have been made, is
// the one to go on with.
func (m *Module) precompile(ctx context.Context, e entry, preemptible bool) (entry, error) {
	if len(m.o.Compiler) == 0 || !compiles || e.dir != "" && e.temp == "" {
		return e, nil
	}
	if e.temp == "" {
		var err error
		if e, err = passing(); err != nil {
			m.warnings = append(m.warnings, fmt.Errorf("compiled by the broker itself: %w", err))
			return e, nil
		}
	}
	err := m.compileBeside(ctx, e, preemptible)
	var none errNoCompiler
	switch {
	case err == nil:
		return e, nil
	case errors.As(err, &none):
		// What went wrong for the compiler may for this process, too: it compiles without a folder.
		m.warnings = append(m.warnings, fmt.Errorf("compiled by the broker itself: %w", err))
		e.drop()
		return entry{}, nil
	}
	e.drop()
	return entry{}, err
}

func (c *code) close() {
	if c.runtime != nil {
		_ = c.runtime.Close(context.Background())
	}
	if c.cache != nil {
		_ = c.cache.Close(context.Background())
	}
}

// Open makes a plugin: one instance, whose _initialize runs, within the fuel of a worker. It is a *Plugin.
func (m *Module) Open(ctx context.Context, host v1host.Service) (instance.Plugin, error) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, errors.New("wasm plugin: its module is closed")
	}
	m.users++
	m.mu.Unlock()
	p, err := m.newPlugin(ctx, host)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Close gives the code up as soon as the last plugin that was made of it is closed and its last call has ended. It
// may be called more than once, at any time.
func (m *Module) Close() error {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	m.mu.Unlock()
	if first {
		m.release()
	}
	return nil
}

// release is called by each user at its end.
func (m *Module) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users--; m.users > 0 {
		return
	}
	for _, c := range m.code {
		if c != nil {
			c.close()
		}
	}
}
