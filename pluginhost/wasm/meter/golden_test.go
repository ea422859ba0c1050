package meter

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/golden anew, but for what compilers made")

// made are the golden modules that this package's tests assemble. events.wasm comes from testdata/c, by clang 14.
func made() map[string][]byte {
	list := map[string][]byte{}
	for name, storm := range storms() {
		switch name {
		case "br_table", "mutual recursion", "memory.grow", "loop that carries":
			list[strings.ReplaceAll(name, " ", "-")] = storm
		}
	}
	for _, seed := range []uint64{1, 12, 40} {
		list[fmt.Sprintf("generated-%d", seed)] = generate(seed)
	}
	return list
}

// golden calls every exported function of a module, three times, until one runs out of fuel, and notes what came of it.
func golden(t *testing.T, module []byte) string {
	t.Helper()
	const budget = 200_000
	info, err := Inspect(module)
	if err != nil {
		t.Fatal(err)
	}
	metered := mustInstantiate(t, mustRewrite(t, module, Options{StartFuel: budget, MaxPages: 64}))
	original := mustInstantiate(t, module)
	for _, i := range []*instance{metered, original} { // events.wasm has a buffer to fill
		if f := i.ExportedFunction("buffer"); f != nil {
			at, err := f.Call(t.Context())
			if err != nil || !i.Memory().WriteString(uint32(at[0]), "plant/+/tempplant/7/temperature") {
				t.Fatal(err)
			}
		}
	}
	var b strings.Builder
	for _, e := range info.Exports {
		if e.Kind != Func {
			continue
		}
		for n := range uint64(3) {
			var args []uint64
			for i, p := range e.Func.Params {
				args = append(args, 3+5*n*uint64(i+1))
				if p == V128 {
					args = append(args, n)
				}
			}
			metered.refill(budget)
			how := metered.call(e.Name, args...)
			if metered.left() < 0 {
				fmt.Fprintf(&b, "%s%v: out of fuel\n", e.Name, args)
				return b.String() // where it was by then is a matter of prices
			}
			if want := original.call(e.Name, args...); how != want || metered.state() != original.state() {
				t.Errorf("%s%v: %s %s, metered %s %s", e.Name, args, want, original.state(), how, metered.state())
			}
			fmt.Fprintf(&b, "%s%v: %s, %s\n", e.Name, args, how, metered.state())
		}
	}
	return b.String()
}

// Modules that were made once go on computing the same, whatever becomes of their makers.
func TestGolden(t *testing.T) {
	dir := filepath.Join("testdata", "golden")
	if *update {
		for name, module := range made() {
			write(t, filepath.Join(dir, name+".wasm"), module)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.wasm"))
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".wasm"), func(t *testing.T) {
			module := read(t, file)
			if len(module) > 5000 {
				t.Errorf("%d bytes", len(module))
			}
			got, log := golden(t, module), strings.TrimSuffix(file, "wasm")+"txt"
			if *update {
				write(t, log, []byte(got))
			}
			if runtime.GOARCH != "amd64" && strings.HasPrefix(filepath.Base(file), "generated") {
				return // the bits of a NaN differ from machine to machine
			}
			want := string(read(t, log))
			if got != want {
				a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
				for i := range min(len(a), len(b)) {
					if a[i] != b[i] {
						t.Fatalf("%s\nwant %s", a[i], b[i])
					}
				}
				t.Errorf("%d lines, want %d", len(a), len(b))
			}
			if want == "" {
				t.Error("nothing was called")
			}
		})
	}
}

func read(tb testing.TB, file string) []byte {
	tb.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
