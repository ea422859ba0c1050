package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// compilerMode begins the first argument of this test's program where it is to be a compiler.
const compilerMode = "compiler-that-"

// compilerProcess is the compiler as the tests want it.
func compilerProcess(mode string, arguments []string) {
	switch mode {
	case "works":
	case "crashes":
		debug.SetMaxStack(1 << 20)
		var deep func(n int) int
		deep = func(n int) int { return deep(n+1) + n }
		fmt.Fprintln(os.Stderr, "about to overflow")
		deep(0)
	case "is-killed":
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {}
	case "cannot-write":
		arguments[0] = filepath.Join(os.DevNull, "x")
	case "hangs":
		select {}
	}
	if err := Compile(context.Background(), arguments, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(err.(interface{ ExitCode() int }).ExitCode())
	}
	os.Exit(0)
}

func compilerThat(mode string) []string { return []string{os.Args[0], compilerMode + mode} }

func needsCompiler(t *testing.T) {
	if !compiles {
		t.Skip("modules are interpreted on " + runtime.GOARCH)
	}
}

// makesPlugins checks that plugins can be made of a module.
func makesPlugins(t *testing.T, m *Module) {
	t.Helper()
	p, err := m.Open(t.Context(), &fakeHost{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Describe(t.Context(), &pluginv1.DescribeRequest{}); err != nil {
		t.Fatal(err)
	}
}

// TestCompiler: what the compiler has made is used, with a cache and without one, and nothing else is left behind.
func TestCompiler(t *testing.T) {
	needsCompiler(t)
	file, err := os.ReadFile(filepath.Join("..", "..", "examples", "filter-zig", "filter-zig.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	allocated := func(o Options) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m := load(t, file, o)
		runtime.ReadMemStats(&after)
		makesPlugins(t, m)
		return after.TotalAlloc - before.TotalAlloc
	}
	alone := allocated(Options{})
	dir := filepath.Join(temp, "cache")
	for name, o := range map[string]Options{
		"no cache":    {Compiler: compilerThat("works")},
		"cache":       {Compiler: compilerThat("works"), CacheDir: dir},
		"preemptible": {Compiler: compilerThat("works"), Preemptible: true},
	} {
		if beside := allocated(o); beside > alone/2 {
			t.Errorf("%s: %d bytes were allocated, and %d where this process compiles", name, beside, alone)
		}
	}
	// The entry is a whole one: it is used where there is no compiler.
	if cached := allocated(Options{CacheDir: dir}); cached > alone/2 {
		t.Errorf("from the cache: %d bytes were allocated, and %d where this process compiles", cached, alone)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || strings.HasPrefix(entries[0].Name(), "new-") {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestCompilerRefuses: a module that cannot be compiled is told as it is without a compiler, and one that ends the compiler ends
// nothing else.
func TestCompilerRefuses(t *testing.T) {
	needsCompiler(t)
	invalid := body(i32c(0)) // no i64 for its result
	_, alone := Load(t.Context(), invalid, Options{})
	for mode, c := range map[string]struct {
		file []byte
		want string
	}{
		"works":     {invalid, alone.Error()},
		"crashes":   {tiny(""), "wasm plugin refused: the process that compiled it ended with exit status 2: about to overflow"},
		"is-killed": {tiny(""), "wasm plugin refused: the process that compiled it ended with signal: killed"},
	} {
		for _, dir := range []string{"", filepath.Join(t.TempDir(), "cache")} {
			m, err := Load(t.Context(), c.file, Options{Compiler: compilerThat(mode), CacheDir: dir})
			if err == nil {
				m.Close()
				t.Fatalf("%s: it was accepted", mode)
			}
			if err.Error() != c.want {
				t.Errorf("%s: %q, want %q", mode, err, c.want)
			}
			if dir == "" {
				continue
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%s: %v, %v", mode, left, err)
			}
		}
	}
}

// TestNoCompiler: where no compiler works for a reason that is not the module's, the broker compiles.
func TestNoCompiler(t *testing.T) {
	needsCompiler(t)
	for name, compiler := range map[string][]string{
		"absent":       {filepath.Join(t.TempDir(), "absent")},
		"cannot write": compilerThat("cannot-write"),
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Load(t.Context(), tiny(""), Options{Compiler: compiler, CacheDir: filepath.Join(t.TempDir(), "cache")})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			makesPlugins(t, m)
			if w := m.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0].Error(), "compiled by the broker itself: ") {
				t.Errorf("%v", w)
			}
		})
	}
}

// TestCompilerIsEnded: nobody waits for a compiler that is not wanted any more.
func TestCompilerIsEnded(t *testing.T) {
	needsCompiler(t)
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	m, err := Load(ctx, tiny(""), Options{Compiler: compilerThat("hangs")})
	if err == nil {
		m.Close()
		t.Fatal("it was loaded")
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
