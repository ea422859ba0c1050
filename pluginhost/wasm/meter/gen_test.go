package meter

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
)

// generator makes random valid modules that end: every way back (a loop's branch, a call) counts down the global
// steps, and is not taken below zero. They import nothing. Functions are exported as f0, f1, …; global 0 is steps.
type generator struct {
	*rand.Rand
	*builder
	functions []FuncType // all that there will be
	globals   []ValueType
	locals    []ValueType // of the function that is being made
	labels    []label     // innermost last
	size      int         // instructions left to make, roughly
}

type label struct {
	types []ValueType
	loop  bool
}

var numbers = []ValueType{I32, I64, F32, F64, V128}

const (
	genSegment = "the quick brown fox jumps over the lazy dog, more than once"
	genTable   = 16
)

// generate makes the module that belongs to a seed.
func generate(seed uint64) []byte {
	g := &generator{Rand: newRand(seed), builder: &builder{}}
	g.memory(1, 3)
	g.table(genTable, genTable*2)
	g.global(I32, 1, i32c(500+int32(g.IntN(2000))))
	g.globals = []ValueType{I32}
	for range g.IntN(5) {
		t := g.number()
		g.globals = append(g.globals, t)
		g.builder.global(t, 1, g.constant(t))
	}
	for range 1 + g.IntN(6) {
		g.functions = append(g.functions, FuncType{g.numbers(3), g.numbers(3)})
	}
	for i, f := range g.functions {
		g.labels = []label{{types: f.Results}}
		extra := g.numbers(6)
		g.locals = append(append([]ValueType(nil), f.Params...), extra...)
		g.size = 20 + g.IntN(120)
		entry := cat(g.step(), code(0x45), blk(opIf, g.constants(f.Results), code(opReturn)))
		g.function("f"+string(rune('0'+i)), f.Params, f.Results, extra, entry, g.body(f.Results, 4))
	}
	for i := range g.globals {
		g.export("g"+string(rune('0'+i)), Global, i)
	}
	g.elements(0, g.IntN(len(g.functions)), g.IntN(len(g.functions)), g.IntN(len(g.functions)))
	g.add(elementSection, []byte{1, 0, 2, 0, 0}) // passive: function 0 twice
	g.add(dataSection, []byte{0, opI32Const, 8, opEnd}, str(genSegment))
	g.add(dataSection, []byte{1}, str(genSegment))
	g.add(dataCountSection, u(2))
	if t := g.functions[0]; g.IntN(4) == 0 && len(t.Params) == 0 && len(t.Results) == 0 {
		g.add(startSection, u(0))
	}
	return g.bytes()
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func (g *generator) number() ValueType { return numbers[g.IntN(len(numbers))] }

func (g *generator) numbers(most int) []ValueType {
	list := make([]ValueType, g.IntN(most+1))
	for i := range list {
		list[i] = g.number()
	}
	return list
}

func (g *generator) constant(t ValueType) []byte {
	small := int64(g.IntN(64)) - 16
	if g.IntN(4) == 0 {
		small = int64(g.Uint64())
	}
	switch t {
	case I32:
		return i32c(int32(small))
	case I64:
		return i64c(small)
	case F32:
		return binary.LittleEndian.AppendUint32([]byte{opF32Const}, math.Float32bits(float32(small)/4))
	case F64:
		return binary.LittleEndian.AppendUint64([]byte{opF64Const}, math.Float64bits(float64(small)/4))
	case V128:
		b := binary.LittleEndian.AppendUint64([]byte{opVector, vecConst}, uint64(small))
		return binary.LittleEndian.AppendUint64(b, g.Uint64())
	}
	return []byte{opRefNull, byte(t)}
}

func (g *generator) constants(types []ValueType) []byte {
	var b []byte
	for _, t := range types {
		b = append(b, g.constant(t)...)
	}
	return b
}

// step counts down, and leaves on the stack whether there is something left.
func (g *generator) step() []byte {
	return cat(gget(0), i32c(1), code(0x6b), gset(0), gget(0), i32c(0), code(0x4a))
}

// body makes some statements, and the values that are wanted behind them.
func (g *generator) body(results []ValueType, depth int) []byte {
	var b []byte
	for range 1 + g.IntN(4) {
		b = append(b, g.statement(depth)...)
	}
	for _, t := range results {
		b = append(b, g.value(t, depth)...)
	}
	return b
}

// value makes code that leaves one value of type t.
func (g *generator) value(t ValueType, depth int) []byte {
	if g.size--; g.size < 0 || depth <= 0 {
		return g.leaf(t)
	}
	switch g.IntN(16) {
	case 0, 1, 2:
		return g.leaf(t)
	case 3:
		return g.load(t, depth)
	case 4:
		return cat(g.value(t, depth-1), g.value(t, depth-1), g.value(I32, depth-1), code(opSelectTyped, 1, byte(t)))
	case 5:
		return g.block([]ValueType{t}, depth)
	case 6:
		for i, f := range g.functions {
			if len(f.Results) == 1 && f.Results[0] == t {
				return cat(g.arguments(f, depth), call(i))
			}
		}
	case 7:
		if i, ok := g.local(t); ok {
			return cat(g.value(t, depth-1), tee(i))
		}
	case 8:
		if t == I32 {
			return g.measure(depth)
		}
	case 9: // br_if that carries a value
		for i := range g.labels {
			l := g.labels[len(g.labels)-1-i]
			if len(l.types) == 1 && l.types[0] == t {
				return cat(g.value(t, depth-1), g.condition(l, depth), brIf(i))
			}
		}
	}
	list := byResult[t]
	if len(list) == 0 {
		return g.leaf(t)
	}
	i := list[g.IntN(len(list))]
	var b []byte
	for _, in := range i.in {
		b = append(b, g.value(in, depth-1)...)
	}
	return append(b, i.code...)
}

func (g *generator) leaf(t ValueType) []byte {
	if i, ok := g.local(t); ok && g.IntN(3) > 0 {
		return get(i)
	}
	for i, have := range g.globals {
		if i > 0 && have == t && g.IntN(2) == 0 {
			return gget(i)
		}
	}
	if t == FuncRef && g.IntN(2) == 0 {
		return cat(i32c(int32(g.IntN(genTable))), code(0x25, 0)) // table.get
	}
	return g.constant(t)
}

func (g *generator) local(t ValueType) (int, bool) {
	var have []int
	for i, l := range g.locals {
		if l == t {
			have = append(have, i)
		}
	}
	if len(have) == 0 {
		return 0, false
	}
	return have[g.IntN(len(have))], true
}

// address makes an address, most often within the first page.
func (g *generator) address(depth int) []byte {
	a := g.value(I32, depth-1)
	if g.IntN(16) > 0 {
		a = cat(a, i32c(0x7fff), code(0x71))
	}
	return a
}

func (g *generator) load(t ValueType, depth int) []byte {
	codes := map[ValueType][]byte{
		I32: {0x28, 0x2c, 0x2d, 0x2e, 0x2f}, I64: {0x29, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35}, F32: {0x2a}, F64: {0x2b},
		V128: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x5c, 0x5d},
	}[t]
	if len(codes) == 0 {
		return g.leaf(t)
	}
	c := codes[g.IntN(len(codes))]
	if t != V128 {
		return cat(g.address(depth), mem(c, 0, g.IntN(300)))
	}
	if g.IntN(4) == 0 { // load lane
		return cat(g.address(depth), g.value(V128, depth-1), code(opVector), mem(0x54+byte(g.IntN(4)), 0, 8), code(1))
	}
	return cat(g.address(depth), code(opVector), mem(c, 0, g.IntN(300)))
}

