// Package main_test looks at the program from outside: it builds the binary once,
// runs it as a process on free ports of loopback, and talks to it with the clients
// that people use.
//
// What a test needs that is not there (mosquitto's clients, node, npm, a registry)
// makes it skip and say what to install; with TEST_TOOLS=required it fails instead.
package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// patchbay is the path of the program under test.
var patchbay string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "patchbay-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	patchbay = filepath.Join(dir, "patchbay")
	args := []string{"build", "-o", patchbay}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, ".")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// missing ends a test for want of something that has to be installed.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("TEST_TOOLS") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
