package wasm

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm/meter"
)

// The modules that a guest may import from.
const (
	hostModule = "patchbay_v1"
	wasiModule = "wasi_snapshot_preview1"
	envModule  = "env"
)

// A function that guests may import: its signature, one letter for each value ("i" i32, "I" i64, "f" f64), and
// what it does with the call's stack. g is the instance that calls.
type function struct {
	params, results string
	run             func(g *guest, stack []uint64)
}

func (f function) signature() string {
	return meter.FuncType{Params: valueTypes(f.params), Results: valueTypes(f.results)}.String()
}

func valueTypes(letters string) []meter.ValueType {
	var types []meter.ValueType
	for _, c := range letters {
		types = append(types, map[rune]meter.ValueType{'i': meter.I32, 'I': meter.I64, 'f': meter.F64}[c])
	}
	return types
}

func apiTypes(letters string) []api.ValueType {
	var types []api.ValueType
	for _, t := range valueTypes(letters) {
		types = append(types, api.ValueType(t))
	}
	return types
}

// allowed returns the functions of a module that guests may import, nil if there is no such module.
func allowed(module string) map[string]function {
	switch module {
	case hostModule:
		return map[string]function{
			"log":       {"iii", "", (*guest).importLog},
			"error":     {"ii", "", (*guest).importError},
			"now":       {"", "I", (*guest).importNow},
			"host_call": {"iiiii", "i", (*guest).importHostCall},
		}
	case wasiModule:
		return wasi()
	case envModule:
		return map[string]function{"abort": {"iiii", "", (*guest).importAbort}}
	}
	return nil
}

// guestKey finds the instance in the context of a call.
type guestKey struct{}

// provide makes the modules that info imports from in r.
func provide(ctx context.Context, r wazero.Runtime, info meter.Info) error {
	for _, module := range []string{hostModule, wasiModule, envModule} {
		used := func(i meter.Import) bool { return i.Module == module }
		if !slices.ContainsFunc(info.Imports, used) {
			continue
		}
		b := r.NewHostModuleBuilder(module)
		for name, f := range allowed(module) {
			run, params := f.run, f.params
			b.NewFunctionBuilder().WithName(name).
				WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
					for i := range params {
						if params[i] == 'i' {
							stack[i] = uint64(uint32(stack[i])) // the upper half is not defined
						}
					}
					g := ctx.Value(guestKey{}).(*guest)
					if g.memory == nil { // in a start section, before instantiate has got it
						g.memory = m.Memory()
					}
					run(g, stack)
				}), apiTypes(f.params), apiTypes(f.results)).Export(name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("host module %s: %w", module, err)
		}
	}
	return nil
}

// charge takes fuel for what the host does on behalf of the guest, and ends the call when there is none left.
func (g *guest) charge(fuel int64) {
	left := int64(g.fuel.Get()) - fuel
	g.fuel.Set(uint64(left))
	if left < 0 {
		panic(&trap{OutOfFuel, g.outOfFuel()})
	}
}

// What functions that a guest calls cost beside the call itself, in fuel of about 2 ns.
const (
	fuelOfClock     = 30
	fuelOfLine      = 500
	fuelOfHostCall  = 300
	fuelPerBytesLog = 4 // one unit for 1<<4 bytes
)

// maxText bounds texts that a guest hands over.
const maxText = 4 << 10

// text makes a string of b, cut to n bytes, that is UTF-8.
func text(b []byte, n int) string { return strings.ToValidUTF8(string(b[:min(len(b), n)]), "�") }

// view returns size bytes of the guest's memory, valid until it runs on.
func (g *guest) view(at, size uint64) ([]byte, bool) {
	if max(at, size) > math.MaxUint32 {
		return nil, false
	}
	return g.memory.Read(uint32(at), uint32(size))
}

// importAbort is AssemblyScript's: message and file are UTF-16, with their length in bytes before them.
func (g *guest) importAbort(stack []uint64) {
	read := func(at uint64) string {
		length, ok := g.memory.ReadUint32Le(uint32(at) - 4)
		if at < 4 || !ok {
			return ""
		}
		b, _ := g.view(at, uint64(min(length, maxText)))
		return utf16text(b)
	}
	reason := "abort"
	if message := read(stack[0]); message != "" {
		reason += ": " + message
	}
	if file := read(stack[1]); file != "" {
		reason += fmt.Sprintf(" at %s:%d:%d", file, uint32(stack[2]), uint32(stack[3]))
	}
	panic(&trap{Exited, reason})
}
