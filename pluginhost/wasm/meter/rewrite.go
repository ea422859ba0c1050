package meter

import "encoding/binary"

// DefaultExport is the fuel global's name unless [Options] has another.
const DefaultExport = "patchbay_fuel"

// Options are what [Rewrite] needs to know of the host. The zero value is good for modules that have no start section.
type Options struct {
	// Export is the name under which the fuel global is exported; DefaultExport if empty.
	Export string
	// StartFuel is in the fuel global when the module is instantiated, for its start section, which runs before the
	// host can set anything. With none, a start function traps at once.
	StartFuel int64
	// MaxPages is the host's limit for a memory, in pages of 64 KiB; 65536 if 0. memory.grow by more than that fails
	// in any case, and is not charged for what it asks for.
	MaxPages uint32

	// PageFuel is the price of one page of memory.grow, 4000 if 0: about 10 µs, for the faults on its first use. That
	// is right for a runtime that reserves the memory's maximum (wazero: WithMemoryCapacityFromMax). One that does not
	// moves what is there as it grows: 140–200 µs a page, for which 80000 is right.
	PageFuel uint32

	// Limits against hostile modules; 0 is the default.
	MaxModule    int    // bytes of the module, 64 MiB
	MaxFunctions int    // defined by the module, 200 000
	MaxBody      int    // bytes of one function, 2 MiB
	MaxLocals    int    // of one function with its parameters, 20 000
	MaxTable     uint32 // entries of a table, 131072: more at the start are refused, and table.grow beyond fails
}

func (o Options) withDefaults() Options {
	if o.Export == "" {
		o.Export = DefaultExport
	}
	o.MaxPages = min(orDefault(o.MaxPages, 1<<16), 1<<16) // times PageFuel, it fits in an i64
	o.PageFuel = orDefault(o.PageFuel, 4000)
	o.MaxModule = orDefault(o.MaxModule, 64<<20)
	o.MaxFunctions = orDefault(o.MaxFunctions, 200_000)
	o.MaxBody = orDefault(o.MaxBody, 2<<20)
	o.MaxLocals = orDefault(o.MaxLocals, 20_000)
	o.MaxTable = orDefault(o.MaxTable, 1<<17)
	return o
}

func orDefault[T int | uint32](v, fallback T) T {
	if v == 0 {
		return fallback
	}
	return v
}

// Rewrite returns the module with metering added: a mutable i64 global, exported as [Options].Export, from which the
// code takes fuel as it runs, and which traps (unreachable) once it is below zero. The host sets it before a call,
// and finds in it what is left; after a trap for want of fuel it is negative, and the instance of no further use.
// With enough fuel the module computes what it did before, to the bit, and traps where it did; only the depth at which
// recursion runs out of the runtime's stack may differ.
//
// The module is not validated: the result is for a runtime that does. It is refused, with an [*Error], if it is
// malformed as far as Rewrite reads it, uses anything beyond WebAssembly 2.0, names the fuel global or its export,
// or is past a limit.
//
// module is not changed, and no part of it kept. Rewrite is safe for concurrent use.
func Rewrite(module []byte, o Options) ([]byte, error) {
	o = o.withDefaults()
	if len(module) > o.MaxModule {
		return nil, &Error{
			Kind: TooLarge, Section: "header", Function: -1, Offset: o.MaxModule, Reason: "more bytes than the limit",
		}
	}
	m, err := parse(module)
	if err != nil {
		return nil, err
	}
	if err := m.check(o); err != nil {
		return nil, err
	}
	w := &rewriter{module: m, Options: o, out: make([]byte, 0, len(module)+len(module)/4+64)}
	w.fuel = leb(nil, m.imported.globals+m.Globals)
	w.bodyTypes()
	if err := w.rewrite(); err != nil {
		return nil, err
	}
	return w.out, nil
}

// check holds the module's structure against the options.
func (m *module) check(o Options) error {
	fail := func(kind Kind, section byte, reason string) error {
		e := &Error{Kind: kind, Section: sectionNames[section], Function: -1, Reason: reason}
		for _, s := range m.sections {
			if s.id == section {
				e.Offset = s.start
			}
		}
		return e
	}
	if m.Functions > o.MaxFunctions {
		return fail(TooLarge, functionSection, "more functions than the limit")
	}
	if len(m.Memories) > 1 {
		return fail(Unsupported, memorySection, "multiple memories")
	}
	for _, e := range m.Exports {
		if e.Name == o.Export {
			return fail(Reserved, exportSection, "exports "+e.Name+", which is the host's to add")
		}
	}
	entries := uint64(0)
	for _, t := range m.Tables[m.imported.tables:] {
		entries += uint64(t.Min)
	}
	if entries > uint64(o.MaxTable) || len(m.Tables) > maxTables {
		return fail(TooLarge, tableSection, "more tables, or entries in them, than the limit")
	}
	return nil
}

