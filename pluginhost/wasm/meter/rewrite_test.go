package meter

import (
	"bytes"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
)

// everything makes a module that has all sections, with custom sections between them, imports of all kinds, and
// functions of several results.
func everything() *builder {
	b := &builder{}
	i32 := []ValueType{I32}
	b.importFunc("host", "next", i32, i32)
	b.add(importSection, str("env"), str("offset"), []byte{byte(Global), byte(I32), 0})
	b.add(importSection, str("env"), str("count"), []byte{byte(Global), byte(I64), 1})
	b.imported[Global] = 2
	b.memory(1, 4)
	b.table(4, 8)
	b.export("own", Global, b.global(F64, 1, append([]byte{opF64Const}, make([]byte, 8)...)))
	b.global(I32, 0, gget(0))
	first := b.function("add", []ValueType{I32, I32}, i32, nil, get(0), get(1), code(0x6a))
	b.function("pair", i32, []ValueType{I32, I64}, nil, get(0), call(0), i64c(7))
	b.function("triple", []ValueType{I64}, []ValueType{I64, I32, I64}, nil, get(0), i32c(3), get(0))
	b.function("triples", []ValueType{I64}, []ValueType{I64, I32, I64}, nil, get(0), i32c(3), get(0), br(0))
	b.function("bump", nil, []ValueType{I64}, nil, gget(1), i64c(1), code(0x7c), gset(1), gget(1))
	start := b.function("", nil, nil, nil, gget(3), i32c(77), mem(0x36, 2, 0))
	b.add(startSection, u(start))
	b.add(elementSection, []byte{0}, gget(0), []byte{opEnd}, u(1), u(first))
	b.add(dataSection, []byte{0}, gget(0), []byte{opEnd}, str("hello"))
	b.add(dataCountSection, u(1))
	for i, id := range append(sectionsInOrder, 0) {
		b.custom = append(b.custom, customAt{id, "before " + string(rune('a'+i)), []byte{1, byte(i)}})
	}
	functionNames := cat(u(2), u(first), str("add it"), u(start), str("begin"))
	b.custom = append(b.custom, customAt{0, "name", cat([]byte{1}, u(len(functionNames)), functionNames)})
	b.custom = append(b.custom, customAt{0, "producers", cat(u(1), str("language"), u(1), str("C99"), str("14.0"))})
	return b
}

// sections lists ids, names of custom sections, and contents.
func sections(t *testing.T, module []byte) (ids []byte, custom []string, contents map[byte][]byte) {
	t.Helper()
	m, err := parse(module)
	if err != nil {
		t.Fatal(err)
	}
	contents = map[byte][]byte{}
	for _, s := range m.sections {
		ids = append(ids, s.id)
		if s.id == customSection {
			custom = append(custom, string(module[s.start:s.end]))
		} else {
			contents[s.id] = module[s.start:s.end]
		}
	}
	return ids, custom, contents
}

// What metering does not need to touch stays byte for byte where it was: custom sections, the name section among them,
// imports, function indices.
func TestRewriteKeepsTheRest(t *testing.T) {
	module := everything().bytes()
	before := bytes.Clone(module)
	metered := mustRewrite(t, module, Options{})
	if !bytes.Equal(module, before) {
		t.Error("the module was changed in place")
	}
	ids, custom, contents := sections(t, module)
	ids2, custom2, contents2 := sections(t, metered)
	if !bytes.Equal(ids, ids2) {
		t.Errorf("sections % x, were % x", ids2, ids)
	}
	if len(custom) != len(custom2) {
		t.Fatalf("%d custom sections, were %d", len(custom2), len(custom))
	}
	for i := range custom {
		if custom[i] != custom2[i] {
			t.Errorf("custom section %q, was %q", custom2[i], custom[i])
		}
	}
	for _, id := range []byte{importSection, functionSection, tableSection, memorySection, startSection, elementSection, dataCountSection, dataSection} {
		if !bytes.Equal(contents[id], contents2[id]) {
			t.Errorf("%s section % x, was % x", sectionNames[id], contents2[id], contents[id])
		}
	}
	a, _ := Inspect(module)
	b, err := Inspect(metered)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Exports[len(a.Exports)]; len(b.Exports) != len(a.Exports)+1 || got.Name != DefaultExport || got.Kind != Global || got.Index != 4 {
		t.Errorf("exports %+v", b.Exports)
	}
	count := func(section []byte) int { return (&reader{data: section, end: len(section)}).count(1) }
	if n, added := count(contents[typeSection]), count(contents2[typeSection]); added != n+2 {
		t.Errorf("%d types, were %d: the results of pair and of triple and triples need one each", added, n)
	}
	if b.Globals != a.Globals+1 || b.Functions != a.Functions {
		t.Errorf("%d globals and %d functions, were %d and %d", b.Globals, b.Functions, a.Globals, a.Functions)
	}
}

