package meter

import (
	"fmt"
	"testing"
)

// kernel is a function f of one number, how many rounds to do.
type kernel struct {
	name   string
	rounds int
	module []byte
}

// kernels are loops of a few kinds: the tight ones, where a charge shows most, and ordinary ones.
func kernels() []kernel {
	one := func(name string, rounds int, body ...[]byte) kernel {
		b := &builder{}
		b.memory(16, 16)
		b.function("f", []ValueType{I32}, []ValueType{I64}, []ValueType{I32, I64, F64}, cat(body...), get(2))
		return kernel{name, rounds, b.bytes()}
	}
	add := cat(get(2), get(0), code(0xad, 0x7c), set(2))
	fnv := cat(get(1), get(0), i32c(0xffff), code(0x71), mem(0x2d, 0, 0), code(0x73), i32c(16777619), code(0x6c), set(1))
	float := cat(get(3), get(0), code(0xb7, 0xa0, 0x9f), set(3))
	choose := blk(opBlock, blk(opBlock, blk(opBlock, get(0), i32c(3), code(0x71, opBrTable, 3, 0, 1, 2, 0)), get(2), i64c(1), code(0x7c), set(2)), get(2), i64c(3), code(0x85), set(2))
	list := []kernel{
		one("empty", 10000, countdown(0)),
		one("add", 10000, countdown(0, add)),
		one("add16", 1000, countdown(0, cat(add, add, add, add, add, add, add, add, add, add, add, add, add, add, add, add))),
		one("fnv", 10000, countdown(0, fnv)),
		one("store", 10000, countdown(0, get(0), get(2), mem(0x37, 3, 0))),
		one("float", 1000, countdown(0, float)),
		one("switch", 10000, countdown(0, choose)),
		one("if", 10000, countdown(0, get(0), i32c(1), code(0x71), code(opIf, emptyBlock), add, code(opElse), fnv, code(opEnd))),
		one("copy64", 1000, countdown(0, i32c(0), i32c(1000), i32c(64), code(opMisc, miscMemoryCopy, 0, 0))),
		one("copy64K", 100, countdown(0, i32c(0), i32c(0x20000), i32c(0x10000), code(opMisc, miscMemoryCopy, 0, 0))),
		one("fill64K", 100, countdown(0, i32c(0), i32c(1), i32c(0x10000), code(opMisc, miscMemoryFill, 0))),
		// What prices do not cover: loads all over 1 MiB, each address depending on the load before, and branches that
		// cannot be predicted.
		one("chase", 1000, countdown(0, get(1), i32c(1664525), code(0x6c), i32c(1013904223), code(0x6a), tee(1), i32c(8), code(0x76), i32c(0xffff8), code(0x71), mem(0x28, 2, 0), get(1), code(0x6a), set(1))),
		one("guess", 1000, countdown(0, get(1), i32c(1664525), code(0x6c), i32c(1013904223), code(0x6a), tee(1), i32c(20), code(0x76), i32c(1), code(0x71, opIf, emptyBlock), add, code(opElse), get(2), i64c(3), code(0x85), set(2), code(opEnd))),
	}
	fib := &builder{}
	fib.function("f", []ValueType{I32}, []ValueType{I64}, nil, get(0), i32c(2), code(0x49, opIf, byte(I64)), get(0), code(0xad, opElse),
		get(0), i32c(1), code(0x6b), call(0), get(0), i32c(2), code(0x6b), call(0), code(0x7c, opEnd))
	host := &builder{}
	next := host.importFunc("host", "next", []ValueType{I32}, []ValueType{I32})
	host.function("f", []ValueType{I32}, nil, nil, countdown(0, get(0), call(next), code(0x1a)))
	return append(list, kernel{"fib", 18, fib.bytes()}, kernel{"host", 100, host.bytes()})
}

// compare runs a call on the original and on the metered module.
func compare(b *testing.B, name string, original, metered *instance, call string, args ...uint64) {
	b.Run(name+"/original", func(b *testing.B) { repeat(b, original, call, args) })
	b.Run(name+"/metered", func(b *testing.B) { measure(b, metered, call, args) })
}

