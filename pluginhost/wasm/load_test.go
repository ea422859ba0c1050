package wasm

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

func TestRefusals(t *testing.T) {
	with := func(change func(a *assembler)) []byte {
		a := plain(abiBinary, nil)
		a.function("patchbay_call", "ii", "I", i64c(0))
		change(a)
		return a.bytes()
	}
	importing := func(module, name, params, results string) []byte {
		a := plain(abiBinary, func(a *assembler) { a.importFunc(module, name, params, results) })
		a.function("patchbay_call", "ii", "I", i64c(0))
		return a.bytes()
	}
	other := func(marker string) []byte {
		a := plain(marker, nil)
		a.function("patchbay_call", "ii", "I", i64c(0))
		return a.bytes()
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":          {nil, "empty"},
		"text":           {[]byte("(module)"), "wat2wasm"},
		"program":        {[]byte("\x7fELF..."), "runtime process"},
		"component":      {[]byte("\x00asm\x0d\x00\x01\x00"), "component"},
		"something else": {[]byte("hello"), `begins with "hell"`},
		"cut":            {tiny("")[:40], "malformed"},
		"another ABI":    {other("patchbay_abi_v2"), "another ABI, patchbay_abi_v2; this broker speaks version 1"},
		"no ABI":         {other("main"), "does not export patchbay_abi_v1"},
		"Proxy-Wasm":     {other("proxy_abi_version_0_2_1"), "Proxy-Wasm"},
		"both ABIs":      {with(func(a *assembler) { a.function(abiJSON, "", "") }), "both"},
		"_start":         {with(func(a *assembler) { a.function("_start", "", "") }), "-buildmode=c-shared"},
		"no call":        {plain(abiBinary, nil).bytes(), "does not export the function patchbay_call (i32, i32) -> i64"},
		"another call": {func() []byte {
			a := plain(abiBinary, nil)
			a.function("patchbay_call", "i", "i", i32c(0))
			return a.bytes()
		}(), "it has to be (i32, i32) -> i64"},
		"_initialize":       {with(func(a *assembler) { a.function("_initialize", "i", "") }), "_initialize is (i32) -> ()"},
		"export is no func": {with(func(a *assembler) { a.export("_initialize", 2, 0) }), "is a memory"},
		"unknown module":    {importing("extism:host/env", "input_length", "", "I"), "only the modules patchbay_v1"},
		"unknown function":  {importing(hostModule, "publish", "", ""), "patchbay_v1 has only error, host_call, log, now"},
		"env":               {importing(envModule, "seed", "", "f"), "env has only abort"},
		"unknown WASI":      {importing(wasiModule, "fd_mmap", "", ""), "preview 1 does not have"},
		"old WASI":          {importing("wasi_unstable", "fd_write", "iiii", "i"), "newer toolchain"},
		"signature":         {importing(hostModule, "now", "", "i"), "as () -> i32; it is () -> i64"},
		"memory":            {with(func(a *assembler) { a.memory[0] = cat([]byte{0}, uleb(300)) }), "18.75 MiB of memory at the start, and the limit is 16 MiB"},
		"fuel global":       {with(func(a *assembler) { a.global("patchbay_fuel", 'I', 0) }), "patchbay_fuel"},
		"threads":           {body(i32c(0), i32c(0), []byte{0xfe, 0, 2, 0}, []byte{0x1a}, i64c(0)), "not supported"},
		"invalid code":      {body(i32c(0)), "type"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Load(t.Context(), c.file, Options{})
			if err == nil {
				m.Close()
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "refused") {
				t.Errorf("%v", err)
			}
		})
	}
	// All problems are told at once.
	_, err := Load(t.Context(), (&assembler{types: [][]byte{{0x60, 0, 0}}}).bytes(), Options{})
	var r *Refusal
	if !errors.As(err, &r) || len(r.Problems) != 4 {
		t.Errorf("%v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(tiny("abc"))
	f.Add(programmable(abiBinary))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := Load(t.Context(), file, Options{FuelWorker: 100_000, FuelPerCall: 100_000})
		if err != nil {
			return
		}
		defer m.Close()
		p, err := m.Open(t.Context(), &fakeHost{})
		if err != nil {
			return
		}
		defer p.Close()
		p.Describe(t.Context(), &pluginv1.DescribeRequest{})
	})
}

