package meter

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
)

// checkBytes holds Rewrite to its word for any bytes at all: no panic; an *Error of sense, or a module that the runtime
// accepts if it accepts the original, and that ends whatever is called in it.
func checkBytes(t *testing.T, module []byte) {
	limits := Options{StartFuel: 10_000, MaxModule: 1 << 16, MaxLocals: 1000, MaxTable: 1000, MaxPages: 16}
	metered, err := Rewrite(module, limits)
	info, errInspect := Inspect(module)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Kind == 0 || e.Reason == "" || e.Section == "" || e.Offset < 0 || e.Offset > len(module) {
			t.Fatalf("%#v", err)
		}
		return
	}
	if errInspect != nil {
		t.Fatalf("rewritten, but not inspected: %v", errInspect)
	}
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, config().WithMemoryLimitPages(16))
	defer rt.Close(ctx)
	original, err := rt.CompileModule(ctx, module)
	if err != nil {
		return
	}
	original.Close(ctx)
	compiled, err := rt.CompileModule(ctx, metered)
	if err != nil {
		t.Fatalf("the runtime accepts the original, but: %v", err)
	}
	instance, err := rt.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		return
	}
	fuel := instance.ExportedGlobal(DefaultExport).(interface{ Set(uint64) })
	for _, e := range info.Exports {
		if e.Kind != Func || len(e.Func.Params) > 8 {
			continue
		}
		fuel.Set(10_000)
		args := make([]uint64, 0, 16)
		for _, p := range e.Func.Params {
			args = append(args, 1)
			if p == V128 {
				args = append(args, 1)
			}
		}
		for _, p := range e.Func.Params {
			if p == FuncRef || p == ExternRef {
				args = nil
			}
		}
		if args != nil {
			instance.ExportedFunction(e.Name).Call(ctx, args...) // that it returns is the test
		}
	}
}

// seeds are modules to start from.
func seeds(tb testing.TB) [][]byte {
	var list [][]byte
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.wasm"))
	if err != nil || len(files) == 0 {
		tb.Fatal(files, err)
	}
	for _, file := range files {
		list = append(list, read(tb, file))
	}
	for _, m := range storms() {
		list = append(list, m)
	}
	for _, form := range allForms() {
		list = append(list, body(form))
	}
	return append(list, everything().bytes(), raw())
}

func FuzzRewrite(f *testing.F) {
	for _, m := range seeds(f) {
		f.Add(m)
	}
	f.Fuzz(checkBytes)
}

// The same, for one byte changed at each place of some modules, and for each of their beginnings: most of what a fuzzer
// finds first, at every run of the tests.
func TestChangedBytes(t *testing.T) {
	r := newRand(3)
	modules := [][]byte{everything().bytes(), generate(12), body(i32c(1), code(opIf, emptyBlock, opElse, opEnd))}
	if raceEnabled || testing.Short() {
		modules = modules[2:]
	}
	for _, m := range modules {
		for i := range m {
			changed := append([]byte(nil), m...)
			changed[i] ^= byte(1 << r.IntN(8))
			checkBytes(t, changed)
			changed[i] = byte(r.Uint32())
			checkBytes(t, changed)
			if _, err := Rewrite(m[:i], Options{}); err == nil && i < 8 {
				t.Errorf("the first %d bytes are a module", i)
			}
		}
	}
}
