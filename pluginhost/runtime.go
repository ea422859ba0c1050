package pluginhost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/pluginhost/process"
	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// runtime returns how a plugin runs.
func (s *Spec) runtime() Runtime {
	switch {
	case s.Runtime != "":
		return s.Runtime
	case strings.HasSuffix(s.Path, ".wasm"):
		return WASM
	case s.Path != "":
		return Process
	}
	return Builtin
}

// builtin is the name of the compiled-in plugin that s means.
func (s *Spec) builtin() string {
	if s.Plugin != "" {
		return s.Plugin
	}
	return s.Name
}

// code is a plugin that can be opened.
type code struct {
	open    instance.Open
	sha256  string
	release func() // nil: nothing to give up
}

// load makes s ready to be opened. None of the plugin's code runs.
func (h *Host) load(ctx context.Context, s *Spec) (code, error) {
	switch s.runtime() {
	case Builtin:
		if s.Path != "" {
			return code{}, errors.New("runtime builtin and a path: a builtin plugin is part of the broker and has no file")
		}
		p, ok := h.o.Builtin(s.builtin())
		if !ok {
			return code{}, unknownBuiltin(s)
		}
		return code{open: p.Open}, nil
	case Process:
		return h.loadProgram(s)
	case WASM:
		return h.loadModule(ctx, s)
	}
	return code{}, fmt.Errorf("runtime %q: it is one of builtin, process, wasm", s.Runtime)
}

func unknownBuiltin(s *Spec) error {
	var list []string
	for _, p := range sdk.Registered() {
		list = append(list, p.Name)
	}
	slices.Sort(list)
	names := strings.Join(list, ", ")
	return fmt.Errorf("there is no builtin plugin %q; there are: %s. For a plugin in a file, say path", s.builtin(), names)
}

func (h *Host) loadProgram(s *Spec) (code, error) {
	sockets, err := h.sockets.in(h.o.DataDir)
	if err != nil {
		return code{}, err
	}
	o := process.Options{
		Path: s.Path, Args: s.Args, SHA256: s.SHA256, Dev: s.Dev, Env: s.Env, SocketDir: sockets,
	}
	if r, ok := h.o.Reattach[s.Name]; ok {
		o.Reattach = &r
	} else if s.Path == "" {
		if _, ok := h.o.Builtin(s.builtin()); !ok {
			return code{}, unknownBuiltin(s)
		}
		o.Self, o.Args = true, []string{"plugin", "serve", s.builtin()}
	}
	p, err := process.Load(o)
	if err != nil {
		return code{}, err
	}
	return code{open: p.Open, sha256: p.Info().SHA256}, nil
}

// maxModule is the largest WebAssembly file.
const maxModule = 64 << 20

func (h *Host) loadModule(ctx context.Context, s *Spec) (code, error) {
	file, err := readModule(s.Path)
	if err != nil {
		return code{}, err
	}
	sum := sha256.Sum256(file)
	text := hex.EncodeToString(sum[:])
	if s.SHA256 != "" && !strings.EqualFold(s.SHA256, text) {
		return code{}, fmt.Errorf("%s: its SHA-256 is %s, and the config says %s", s.Path, text, strings.ToLower(s.SHA256))
	}
	m, err := wasm.Load(ctx, file, wasm.Options{
		MemoryLimit: int(s.MemoryLimit), FuelWorker: s.Fuel, CacheDir: h.o.CacheDir, Compiler: h.o.Compiler,
	})
	if err != nil {
		return code{}, err
	}
	for _, w := range m.Warnings() {
		h.log.Warn("compiling WebAssembly", "plugin", s.Name, "warning", w)
	}
	return code{open: m.Open, sha256: text, release: func() { _ = m.Close() }}, nil
}

func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file, err := io.ReadAll(io.LimitReader(f, maxModule+1))
	if err != nil {
		return nil, err
	}
	if len(file) > maxModule {
		return nil, fmt.Errorf("%s: it is larger than 64 MiB", path)
	}
	return file, nil
}

// stateDir is where a plugin may keep files.
func (h *Host) stateDir(name string) string {
	if h.o.DataDir == "" {
		return ""
	}
	dir, err := filepath.Abs(filepath.Join(h.o.DataDir, "plugin-state", name))
	if err != nil {
		return ""
	}
	return dir
}

// permanent reports whether it is of no use to try again before something was changed.
func permanent(err error) bool {
	var p *process.Error
	var w *wasm.Refusal
	var r refusal
	return errors.As(err, &p) && p.Cause.Permanent() || errors.As(err, &w) || errors.As(err, &r)
}

// refusal is an error that only the operator, or the plugin's author, can do something
// about.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

var contractRuntime = map[Runtime]pluginv1.Runtime{
	Builtin: pluginv1.RuntimeBuiltin, Process: pluginv1.RuntimeProcess, WASM: pluginv1.RuntimeWasm,
}
