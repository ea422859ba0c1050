package meter

import (
	"bytes"
	"math"
)

// Section ids of the binary format. The ids are not the order: tag comes before global, data count before code.
const (
	customSection    = 0
	typeSection      = 1
	importSection    = 2
	functionSection  = 3
	tableSection     = 4
	memorySection    = 5
	globalSection    = 6
	exportSection    = 7
	startSection     = 8
	elementSection   = 9
	codeSection      = 10
	dataSection      = 11
	dataCountSection = 12
	tagSection       = 13
)

// sectionOrder is the order in which sections must come, by id.
var sectionOrder = [...]int{
	typeSection: 1, importSection: 2, functionSection: 3, tableSection: 4, memorySection: 5, tagSection: 6,
	globalSection: 7, exportSection: 8, startSection: 9, elementSection: 10, dataCountSection: 11, codeSection: 12,
	dataSection: 13,
}

var sectionNames = [...]string{
	"custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data",
	"data count", "tag",
}

// Bytes of the binary format that are neither ids nor opcodes.
const (
	functionType = 0x60
	emptyBlock   = 0x40 // a block type: no parameters, no results
)

// maxTables and maxEntries bound what a module can make this package, and the runtime, keep for a few bytes each.
const (
	maxTables  = 10
	maxEntries = 100_000     // of types, imports and exports
	unbounded  = math.MaxInt // but by the bytes that are there
)

// section is where one section lies in the module.
type section struct {
	id         byte
	start, end int // of its contents
}

// module is a module's structure: what Inspect tells, and what Rewrite must know besides. Index spaces have
// imports first.
type module struct {
	Info
	data      []byte
	sections  []section
	types     []FuncType
	functions []uint32 // index into types
	imported  struct{ functions, tables, globals int }
	bodies    int // entries of the code section
}

var magic = []byte("\x00asm\x01\x00\x00\x00")

// parse reads all sections but the code, and checks that indices that Rewrite uses point somewhere. It does not
// validate the module: that is the runtime's work.
func parse(data []byte) (*module, error) {
	m := &module{data: data}
	r := &reader{data: data, end: len(data), section: "header", function: -1}
	if !bytes.HasPrefix(data, magic) {
		r.fail(Malformed, 0, "not a WebAssembly module of version 1 (a component, a text file?)")
		return nil, r.err
	}
	r.pos = len(magic)
	last := 0
	for r.pos < len(data) {
		r.section = "header"
		at := r.pos
		id, size := r.byte(), r.u32()
		s := section{id: id, start: r.pos}
		s.end = s.start + len(r.bytes(size))
		if !r.ok() {
			return nil, r.err
		}
		if int(id) >= len(sectionNames) {
			r.fail(Malformed, at, "section id %d", id)
			return nil, r.err
		}
		r.section = sectionNames[id]
		if id != customSection {
			if sectionOrder[id] <= last {
				r.fail(Malformed, at, "out of order, or there twice")
			}
			last = sectionOrder[id]
		}
		m.sections = append(m.sections, s)
		r.pos, r.end = s.start, s.end
		if r.ok() {
			m.section(r, id)
		}
		if r.ok() && r.pos != r.end {
			r.fail(Malformed, r.pos, "%d bytes left over", r.end-r.pos)
		}
		if !r.ok() {
			return nil, r.err
		}
		r.pos, r.end = s.end, len(data)
	}
	if m.bodies != m.Functions {
		r.section = sectionNames[codeSection]
		r.fail(Malformed, len(data), "%d functions declared, %d bodies", m.Functions, m.bodies)
		return nil, r.err
	}
	return m, nil
}