// TestCache: what is in the cache never matters but for the time.
func TestCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	try := func(what string, warnings int) {
		t.Helper()
		m, err := Load(t.Context(), tiny(""), Options{CacheDir: dir})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer m.Close()
		if w := m.Warnings(); len(w) != warnings {
			t.Fatalf("%s: %v", what, w)
		}
		p, err := m.Open(t.Context(), &fakeHost{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer p.Close()
		if _, err := p.Describe(t.Context(), &pluginv1.DescribeRequest{}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	files := func() (list []string) {
		filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
			if !d.IsDir() {
				list = append(list, path)
			}
			return nil
		})
		return list
	}
	try("new", 0)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	before := files()
	if len(before) != 2 {
		t.Fatalf("files %q", before)
	}
	try("again", 0)
	for _, path := range before {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(good); i += 1 + len(good)/40 {
			bad := slices.Clone(good)
			bad[i] ^= 0x41
			os.WriteFile(path, bad, 0o600)
			try("changed "+filepath.Base(path), 0)
		}
		os.WriteFile(path, good[:len(good)/2], 0o600)
		try("cut "+filepath.Base(path), 0)
		os.Remove(path)
		try("without "+filepath.Base(path), 0)
	}
	if after := files(); !slices.Equal(after, before) {
		t.Errorf("files %q, before %q", after, before)
	}
	os.Chmod(dir, 0o777)
	try("open to others", 1)
	os.RemoveAll(dir)
	os.WriteFile(dir, nil, 0o600)
	try("a file", 1)
}

var update = flag.Bool("update", false, "write the golden modules anew; those of a released version must stay as they are")

// TestGolden loads plugins that were built for version 1 of the contract. They have to work for ever.
func TestGolden(t *testing.T) {
	deny := &pluginv1.Answer{Verdicts: []pluginv1.Verdict{{Action: pluginv1.ActionDeny, ReasonCode: 0x87, Reason: "golden"}}}
	hosted := plain(abiBinary, func(a *assembler) {
		a.importFunc(hostModule, "log", "iii", "")
		a.importFunc(hostModule, "error", "ii", "")
		a.importFunc(hostModule, "now", "", "I")
		a.importFunc(hostModule, "host_call", "iiiii", "i")
		a.importFunc(wasiModule, "random_get", "ii", "i")
		a.importFunc(envModule, "abort", "iiii", "")
	})
	hosted.data = append(hosted.data, cat([]byte{0}, i32c(512), []byte{0x0b}, str("golden")))
	drop := []byte{0x1a}
	hosted.function("patchbay_call", "ii", "I", onProcess(
		call(2), drop, i32c(600), i32c(8), call(4), drop, i32c(2), i32c(512), i32c(6), call(0),
		i32c(int32(pluginv1.HostOpNow)), i32c(0), i32c(0), i32c(600), i32c(64), call(3), drop,
		i32c(512), i32c(6), call(1), i64c(-1))...)
	for name, c := range map[string]struct {
		file  []byte
		check func(t *testing.T, a *pluginv1.Answer, err error, lines []string)
	}{
		"continue.wasm": {tiny(""), func(t *testing.T, a *pluginv1.Answer, err error, _ []string) {
			if err != nil || len(a.Verdicts) != 0 {
				t.Errorf("%+v, %v", a, err)
			}
		}},
		"host.wasm": {hosted.bytes(), func(t *testing.T, _ *pluginv1.Answer, err error, lines []string) {
			var e *Error
			if !errors.As(err, &e) || e.Cause != Refused || e.Reason != "golden" || !slices.Contains(lines, "LOG_LEVEL_INFO golden") {
				t.Errorf("%v, %q", err, lines)
			}
		}},
		"json.wasm": {onlyProcess(abiJSON, string(v1json.AppendJSON(nil, deny))), denied},
		"deny.wasm": {onlyProcess(abiBinary, string(deny.AppendTo(nil))), denied},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "golden", name)
			if *update {
				if err := os.WriteFile(path, c.file, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			m, err := LoadFile(t.Context(), path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			host := &fakeHost{}
			p := started(t, open(t, m, host), startWith())
			a, err := process(p, publish("t"))
			c.check(t, a, err, host.logged())
		})
	}
}

func denied(t *testing.T, a *pluginv1.Answer, err error, _ []string) {
	if err != nil || len(a.Verdicts) != 1 || a.Verdicts[0].Action != pluginv1.ActionDeny || a.Verdicts[0].Reason != "golden" {
		t.Errorf("%+v, %v", a, err)
	}
}

// onlyProcess is a guest that answers batches with the same bytes, and all else with nothing.
func onlyProcess(marker, answer string) []byte {
	a := plain(marker, nil)
	a.data = append(a.data, cat([]byte{0}, i32c(512), []byte{0x0b}, str(answer)))
	a.function("patchbay_call", "ii", "I", onProcess(i64c(512<<32|int64(len(answer))))...)
	return a.bytes()
}

// TestJSONNames: every call of the host has its messages under the names that are made of its op's.
func TestJSONNames(t *testing.T) {
	// quiet answers every call with an empty message.
	quiet := v1host.Caller(func(context.Context, pluginv1.HostOp, []byte) ([]byte, error) { return nil, nil })
	for op := range pluginv1.HostOp(lastHostOp) {
		_, err := serveJSON(context.Background(), quiet, op, []byte("{}"), nil)
		own := op <= pluginv1.HostOpLastResponse
		known := !own && op.String()[0] == 'H'
		if got := !errors.Is(err, &pluginv1.HostError{Code: pluginv1.HostErrorCodeUnsupported}); got != known {
			t.Errorf("%s: known %v: %v", op, got, err)
		}
	}
}
