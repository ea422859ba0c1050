package rust_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/internal/codectest"
)

const (
	vectors = "../proto/testdata/vectors"
	target  = "wasm32-unknown-unknown"
)

// work is a folder for what is built.
var work string

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "patchbay-sdk-rust"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(work)
	os.Exit(code)
}

var errNoRustc = errors.New("rustc with " + target + " is not there: install rustc, libstd-rust-dev-wasm32 and lld")

// rustc finds a compiler that has the target, and a linker if it brings none.
var rustc = sync.OnceValues(func() (args []string, err error) {
	for _, name := range []string{os.Getenv("RUSTC"), "rustc", "/usr/bin/rustc"} {
		if name == "" {
			continue
		}
		out, err := exec.Command(name, "--print", "target-libdir", "--target", target).Output()
		libs := strings.TrimSpace(string(out))
		if err != nil {
			continue
		}
		if _, err := os.Stat(libs); err != nil {
			continue
		}
		args = []string{name, "--edition", "2021", "--target", target, "-C", "panic=abort"}
		found, err := filepath.Glob(filepath.Join(libs, "../../*/bin/rust-lld*"))
		if err != nil || len(found) > 0 {
			return args, err
		}
		_, err = exec.LookPath("wasm-ld")
		return append(args, "-C", "linker=wasm-ld"), err
	}
	return nil, errNoRustc
})

// build compiles the SDK, and with it one file to a module.
func build(source string, flags ...string) (file string, err error) {
	command, err := rustc()
	if err != nil {
		return "", err
	}
	library := filepath.Join(work, "libpatchbay.rlib")
	file = filepath.Join(work, strings.TrimSuffix(filepath.Base(source), ".rs")+".wasm")
	for _, args := range [][]string{
		{"--crate-type", "rlib", "--crate-name", "patchbay", "src/lib.rs", "-o", library},
		{"--crate-type", "cdylib", "--crate-name", "guest", "--extern", "patchbay=" + library, source, "-o", file},
	} {
		cmd := exec.Command(command[0], append(append(append([]string{}, command[1:]...), flags...), args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w\n%s", err, out)
		}
	}
	return file, nil
}

// needFast skips the test under the race detector: wazero takes minutes then to compile what Rust's library brings along, and a
// module runs on one goroutine.
func needFast(t testing.TB) {
	t.Helper()
	if raceEnabled {
		t.Skip("takes minutes under the race detector, and has one goroutine")
	}
}

// need skips the test where there is no compiler, unless tools are required.
func need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case (errors.Is(err, errNoRustc) || errors.Is(err, exec.ErrNotFound)) && os.Getenv("TEST_TOOLS") != "required":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

var codecModule = sync.OnceValues(func() (string, error) { return build("testdata/codec.rs", "-C", "opt-level=1") })

func codec(t testing.TB) *codectest.Guest {
	t.Helper()
	needFast(t)
	file, err := codecModule()
	need(t, err)
	return codectest.Open(t, file)
}

func TestVectors(t *testing.T)   { codec(t).Vectors(t, vectors) }
func TestMutations(t *testing.T) { codec(t).Mutations(t, vectors, 20_000) }
func TestJSON(t *testing.T)      { codec(t).JSON(t) }

func FuzzMessages(f *testing.F) { codectest.FuzzMessages(f, vectors, codec) }
func FuzzJSON(f *testing.F)     { codectest.FuzzJSON(f, codec) }

// The SDK's own tests are Rust's: of its allocator, config and text.
func TestCargo(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the tests")
	}
	if _, err := exec.LookPath("rustc"); err != nil {
		need(t, err)
	}
	binary := filepath.Join(work, "unit")
	if out, err := exec.Command("rustc", "--edition", "2021", "--test", "src/lib.rs", "-o", binary).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(binary).CombinedOutput(); err != nil || !strings.Contains(string(out), "test result: ok") {
		t.Errorf("%v\n%s", err, out)
	}
}