func (m *module) section(r *reader, id byte) {
	switch id {
	case customSection:
		c := Custom{Name: r.name(), Bytes: r.end - r.pos}
		m.Custom = append(m.Custom, c)
		if c.Name == "producers" {
			m.Producers = append(m.Producers, producers(r.data[r.pos:r.end])...)
		}
		r.pos = r.end
	case typeSection:
		r.each(3, maxEntries, func() { m.types = append(m.types, r.funcType()) })
	case importSection:
		r.each(4, maxEntries, func() { m.oneImport(r) })
	case functionSection:
		m.Functions = r.each(1, unbounded, func() { m.functions = append(m.functions, m.typeIndex(r)) })
	case tableSection:
		r.each(3, maxEntries, func() { m.Tables = append(m.Tables, r.tableType()) })
	case memorySection:
		r.each(2, maxEntries, func() { m.Memories = append(m.Memories, r.limits()) })
	case tagSection:
		r.fail(Unsupported, r.pos, "exception handling (build without -fwasm-exceptions)")
	case globalSection:
		m.Globals = r.each(4, unbounded, func() { m.global(r) })
	case exportSection:
		r.each(3, maxEntries, func() { m.export(r) })
	case startSection:
		m.HasStart = true
		m.index(r, "function", len(m.functions))
	case elementSection:
		r.each(3, unbounded, func() { m.element(r) })
	case codeSection:
		m.CodeBytes = int64(r.end - r.pos)
		m.bodies = r.count(2)
		r.pos = r.end
	case dataSection:
		r.each(2, unbounded, func() { m.segment(r) })
	case dataCountSection:
		r.u32()
	}
}

func (r *reader) funcType() FuncType {
	at := r.pos
	if form := r.byte(); r.ok() && form != functionType {
		r.fail(Unsupported, at, "type form %#x (garbage collection proposal?), only functions are", form)
	}
	return FuncType{Params: r.valueTypes(), Results: r.valueTypes()}
}

func (r *reader) valueTypes() []ValueType {
	var types []ValueType
	r.each(1, unbounded, func() { types = append(types, r.valueType()) })
	return types
}

func (r *reader) valueType() ValueType {
	at := r.pos
	t := ValueType(r.byte())
	if r.ok() && !t.known() {
		r.fail(Unsupported, at, "value type %#x", byte(t))
	}
	return t
}

func (r *reader) referenceType() ValueType {
	at := r.pos
	t := ValueType(r.byte())
	if r.ok() && !t.isReference() {
		r.fail(Unsupported, at, "reference type %#x", byte(t))
	}
	return t
}

func (r *reader) tableType() Limits {
	r.referenceType()
	return r.limits()
}

// limits reads the limits of a table or a memory. Other flags than "has a maximum" belong to proposals.
func (r *reader) limits() Limits {
	at := r.pos
	switch flags := r.byte(); {
	case !r.ok():
		return Limits{}
	case flags == 0:
		return Limits{Min: r.u32()}
	case flags == 1:
		return Limits{Min: r.u32(), Max: r.u32(), HasMax: true}
	case flags&^3 == 0:
		r.fail(Unsupported, at, "shared memory (threads; build without -pthread)")
	case flags&^7 == 0:
		r.fail(Unsupported, at, "64-bit memory")
	default:
		r.fail(Malformed, at, "limits with flags %#x", flags)
	}
	return Limits{}
}

func (r *reader) globalType() {
	r.valueType()
	at := r.pos
	if mutable := r.byte(); mutable > 1 {
		r.fail(Malformed, at, "mutability %#x", mutable)
	}
}

func (m *module) global(r *reader) {
	r.globalType()
	m.constant(r)
}

// index reads an index into a space of n things.
func (m *module) index(r *reader, what string, n int) uint32 {
	at := r.pos
	i := r.u32()
	if r.ok() && uint64(i) >= uint64(n) {
		r.fail(Malformed, at, "%s %d, there are %d", what, i, n)
		return 0
	}
	return i
}

func (m *module) tableIndex(r *reader) uint32 {
	return m.index(r, "table", len(m.Tables))
}

func (m *module) typeIndex(r *reader) uint32 {
	return m.index(r, "type", len(m.types))
}

// globalIndex reads the index of an original global. The index just past them is the fuel global's: code that
// names it is refused with a word of its own.
func (m *module) globalIndex(r *reader) uint32 {
	at := r.pos
	i := r.u32()
	if n := m.imported.globals + m.Globals; r.ok() && uint64(i) >= uint64(n) {
		r.fail(Reserved, at, "global %d, the module has %d: what follows them is the host's", i, n)
	}
	return i
}

