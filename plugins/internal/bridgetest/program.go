package bridgetest

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Flags of the tests that use this package; see doc.go.
var (
	chaosKills = flag.Int("chaos.kills", 3, "how often Chaos kills each process, and has the network fail")
	chaosSeed  = flag.Uint64("chaos.seed", 0, "what Chaos does when; 0 is another one each time")
)

// roleVariable tells a test's binary that it is started as a role.
const roleVariable = "BRIDGETEST_ROLE"

// programs are those that were built, in a folder that Main removes.
var programs struct {
	sync.Mutex
	dir  string
	list map[string]func() (string, error)
}

// Main runs the tests of a package and returns the exit status for TestMain. A binary that was
// started by Role does its role in place of tests, and ends when the test's process does.
func Main(m *testing.M, roles map[string]func(args []string) error) int {
	if name := os.Getenv(roleVariable); name != "" {
		role, ok := roles[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "there is no role %q\n", name)
			return 2
		}
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(3)
		}()
		if err := role(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	code := m.Run()
	if programs.dir != "" {
		os.RemoveAll(programs.dir)
	}
	return code
}

// Role is a Command of ProcessOptions: this test's binary once more, which does a role of Main
// with these arguments. So a test can be its own other side, in a process that can be killed.
func Role(t testing.TB, name string, args ...string) func() *exec.Cmd {
	t.Helper()
	file, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return func() *exec.Cmd {
		cmd := exec.Command(file, args...)
		cmd.Env = append(os.Environ(), roleVariable+"="+name)
		return cmd
	}
}

// Build builds a program of this module, once for all tests of a binary, and returns its file.
// The package is named as for the go command: a path, or "./cmd/x" from the test's folder.
// The TestMain of the test has to call Main, which removes the file.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	programs.Lock()
	if programs.dir == "" {
		dir, err := os.MkdirTemp("", "bridgetest")
		if err != nil {
			programs.Unlock()
			t.Fatal(err)
		}
		programs.dir, programs.list = dir, map[string]func() (string, error){}
	}
	make, ok := programs.list[pkg]
	if !ok {
		file := filepath.Join(programs.dir, fmt.Sprintf("%d-%s", len(programs.list), filepath.Base(pkg)))
		make = sync.OnceValues(func() (string, error) {
			if out, err := exec.Command("go", "build", "-o", file, pkg).CombinedOutput(); err != nil {
				return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
			}
			return file, nil
		})
		programs.list[pkg] = make
	}
	programs.Unlock()
	file, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return file
}
