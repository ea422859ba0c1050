package c_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/internal/codectest"
)

const vectors = "../proto/testdata/vectors"

// codecModule builds the codec with the exports of codectest, once.
var codecModule = sync.OnceValues(func() (string, error) {
	file := filepath.Join(work, "codec.wasm")
	out, err := compile(file, "-DPBY_TABLES_BY_NAME", "testdata/codec.c", "src/wire.c", "src/arena.c", "src/v1.c", "src/text.c", "src/json.c")
	if err != nil {
		return out, err
	}
	return file, nil
})

// work is a folder for what is built.
var work string

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "patchbay-sdk-c"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(work)
	os.Exit(code)
}

// compile builds a module as the README says; the error comes with what the compiler said.
func compile(file string, args ...string) (string, error) {
	flags := []string{
		"--target=wasm32", "-std=c11", "-O2", "-nostdlib", "-Wall", "-Wextra", "-Werror",
		"-Wl,--no-entry", "-Wl,--stack-first", "-Iinclude", "-o", file,
	}
	out, err := exec.Command("clang", append(flags, args...)...).CombinedOutput()
	return string(out), err
}

// needClang skips the test where there is no compiler, unless tools are required.
func needClang(t testing.TB) {
	t.Helper()
	for _, tool := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("TEST_TOOLS") == "required" {
			t.Fatalf("%s is not there: install clang and lld", tool)
		}
		t.Skipf("%s is not there: install clang and lld", tool)
	}
}

func codec(t testing.TB) *codectest.Guest {
	t.Helper()
	needClang(t)
	file, err := codecModule()
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	return codectest.Open(t, file)
}

func TestVectors(t *testing.T)   { codec(t).Vectors(t, vectors) }
func TestMutations(t *testing.T) { codec(t).Mutations(t, vectors, 20_000) }
func TestJSON(t *testing.T)      { codec(t).JSON(t) }

func FuzzMessages(f *testing.F) { codectest.FuzzMessages(f, vectors, codec) }
func FuzzJSON(f *testing.F)     { codectest.FuzzJSON(f, codec) }
