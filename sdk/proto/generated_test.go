package proto

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unavailable skips the test, unless tools are required.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("TEST_TOOLS") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// What is generated is what the .proto files say. The generator is a module of its own;
// where its dependencies cannot be had it cannot be asked.
func TestGeneratedFilesAreUpToDate(t *testing.T) {
	gen := filepath.Join(t.TempDir(), "gen")
	build := exec.Command("go", "build", "-o", gen, ".")
	build.Dir = "gen"
	if out, err := build.CombinedOutput(); err != nil {
		unavailable(t, "the generator cannot be built: %v\n%s", err, out)
	}
	if out, err := exec.Command(gen, "-dir", ".", "-check").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// The rules that the generator holds the contract against have tests in its module.
func TestGenerator(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-test", ".")
	list.Dir = "gen"
	if out, err := list.CombinedOutput(); err != nil {
		unavailable(t, "the generator's dependencies are not there: %v\n%s", err, out)
	}
	test := exec.Command("go", "test", "./...")
	test.Dir = "gen"
	if out, err := test.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// maxGuest is how large a Go guest may be that does little but read and write the
// contract's messages, in bytes. Go's runtime alone takes 1.82 MB of it.
const maxGuest = 2_000_000

func TestGuestIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds for another system")
	}
	wasm := filepath.Join(t.TempDir(), "guest.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", wasm, "./testdata/guest")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a guest that imports the codec has %d bytes", info.Size())
	if info.Size() > maxGuest {
		t.Errorf("a guest that imports the codec has %d bytes, more than %d", info.Size(), maxGuest)
	}
}

// A guest carries what the codec imports: nothing but small packages of the standard
// library.
func TestCodecImportsLittle(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, "./v1").Output()
	if err != nil {
		t.Fatal(err)
	}
	small := map[string]bool{"errors": true, "math": true, "math/bits": true, "strconv": true, "unicode/utf8": true, "unsafe": true}
	for _, name := range strings.Fields(string(out)) {
		if !small[name] {
			t.Errorf("package v1 imports %s", name)
		}
	}
}
