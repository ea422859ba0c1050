package meter

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
)

// storms are functions f that never end by themselves, or not soon. They count their rounds in the global g0, an i64.
func storms() map[string][]byte {
	round := cat(gget(0), i64c(1), code(0x7c), gset(0))
	i32 := []ValueType{I32}
	one := func(locals []ValueType, body ...[]byte) []byte {
		b := &builder{}
		b.memory(4, 64)
		b.table(8, 1<<20)
		b.export("g0", Global, b.global(I64, 1, i64c(0)))
		b.add(elementSection, []byte{1, 0, 1, 0})
		b.add(dataCountSection, u(1))
		b.add(dataSection, []byte{1}, str("0123456789"))
		b.function("f", nil, nil, locals, body...)
		return b.bytes()
	}
	forever := func(body ...[]byte) []byte { return one(i32, blk(opLoop, round, cat(body...), br(0))) }
	list := map[string][]byte{
		"loop":               one(nil, blk(opLoop, br(0))),
		"counting loop":      forever(),
		"br_if":              one(nil, blk(opLoop, round, i32c(1), brIf(0))),
		"br_table":           one(i32, blk(opLoop, blk(opBlock, blk(opBlock, round, get(0), i32c(1), code(0x6a), tee(0), i32c(3), code(0x71, opBrTable, 2, 0, 1, 2)), br(1)), br(0))),
		"loop in a loop":     forever(blk(opLoop, get(0), i32c(1), code(0x6a), tee(0), i32c(63), code(0x71), brIf(0))),
		"way back by an if":  one(nil, blk(opLoop, round, blkIf(i32c(1), br(1)))),
		"way back past loop": one(nil, blk(opLoop, blk(opLoop, round, br(1)))),
		"recursion":          one(nil, round, call(0)),
		"recursion in loop":  forever(call(0)),
		"indirect recursion": one(nil, round, i32c(0), code(0xd2, 0, 0x26, 0), i32c(0), code(opCallIndirect, 0, 0)),
		"memory.fill":        forever(i32c(0), i32c(1), i32c(0x40000), code(opMisc, miscMemoryFill, 0)),
		"memory.copy":        forever(i32c(0), i32c(0), i32c(0x40000), code(opMisc, miscMemoryCopy, 0, 0)),
		"memory.init":        forever(i32c(0), i32c(0), i32c(10), code(opMisc, miscMemoryInit, 0, 0)),
		"memory.grow":        forever(i32c(1), code(opMemoryGrow, 0, 0x1a)),
		"memory.grow by 0":   forever(i32c(0), code(opMemoryGrow, 0, 0x1a)),
		"memory.grow by all": forever(i32c(-1), code(opMemoryGrow, 0, 0x1a)),
		"table.fill":         forever(i32c(0), code(opRefNull, byte(FuncRef)), i32c(8), code(opMisc, miscTableFill, 0)),
		"table.copy":         forever(i32c(0), i32c(0), i32c(8), code(opMisc, miscTableCopy, 0, 0)),
		"table.init":         forever(i32c(0), i32c(0), i32c(1), code(opMisc, miscTableInit, 0, 0)),
		"table.grow":         forever(code(opRefNull, byte(FuncRef)), i32c(1), code(opMisc, miscTableGrow, 0, 0x1a)),
		"ref.func":           forever(code(opRefFunc, 0, 0x1a)),
	}
	b := &builder{}
	b.export("g0", Global, b.global(I64, 1, i64c(0)))
	b.function("f", nil, nil, nil, round, call(1))
	b.function("", nil, nil, nil, call(2))
	b.function("", nil, nil, nil, call(0))
	list["mutual recursion"] = b.bytes()

	b = &builder{}
	b.export("g0", Global, b.global(I64, 1, i64c(0)))
	carries := s(int64(b.signature([]ValueType{I32, F64}, nil)))
	b.function("f", nil, nil, nil, i32c(1), append([]byte{opF64Const}, make([]byte, 8)...), code(opLoop), carries, round, br(0), code(opEnd))
	list["loop that carries"] = b.bytes()

	b = &builder{} // 2⁶⁰ calls, none of them recursive
	b.export("g0", Global, b.global(I64, 1, i64c(0)))
	for i := range 60 {
		name := ""
		if i == 0 {
			name = "f"
		}
		b.function(name, nil, nil, nil, call(i+1), call(i+1))
	}
	b.function("", nil, nil, nil, round)
	list["tree of calls"] = b.bytes()

	b = &builder{}
	next := b.importFunc("host", "next", i32, i32)
	b.export("g0", Global, b.global(I64, 1, i64c(0)))
	b.function("f", nil, nil, nil, blk(opLoop, round, i32c(1), call(next), code(0x1a), br(0)))
	list["host calls"] = b.bytes()
	return list
}

