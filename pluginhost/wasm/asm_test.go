package wasm

import (
	"encoding/binary"
	"slices"
)

// assembler puts a module together. Types are letters: i, I, f.
type assembler struct {
	types, imports, functions, memory, globals, exports, code, data [][]byte
	names                                                           [][]byte
	imported                                                        int
}

func uleb(v int) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func sleb(v int64) []byte {
	var b []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func str(s string) []byte { return append(uleb(len(s)), s...) }

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func letters(s string) []byte {
	b := uleb(len(s))
	for _, c := range s {
		b = append(b, map[rune]byte{'i': 0x7f, 'I': 0x7e, 'f': 0x7c}[c])
	}
	return b
}

func (a *assembler) typ(params, results string) []byte {
	a.types = append(a.types, cat([]byte{0x60}, letters(params), letters(results)))
	return uleb(len(a.types) - 1)
}

func (a *assembler) importFunc(module, name, params, results string) int {
	a.imports = append(a.imports, cat(str(module), str(name), []byte{0}, a.typ(params, results)))
	a.imported++
	return a.imported - 1
}

// function adds one, and exports it if it has a name in capitals or small letters; "-name" is for the name section alone.
func (a *assembler) function(name, params, results string, body ...[]byte) int {
	a.functions = append(a.functions, a.typ(params, results))
	code := cat([]byte{0}, cat(body...), []byte{0x0b})
	a.code = append(a.code, cat(uleb(len(code)), code))
	index := a.imported + len(a.functions) - 1
	if name[0] == '-' {
		name = name[1:]
	} else {
		a.export(name, 0, index)
	}
	a.names = append(a.names, cat(uleb(index), str(name)))
	return index
}

func (a *assembler) export(name string, kind byte, index int) {
	a.exports = append(a.exports, cat(str(name), []byte{kind}, uleb(index)))
}

// global adds a mutable one of type i or I and exports it.
func (a *assembler) global(name string, t byte, v int64) int {
	a.globals = append(a.globals, cat(letters(string(t))[1:], []byte{1, map[byte]byte{'i': 0x41, 'I': 0x42}[t]}, sleb(v), []byte{0x0b}))
	a.export(name, 3, len(a.globals)-1)
	return len(a.globals) - 1
}

func (a *assembler) mem(pages int) {
	a.memory = append(a.memory, cat([]byte{0}, uleb(pages)))
	a.export("memory", 2, 0)
}

func (a *assembler) bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, entries [][]byte) {
		if len(entries) > 0 {
			content := cat(uleb(len(entries)), cat(entries...))
			out = append(out, cat([]byte{id}, uleb(len(content)), content)...)
		}
	}
	section(1, a.types)
	section(2, a.imports)
	section(3, a.functions)
	section(5, a.memory)
	section(6, a.globals)
	section(7, a.exports)
	section(10, a.code)
	section(11, a.data)
	if len(a.names) > 0 {
		functions := cat(uleb(len(a.names)), cat(a.names...))
		content := cat(str("name"), []byte{1}, uleb(len(functions)), functions)
		out = append(out, cat([]byte{0}, uleb(len(content)), content)...)
	}
	return out
}

// Instructions.
var (
	unreachable = []byte{0x00}
	forever     = []byte{0x03, 0x40, 0x0c, 0x00, 0x0b, 0x00} // loop br 0 end unreachable
)

func get(i int) []byte    { return append([]byte{0x20}, uleb(i)...) }
func gget(i int) []byte   { return append([]byte{0x23}, uleb(i)...) }
func i32c(v int32) []byte { return append([]byte{0x41}, sleb(int64(v))...) }
func i64c(v int64) []byte { return append([]byte{0x42}, sleb(v)...) }
func call(i int) []byte   { return append([]byte{0x10}, uleb(i)...) }

// bufferAt is where the buffer of hand-made guests lies.
const bufferAt = 1024

// plain begins a module that speaks ABI 1 but for patchbay_call. prepare adds imports.
func plain(marker string, prepare func(a *assembler)) *assembler {
	a := &assembler{}
	if prepare != nil {
		prepare(a)
	}
	a.mem(2)
	a.function(marker, "", "")
	a.function("patchbay_buffer", "i", "i", i32c(bufferAt))
	return a
}

// tiny is a guest that answers every call with the same bytes, empty for none.
func tiny(answer string) []byte { return fixed(abiBinary, answer) }

func fixed(marker, answer string) []byte {
	a := plain(marker, nil)
	result := int64(0)
	if answer != "" {
		result = 512<<32 | int64(len(answer))
		a.data = append(a.data, cat([]byte{0}, i32c(512), []byte{0x0b}, str(answer)))
	}
	a.function("patchbay_call", "ii", "I", i64c(result))
	return a.bytes()
}
