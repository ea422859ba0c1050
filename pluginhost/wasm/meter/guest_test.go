package meter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
)

// guest is testdata/guest, built by the go command, once for all tests and benchmarks.
var guest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "patchbay-meter")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "guest.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", file, ".")
	build.Dir = filepath.Join("testdata", "guest")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.ReadFile(file)
})

// guestCache holds the guest's machine code, which takes a second to make, from one instance to the next.
var guestCache = wazero.NewCompilationCache()

// startGuest makes an initialised instance of the guest, or of its metered form.
func startGuest(tb testing.TB, wasm []byte) *instance {
	tb.Helper()
	i, err := instantiate(tb, wasm, config().WithCompilationCache(guestCache).WithMemoryLimitPages(256))
	if err != nil {
		tb.Fatal(err)
	}
	if how := i.call("_initialize"); how != "[]" {
		tb.Fatal(how)
	}
	return i
}

func guestModules(tb testing.TB) (original, metered []byte) {
	tb.Helper()
	if testing.Short() || raceEnabled {
		tb.Skip("builds a program and compiles 2 MB of WebAssembly")
	}
	original, err := guest()
	if err != nil {
		tb.Fatal(err)
	}
	return original, mustRewrite(tb, original, Options{})
}

// events makes what the guest's decide takes.
func events(n int) []byte {
	var b []byte
	for i := range n {
		topic := []string{"plant/%d/line/2/temperature", "plant/7/line/%d/state", "$SYS/broker/%d", "fleet/car/%d", "other/%d"}[i%5]
		for _, s := range []string{fmt.Sprintf(topic, i), fmt.Sprintf(`{"value":%d.5,"unit":"C","ts":17000000%d}`, i, i)} {
			b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
			b = append(b, s...)
		}
	}
	return b
}

const values = "Temperature=21.5,humidity=0.43,Pressure=1013.25,co2=412,noise=x,lux=3.2e2"

// fill puts data in the guest's buffer.
func (i *instance) fill(tb testing.TB, data []byte) {
	tb.Helper()
	at, err := i.ExportedFunction("buffer").Call(tb.Context(), 1<<16)
	if err != nil || !i.Memory().Write(uint32(at[0]), data) {
		tb.Fatal("no buffer: ", err)
	}
}

// decide returns the verdicts on n events.
func (i *instance) decide(tb testing.TB, data []byte) []byte {
	tb.Helper()
	i.fill(tb, data)
	r, err := i.ExportedFunction("decide").Call(tb.Context(), uint64(len(data)))
	if err != nil {
		tb.Fatal(err)
	}
	verdicts, ok := i.Memory().Read(uint32(r[0]>>32), uint32(r[0]))
	if !ok {
		tb.Fatalf("verdicts at %x", r[0])
	}
	return bytes.Clone(verdicts)
}

// A Go program decides the same, metered; what does not end in it is stopped, and what hoards memory ends by itself
// or for want of fuel.
func TestGoGuest(t *testing.T) {
	original, metered := guestModules(t)
	a, b := startGuest(t, original), startGuest(t, metered)
	for _, n := range []int{1, 5, 64, 500} {
		data := events(n)
		want := a.decide(t, data)
		b.refill(plenty)
		got := b.decide(t, data)
		if !bytes.Equal(got, want) || len(want) != n || n >= 5 && want[0] == 0 && want[2] != 0 {
			t.Errorf("%d events: % x, metered % x", n, want, got)
		}
		if each := (plenty - b.left()) / int64(n); n == 500 && (each < 50 || each > 5000) {
			t.Errorf("%d fuel an event", each)
		}
	}
	a.fill(t, []byte(values))
	b.fill(t, []byte(values))
	if x, y := a.call("parse", uint64(len(values)), 300), b.call("parse", uint64(len(values)), 300); x != y {
		t.Errorf("parse: %s, metered %s", x, y)
	}

	b.refill(2_000_000)
	if how := b.call("spin"); how != outOfFuel || b.left() >= 0 {
		t.Errorf("spin: %s, %d left", how, b.left())
	}
	hoarder := startGuest(t, metered)
	hoarder.refill(50_000_000)
	if how := hoarder.call("hoard"); !strings.HasPrefix(how, "wasm error") && !strings.HasPrefix(how, "module closed") {
		t.Errorf("hoard: %s", how)
	}
}

// A C program does: clang with a target for WebAssembly, and its linker, are not on every machine.
func TestCGuest(t *testing.T) {
	clang, err := exec.LookPath("clang")
	if err != nil {
		t.Skip("no clang; testdata/golden/events.wasm is what one made of the same source")
	}
	file := filepath.Join(t.TempDir(), "events.wasm")
	out, err := exec.Command(clang, "--target=wasm32", "-O2", "-nostdlib", "-mbulk-memory", "-Wl,--no-entry", "-o", file,
		filepath.Join("testdata", "c", "events.c")).CombinedOutput()
	if err != nil {
		t.Skipf("clang cannot make WebAssembly: %s", out)
	}
	if got, want := golden(t, read(t, file)), string(read(t, filepath.Join("testdata", "golden", "events.txt"))); withoutState(got) != withoutState(want) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// withoutState leaves of golden's lines what does not depend on where a compiler puts things.
func withoutState(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		call, _, _ := strings.Cut(line, ", memory")
		if !strings.HasPrefix(call, "buffer") {
			b.WriteString(strings.TrimSpace(call) + "\n")
		}
	}
	return b.String()
}

// A Rust program does, where there is a compiler with the standard library for WebAssembly.
func TestRustGuest(t *testing.T) {
	rustc, err := exec.LookPath("rustc")
	if err != nil {
		t.Skip("no rustc")
	}
	dir, err := exec.Command(rustc, "--print=target-libdir", "--target=wasm32-unknown-unknown").Output()
	if _, absent := os.Stat(strings.TrimSpace(string(dir))); err != nil || absent != nil {
		t.Skip("rustc has no target wasm32-unknown-unknown")
	}
	file := filepath.Join(t.TempDir(), "events.wasm")
	out, err := exec.Command(rustc, "--target=wasm32-unknown-unknown", "--crate-type=cdylib", "-O", "-Cpanic=abort", "-Cstrip=symbols", "-o", file,
		filepath.Join("testdata", "rust", "events.rs")).CombinedOutput()
	if err != nil {
		t.Skipf("rustc cannot make WebAssembly: %s", out)
	}
	module := read(t, file)
	a, b := mustInstantiate(t, module), mustInstantiate(t, mustRewrite(t, module, Options{}))
	for n := range uint64(50) {
		if x, y := a.call("words", n), b.call("words", n); x != y || x == "[0]" && n > 5 {
			t.Errorf("words(%d): %s, metered %s", n, x, y)
		}
	}
	b.refill(1_000_000)
	if how := b.call("spin"); how != outOfFuel || b.left() >= 0 {
		t.Errorf("spin: %s, %d left", how, b.left())
	}
}
