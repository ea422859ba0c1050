package meter

import "encoding/binary"

// builder assembles a module for the tests: entries of sections, already encoded.
type builder struct {
	sections  [14][][]byte
	imported  [4]int // functions, tables, memories, globals
	functions int
	custom    []customAt
}

type customAt struct {
	before byte // the section id it precedes; 0: the end of the module
	name   string
	data   []byte
}

func u(v int) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func str(s string) []byte { return append(u(len(s)), s...) }

func cat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func (b *builder) add(section byte, entry ...[]byte) int {
	b.sections[section] = append(b.sections[section], cat(entry...))
	return len(b.sections[section]) - 1
}

func typesOf(types []ValueType) []byte {
	e := u(len(types))
	for _, t := range types {
		e = append(e, byte(t))
	}
	return e
}

// signature returns the index of a function type, the same one for the same types.
func (b *builder) signature(params, results []ValueType) int {
	e := cat([]byte{0x60}, typesOf(params), typesOf(results))
	for i, t := range b.sections[typeSection] {
		if string(t) == string(e) {
			return i
		}
	}
	return b.add(typeSection, e)
}

func (b *builder) importFunc(module, name string, params, results []ValueType) int {
	b.add(importSection, str(module), str(name), []byte{byte(Func)}, u(b.signature(params, results)))
	b.imported[Func]++
	return b.imported[Func] - 1
}

// function adds a function, and exports it unless name is empty. Its body lacks the last end.
func (b *builder) function(name string, params, results, locals []ValueType, body ...[]byte) int {
	b.add(functionSection, u(b.signature(params, results)))
	groups := u(len(locals))
	for _, l := range locals {
		groups = append(groups, 1, byte(l))
	}
	code := cat(groups, cat(body...), []byte{opEnd})
	b.add(codeSection, u(len(code)), code)
	index := b.imported[Func] + b.functions
	b.functions++
	if name != "" {
		b.export(name, Func, index)
	}
	return index
}

func (b *builder) export(name string, kind ExternKind, index int) {
	b.add(exportSection, str(name), []byte{byte(kind)}, u(index))
}

func (b *builder) memory(pages ...int) {
	b.add(memorySection, limitsOf(pages...))
	b.export("memory", Memory, 0)
}

// limitsOf encodes a minimum, and a maximum if there are two numbers.
func limitsOf(n ...int) []byte {
	e := []byte{byte(len(n) - 1)}
	for _, v := range n {
		e = append(e, u(v)...)
	}
	return e
}

func (b *builder) table(entries ...int) int {
	return b.add(tableSection, []byte{byte(FuncRef)}, limitsOf(entries...))
}

func (b *builder) global(t ValueType, mutable byte, init ...[]byte) int {
	return b.imported[Global] + b.add(globalSection, []byte{byte(t), mutable}, cat(init...), []byte{opEnd})
}

// elements adds an active segment to table 0.
func (b *builder) elements(offset int, functions ...int) {
	e := cat([]byte{0, opI32Const}, s(int64(offset)), []byte{opEnd}, u(len(functions)))
	for _, f := range functions {
		e = append(e, u(f)...)
	}
	b.add(elementSection, e)
}

// sectionsInOrder lists section ids in the order of the binary format.
var sectionsInOrder = []byte{
	typeSection, importSection, functionSection, tableSection, memorySection, tagSection, globalSection, exportSection,
	startSection, elementSection, dataCountSection, codeSection, dataSection,
}

func (b *builder) bytes() []byte {
	out := append([]byte(nil), magic...)
	customs := func(before byte) {
		for _, c := range b.custom {
			if c.before == before {
				out = append(out, cat([]byte{customSection}, u(len(str(c.name))+len(c.data)), str(c.name), c.data)...)
			}
		}
	}
	for _, id := range sectionsInOrder {
		customs(id)
		entries := b.sections[id]
		if len(entries) == 0 {
			continue
		}
		content := cat(entries...)
		if id != startSection && id != dataCountSection {
			content = cat(u(len(entries)), content)
		}
		out = append(out, cat([]byte{id}, u(len(content)), content)...)
	}
	customs(0)
	return out
}

// s encodes a signed LEB128.
func s(v int64) []byte { return sleb(nil, v) }

func code(ops ...byte) []byte { return ops }

func get(i int) []byte    { return append(code(opLocalGet), u(i)...) }
func set(i int) []byte    { return append(code(0x21), u(i)...) }
func tee(i int) []byte    { return append(code(opLocalTee), u(i)...) }
func gget(i int) []byte   { return append(code(opGlobalGet), u(i)...) }
func gset(i int) []byte   { return append(code(opGlobalSet), u(i)...) }
func i32c(v int32) []byte { return append(code(opI32Const), s(int64(v))...) }
func i64c(v int64) []byte { return append(code(opI64Const), s(v)...) }
func call(i int) []byte   { return append(code(opCall), u(i)...) }
func br(l int) []byte     { return append(code(opBr), u(l)...) }
func brIf(l int) []byte   { return append(code(opBrIf), u(l)...) }
func mem(op byte, align, offset int) []byte {
	return cat(code(op), u(align), u(offset))
}

// block is a block, loop or if with nothing in and nothing out.
func blk(kind byte, body ...[]byte) []byte {
	return cat(code(kind, 0x40), cat(body...), code(opEnd))
}

// countdown runs body until local i has come down from its value to zero.
func countdown(i int, body ...[]byte) []byte {
	return blk(opLoop, cat(body...), get(i), i32c(1), code(0x6b), tee(i), brIf(0))
}