func (g *generator) store(depth int) []byte {
	t := g.number()
	codes := map[ValueType][]byte{I32: {0x36, 0x3a, 0x3b}, I64: {0x37, 0x3c, 0x3d, 0x3e}, F32: {0x38}, F64: {0x39}, V128: {11}}[t]
	c := mem(codes[g.IntN(len(codes))], 0, g.IntN(300))
	if t == V128 {
		c = cat(code(opVector), c)
		if g.IntN(3) == 0 { // store lane
			c = cat(code(opVector), mem(0x58+byte(g.IntN(4)), 0, 8), code(1))
		}
	}
	return cat(g.address(depth), g.value(t, depth-1), c)
}

// measure makes an i32 out of sizes: of memory and tables, which it may try to grow.
func (g *generator) measure(depth int) []byte {
	switch g.IntN(5) {
	case 0:
		return code(0x3f, 0)
	case 1:
		return cat(g.value(I32, depth-1), i32c(3), code(0x71, opMemoryGrow, 0))
	case 2:
		return cat(g.value(I32, depth-1), code(opMemoryGrow, 0)) // as a rule too much
	case 3:
		return code(opMisc, miscTableSize, 0)
	}
	return cat(g.value(FuncRef, depth-1), g.value(I32, depth-1), i32c(7), code(0x71, opMisc, miscTableGrow, 0))
}