func (m *module) oneImport(r *reader) {
	i := Import{Module: r.name(), Name: r.name()}
	at := r.pos
	i.Kind = ExternKind(r.byte())
	switch i.Kind {
	case Func:
		if t := m.typeIndex(r); r.ok() {
			i.Func = m.types[t]
			m.functions = append(m.functions, t)
			m.imported.functions++
		}
	case Table:
		m.Tables = append(m.Tables, r.tableType())
		m.imported.tables++
	case Memory:
		m.Memories = append(m.Memories, r.limits())
	case Global:
		r.globalType()
		m.imported.globals++
	case 4:
		r.fail(Unsupported, at, "imported exception tag")
	default:
		r.fail(Malformed, at, "import of kind %d", byte(i.Kind))
	}
	m.Imports = append(m.Imports, i)
}

func (m *module) export(r *reader) {
	e := Export{Name: r.name()}
	at := r.pos
	e.Kind = ExternKind(r.byte())
	switch e.Kind {
	case Func:
		if e.Index = m.index(r, "function", len(m.functions)); r.ok() {
			e.Func = m.types[m.functions[e.Index]]
		}
	case Table:
		e.Index = m.tableIndex(r)
	case Memory:
		e.Index = m.index(r, "memory", len(m.Memories))
	case Global:
		e.Index = m.globalIndex(r)
	case 4:
		r.fail(Unsupported, at, "exported exception tag")
	default:
		r.fail(Malformed, at, "export of kind %d", byte(e.Kind))
	}
	m.Exports = append(m.Exports, e)
}

// constant reads a constant expression. WebAssembly 2.0 has one instruction in it, then end.
func (m *module) constant(r *reader) {
	at := r.pos
	switch op := r.byte(); op {
	case opI32Const:
		r.signed(32)
	case opI64Const:
		r.signed(64)
	case opF32Const:
		r.bytes(4)
	case opF64Const:
		r.bytes(8)
	case opVector:
		if r.byte() != vecConst {
			r.fail(Malformed, at, "vector instruction in a constant expression")
		}
		r.bytes(16)
	case opGlobalGet:
		m.globalIndex(r)
	case opRefNull:
		r.referenceType()
	case opRefFunc:
		m.index(r, "function", len(m.functions))
	default:
		r.fail(Malformed, at, "instruction %#x in a constant expression", op)
	}
	at = r.pos
	if end := r.byte(); r.ok() && end != opEnd {
		r.fail(Unsupported, at, "constant expression of more than one instruction (extended-const)")
	}
}

// element reads an element segment: its flags say whether it is passive or declarative (1), names its table or is
// declarative (2), and holds expressions instead of function indices (4).
func (m *module) element(r *reader) {
	at := r.pos
	flags := r.u32()
	if flags > 7 {
		r.fail(Malformed, at, "element segment with flags %#x", flags)
	}
	passive, explicit, expressions := flags&1 != 0, flags&2 != 0, flags&4 != 0
	if !passive {
		if explicit {
			m.tableIndex(r)
		}
		m.constant(r)
	}
	if passive || explicit {
		if expressions {
			r.referenceType()
		} else if at := r.pos; r.byte() != 0 {
			r.fail(Malformed, at, "element kind is not function")
		}
	}
	r.each(1, unbounded, func() {
		if expressions {
			m.constant(r)
		} else {
			m.index(r, "function", len(m.functions))
		}
	})
}

func (m *module) segment(r *reader) {
	at := r.pos
	switch flags := r.u32(); flags {
	case 0:
		m.constant(r)
	case 1:
	case 2:
		m.index(r, "memory", len(m.Memories))
		m.constant(r)
	default:
		r.fail(Malformed, at, "data segment with flags %#x", flags)
	}
	m.DataBytes += int64(len(r.bytes(r.u32())))
}
