package meter

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// plenty is fuel that no test uses up.
const plenty = 1 << 60

// instance is a module in wazero's compiler.
type instance struct {
	api.Module
	fuel api.MutableGlobal // nil where the module is not metered
	rt   wazero.Runtime
}

// config is how the tests, and the plugin host, set wazero up: core 2.0, memory up to 64 pages, reserved.
func config() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(64).WithMemoryCapacityFromMax(true).WithDebugInfoEnabled(false)
}

// instantiate makes an instance, with plenty of fuel if there is a fuel global. The error is the start function's, or
// the runtime's that refuses the module.
func instantiate(tb testing.TB, wasm []byte, c wazero.RuntimeConfig) (*instance, error) {
	tb.Helper()
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, c)
	tb.Cleanup(func() { rt.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	host := rt.NewHostModuleBuilder("host")
	host.NewFunctionBuilder().WithFunc(func(v uint32) uint32 { return v + 1 }).Export("next")
	if _, err := host.Instantiate(ctx); err != nil {
		tb.Fatal(err)
	}
	m, err := rt.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithStartFunctions().WithName(""))
	if err != nil {
		return nil, err
	}
	i := &instance{Module: m, rt: rt}
	if g, ok := m.ExportedGlobal(DefaultExport).(api.MutableGlobal); ok {
		i.fuel = g
		i.refill(plenty)
	}
	return i, nil
}

func mustInstantiate(tb testing.TB, wasm []byte) *instance {
	tb.Helper()
	i, err := instantiate(tb, wasm, config())
	if err != nil {
		tb.Fatal(err)
	}
	return i
}

func mustRewrite(tb testing.TB, wasm []byte, o Options) []byte {
	tb.Helper()
	metered, err := Rewrite(wasm, o)
	if err != nil {
		tb.Fatal(err)
	}
	return metered
}

func (i *instance) refill(fuel int64) { i.fuel.Set(uint64(fuel)) }
func (i *instance) left() int64       { return int64(i.fuel.Get()) }

// call calls an export and says how it ended: its results, or the trap's name.
func (i *instance) call(name string, args ...uint64) string {
	f := i.ExportedFunction(name)
	if f == nil {
		return "no function " + name
	}
	results, err := f.Call(context.Background(), args...)
	return outcome(results, err)
}

func outcome(results []uint64, err error) string {
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return first
	}
	return fmt.Sprintf("%x", results)
}

// state is a digest of everything that can be seen of an instance but its fuel.
func (i *instance) state() string {
	h := fnv.New64a()
	size := uint32(0)
	if m := i.ExportedMemory("memory"); m != nil {
		size = m.Size()
		b, _ := m.Read(0, size)
		h.Write(b)
	}
	s := fmt.Sprintf("memory %d %x", size, h.Sum64())
	for n := range 10 {
		if g := i.ExportedGlobal("g" + string(rune('0'+n))); g != nil {
			s += fmt.Sprintf(" g%d=%x", n, g.Get())
		}
	}
	return s
}

const outOfFuel = "wasm error: unreachable"
