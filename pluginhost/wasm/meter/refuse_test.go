package meter

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// body makes a module of one function of these instructions, with a memory, a table and one global.
func body(code ...[]byte) []byte {
	b := &builder{}
	b.memory(1, 2)
	b.table(4)
	b.global(I64, 1, i64c(0))
	b.add(elementSection, []byte{1, 0, 1, 0})
	b.add(dataCountSection, u(1))
	b.add(dataSection, []byte{1}, str("passive"))
	b.function("f", nil, nil, []ValueType{I32}, code...)
	return b.bytes()
}

// raw makes a module of sections as they are.
func raw(sections ...[]byte) []byte { return cat(magic, cat(sections...)) }

func sec(id byte, content ...[]byte) []byte {
	c := cat(content...)
	return cat([]byte{id}, u(len(c)), c)
}

func imports(kind byte, description ...byte) []byte {
	return raw(sec(importSection, u(1), str("m"), str("n"), []byte{kind}, description))
}

func TestRefused(t *testing.T) {
	const none = -1
	void := sec(typeSection, u(1), []byte{functionType, 0, 0})
	for _, c := range []struct {
		name     string
		module   []byte
		kind     Kind
		section  string
		function int
		reason   string
	}{
		{"empty", nil, Malformed, "header", none, "not a WebAssembly module"},
		{"text", []byte("(module)"), Malformed, "header", none, "not a WebAssembly module"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), Malformed, "header", none, "component"},
		{"section cut short", raw([]byte{typeSection, 9}), Malformed, "header", none, "9 bytes announced, 0 left"},
		{"unknown section", raw(sec(14)), Malformed, "header", none, "section id 14"},
		{"section twice", raw(void, void), Malformed, "type", none, "out of order"},
		{"sections out of order", raw(sec(functionSection, u(0)), sec(typeSection, u(0))), Malformed, "type", none, "out of order"},
		{"bytes left over", raw(sec(typeSection, u(0), u(0))), Malformed, "type", none, "1 bytes left over"},
		{"long integer", raw(sec(typeSection, []byte{0x80, 0x80, 0x80, 0x80, 0x10})), Malformed, "type", none, "longer than 32 bits"},
		{"vector too long", raw(sec(typeSection, u(1<<30))), Malformed, "type", none, "items announced"},
		{"custom section without name", raw(sec(customSection, u(4))), Malformed, "custom", none, "4 bytes announced"},
		{"name that is not UTF-8", raw(sec(customSection, u(1), []byte{0xff})), Malformed, "custom", none, "UTF-8"},
		{"functions without code", raw(void, sec(functionSection, u(1), u(0))), Malformed, "code", none, "1 functions declared, 0 bodies"},
		{"unknown type", raw(void, sec(functionSection, u(1), u(1))), Malformed, "function", none, "type 1, there are 1"},
		{"start of nothing", raw(void, sec(startSection, u(0))), Malformed, "start", none, "function 0"},
		{"export of nothing", raw(sec(exportSection, u(1), str("x"), []byte{0}, u(0))), Malformed, "export", none, "function 0"},
		{"export of a strange kind", raw(sec(exportSection, u(1), str("x"), []byte{9}, u(0))), Malformed, "export", none, "kind 9"},
		{"import of a strange kind", imports(9), Malformed, "import", none, "kind 9"},
		{"mutability", imports(byte(Global), byte(I32), 2), Malformed, "import", none, "mutability"},
		{"limits", imports(byte(Memory), 8, 0), Malformed, "import", none, "flags 0x8"},
		{"element flags", raw(sec(elementSection, u(1), u(8), u(0), u(0))), Malformed, "element", none, "flags 0x8"},
		{"data flags", raw(sec(dataSection, u(1), u(3), u(0))), Malformed, "data", none, "flags 0x3"},
		{"constant expression", raw(sec(globalSection, u(1), []byte{byte(I32), 0, 0x6a, opEnd})), Malformed, "global", none, "constant expression"},

		{"shared memory", imports(byte(Memory), 3, 1, 1), Unsupported, "import", none, "threads"},
		{"64-bit memory", raw(sec(memorySection, u(1), []byte{4, 1})), Unsupported, "memory", none, "64-bit"},
		{"two memories", raw(sec(memorySection, u(2), []byte{0, 1, 0, 1})), Unsupported, "memory", none, "multiple memories"},
		{"tag section", raw(sec(tagSection, u(0))), Unsupported, "tag", none, "exception handling"},
		{"imported tag", imports(4, 0, 0), Unsupported, "import", none, "exception"},
		{"exported tag", raw(sec(exportSection, u(1), str("x"), []byte{4}, u(0))), Unsupported, "export", none, "exception"},
		{"struct type", raw(sec(typeSection, u(1), []byte{0x5f, 0, 0})), Unsupported, "type", none, "garbage collection"},
		{"value type", raw(sec(typeSection, u(1), []byte{functionType, 1, 0x6e, 0})), Unsupported, "type", none, "value type 0x6e"},
		{"table type", raw(sec(tableSection, u(1), []byte{0x40, 0, byte(FuncRef), 0, 1, opRefNull, byte(FuncRef), opEnd})), Unsupported, "table", none, "reference type 0x40"},
		{"extended constants", raw(sec(globalSection, u(1), []byte{byte(I32), 0}, i32c(1), i32c(1), code(0x6a, opEnd))), Unsupported, "global", none, "extended-const"},
		{"throw", body(code(0x08, 0)), Unsupported, "code", 0, "exception handling"},
		{"try_table", body(code(0x1f, emptyBlock, 0, opEnd)), Unsupported, "code", 0, "exception handling"},
		{"return_call", body(code(0x12, 0)), Unsupported, "code", 0, "tail calls"},
		{"call_ref", body(code(0x14, 0)), Unsupported, "code", 0, "typed function references"},
		{"struct.new", body(code(0xfb, 0, 0)), Unsupported, "code", 0, "garbage collection"},
		{"atomic.fence", body(code(0xfe, 3, 0)), Unsupported, "code", 0, "threads"},
		{"relaxed SIMD", body(code(opVector, 0x80, 2)), Unsupported, "code", 0, "relaxed SIMD"},
		{"vector hole", body(code(opVector, 0x9a, 1)), Unsupported, "code", 0, "0x9a"},
		{"vector number with padding", body(code(opVector, 0x8b, 0x80, 0)), Unsupported, "code", 0, "0x8b 0x80"},
		{"vector number as wazero reads it", body(code(opVector, 0x8b, 0x1a)), Unsupported, "code", 0, "0x8b 0x1a"},
		{"misc", body(code(opMisc, 18)), Unsupported, "code", 0, "0xfc 0x12"},
		{"misc number with padding", body(code(opMisc, 0x8a, 0, 0, 0)), Unsupported, "code", 0, "0xfc 0x8a"},
		{"load from another memory", body(i32c(0), code(0x28, 0x42, 1, 0, 0x1a)), Unsupported, "code", 0, "multiple memories"},
		{"memory.grow of another memory", body(i32c(0), code(opMemoryGrow, 1, 0x1a)), Unsupported, "code", 0, "multiple memories"},
		{"block type", body(code(opBlock, 0x63, 0, opEnd)), Unsupported, "code", 0, "block type 0x63"},
		{"block type with padding", body(code(opBlock, 0xc0, 0x7f, opEnd)), Unsupported, "code", 0, "negative number of 2 bytes"},
		{"block type with more padding", body(code(opBlock, 0xc0, 0xff, 0xff, 0xff, 0x7f, opEnd)), Malformed, "code", 0, "longer than 32 bits"},
		{"unknown instruction", body(code(0x27)), Unsupported, "code", 0, "no instruction"},

		{"code sets the fuel global", body(i64c(9), gset(1)), Reserved, "code", 0, "global 1, the module has 1"},
		{"code reads the fuel global", body(gget(1), code(0x1a)), Reserved, "code", 0, "global 1"},
		{"fuel global, with padding", body(code(opGlobalGet, 0x81, 0x80, 0, 0x1a)), Reserved, "code", 0, "global 1"},
		{"export of the fuel global", raw(sec(exportSection, u(1), str("x"), []byte{byte(Global)}, u(0))), Reserved, "export", none, "global 0"},
		{"segment at the fuel global", raw(sec(memorySection, u(1), limitsOf(1)), sec(dataSection, u(1), []byte{0}, gget(0), code(opEnd), u(0))), Reserved, "data", none, "global 0"},
		{"export of that name", raw(void, sec(functionSection, u(1), u(0)), sec(exportSection, u(1), str(DefaultExport), []byte{byte(Func)}, u(0)), sec(codeSection, u(1), u(2), u(0), code(opEnd))), Reserved, "export", none, DefaultExport},
		{"code names the added local", body(get(1), code(0x1a)), Malformed, "code", 0, "local 1, there are 1"},

		{"unknown function", body(call(1)), Malformed, "code", 0, "function 1, there are 1"},
		{"unknown label", body(br(1)), Malformed, "code", 0, "label 1, there are 1"},
		{"label in a table", body(i32c(0), code(opBrTable, 1, 0, 1)), Malformed, "code", 0, "label 1, there are 1"},
		{"unknown table", body(code(opMisc, miscTableSize, 1, 0x1a)), Malformed, "code", 0, "table 1, there are 1"},
		{"unknown block type", body(code(opBlock, 7, opEnd)), Malformed, "code", 0, "type 7, there are 1"},
		{"else without if", body(code(opElse)), Malformed, "code", 0, "else outside of an if"},
		{"else twice", body(i32c(0), code(opIf, emptyBlock, opElse, opElse, opEnd)), Malformed, "code", 0, "else outside of an if"},
		{"block without end", body(code(opBlock, emptyBlock)), Malformed, "code", 0, "ends in the middle of a block"},
		{"code behind the end", body(code(opEnd)), Malformed, "code", 0, "1 bytes behind the function's end"},
		{"select of two", body(code(opSelectTyped, 2, byte(I32), byte(I32))), Malformed, "code", 0, "select of 2 types"},
		{"constant of 33 bits", body(code(opI32Const, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x1a)), Malformed, "code", 0, "longer than 32 bits"},
		{"constant cut short", body(code(opI32Const, 0xff)), Malformed, "code", 0, "ends in the middle of a block"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := Rewrite(c.module, Options{})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%d bytes, %v", len(out), err)
			}
			if e.Kind != c.kind || e.Section != c.section || e.Function != c.function || !strings.Contains(e.Reason, c.reason) {
				t.Errorf("%v (kind %v, section %q, function %d)", e, e.Kind, e.Section, e.Function)
			}
			if e.Offset < 0 || e.Offset > len(c.module) {
				t.Errorf("offset %d in a module of %d bytes", e.Offset, len(c.module))
			}
		})
	}
}

