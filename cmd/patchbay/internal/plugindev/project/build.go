package project

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Building is what Build is to do.
type Building struct {
	// Dir is the project.
	Dir string
	// Out is the module to write; empty: NAME.wasm in Dir, NAME being that of the folder.
	Out string
	// Debug keeps what says from which line code comes: a trap says it then.
	Debug bool
	// Said gets what the toolchain says.
	Said io.Writer
}

// building is a Building under way.
type building struct {
	Building
	ctx context.Context
	// tmp is a folder for what comes out of the toolchain.
	tmp string
	out string
}

// ErrNoTool is a toolchain that is not installed; the error says what to install.
var ErrNoTool = errors.New("is not installed")

// Build makes the module of a project, and returns where it is. A module of before stays if
// that does not succeed. Errors of the toolchain are in Said.
func Build(ctx context.Context, w Building) (module string, err error) {
	l, err := find(w.Dir)
	if err != nil {
		return "", err
	}
	b := &building{Building: w, ctx: ctx}
	if b.Dir, err = filepath.Abs(w.Dir); err != nil {
		return "", err
	}
	if module = w.Out; module == "" {
		module = filepath.Join(w.Dir, filepath.Base(b.Dir)+".wasm")
	}
	if b.tmp, err = os.MkdirTemp("", "patchbay-build-"); err != nil {
		return "", err
	}
	defer os.RemoveAll(b.tmp)
	b.out = filepath.Join(b.tmp, "plugin.wasm")
	if err := l.build(b); err != nil {
		return "", fmt.Errorf("%s: %w", l.title, err)
	}
	return module, place(b.out, module)
}

// place puts a file where it belongs, in one step.
func place(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("the toolchain has made no module: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// tool finds a program, or says what to install.
func tool(install string, names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s %w: %s", names[0], ErrNoTool, install)
}

// run runs a program in the project's folder. What it writes to stdout is returned if
// output is set, and said else.
func (b *building) run(output bool, env []string, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(b.ctx, program, args...)
	cmd.Dir, cmd.Env = b.Dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = b.Said, b.Said
	var out bytes.Buffer
	if output {
		cmd.Stdout = &out
	}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(append([]string{filepath.Base(program)}, args...), " "), err)
	}
	return out.Bytes(), nil
}

func buildGo(b *building) error {
	program, err := tool("see go.dev/doc/install, or Debian's package golang-go", "go")
	if err != nil {
		return err
	}
	args := []string{"build", "-mod=mod", "-buildmode=c-shared", "-trimpath"}
	if !b.Debug {
		args = append(args, "-ldflags=-w")
	}
	_, err = b.run(false, []string{"GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS="}, program, append(args, "-o", b.out, ".")...)
	return err
}

const rustTarget = "wasm32-unknown-unknown"

func buildRust(b *building) error {
	program, err := tool("see rustup.rs, or Debian's packages cargo and libstd-rust-dev-wasm32", "cargo")
	if err != nil {
		return err
	}
	if err := b.rustStd(); err != nil {
		return err
	}
	args := []string{"build", "--target", rustTarget, "--message-format=json-render-diagnostics"}
	var env []string
	if b.Debug {
		env = []string{"CARGO_PROFILE_RELEASE_DEBUG=line-tables-only", "CARGO_PROFILE_RELEASE_STRIP=none"}
	}
	out, err := b.run(true, env, program, append(args, "--release")...)
	if err != nil {
		return err
	}
	b.out = ""
	for line := range bytes.Lines(out) {
		var m struct {
			Reason    string   `json:"reason"`
			Filenames []string `json:"filenames"`
		}
		if json.Unmarshal(line, &m) != nil || m.Reason != "compiler-artifact" {
			continue
		}
		for _, f := range m.Filenames {
			if strings.HasSuffix(f, ".wasm") {
				b.out = f // the last one is the project's own
			}
		}
	}
	if b.out == "" {
		return errors.New(`cargo has made no module: Cargo.toml needs [lib] with crate-type = ["cdylib"]`)
	}
	return nil
}

