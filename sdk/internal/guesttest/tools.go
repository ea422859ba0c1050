package guesttest

import (
	"os"
	"os/exec"
	"testing"
)

// Skip skips a test for lack of a tool, unless TEST_TOOLS is "required". The text says what
// to install.
func Skip(t testing.TB, text string) {
	t.Helper()
	if os.Getenv("TEST_TOOLS") == "required" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// Zig returns the command that begins a call of the Zig compiler: zig, or that of
// Python's package ziglang.
func Zig(t testing.TB) []string {
	t.Helper()
	if path, err := exec.LookPath("zig"); err == nil {
		return []string{path}
	}
	for _, python := range []string{"python3", "python-zig"} {
		path, err := exec.LookPath(python)
		if err != nil {
			continue
		}
		command := []string{path, "-m", "ziglang"}
		if python == "python-zig" {
			command = []string{path}
		}
		if exec.Command(command[0], append(command[1:], "version")...).Run() == nil {
			return command
		}
	}
	Skip(t, "zig is not there: install it (pip install ziglang==0.17.1)")
	return nil
}

// AssemblyScript returns the path of its compiler.
func AssemblyScript(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("asc")
	if err != nil {
		Skip(t, "asc is not there: install it (npm install -g assemblyscript@0.28.20)")
	}
	return path
}

// Run runs a command in a folder and fails the test with its output.
func Run(t testing.TB, dir string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
}
