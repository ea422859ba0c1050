package meter

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// run calls the functions f0, f1, … of a generated module one after the other, with arguments that belong to the
// seed, and notes everything that can be seen.
func run(i *instance, functions []Export, seed uint64, each func()) (log []string) {
	r := rand.New(rand.NewPCG(seed, 1))
	for n := range 3 * len(functions) {
		f := functions[n%len(functions)]
		if f.Kind != Func {
			continue
		}
		var args []uint64
		for _, p := range f.Func.Params {
			args = append(args, argument(r, p)...)
		}
		log = append(log, fmt.Sprintf("%s %s %s", f.Name, i.call(f.Name, args...), i.state()))
		if each != nil {
			each()
		}
	}
	return log
}

func argument(r *rand.Rand, t ValueType) []uint64 {
	switch t {
	case I32, F32:
		return []uint64{uint64(r.Uint32())}
	case V128:
		return []uint64{r.Uint64(), r.Uint64()}
	}
	return []uint64{r.Uint64() >> r.IntN(64)}
}

// checkEqual compares a module with its metered form: results, memory, globals and traps with plenty of fuel, and
// that the fuel which a call takes is enough for it, and one less is not.
func checkEqual(t *testing.T, module []byte, seed uint64) {
	t.Helper()
	info, err := Inspect(module)
	if err != nil {
		t.Fatal(err)
	}
	metered := mustRewrite(t, module, Options{StartFuel: plenty})
	original, errOriginal := instantiate(t, module, config())
	changed, errChanged := instantiate(t, metered, config())
	if a, b := outcome(nil, errOriginal), outcome(nil, errChanged); a != b {
		t.Fatalf("seed %d: instantiate: %s, metered %s", seed, a, b)
	}
	if errOriginal != nil {
		return
	}
	want := run(original, info.Exports, seed, nil)
	var used []int64
	got := run(changed, info.Exports, seed, func() {
		used = append(used, plenty-changed.left())
		changed.refill(plenty)
	})
	for i := range want {
		if want[i] != got[i] {
			t.Fatalf("seed %d:\n%s, metered\n%s", seed, want[i], got[i])
		}
	}
	if len(used) == 0 {
		return
	}
	exact := mustInstantiate(t, metered)
	exact.refill(used[0])
	n := 0
	again := run(exact, info.Exports, seed, func() {
		if n++; n < len(used) {
			exact.refill(used[n])
		}
	})
	for i := range want {
		if want[i] != again[i] {
			t.Fatalf("seed %d: %s with plenty of fuel,\n%s with the %d that took", seed, want[i], again[i], used[i])
		}
	}
	short := mustInstantiate(t, metered)
	short.refill(used[0] - 1)
	calls := 0
	run(short, info.Exports, seed, func() {
		if calls++; calls == 1 && short.left() >= 0 {
			t.Fatalf("seed %d: the first call takes %d, and leaves %d of one less", seed, used[0], short.left())
		}
		short.refill(plenty)
	})
}

// A metered module computes what the original does.
func TestGeneratedModulesComputeTheSame(t *testing.T) {
	n := uint64(150)
	if testing.Short() || raceEnabled {
		n = 40
	}
	for seed := range n {
		checkEqual(t, generate(seed), seed)
	}
}

func FuzzEqual(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(1000 + seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { checkEqual(t, generate(seed), seed) })
}