// condition makes an i32 for a branch to l; for a loop, it is 0 when no steps are left.
func (g *generator) condition(l label, depth int) []byte {
	if l.loop {
		return cat(g.value(I32, depth-1), g.step(), code(0x71))
	}
	return g.value(I32, depth-1)
}

func (g *generator) arguments(f FuncType, depth int) []byte {
	var b []byte
	for _, p := range f.Params {
		b = append(b, g.value(p, depth-2)...)
	}
	return b
}

// block makes a block, loop or if with parameters and these results.
func (g *generator) block(results []ValueType, depth int) []byte {
	params := g.numbers(2)
	var b []byte
	for _, p := range params {
		b = append(b, g.value(p, depth-2)...)
	}
	blockType := s(int64(g.signature(params, results)))
	if len(params) == 0 && len(results) == 1 {
		blockType = []byte{byte(results[0])}
	} else if len(params) == 0 && len(results) == 0 {
		blockType = []byte{emptyBlock}
	}
	take := func() []byte { // the parameters that are on the stack inside
		var b []byte
		for i := len(params) - 1; i >= 0; i-- {
			if l, ok := g.local(params[i]); ok {
				b = append(b, set(l)...)
			} else {
				b = append(b, 0x1a)
			}
		}
		return b
	}
	inside := func(l label, depth int) []byte {
		g.labels = append(g.labels, l)
		b := cat(take(), g.body(results, depth-1))
		g.labels = g.labels[:len(g.labels)-1]
		return b
	}
	switch g.IntN(3) {
	case 0:
		return cat(b, code(opBlock), blockType, inside(label{types: results}, depth), code(opEnd))
	case 1:
		loop := label{types: params, loop: true}
		body := inside(loop, depth)
		if len(results) == 0 {
			var again []byte
			for _, p := range params {
				again = append(again, g.leaf(p)...)
			}
			body = cat(body, again, g.step(), brIf(0))
			for range params {
				body = append(body, 0x1a)
			}
		}
		return cat(b, code(opLoop), blockType, body, code(opEnd))
	}
	b = cat(b, g.value(I32, depth-1), code(opIf), blockType, inside(label{types: results}, depth))
	if len(results) > 0 || len(params) > 0 || g.IntN(2) == 0 {
		b = cat(b, code(opElse), inside(label{types: results}, depth))
	}
	return append(b, opEnd)
}