func repeat(b *testing.B, i *instance, call string, args []uint64) {
	b.ReportAllocs()
	f, stack := i.ExportedFunction(call), make([]uint64, max(len(args), 2))
	for b.Loop() {
		copy(stack, args)
		if err := f.CallWithStack(b.Context(), stack); err != nil {
			b.Fatal(err)
		}
	}
}

// measure is repeat for a metered module. It reports what the call takes, and how long 1 M fuel lasts at that.
func measure(b *testing.B, metered *instance, call string, args []uint64) {
	metered.refill(plenty)
	repeat(b, metered, call, args)
	fuel := float64(plenty-metered.left()) / float64(b.N)
	b.ReportMetric(fuel, "fuel/op")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/fuel, "ms/Mfuel") // ns per fuel, that is
}

func BenchmarkLoop(b *testing.B) {
	for _, k := range kernels() {
		compare(b, k.name, mustInstantiate(b, k.module), mustInstantiate(b, mustRewrite(b, k.module, Options{})), "f", uint64(k.rounds))
	}
}

// BenchmarkGuest is what metering costs a Go program that decides about events, one and 64 at a time, and one that
// allocates.
func BenchmarkGuest(b *testing.B) {
	original, metered := guestModules(b)
	for _, c := range []struct {
		name, call string
		data       []byte
		args       []uint64
	}{
		{"decide1", "decide", events(1), nil}, {"decide64", "decide", events(64), nil}, {"parse", "parse", []byte(values), []uint64{10}},
	} {
		x, y := startGuest(b, original), startGuest(b, metered)
		x.fill(b, c.data)
		y.fill(b, c.data)
		args := append([]uint64{uint64(len(c.data))}, c.args...)
		compare(b, c.name, x, y, c.call, args...)
	}
}

// BenchmarkCover says how much more is charged than what runs, in the Go program: 1 would be exact.
func BenchmarkCover(b *testing.B) {
	original, metered := guestModules(b)
	charged, counted := startGuest(b, metered), startGuest(b, countTicks(b, original))
	data := events(64)
	for b.Loop() {
		charged.decide(b, data)
		charged.refill(plenty)
		charged.decide(b, data)
		counted.decide(b, data)
		before := counted.ExportedGlobal("ticks").Get()
		counted.decide(b, data)
		ran := counted.ExportedGlobal("ticks").Get() - before
		b.ReportMetric(float64(plenty-charged.left())*ticksPerFuel/float64(ran), "charged/run")
	}
}

func BenchmarkRewrite(b *testing.B) {
	original, metered := guestModules(b)
	b.SetBytes(int64(len(original)))
	b.ReportAllocs()
	for b.Loop() {
		mustRewrite(b, original, Options{})
	}
	b.ReportMetric(float64(len(metered))/float64(len(original)), "size")
}

func BenchmarkInspect(b *testing.B) {
	original, _ := guestModules(b)
	b.SetBytes(int64(len(original)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Inspect(original); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPrice runs each instruction 16 times a round, each on the result of the one before where the types allow it,
// and reports how long 1 M fuel lasts of it: what the prices of cost.go are measured with.
func BenchmarkPrice(b *testing.B) {
	locals := []ValueType{I32, I32, I64, F32, F64, V128, FuncRef} // the first one is the parameter
	at := map[ValueType]int{I32: 1, I64: 2, F32: 3, F64: 4, V128: 5, FuncRef: 6}
	g := &generator{Rand: newRand(1), builder: &builder{}}
	start := cat(i32c(3), set(1), i64c(3), set(2), i32c(3), code(0xb2), set(3), i32c(3), code(0xb7), set(4), g.constant(V128), set(5))
	for _, i := range instructions {
		var one []byte
		for _, in := range i.in {
			one = append(one, get(at[in])...)
		}
		one = cat(one, i.code, set(at[i.out]))
		var many []byte
		for range 16 {
			many = append(many, one...)
		}
		m := &builder{}
		result := get(at[i.out])
		m.function("f", []ValueType{I32}, []ValueType{i.out}, locals[1:], start, countdown(0, many), result)
		b.Run(fmt.Sprintf("%x", i.code), func(b *testing.B) {
			metered := mustInstantiate(b, mustRewrite(b, m.bytes(), Options{}))
			measure(b, metered, "f", []uint64{100})
		})
	}
}