// Whatever does not end is stopped when its fuel is used up, and not before it could do something with it. What it
// does costs at least one fuel a round; moving memory and making room, more.
func TestStormsAreStopped(t *testing.T) {
	const budget = 1_000_000
	least := map[string]int64{ // fuel for one round
		"memory.fill": 4096, "memory.copy": 4096, "memory.grow": 4000, "loop in a loop": 64,
		"memory.grow by 0": growTicks / ticksPerFuel, "memory.grow by all": growTicks / ticksPerFuel,
		"table.fill": tableFillTicks / ticksPerFuel, "table.copy": tableCopyTicks / ticksPerFuel,
		"table.grow": growTicks/ticksPerFuel + entryFuel,
		"ref.func":   refFuncTicks / ticksPerFuel, "host calls": hostCallTicks / ticksPerFuel,
	}
	for name, module := range storms() {
		t.Run(name, func(t *testing.T) {
			i := mustInstantiate(t, mustRewrite(t, module, Options{}))
			i.refill(budget)
			how := i.call("f")
			rounds := int64(i.ExportedGlobal("g0").Get())
			t.Logf("%d rounds, %d fuel left, %s", rounds, i.left(), how)
			if how != outOfFuel || i.left() >= 0 {
				t.Fatalf("%s, %d fuel left", how, i.left())
			}
			cost := max(least[name], 1)
			if most := budget/cost + 1; rounds > most { // the last one is counted, and not done
				t.Errorf("%d rounds, more than %d", rounds, most)
			}
			if name != "loop" && rounds < 50 {
				t.Errorf("%d rounds, hardly any", rounds)
			}
		})
	}
}

// A start function is metered like any other, and has no fuel unless it is given some.
func TestStartSectionIsMetered(t *testing.T) {
	b := &builder{}
	b.memory(1)
	b.function("", nil, nil, nil, i32c(8), i32c(42), mem(0x36, 2, 0))
	b.function("f", nil, []ValueType{I32}, nil, i32c(8), mem(0x28, 2, 0))
	b.add(startSection, u(0))
	if _, err := instantiate(t, mustRewrite(t, b.bytes(), Options{}), config()); err == nil {
		t.Error("ran without fuel")
	}
	i := mustInstantiate(t, mustRewrite(t, b.bytes(), Options{StartFuel: 100}))
	if got := i.call("f"); got != "[2a]" {
		t.Error(got)
	}

	endless := &builder{}
	endless.function("", nil, nil, nil, blk(opLoop, br(0)))
	endless.add(startSection, u(0))
	if _, err := instantiate(t, mustRewrite(t, endless.bytes(), Options{StartFuel: 100_000}), config()); outcome(nil, err) == "[]" {
		t.Error("an endless start function ended")
	}
}

// Code that the runtime has compiled cannot be preempted: a collection waits for it. With fuel it waits for so long
// as that lasts. (The bound is generous: 20 M fuel is some 30 ms.)
func TestCollectionIsNotHeldUp(t *testing.T) {
	i := mustInstantiate(t, mustRewrite(t, storms()["counting loop"], Options{}))
	i.refill(20_000_000)
	began, ended := make(chan struct{}), make(chan string)
	go func() {
		close(began)
		ended <- i.call("f")
	}()
	<-began
	start := time.Now()
	runtime.GC()
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("a collection took %v", d)
	}
	if how := <-ended; how != outOfFuel {
		t.Error(how)
	}
}

// Growing past what the options allow fails as it would anyway, and is not charged; within them it is.
func TestGrowing(t *testing.T) {
	i32 := []ValueType{I32}
	b := &builder{}
	b.memory(1)
	b.table(4)
	b.function("memory_grow", i32, i32, nil, get(0), code(opMemoryGrow, 0))
	b.function("table_grow", i32, i32, nil, code(opRefNull, byte(FuncRef)), get(0), code(opMisc, miscTableGrow, 0))
	metered := mustRewrite(t, b.bytes(), Options{MaxPages: 64, MaxTable: 1000, PageFuel: 5000})
	for _, c := range []struct {
		call string
		by   uint32
		want string
		fuel int64
	}{
		{"memory_grow", 0, "[1]", 0},
		{"memory_grow", 3, "[1]", 3 * 5000},
		{"memory_grow", 64, "[ffffffff]", 64 * 5000},
		{"memory_grow", 65, "[ffffffff]", 0},
		{"memory_grow", 1 << 31, "[ffffffff]", 0},
		{"memory_grow", 60, "[4]", 60 * 5000},
		{"memory_grow", 1, "[ffffffff]", 5000},
		{"table_grow", 0, "[4]", 0},
		{"table_grow", 996, "[4]", 996 * entryFuel},
		{"table_grow", 1, "[ffffffff]", entryFuel},
		{"table_grow", 1001, "[ffffffff]", 0},
	} {
		i := mustInstantiate(t, metered)
		if c.want == "[4]" && c.call == "memory_grow" {
			i.call("memory_grow", 3)
		}
		if c.call == "table_grow" && c.by == 1 {
			i.call("table_grow", 996)
		}
		if c.call == "memory_grow" && c.by == 1 {
			i.call("memory_grow", 63)
		}
		i.refill(plenty)
		got := i.call(c.call, uint64(c.by))
		const flat = (growTicks + callTicks) / ticksPerFuel
		if fuel := plenty - i.left(); got != c.want || fuel < c.fuel || fuel > c.fuel+flat+1 {
			t.Errorf("%s %d: %s for %d, want %s for %d and a little", c.call, c.by, got, fuel, c.want, c.fuel)
		}
	}
}

// The fuel trap is reported with the function that ran out, by its name.
func TestTrapNamesTheFunction(t *testing.T) {
	module := append(mustRewrite(t, storms()["loop"], Options{}), sec(customSection, str("name"), []byte{1}, u(8), u(1), u(0), str("spins"))...)
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, config())
	defer rt.Close(ctx)
	m, err := rt.Instantiate(ctx, module)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.ExportedFunction("f").Call(ctx)
	if want := "wasm error: unreachable\nwasm stack trace:\n\t.spins()"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}