// statement makes code that leaves the stack as it was.
func (g *generator) statement(depth int) []byte {
	if g.size -= 2; g.size < 0 || depth <= 0 {
		return code(0x01)
	}
	switch g.IntN(14) {
	case 0, 1, 2:
		t := g.number()
		if i, ok := g.local(t); ok {
			return cat(g.value(t, depth), set(i))
		}
		return cat(g.value(t, depth), code(0x1a))
	case 3:
		if i := 1 + g.IntN(8); i < len(g.globals) {
			return cat(g.value(g.globals[i], depth), gset(i))
		}
	case 4, 5:
		return g.store(depth)
	case 6, 7, 8:
		return g.block(nil, depth)
	case 9:
		return g.jump(depth)
	case 10:
		return g.bulk(depth)
	case 11:
		i := g.IntN(len(g.functions))
		f := g.functions[i]
		b := cat(g.arguments(f, depth), call(i))
		if g.IntN(2) == 0 {
			slot := cat(g.value(I32, depth-1), i32c(3), code(0x71))
			b = cat(g.arguments(f, depth), slot, code(opCallIndirect), u(g.signature(f.Params, f.Results)), u(0))
		}
		for range f.Results {
			b = append(b, 0x1a)
		}
		return b
	case 12:
		if g.IntN(8) == 0 {
			return blkIf(g.value(I32, depth-1), code(opUnreachable))
		}
		return blkIf(g.value(I32, depth-1), g.constants(g.labels[0].types), code(opReturn))
	}
	return g.tables(depth)
}

func blkIf(condition []byte, body ...[]byte) []byte {
	return cat(condition, blk(opIf, body...))
}

// jump makes a branch out of, or back in, one of the blocks around it that carry nothing.
func (g *generator) jump(depth int) []byte {
	var out, all []int
	for i := range g.labels {
		if l := g.labels[len(g.labels)-1-i]; len(l.types) == 0 {
			all = append(all, i)
			if !l.loop {
				out = append(out, i)
			}
		}
	}
	if len(all) == 0 {
		return code(0x01)
	}
	to := all[g.IntN(len(all))]
	l := g.labels[len(g.labels)-1-to]
	switch {
	case g.IntN(3) > 0 || len(out) == 0:
		return cat(g.condition(l, depth), brIf(to))
	case g.IntN(2) == 0:
		return blkIf(g.condition(l, depth), br(to+1))
	}
	// A table of ways out, one more block around it.
	n := g.IntN(5)
	labels := u(n)
	for range n + 1 {
		labels = append(labels, u(out[g.IntN(len(out))]+1)...)
	}
	return blk(opBlock, g.value(I32, depth-1), code(opBrTable), labels)
}

func (g *generator) bulk(depth int) []byte {
	small := func() []byte { return cat(g.value(I32, depth-1), i32c(255), code(0x71)) }
	switch g.IntN(4) {
	case 0:
		return cat(g.address(depth), g.address(depth), small(), code(opMisc, miscMemoryCopy, 0, 0))
	case 1:
		return cat(g.address(depth), g.value(I32, depth-1), small(), code(opMisc, miscMemoryFill, 0))
	case 2:
		return cat(g.address(depth), i32c(int32(g.IntN(40))), i32c(int32(g.IntN(24))), code(opMisc, miscMemoryInit, 1, 0))
	}
	if g.IntN(8) > 0 {
		return code(0x01)
	}
	return code(opMisc, miscDataDrop, 1)
}

func (g *generator) tables(depth int) []byte {
	slot := func(n int32) []byte { return cat(g.value(I32, depth-1), i32c(n), code(0x71)) }
	switch g.IntN(6) {
	case 0:
		return cat(slot(15), g.value(FuncRef, depth-1), code(0x26, 0)) // table.set
	case 1:
		return cat(slot(7), slot(7), slot(7), code(opMisc, miscTableCopy, 0, 0))
	case 2:
		return cat(slot(7), g.value(FuncRef, depth-1), slot(7), code(opMisc, miscTableFill, 0))
	case 3:
		return cat(slot(7), i32c(0), slot(3), code(opMisc, miscTableInit, 1, 0))
	case 4:
		return cat(slot(15), code(opRefFunc, 0), code(0x26, 0))
	}
	return cat(i32c(int32(g.IntN(8))), code(opRefNull, byte(FuncRef)), code(0x26, 0))
}