// rewriter writes the new module.
type rewriter struct {
	*module
	Options
	out      []byte
	fuel     []byte   // index of the fuel global, encoded
	bodyType [][]byte // by type index: the block type, encoded, that has the results of this function type
	newTypes [][]byte // function types to add for that
}

// rewrite copies the module section by section. The sections that metering adds to are made where they belong if they
// are not there.
func (w *rewriter) rewrite() error {
	w.out = append(w.out, magic...)
	added := []struct {
		id    byte
		entry []byte
	}{{globalSection, w.global()}, {exportSection, w.export()}}
	for _, s := range w.sections {
		content := w.data[s.start:s.end]
		for len(added) > 0 && s.id != customSection && sectionOrder[s.id] >= sectionOrder[added[0].id] {
			if s.id == added[0].id {
				content = extend(content, added[0].entry)
			} else {
				w.section(added[0].id, []byte{1}, added[0].entry)
			}
			added = added[1:]
		}
		switch s.id {
		case typeSection:
			content = extend(content, w.newTypes...)
		case tableSection:
			content = w.tables(s)
		case codeSection:
			code, err := w.code(s)
			if err != nil {
				return err
			}
			content = code
		}
		w.section(s.id, content)
	}
	for _, a := range added {
		w.section(a.id, []byte{1}, a.entry)
	}
	return nil
}

func (w *rewriter) section(id byte, parts ...[]byte) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	w.out = leb(append(w.out, id), size)
	for _, p := range parts {
		w.out = append(w.out, p...)
	}
}

// extend appends entries to the vector that makes up a section.
func extend(content []byte, entries ...[]byte) []byte {
	if len(entries) == 0 {
		return content
	}
	r := &reader{data: content, end: len(content)}
	longer := leb(make([]byte, 0, len(content)+64), int(r.u32())+len(entries))
	longer = append(longer, content[r.pos:]...)
	for _, e := range entries {
		longer = append(longer, e...)
	}
	return longer
}

// global is the fuel global's entry in the global section.
func (w *rewriter) global() []byte {
	return append(sleb([]byte{byte(I64), 1, opI64Const}, w.StartFuel), opEnd)
}

// export is the fuel global's entry in the export section.
func (w *rewriter) export() []byte {
	e := append(leb(nil, len(w.Export)), w.Export...)
	return append(append(e, byte(Global)), w.fuel...)
}

// tables gives the module's own tables a maximum, or the lower one: what a table grows to is the host's memory.
func (w *rewriter) tables(s section) []byte {
	r := &reader{data: w.data, pos: s.start, end: s.end}
	n := r.count(3)
	content := leb(nil, n)
	for range n {
		content = append(content, byte(r.referenceType()), 1)
		limits := r.limits()
		if !limits.HasMax || limits.Max > w.MaxTable {
			limits.Max = w.MaxTable
		}
		content = leb(leb(content, int(limits.Min)), int(limits.Max))
	}
	return content
}

// bodyTypes finds a block type for the results of every function: one of no or one result needs none; for more there
// must be a function type without parameters, which is added if the module has none.
func (w *rewriter) bodyTypes() {
	w.bodyType = make([][]byte, len(w.types))
	known := map[string]int{}
	for i, t := range w.types {
		if len(t.Params) == 0 {
			known[t.String()] = i
		}
	}
	for _, i := range w.functions[w.imported.functions:] {
		switch t := w.types[i]; {
		case w.bodyType[i] != nil:
		case len(t.Results) == 0:
			w.bodyType[i] = []byte{emptyBlock}
		case len(t.Results) == 1:
			w.bodyType[i] = []byte{byte(t.Results[0])}
		default:
			wanted := FuncType{Results: t.Results}
			index, ok := known[wanted.String()]
			if !ok {
				index = len(w.types) + len(w.newTypes)
				known[wanted.String()] = index
				entry := leb([]byte{functionType, 0}, len(t.Results))
				for _, r := range t.Results {
					entry = append(entry, byte(r))
				}
				w.newTypes = append(w.newTypes, entry)
			}
			w.bodyType[i] = sleb(nil, int64(index))
		}
	}
}

// leb appends an unsigned LEB128.
func leb(b []byte, v int) []byte { return binary.AppendUvarint(b, uint64(v)) }

// sleb appends a signed LEB128.
func sleb(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