// rustStd looks whether the standard library for WebAssembly is there: without it the
// compiler's errors do not say what to do.
func (b *building) rustStd() error {
	rustc, err := tool("see rustup.rs, or Debian's package rustc", "rustc")
	if err != nil {
		return err
	}
	out, err := b.run(true, nil, rustc, "--print", "target-libdir", "--target", rustTarget)
	if err != nil {
		return err
	}
	if _, err := os.Stat(strings.TrimSpace(string(out))); err != nil {
		return fmt.Errorf("the standard library for %s %w: rustup target add %s, or Debian's package libstd-rust-dev-wasm32", rustTarget, ErrNoTool, rustTarget)
	}
	return nil
}

// buildC compiles one file after the other and links by itself: clang would hand the module
// to a wasm-opt that happens to be there, which takes the names of functions out.
func buildC(b *building) error {
	clang, err := tool("Debian's packages clang and lld", "clang")
	if err != nil {
		return err
	}
	linker, err := tool("Debian's package lld", "wasm-ld")
	if err != nil {
		return err
	}
	sdk, err := filepath.Glob(filepath.Join(b.Dir, "patchbay", "src", "*.c"))
	if err != nil {
		return err
	}
	if sdk == nil {
		return errors.New("there is no SDK in the folder patchbay: copy sdk/c there")
	}
	sources, err := filepath.Glob(filepath.Join(b.Dir, "src", "*.c"))
	if err != nil {
		return err
	}
	how := []string{"-O2", "-flto"}
	if b.Debug {
		how = []string{"-O1", "-g"}
	}
	link := []string{"--no-entry", "--lto-O2", "--stack-first", "-z", "stack-size=65536", "-o", b.out}
	for i, source := range append(sources, sdk...) {
		rel, err := filepath.Rel(b.Dir, source)
		if err != nil {
			return err
		}
		object := filepath.Join(b.tmp, fmt.Sprintf("%d.o", i))
		args := append([]string{"--target=wasm32", "-std=c11", "-Wall", "-Wextra", "-Ipatchbay/include"}, how...)
		if _, err := b.run(false, nil, clang, append(args, "-c", rel, "-o", object)...); err != nil {
			return err
		}
		link = append(link, object)
	}
	_, err = b.run(false, nil, linker, link...)
	return err
}

func buildZig(b *building) error {
	zig, err := b.zig()
	if err != nil {
		return err
	}
	args := append(zig[1:], "build", "--prefix", b.tmp)
	if b.Debug {
		args = append(args, "-Ddebug")
	}
	if _, err = b.run(false, nil, zig[0], args...); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(b.tmp, "bin", "*.wasm"))
	if err != nil || len(found) == 0 {
		return errors.New("zig build has installed no bin/*.wasm")
	}
	b.out = found[0]
	return nil
}

// zig is the command that begins a call of the compiler: zig, or that of the PyPI package.
func (b *building) zig() ([]string, error) {
	if path, err := exec.LookPath("zig"); err == nil {
		return []string{path}, nil
	}
	for _, python := range []string{"python3", "python-zig"} {
		path, err := exec.LookPath(python)
		if err != nil {
			continue
		}
		command := []string{path}
		if python == "python3" {
			command = append(command, "-m", "ziglang")
		}
		if exec.CommandContext(b.ctx, path, append(command[1:], "version")...).Run() == nil {
			return command, nil
		}
	}
	return nil, fmt.Errorf("zig %w: see ziglang.org/download, or pip install ziglang", ErrNoTool)
}

func buildAssemblyScript(b *building) error {
	program := filepath.Join(b.Dir, "node_modules", ".bin", "asc")
	if _, err := os.Stat(program); err != nil {
		if program, err = tool("npm install, or npm install --global assemblyscript", "asc"); err != nil {
			return err
		}
	}
	source := "src/plugin.ts"
	if found, err := filepath.Glob(filepath.Join(b.Dir, "src", "*.ts")); err == nil && len(found) == 1 {
		source = "src/" + filepath.Base(found[0])
	}
	target := "release"
	if b.Debug {
		target = "debug"
	}
	// --debug adds the names of functions. There are no lines, but abort says file and line.
	_, err := b.run(false, nil, program, source, "-o", b.out, "--path", ".", "--config", "patchbay/asconfig.json", "--target", target, "--debug")
	return err
}
