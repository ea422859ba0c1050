package wasm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm/meter"
)

// The marker exports, and what else a module has to export.
const (
	abiPrefix  = "patchbay_abi_v"
	abiBinary  = "patchbay_abi_v1"
	abiJSON    = "patchbay_abi_v1_json"
	exportCall = "patchbay_call"
	exportBuf  = "patchbay_buffer"
	exportInit = "_initialize"
	exportMem  = "memory"
	reactor    = "build a reactor (Go: -buildmode=c-shared; Rust: crate-type cdylib for wasm32-unknown-unknown; " +
		"C: -nostdlib -Wl,--no-entry, or -mexec-model=reactor with a WASI libc)"
)

// Refusal says why a module is not run: all that is wrong with it, and what would be right.
type Refusal struct{ Problems []string }

// Error returns the problems in one line.
func (r *Refusal) Error() string { return "wasm plugin refused: " + strings.Join(r.Problems, "; ") }

// inspect reads file and holds it against the ABI. It reports whether the module speaks JSON.
func inspect(file []byte, o Options) (info meter.Info, json bool, err error) {
	r := &Refusal{}
	if what := notModule(file); what != "" {
		r.Problems = []string{what}
		return info, false, r
	}
	if info, err = meter.Inspect(file); err != nil {
		r.Problems = []string{err.Error()}
		return info, false, r
	}
	json = r.marker(info)
	r.exports(info)
	for _, i := range info.Imports {
		r.imported(i)
	}
	if len(info.Memories) == 1 && info.Memories[0].Min > o.pages() {
		r.add("it needs %s of memory at the start, and the limit is %s: give it a higher one, or have it begin with less",
			mib(info.Memories[0].Min), mib(o.pages()))
	}
	if len(r.Problems) > 0 {
		return info, false, r
	}
	return info, json, nil
}

func mib(pages uint32) string { return fmt.Sprintf("%.4g MiB", float64(pages)/16) }

func (r *Refusal) add(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// notModule says what else the bytes are than a core module, if that can be seen.
func notModule(file []byte) string {
	switch {
	case len(file) == 0:
		return "the file is empty"
	case bytes.HasPrefix(file, []byte("\x00asm\x0d\x00\x01\x00")):
		return "it is a component (WASI preview 2); Patchbay runs core modules: " + reactor
	case bytes.HasPrefix(file, []byte("\x00asm")):
		return ""
	case bytes.HasPrefix(file, []byte("(module")):
		return "it is WebAssembly's text format; translate it first (wat2wasm)"
	case bytes.HasPrefix(file, []byte("\x7fELF")), bytes.HasPrefix(file, []byte("#!")), bytes.HasPrefix(file, []byte("MZ")):
		return "it is a program for a process, not a WebAssembly module: run it with runtime process, or compile it to WebAssembly"
	}
	return fmt.Sprintf("it is not a WebAssembly module: it begins with %q instead of \"\\x00asm\"", file[:min(len(file), 4)])
}

// marker finds out which ABI the module speaks.
func (r *Refusal) marker(info meter.Info) (json bool) {
	var found []string
	proxy := false
	for _, e := range info.Exports {
		if strings.HasPrefix(e.Name, abiPrefix) {
			found = append(found, e.Name)
		}
		proxy = proxy || strings.HasPrefix(e.Name, "proxy_abi_version")
	}
	binary := slices.Contains(found, abiBinary)
	json = slices.Contains(found, abiJSON)
	switch {
	case binary && json:
		r.add("it exports both %s and %s: export the one that it speaks", abiBinary, abiJSON)
	case binary || json:
	case len(found) > 0:
		r.add("it was built for another ABI, %s; this broker speaks version 1 (%s, or %s)",
			strings.Join(found, ", "), abiBinary, abiJSON)
	case proxy:
		r.add("it is a Proxy-Wasm plugin; Patchbay has an ABI of its own (export %s)", abiBinary)
	default:
		r.add("it does not export %s (or %s), by which a plugin of Patchbay is known", abiBinary, abiJSON)
	}
	return json
}

func (r *Refusal) exports(info meter.Info) {
	byName := map[string]meter.Export{}
	for _, e := range info.Exports {
		byName[e.Name] = e
	}
	if _, ok := byName["_start"]; ok {
		r.add("it exports _start, so it is a program that runs once and ends: %s", reactor)
	}
	for _, want := range []struct {
		name     string
		f        function
		optional bool
	}{
		{exportBuf, function{params: "i", results: "i"}, false},
		{exportCall, function{params: "ii", results: "I"}, false},
		{exportInit, function{}, true},
	} {
		e, ok := byName[want.name]
		switch {
		case !ok && want.optional:
		case !ok:
			r.add("it does not export the function %s %s", want.name, want.f.signature())
		case e.Kind != meter.Func:
			r.add("its export %s is a %s; it has to be a function %s", want.name, e.Kind, want.f.signature())
		case e.Func.String() != want.f.signature():
			r.add("its function %s is %s; it has to be %s", want.name, e.Func, want.f.signature())
		}
	}
	if e, ok := byName[exportMem]; !ok || e.Kind != meter.Memory {
		r.add("it does not export its memory as %q", exportMem)
	}
}

func (r *Refusal) imported(i meter.Import) {
	if i.Kind != meter.Func {
		r.add("it imports the %s %s.%s; a plugin brings its own: only functions can be imported", i.Kind, i.Module, i.Name)
		return
	}
	functions := allowed(i.Module)
	if functions == nil {
		if i.Module == "wasi_unstable" {
			r.add("it imports from wasi_unstable; only %s is there: build it with a newer toolchain", wasiModule)
			return
		}
		r.add("it imports %s.%s; there are only the modules %s, %s and, with abort alone, %s",
			i.Module, i.Name, hostModule, wasiModule, envModule)
		return
	}
	f, ok := functions[i.Name]
	switch {
	case !ok && i.Module == wasiModule:
		r.add("it imports %s.%s, which WASI preview 1 does not have", i.Module, i.Name)
	case !ok:
		names := make([]string, 0, len(functions))
		for name := range functions {
			names = append(names, name)
		}
		slices.Sort(names)
		r.add("it imports %s.%s; %s has only %s", i.Module, i.Name, i.Module, strings.Join(names, ", "))
	case f.signature() != i.Func.String():
		r.add("it imports %s.%s as %s; it is %s", i.Module, i.Name, i.Func, f.signature())
	}
}
