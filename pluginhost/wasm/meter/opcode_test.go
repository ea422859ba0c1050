package meter

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/tetratelabs/wazero"
)

// known returns the encoded opcodes that Rewrite knows, prefixes included.
func known() map[string]bool {
	set := map[string]bool{}
	for c, op := range opcodes {
		if op.shape != unknown && byte(c) != opMisc && byte(c) != opVector {
			set[string([]byte{byte(c)})] = true
		}
	}
	for c, op := range vectors {
		if op.shape != unknown {
			set[string(binary.AppendUvarint([]byte{opVector}, uint64(c)))] = true
		}
	}
	for c := range byte(miscTableFill + 1) {
		set[string([]byte{opMisc, c})] = true
	}
	return set
}

// allForms has a valid example of every instruction of WebAssembly 2.0: the code, to be run on an empty stack, that
// leaves it empty or unreachable. The key is the opcode, as in known.
func allForms() map[string][]byte {
	g := &generator{Rand: newRand(1), builder: &builder{}}
	forms := map[string][]byte{}
	prefix := func(c []byte) string {
		switch {
		case c[0] == opMisc:
			return string(c[:2])
		case c[0] == opVector && c[1] >= 0x80:
			return string(c[:3])
		case c[0] == opVector:
			return string(c[:2])
		}
		return string(c[:1])
	}
	add := func(in []ValueType, out int, c []byte) {
		form := cat(g.constants(in), c)
		for range out {
			form = append(form, 0x1a)
		}
		forms[prefix(c)] = form
	}
	for _, i := range instructions {
		add(i.in, 1, i.code)
	}
	i1, i3 := []ValueType{I32}, []ValueType{I32, I32, I32}
	stores := map[byte]ValueType{0x36: I32, 0x37: I64, 0x38: F32, 0x39: F64, 0x3a: I32, 0x3b: I32, 0x3c: I64, 0x3d: I64, 0x3e: I64}
	for c := byte(0x28); c <= 0x35; c++ {
		add(i1, 1, mem(c, 0, 1000))
	}
	for c, t := range stores {
		add([]ValueType{I32, t}, 0, mem(c, 0, 1000))
	}
	for _, c := range []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x5c, 0x5d} {
		add(i1, 1, cat(code(opVector), mem(c, 0, 1000)))
	}
	add([]ValueType{I32, V128}, 0, cat(code(opVector), mem(11, 4, 1000)))
	for c := byte(0x54); c <= 0x5b; c++ {
		out := 1
		if c >= 0x58 {
			out = 0
		}
		add([]ValueType{I32, V128}, out, cat(code(opVector), mem(c, 0, 1000), code(1)))
	}
	add(nil, 1, g.constant(V128))
	add([]ValueType{V128, V128}, 1, append([]byte{opVector, 0x0d}, make([]byte, 16)...))
	for _, t := range []ValueType{I32, I64, F32, F64} {
		add(nil, 1, g.constant(t))
	}
	for _, c := range [][]byte{
		{0x00}, {0x01}, {opBlock, emptyBlock, opEnd}, {opLoop, emptyBlock, opEnd}, br(0), {opReturn}, call(0), {opMisc, miscDataDrop, 0}, {opMisc, miscElemDrop, 0},
	} {
		add(nil, 0, c)
	}
	add(i1, 0, []byte{opIf, emptyBlock, opElse, opEnd})
	forms[string([]byte{opElse})], forms[string([]byte{opEnd})] = forms[string([]byte{opIf})], forms[string([]byte{opIf})]
	add(i1, 0, brIf(0))
	add(i1, 0, []byte{opBrTable, 1, 0, 0})
	add(i1, 0, []byte{opCallIndirect, 0, 0})
	add(i1, 0, []byte{0x1a})
	add(i3, 1, []byte{opSelect})
	add(i3, 1, []byte{opSelectTyped, 1, byte(I32)})
	add(nil, 1, get(0))
	add(i1, 0, set(0))
	add(i1, 1, tee(0))
	add(nil, 1, gget(0))
	add([]ValueType{I64}, 0, gset(0))
	add(i1, 1, []byte{0x25, 0})
	add([]ValueType{I32, FuncRef}, 0, []byte{0x26, 0})
	add(nil, 1, []byte{0x3f, 0})
	add(i1, 1, []byte{opMemoryGrow, 0})
	add(nil, 1, []byte{opRefNull, byte(ExternRef)})
	add(nil, 1, []byte{opRefFunc, 0})
	add(i3, 0, []byte{opMisc, miscMemoryInit, 0, 0})
	add(i3, 0, []byte{opMisc, miscMemoryCopy, 0, 0})
	add(i3, 0, []byte{opMisc, miscMemoryFill, 0})
	add(i3, 0, []byte{opMisc, miscTableInit, 0, 0})
	add(i3, 0, []byte{opMisc, miscTableCopy, 0, 0})
	add([]ValueType{FuncRef, I32}, 1, []byte{opMisc, miscTableGrow, 0})
	add(nil, 1, []byte{opMisc, miscTableSize, 0})
	add([]ValueType{I32, FuncRef, I32}, 0, []byte{opMisc, miscTableFill, 0})
	return forms
}

// Every instruction is read as the runtime reads it: a valid example goes through Rewrite and is still valid. And
// what is no instruction here, is none there.
func TestInstructionsAreThoseOfTheRuntime(t *testing.T) {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer rt.Close(ctx)
	compile := func(module []byte) error {
		m, err := rt.CompileModule(ctx, module)
		if err == nil {
			m.Close(ctx)
		}
		return err
	}
	known, forms := known(), allForms()
	for op, form := range forms {
		module := body(form)
		if err := compile(module); err != nil {
			t.Errorf("% x: %v", form, err)
			continue
		}
		if err := compile(mustRewrite(t, module, Options{})); err != nil {
			t.Errorf("% x, metered: %v", form, err)
		}
		if !known[op] {
			t.Errorf("% x is not known", op)
		}
	}
	for op := range known {
		if forms[op] == nil {
			t.Errorf("% x has no example", op)
		}
	}
	unknown := func(op []byte) {
		if known[string(op)] {
			return
		}
		if out, err := Rewrite(body(op, make([]byte, 4)), Options{}); err == nil {
			t.Errorf("% x: %d bytes", op, len(out))
		}
		// What it takes from the stack is not known: anything will do where code is unreachable.
		if err := compile(body(code(opUnreachable), op, make([]byte, 4))); err == nil {
			t.Errorf("% x is an instruction of the runtime", op)
		}
	}
	for c := range 256 {
		if b := byte(c); b != opMisc && b != opVector {
			unknown([]byte{b})
		}
		unknown([]byte{opMisc, byte(c & 0x7f)})
		unknown(binary.AppendUvarint([]byte{opVector}, uint64(c)))
	}
}

// The immediate of every instruction ends where the runtime says: an instruction is followed by one that traps, and
// the trap comes.
func TestInstructionsAreMeteredAlike(t *testing.T) {
	for op, form := range allForms() {
		switch op[0] {
		case opBr, opReturn, opBrTable, 0x00, opCall, opCallIndirect:
			continue // does not get behind it, or not to an end
		}
		module := body(form, i32c(1), i32c(0), code(0x6d, 0x1a))
		a, b := mustInstantiate(t, module), mustInstantiate(t, mustRewrite(t, module, Options{}))
		if x, y := a.call("f"), b.call("f"); x != y {
			t.Errorf("% x: %s, metered %s", form, x, y)
		}
		if fuel := plenty - b.left(); fuel < 1 {
			t.Errorf("% x takes %d", form, fuel)
		}
	}
}