// With imported globals, the fuel global comes behind them and the module's own; functions of several results work.
func TestImportedGlobals(t *testing.T) {
	// wazero's host modules export no globals: a module of our own does.
	env := &builder{}
	env.export("offset", Global, env.global(I32, 0, i32c(2)))
	env.export("count", Global, env.global(I64, 1, i64c(5)))
	for _, c := range []struct {
		name    string
		module  []byte
		metered bool
	}{{"original", everything().bytes(), false}, {"metered", mustRewrite(t, everything().bytes(), Options{StartFuel: 10}), true}} {
		rt := wazero.NewRuntimeWithConfig(t.Context(), config())
		defer rt.Close(t.Context())
		if _, err := rt.NewHostModuleBuilder("host").NewFunctionBuilder().WithFunc(func(v uint32) uint32 { return v + 1 }).Export("next").Instantiate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := rt.InstantiateWithConfig(t.Context(), env.bytes(), wazero.NewModuleConfig().WithName("env")); err != nil {
			t.Fatal(err)
		}
		m, err := rt.Instantiate(t.Context(), c.module)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		i := &instance{Module: m}
		for _, call := range []struct {
			name string
			args []uint64
			want string
		}{
			{"add", []uint64{40, 2}, "[2a]"}, {"pair", []uint64{8}, "[9 7]"}, {"triple", []uint64{6}, "[6 3 6]"},
			{"triples", []uint64{5}, "[5 3 5]"}, {"bump", nil, "[6]"}, {"bump", nil, "[7]"},
		} {
			if c.metered {
				m.ExportedGlobal(DefaultExport).(interface{ Set(uint64) }).Set(100)
			}
			if got := i.call(call.name, call.args...); got != call.want {
				t.Errorf("%s: %s%v = %s, want %s", c.name, call.name, call.args, got, call.want)
			}
		}
		if b, _ := m.Memory().Read(0, 7); string(b) != "\x00\x00M\x00\x00\x00o" {
			t.Errorf("%s: memory %q", c.name, b) // the segment at 2, then what the start function writes at 2
		}
	}
}

// Sections that are not there are made where they belong.
func TestRewriteAddsSections(t *testing.T) {
	plain := &builder{}
	plain.memory(1)
	plain.add(dataSection, []byte{0}, i32c(0), []byte{opEnd}, str("x"))
	bare := &builder{}
	bare.function("", nil, nil, nil)
	bare.custom = []customAt{{codeSection, "here", nil}}
	for _, c := range []struct {
		name   string
		module []byte
		want   []byte
	}{
		{"nothing", raw(), []byte{globalSection, exportSection}},
		{"custom section only", raw(sec(customSection, str("x"))), []byte{customSection, globalSection, exportSection}},
		{"memory and data", plain.bytes(), []byte{memorySection, globalSection, exportSection, dataSection}},
		{"code", bare.bytes(), []byte{typeSection, functionSection, customSection, globalSection, exportSection, codeSection}},
	} {
		metered := mustRewrite(t, c.module, Options{Export: "fuel", StartFuel: 7})
		if ids, _, _ := sections(t, metered); !bytes.Equal(ids, c.want) {
			t.Errorf("%s: sections % x, want % x", c.name, ids, c.want)
		}
		i := mustInstantiate(t, metered)
		if g := i.ExportedGlobal("fuel"); g == nil || g.Get() != 7 {
			t.Errorf("%s: no global, or not 7 in it", c.name)
		}
	}
}

// Linkers leave numbers padded to five bytes where they write them late.
func TestRewriteReadsPaddedNumbers(t *testing.T) {
	five := func(v byte) []byte { return []byte{v | 0x80, 0x80, 0x80, 0x80, 0} }
	function := cat(u(0), code(opBlock), []byte{0x80, 0x80, 0x80, 0x80, 0}, i32c(1), code(opBrIf), five(1), code(opGlobalGet), five(0), code(opGlobalSet), five(0), code(opEnd, opEnd))
	module := raw(
		append([]byte{typeSection}, cat(five(8), five(1), []byte{functionType, 0, 0})...),
		sec(functionSection, five(1), five(0)),
		sec(globalSection, five(1), []byte{byte(I64), 1}, i64c(5), []byte{opEnd}),
		sec(exportSection, five(2), str("f"), []byte{byte(Func)}, five(0), str("g0"), []byte{byte(Global)}, five(0)),
		sec(codeSection, five(1), five(byte(len(function))), function))
	a, b := mustInstantiate(t, module), mustInstantiate(t, mustRewrite(t, module, Options{}))
	if x, y := a.call("f"), b.call("f"); x != "[]" || y != x || a.state() != b.state() {
		t.Errorf("%s %s, metered %s %s", x, a.state(), y, b.state())
	}
}

// A table's maximum is the lower one of its own and the host's.
func TestTablesAreBounded(t *testing.T) {
	b := &builder{}
	b.table(1)
	b.table(2, 5)
	b.table(3, 100)
	info, err := Inspect(mustRewrite(t, b.bytes(), Options{MaxTable: 50}))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Limits{{1, 50, true}, {2, 5, true}, {3, 50, true}} {
		if info.Tables[i] != want {
			t.Errorf("table %d: %+v, want %+v", i, info.Tables[i], want)
		}
	}
}

// A metered module is not metered again, unless under another name; then both count.
func TestRewriteTwice(t *testing.T) {
	once := mustRewrite(t, storms()["counting loop"], Options{})
	if _, err := Rewrite(once, Options{}); err == nil {
		t.Error("metered twice")
	}
	i := mustInstantiate(t, mustRewrite(t, once, Options{Export: "more", StartFuel: 1000}))
	if how := i.call("f"); how != outOfFuel || int64(i.ExportedGlobal("more").Get()) >= 0 || i.left() >= plenty {
		t.Errorf("%s, %d and %d left", how, i.left(), int64(i.ExportedGlobal("more").Get()))
	}
}

// Rewrite is a pure function, from any number of goroutines.
func TestRewriteConcurrently(t *testing.T) {
	module := generate(7)
	want := mustRewrite(t, module, Options{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if got, err := Rewrite(module, Options{}); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
}
