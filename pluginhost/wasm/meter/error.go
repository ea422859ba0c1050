package meter

import "fmt"

// Kind says why a module was refused.
type Kind uint8

const (
	// Malformed: the bytes are not a module in the binary format, or an index points nowhere.
	Malformed Kind = iota + 1
	// Unsupported: a proposal that is not in WebAssembly 2.0 (threads, exceptions, tail calls, …).
	Unsupported
	// TooLarge: past one of the [Options]' limits.
	TooLarge
	// Reserved: the module names the fuel global, or exports something under its name.
	Reserved
)

// String returns "malformed", "not supported", "too large" or "touches what is reserved".
func (k Kind) String() string {
	switch k {
	case Malformed:
		return "malformed"
	case Unsupported:
		return "not supported"
	case TooLarge:
		return "too large"
	case Reserved:
		return "touches what is reserved"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error says what is wrong with a module and where. [Rewrite] and [Inspect] return no other type.
type Error struct {
	Kind     Kind
	Section  string // "type", "code", …; "header" before the first section
	Function int    // in the function index space (imports first), where the code is at fault; -1 elsewhere
	Offset   int    // in bytes from the beginning of the module
	Reason   string // what was found, and what was expected
}

// Error returns "wasm module not supported: code section, function 12, offset 0x1f3: memory.atomic.notify …".
func (e *Error) Error() string {
	where := e.Section + " section"
	if e.Section == "header" {
		where = "header"
	}
	if e.Function >= 0 {
		where += fmt.Sprintf(", function %d", e.Function)
	}
	return fmt.Sprintf("wasm module %s: %s, offset %#x: %s", e.Kind, where, e.Offset, e.Reason)
}
