package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
)

// What a compiler ends with. Anything else is a crash.
const (
	statusRefused   = 1 // the module is not one
	statusNotStored = 3 // what was compiled could not be written
)

// compilerError is what a compiler prints before it ends with a status.
type compilerError struct {
	error
	status int
}

func (e compilerError) ExitCode() int { return e.status }
func (e compilerError) Unwrap() error { return e.error }

// Compile is what the program of Options.Compiler does: it reads a module from stdin, and leaves its code in the folder that
// arguments, the last of the program's, say. The process is to print the error and to end with its ExitCode.
func Compile(ctx context.Context, arguments []string, stdin io.Reader) error {
	if len(arguments) != 3 {
		return compilerError{fmt.Errorf("a compiler is told DIR PAGES PREEMPTIBLE by the broker that starts it; it was told %q", arguments), statusNotStored}
	}
	dir := arguments[0]
	pages, err := strconv.ParseUint(arguments[1], 10, 32)
	if err != nil {
		return compilerError{fmt.Errorf("PAGES: %w", err), statusNotStored}
	}
	preemptible, err := strconv.ParseBool(arguments[2])
	if err != nil {
		return compilerError{fmt.Errorf("PREEMPTIBLE: %w", err), statusNotStored}
	}
	metered, err := io.ReadAll(stdin)
	if err != nil {
		return compilerError{err, statusNotStored}
	}
	try := func(cache wazero.CompilationCache) error {
		config := runtimeConfig(uint32(pages), preemptible)
		if cache != nil {
			config = config.WithCompilationCache(cache)
		}
		r := wazero.NewRuntimeWithConfig(ctx, config)
		defer r.Close(ctx)
		_, err := r.CompileModule(ctx, metered)
		return err
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return compilerError{err, statusNotStored}
	}
	defer cache.Close(ctx)
	stored := try(cache)
	if stored == nil {
		return nil
	}
	// The fault is the module's if it cannot be compiled without a folder, either.
	if err := try(nil); err != nil {
		return compilerError{err, statusRefused}
	}
	return compilerError{stored, statusNotStored}
}

// errNoCompiler says that there is no compiler that works, which says nothing about the module.
type errNoCompiler struct{ error }

func (e errNoCompiler) Unwrap() error { return e.error }

// compileBeside has the compiler fill an entry.
func (m *Module) compileBeside(ctx context.Context, e entry, preemptible bool) error {
	// The kernel kills the compiler when the thread that has started it ends, so that must be one that lives as long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	args := slices.Concat(m.o.Compiler[1:], []string{e.temp, fmt.Sprint(m.o.pages()), fmt.Sprint(preemptible)})
	cmd := exec.CommandContext(ctx, m.o.Compiler[0], args...)
	cmd.Args[0] = filepath.Base(os.Args[0]) // for those who list processes
	said := &beginning{max: 2 << 10}
	cmd.Stdin, cmd.Stderr = bytes.NewReader(m.metered), said
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=400"} // one core, and little of it for garbage: the process ends soon
	cmd.SysProcAttr = compilerAttributes()
	cmd.WaitDelay = time.Second
	err := cmd.Start()
	if err == nil {
		afterOthers(cmd.Process.Pid)
		err = cmd.Wait()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("wasm plugin: while it was compiled: %w", context.Cause(ctx))
	case !errors.As(err, &exit):
		return errNoCompiler{err}
	}
	switch text := said.String(); exit.ExitCode() {
	case statusRefused:
		return fmt.Errorf("wasm plugin refused: %s", text)
	case statusNotStored:
		return errNoCompiler{errors.New(text)}
	default:
		if text != "" {
			text = ": " + text
		}
		return fmt.Errorf("wasm plugin refused: the process that compiled it ended with %s%s", exit, text)
	}
}

// beginning keeps the first bytes that are written to it: what a program that has crashed says first is what it died of.
type beginning struct {
	text []byte
	max  int
}

func (b *beginning) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), b.max-len(b.text))]...)
	return len(p), nil
}

// String is the first line.
func (b *beginning) String() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b.text)), "\n")
	return strings.ToValidUTF8(line, "�")
}

// passing is an entry for the time of one compilation, where nothing is kept.
func passing() (entry, error) {
	dir, err := os.MkdirTemp("", "patchbay-compiled-")
	if err != nil {
		return entry{}, err
	}
	return entry{temp: dir}, nil
}
