package as_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk/internal/codectest"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const vectors = "../proto/testdata/vectors"

// work is a folder for what is built.
var work string

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "patchbay-sdk-as"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(work)
	os.Exit(code)
}

// build compiles a file of testdata as README.md says, once, or skips the test where there is
// no compiler.
func build(t testing.TB, name string, options ...string) string {
	t.Helper()
	out := filepath.Join(work, name+".wasm")
	if _, err := os.Stat(out); err == nil {
		return out
	}
	asc, err := exec.LookPath("asc")
	if err != nil {
		const text = "asc is not there: install it (npm install -g assemblyscript@0.28.20)"
		if os.Getenv("TEST_TOOLS") == "required" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	args := append([]string{"testdata/" + name + ".ts", "-o", out, "--path", ".", "--config", "patchbay/asconfig.json"}, options...)
	if text, err := exec.Command(asc, args...).CombinedOutput(); err != nil {
		t.Fatalf("asc %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return out
}

// codec is not optimized: for the code of all messages that takes ten seconds.
func codec(t testing.TB) *codectest.Guest {
	t.Helper()
	return codectest.Open(t, build(t, "codec", "--target", "debug"))
}

func TestVectors(t *testing.T)   { codec(t).Vectors(t, vectors) }
func TestMutations(t *testing.T) { codec(t).Mutations(t, vectors, 10_000) }
func TestJSON(t *testing.T)      { codec(t).JSON(t) }
func TestPlugin(t *testing.T)    { codectest.Plugin(t, build(t, "testplugin")) }

func FuzzMessages(f *testing.F) { codectest.FuzzMessages(f, vectors, codec) }
func FuzzJSON(f *testing.F)     { codectest.FuzzJSON(f, codec) }

// What needs no host is tested in the module itself, which throws where something is wrong.
func TestUnits(t *testing.T) {
	p := plugintest.Start(t, plugintest.Wasm(build(t, "units", "--target", "debug")), plugintest.NewHost(), `{}`)
	if p.Manifest.Name != "units" {
		t.Errorf("manifest %+v", p.Manifest)
	}
}

// maxAuth is what is promised for the smallest useful plugin, in bytes.
const maxAuth = 60 << 10

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

func open(t testing.TB, file, config string) *wasm.Plugin {
	t.Helper()
	m, err := wasm.LoadFile(t.Context(), file, wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	p, err := m.Open(t.Context(), plugintest.NewHost())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if res, err := p.Start(t.Context(), &pluginv1.StartRequest{Config: config}); err != nil || len(res.Problems) > 0 {
		t.Fatal(res, err)
	}
	return p.(*wasm.Plugin)
}

func process(p *wasm.Plugin, b *pluginv1.Batch, a *pluginv1.Answer) error {
	a.Reset()
	done := make(chan error, 1)
	if answered, err := p.Process(b, a, func(err error) { done <- err }); answered {
		return err
	}
	return <-done
}

func connect(password string) *pluginv1.Batch {
	return &pluginv1.Batch{
		Point: pluginv1.PointAuthenticate, Clients: []pluginv1.Client{{ClientID: "device-17", Username: "ann"}},
		Events: []pluginv1.Event{{Client: 1, Authentication: &pluginv1.Authentication{HasPassword: true, Password: []byte(password)}}},
	}
}

// What calls leave behind is collected: a module's memory stays within a few times what the SDK
// leaves before it collects.
func TestMemory(t *testing.T) {
	p := open(t, build(t, "auth"), `{"password":"hush"}`)
	b, a := connect("hush"), new(pluginv1.Answer)
	for range 5_000 {
		if err := process(p, b, a); err != nil || a.Verdicts[0].Action != pluginv1.ActionAllow {
			t.Fatal(a, err)
		}
	}
	b = connect(strings.Repeat("x", 60_000))
	for range 100 {
		if err := process(p, b, a); err != nil || a.Verdicts[0].Action != pluginv1.ActionDeny {
			t.Fatal(a, err)
		}
	}
	for _, s := range p.Stats().Instances {
		t.Logf("%d bytes of memory, %d units of fuel for the dearest call", s.MemoryBytes, s.FuelMax)
		if s.MemoryBytes > 2<<20 {
			t.Errorf("%d bytes of memory", s.MemoryBytes)
		}
	}
}

// BenchmarkAuthenticate is the time of an authentication in the broker's own runtime, the way
// to the worker and back included.
func BenchmarkAuthenticate(b *testing.B) {
	p := open(b, build(b, "auth"), `{"password":"hush"}`)
	batch, answer := connect("hush"), new(pluginv1.Answer)
	b.ReportAllocs()
	for b.Loop() {
		if err := process(p, batch, answer); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPublish is the time per message of 300 bytes, as it passes and as it is refused.
func BenchmarkPublish(b *testing.B) {
	p := open(b, build(b, "prefix"), "")
	for _, topic := range []string{"a/topic", "b/topic"} {
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", topic[:1], n), func(b *testing.B) {
				batch, answer := &pluginv1.Batch{Point: pluginv1.PointInterceptPublish, Clients: []pluginv1.Client{{ClientID: "c"}}}, new(pluginv1.Answer)
				for range n {
					batch.Events = append(batch.Events, pluginv1.Event{Client: 1, Message: &pluginv1.Message{Topic: topic, Payload: make([]byte, 293)}})
				}
				b.ReportAllocs()
				for b.Loop() {
					answer.Reset()
					if answered, err := p.Process(batch, answer, func(error) {}); !answered || err != nil {
						b.Fatal(answered, err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/message")
			})
		}
	}
}
