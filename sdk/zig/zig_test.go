package zig_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk/internal/codectest"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const vectors = "../proto/testdata/vectors"

// work is a folder for what is built; cache is Zig's, kept from run to run.
var work, cache = "", filepath.Join(os.TempDir(), "patchbay-zig-cache")

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "patchbay-sdk-zig"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(work)
	os.Exit(code)
}

// compiler is the command that begins a call of Zig: zig, or that of Python's package ziglang.
var compiler = sync.OnceValue(func() []string {
	for _, command := range [][]string{{"zig"}, {"python3", "-m", "ziglang"}} {
		if exec.Command(command[0], append(command[1:], "version")...).Run() == nil {
			return command
		}
	}
	return nil
})

// zig runs the compiler, or skips the test where there is none.
func zig(t testing.TB, args ...string) {
	t.Helper()
	command := compiler()
	if command == nil {
		const text = "zig is not there: install it (pip install ziglang==0.17.1)"
		if os.Getenv("TEST_TOOLS") == "required" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	args = append(command[1:len(command):len(command)], args...)
	if out, err := exec.Command(command[0], args...).CombinedOutput(); err != nil {
		t.Fatalf("zig %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// build compiles a file of testdata as README.md says, once: the plugin with its checks, the
// SDK small.
func build(t testing.TB, name string) string {
	t.Helper()
	out := filepath.Join(work, name+".wasm")
	if _, err := os.Stat(out); err == nil {
		return out
	}
	zig(t, "build-exe", "-fno-entry", "-rdynamic", "--stack", "65536",
		"--cache-dir", cache, "--global-cache-dir", cache, "-femit-bin="+out,
		"-target", "wasm32-freestanding", "-O", "ReleaseSafe", "-fstrip", "--dep", "patchbay", "-Mroot=testdata/"+name+".zig",
		"-target", "wasm32-freestanding", "-O", "ReleaseSmall", "-fstrip", "-Mpatchbay=src/patchbay.zig")
	return out
}

func codec(t testing.TB) *codectest.Guest {
	t.Helper()
	return codectest.Open(t, build(t, "codec"))
}

func TestVectors(t *testing.T)   { codec(t).Vectors(t, vectors) }
func TestMutations(t *testing.T) { codec(t).Mutations(t, vectors, 20_000) }
func TestJSON(t *testing.T)      { codec(t).JSON(t) }
func TestPlugin(t *testing.T)    { codectest.Plugin(t, build(t, "testplugin")) }

func FuzzMessages(f *testing.F) { codectest.FuzzMessages(f, vectors, codec) }
func FuzzJSON(f *testing.F)     { codectest.FuzzJSON(f, codec) }

// What needs no host is tested where it is compiled.
func TestUnits(t *testing.T) {
	zig(t, "test", "--cache-dir", cache, "--global-cache-dir", cache, "src/test.zig")
}

func TestFormat(t *testing.T) { zig(t, "fmt", "--check", ".", "../../examples/filter-zig") }

// What a config is refused for, each with its JSON Pointer.
func TestProblems(t *testing.T) {
	r := plugintest.Wasm(build(t, "testplugin"))
	for text, want := range map[string]string{
		`{"pasword":"hush"}`:                "/pasword unknown key; /password is required",
		`{"password":3}`:                    "/password must be a string",
		`{"password":"x","ttl":"5x"}`:       `/ttl must be a duration as "30s", "1h30m" or "7d"`,
		`{"password":"x","ttl":60}`:         `/ttl must be a duration as "30s", "1h30m" or "7d"`,
		`{"password":"x","a/b~c":1}`:        "/a~1b~0c unknown key",
		`[]`:                                " must be an object",
		`{"password":"x","prefix":["ok/"]}`: "/prefix must be a string",
	} {
		_, res := plugintest.StartResponse(t, r, plugintest.NewHost(), text)
		var got []string
		for _, p := range res.Problems {
			got = append(got, p.Pointer+" "+p.Message)
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%s: %q, want %q", text, strings.Join(got, "; "), want)
		}
	}
}

// maxAuth is what is promised for the smallest useful plugin, in bytes.
const maxAuth = 40 << 10

func TestSize(t *testing.T) {
	info, err := os.Stat(build(t, "auth"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > maxAuth {
		t.Errorf("%d bytes, more than %d", info.Size(), maxAuth)
	}
}

// BenchmarkAuthenticate is the time of an authentication in the broker's own runtime, the way
// to the worker and back included.
func BenchmarkAuthenticate(b *testing.B) {
	m, err := wasm.LoadFile(b.Context(), build(b, "auth"), wasm.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	p, err := m.Open(b.Context(), plugintest.NewHost())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Start(b.Context(), &pluginv1.StartRequest{Config: `{"password":"hush"}`}); err != nil {
		b.Fatal(err)
	}
	batch, answer := &pluginv1.Batch{
		Point: pluginv1.PointAuthenticate, Clients: []pluginv1.Client{{ClientID: "device-17", Username: "ann"}},
		Events: []pluginv1.Event{{Client: 1, Authentication: &pluginv1.Authentication{HasPassword: true, Password: []byte("hush")}}},
	}, new(pluginv1.Answer)
	done := make(chan error, 1)
	b.ReportAllocs()
	for b.Loop() {
		answer.Reset()
		if answered, err := p.Process(batch, answer, func(err error) { done <- err }); answered {
			b.Fatal("answered at once", err)
		}
		if err := <-done; err != nil || answer.Verdicts[0].Action != pluginv1.ActionAllow {
			b.Fatal(answer, err)
		}
	}
}
