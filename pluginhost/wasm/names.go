package wasm

import (
	"slices"
	"strconv"
	"strings"
)

// FunctionName writes the name of a function as its author knows it: without the module's
// name before it, and without what the compilers of Rust and Go make of names.
func FunctionName(name string) string {
	if _, own, ok := strings.Cut(name, ".wasm."); ok {
		name = own
	}
	var parts []string
	switch begin, rest, method := strings.Cut(name, ".__"); {
	case method: // Go's linker writes main.(*plugin).Publish like this
		if receiver, rest, ok := strings.Cut(rest, "_."); ok {
			return begin + ".(*" + receiver + ")." + rest
		}
	case strings.HasPrefix(name, "_ZN"):
		parts = identifiers(name[len("_ZN"):], false)
		if n := len(parts); n > 1 && len(parts[n-1]) == 17 && parts[n-1][0] == 'h' {
			parts = parts[:n-1] // the hash
		}
		for i, p := range parts {
			if strings.HasPrefix(p, "_$") {
				p = p[1:]
			}
			parts[i] = strings.NewReplacer("$LT$", "<", "$GT$", ">", "$u20$", " ", "$u7b$", "{", "$u7d$", "}", "..", "::").Replace(p)
		}
	case strings.HasPrefix(name, "_R"):
		parts = identifiers(name[len("_R"):], true)
	}
	if len(parts) == 0 {
		return name
	}
	return strings.Join(parts, "::")
}

// identifiers collects the identifiers of a mangled name, each with its length before it,
// and steps over the rest: what a type's parameters are is not worth a grammar. v0 is the
// newer of Rust's two ways.
func identifiers(s string, v0 bool) (list []string) {
	for i := 0; i < len(s); {
		switch {
		case v0 && s[i] == 's': // the number of a crate, or of one of several things of one name, ends with "_"
			end := strings.IndexByte(s[i:], '_')
			if end < 0 {
				return list
			}
			i += end + 1
		case s[i] >= '1' && s[i] <= '9':
			j := i
			for j < len(s) && s[j] >= '0' && s[j] <= '9' {
				j++
			}
			n, err := strconv.Atoi(s[i:j])
			if v0 && j < len(s) && s[j] == '_' {
				j++ // the name begins with a digit or "_"
			}
			if err != nil || n > len(s)-j {
				return list
			}
			list = append(list, s[j:j+n])
			i = j + n
		default:
			i++
		}
	}
	return list
}

// machinery are beginnings of names of functions that end a program on behalf of those
// that have called them: whoever looks for a fault does not look for it there.
var machinery = []string{
	"std::panicking", "core::panicking", "std::sys::backtrace", "__rustc::", "rust_panic", "rust_begin_unwind",
	"core::option::expect_failed", "core::option::unwrap_failed", "core::result::unwrap_failed", "core::slice::index::",
	"patchbay::run::panicked", "runtime.", "~lib/patchbay/abort/", "failure.panic.", "pby_panic", "abort",
}

// withoutMachinery drops such functions where a stack begins with them.
func withoutMachinery(stack []string) []string {
	rest := stack
	for len(rest) > 0 && slices.ContainsFunc(machinery, func(m string) bool { return strings.HasPrefix(rest[0], m) }) {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return stack
	}
	return rest
}
