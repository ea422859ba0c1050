package meter

import (
	"fmt"
	"strings"
)

// ValueType is a WebAssembly value type, by its byte in the binary format.
type ValueType byte

// The value types of WebAssembly 2.0.
const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

// String returns the type's name in the text format.
func (t ValueType) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	}
	return fmt.Sprintf("type %#x", byte(t))
}

func (t ValueType) known() bool {
	return t >= V128 && t <= I32 || t.isReference()
}

func (t ValueType) isReference() bool { return t == FuncRef || t == ExternRef }

// FuncType is a function's signature.
type FuncType struct {
	Params, Results []ValueType
}

// String returns "(i32, i32) -> i64".
func (f FuncType) String() string {
	list := func(types []ValueType) string {
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = t.String()
		}
		return strings.Join(names, ", ")
	}
	results := list(f.Results)
	if len(f.Results) != 1 {
		results = "(" + results + ")"
	}
	return "(" + list(f.Params) + ") -> " + results
}

// Limits bound a memory, in pages of 64 KiB, or a table, in entries.
type Limits struct {
	Min, Max uint32
	HasMax   bool // false: Max is 0 and means nothing
}

// ExternKind says what is imported or exported, by its byte in the binary format.
type ExternKind byte

// What can be imported and exported.
const (
	Func   ExternKind = 0
	Table  ExternKind = 1
	Memory ExternKind = 2
	Global ExternKind = 3
)

// String returns "func", "table", "memory" or "global".
func (k ExternKind) String() string {
	switch k {
	case Func:
		return "func"
	case Table:
		return "table"
	case Memory:
		return "memory"
	case Global:
		return "global"
	}
	return fmt.Sprintf("kind %d", byte(k))
}
