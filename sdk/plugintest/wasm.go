package plugintest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// Wasm opens a module of ABI v1 from a file. Each instance is one module, whose calls are
// made one after the other.
// Compiling a module takes seconds, so a Runner does it once.
func Wasm(file string) Runner {
	cache := wazero.NewCompilationCache()
	return Runner{"wasm", func(ctx context.Context, h v1host.Service) (instance.Plugin, error) {
		code, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		return openWasm(ctx, code, h, cache)
	}, pluginv1.RuntimeWasm}
}

const (
	marker = "patchbay_abi_v1"
	// memoryPages is the broker's default limit, 16 MiB.
	memoryPages = 256
)

// module is an instance.Plugin that runs in wazero.
type module struct {
	mu           sync.Mutex
	runtime      wazero.Runtime
	mod          api.Module
	buffer, call api.Function
	address      uint32
	size         uint32
	host         v1host.Service
	failure      string              // what the import error was told
	last         []byte              // response that did not fit
	lastError    *pluginv1.HostError // of the last host_call that failed
	closed       bool
}

func openWasm(
	ctx context.Context, code []byte, h v1host.Service, cache wazero.CompilationCache,
) (instance.Plugin, error) {
	config := wazero.NewRuntimeConfig().WithMemoryLimitPages(memoryPages).WithCompilationCache(cache)
	m := &module{host: h, runtime: wazero.NewRuntimeWithConfig(ctx, config)}
	if err := m.load(ctx, code); err != nil {
		return nil, errors.Join(err, m.runtime.Close(ctx))
	}
	return m, nil
}

func (m *module) load(ctx context.Context, code []byte) error {
	compiled, err := m.runtime.CompileModule(ctx, code)
	if err != nil {
		return err
	}
	exports := compiled.ExportedFunctions()
	if _, ok := exports[marker]; !ok {
		return errors.New("the module does not export " + marker)
	}
	if _, ok := exports["_start"]; ok {
		return errors.New("the module exports _start: build it as a reactor (-buildmode=c-shared)")
	}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, m.runtime); err != nil {
		return err
	}
	_, err = m.runtime.NewHostModuleBuilder("patchbay_v1").
		NewFunctionBuilder().WithFunc(m.importLog).Export("log").
		NewFunctionBuilder().WithFunc(m.importError).Export("error").
		NewFunctionBuilder().WithFunc(m.importNow).Export("now").
		NewFunctionBuilder().WithFunc(m.importHostCall).Export("host_call").
		Instantiate(ctx)
	if err != nil {
		return err
	}
	m.mod, err = m.runtime.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().
		WithStartFunctions("_initialize").WithSysWalltime().WithSysNanotime().WithStderr(os.Stderr))
	if err != nil {
		return err
	}
	m.buffer, m.call = m.mod.ExportedFunction("patchbay_buffer"), m.mod.ExportedFunction("patchbay_call")
	if m.buffer == nil || m.call == nil {
		return errors.New("the module lacks patchbay_buffer or patchbay_call")
	}
	return nil
}

var errRange = errors.New("the module gave an address outside of its memory")

// do makes one call, and reads the answer while it is valid.
func (m *module) do(ctx context.Context, op pluginv1.PluginOp, in, out pluginv1.Proto) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("the module is closed")
	}
	n := uint32(in.Size())
	if n > m.size || m.size == 0 {
		res, err := m.buffer.Call(ctx, uint64(n))
		if err != nil {
			return err
		}
		m.address, m.size = uint32(res[0]), n
	}
	view, ok := m.mod.Memory().Read(m.address, n)
	if !ok {
		return errRange
	}
	if _, err := in.MarshalTo(view); err != nil {
		return err
	}
	m.failure = ""
	res, err := m.call.Call(ctx, uint64(op), uint64(n))
	switch {
	case err != nil:
		return err
	case res[0] == 1<<64-1:
		return fmt.Errorf("%v: %s", op, m.failure)
	}
	view, ok = m.mod.Memory().Read(uint32(res[0]>>32), uint32(res[0]))
	if !ok {
		return errRange
	}
	return out.Unmarshal(append([]byte(nil), view...))
}

func (m *module) text(ptr, n uint32) string {
	b, _ := m.mod.Memory().Read(ptr, n)
	return string(b)
}

func (m *module) importLog(ctx context.Context, level, ptr, n uint32) {
	// The module gets no answer to a line of its log.
	_, _ = m.host.Log(ctx, &pluginv1.LogRequest{
		Records: []pluginv1.LogRecord{{Level: pluginv1.LogLevel(level), Message: m.text(ptr, n)}},
	})
}

func (m *module) importError(_ context.Context, ptr, n uint32) { m.failure = m.text(ptr, n) }

func (m *module) importNow(ctx context.Context) int64 {
	out, err := m.host.Now(ctx, &pluginv1.NowRequest{})
	if err != nil {
		return 0
	}
	return out.UnixMs
}

func (m *module) importHostCall(ctx context.Context, op, ptr, n, out, capacity uint32) int32 {
	var res []byte
	switch op := pluginv1.HostOp(op); op {
	case pluginv1.HostOpLastError:
		if m.lastError == nil {
			return int32(pluginv1.HostErrorCodeNotFound)
		}
		res = m.lastError.AppendTo(nil)
	case pluginv1.HostOpLastResponse:
		res, m.last = m.last, nil
	default:
		request, _ := m.mod.Memory().Read(ptr, n)
		var err error
		if res, err = v1host.Serve(ctx, m.host, op, append([]byte(nil), request...), nil); err != nil {
			if !errors.As(err, &m.lastError) {
				m.lastError = &pluginv1.HostError{Code: pluginv1.HostErrorCodeInternal, Message: err.Error()}
			}
			return int32(m.lastError.Code)
		}
	}
	if len(res) > int(capacity) {
		m.last = res
	} else {
		m.mod.Memory().Write(out, res)
	}
	return int32(len(res))
}