func TestLimits(t *testing.T) {
	long := make([]byte, 100)
	locals := func(n uint64) []byte {
		b, count := &builder{}, binary.AppendUvarint(nil, n)
		b.function("f", []ValueType{I32}, nil, nil)
		b.sections[codeSection][0] = cat(u(5+len(count)-1), u(1), count, []byte{byte(I64), 0x01, opEnd})
		return b.bytes()
	}
	tables := func(n ...int) []byte {
		b := &builder{}
		for _, min := range n {
			b.table(min)
		}
		return b.bytes()
	}
	for _, c := range []struct {
		name   string
		module []byte
		limits Options
		ok     bool
	}{
		{"module", raw(sec(customSection, str("x"), long)), Options{MaxModule: 111}, false},
		{"module that fits", raw(sec(customSection, str("x"), long)), Options{MaxModule: 112}, true},
		{"functions", generate(3), Options{MaxFunctions: 1}, false},
		{"body", body(long[:0], i64c(1), code(0x1a)), Options{MaxBody: 6}, false},
		{"body that fits", body(long[:0], i64c(1), code(0x1a)), Options{MaxBody: 7}, true},
		{"locals", locals(100), Options{MaxLocals: 100}, false},
		{"locals that fit", locals(99), Options{MaxLocals: 100}, true},
		{"locals past 32 bits", locals(1<<32 - 1), Options{}, false},
		{"table", tables(101), Options{MaxTable: 100}, false},
		{"tables together", tables(60, 60), Options{MaxTable: 100}, false},
		{"table that fits", tables(60, 40), Options{MaxTable: 100}, true},
		{"many tables", tables(make([]int, maxTables+1)...), Options{}, false},
		{"many types", raw(sec(typeSection, u(maxEntries+1), make([]byte, 3*maxEntries+3))), Options{}, false},
	} {
		_, err := Rewrite(c.module, c.limits)
		var e *Error
		if c.ok && err != nil || !c.ok && (!errors.As(err, &e) || e.Kind != TooLarge) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestErrorText(t *testing.T) {
	_, err := Rewrite(body(i64c(9), gset(1)), Options{})
	const want = "wasm module touches what is reserved: code section, function 0, offset 0x4a: global 1, the module has 1: what follows them is the host's"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	for k := Malformed; k <= Reserved; k++ {
		if strings.HasPrefix(k.String(), "kind") {
			t.Errorf("kind %d has no text", k)
		}
	}
}
