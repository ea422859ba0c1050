package wasm

import (
	"bytes"
	"context"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm/meter"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// examples are modules as compilers make them, of every language that has an SDK, each with
// a config that it takes.
var examples = []struct{ path, config string }{
	{"acl-c/acl-c.wasm", `{"rules":[{"allow":["publish"],"topics":["dev/${client_id}/#"]}]}`},
	{"auth-json-abi/auth-json-abi.wasm", `{"users":{"ann":"hush"}}`},
	{"auth-tenant-assemblyscript/auth-tenant.wasm",
		`{"roles":{"r":[{"allow":["all"],"topic":"#"}]},"tenants":{"t":{"users":{"ann":{"password":"hush","role":"r"}}}}}`},
	{"auth-token-rust/auth-token.wasm", `{"keys":["the key that tokens are signed with now"]}`},
	{"filter-zig/filter-zig.wasm", `{"rules":[{"topic":"#","max":1,"outside":"clamp"}]}`},
}

func example(t testing.TB, i int) (file []byte, config string) {
	t.Helper()
	e := examples[i%len(examples)]
	file, err := os.ReadFile(filepath.Join("../../examples", filepath.FromSlash(e.path)))
	if err != nil {
		t.Fatal(err)
	}
	return file, e.config
}

// callTime is what any call may take: a hundred times what its fuel allows, for machines
// that are busy.
const callTime = 20 * time.Second

// stage is how far a module has come.
type stage int

const (
	loaded stage = iota + 1
	opens
	describes
	starts
	answers
)

// live does with a module all that a broker does with a plugin, and reports how far that
// went. What fails has to fail with a message, in time, and all is given up in the end.
func live(t *testing.T, file []byte, config string) (reached stage) {
	t.Helper()
	began := time.Now()
	failed := func(what string, err error) bool {
		t.Helper()
		took := time.Since(began)
		began = time.Now()
		if took > callTime {
			t.Fatalf("%s took %v", what, took)
		}
		if err != nil && len(err.Error()) < 10 {
			t.Fatalf("%s: %q teaches nothing", what, err)
		}
		var e *Error
		if errors.As(err, &e) && e.Cause == 0 {
			t.Fatalf("%s: %v has no cause", what, err)
		}
		return err != nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := Load(ctx, file, Options{Inline: 1})
	if failed("Load", err) {
		var refusal *Refusal
		var code *meter.Error
		if !errors.As(err, &refusal) && !errors.As(err, &code) && !bytes.Contains([]byte(err.Error()), []byte("wasm plugin refused: ")) {
			t.Fatalf("not refused: %v", err)
		}
		return 0
	}
	defer func() {
		m.Close()
		eventually(t, "all is given up", m.isFree)
	}()
	opened, err := m.Open(ctx, plugintest.NewHost())
	if failed("Open", err) {
		return loaded
	}
	p := opened.(*Plugin)
	defer p.Close()
	manifest, err := p.Describe(ctx, &pluginv1.DescribeRequest{Host: &pluginv1.HostInfo{Node: "n"}})
	if failed("Describe", err) {
		return opens
	}
	out, err := p.Start(ctx, &pluginv1.StartRequest{Name: "p", Config: config, Worker: true, Grants: manifest.Grants})
	if failed("Start", err) || len(out.Problems) > 0 {
		return describes
	}
	reached = answers
	for _, hook := range manifest.Hooks[:min(len(manifest.Hooks), 8)] {
		b := batchOf(hook.Point, "dev/c/x", "dev/d/y")
		for i := range b.Events {
			b.Events[i].Message.Payload = []byte("21.5")
			b.Events[i].Authentication = &pluginv1.Authentication{HasPassword: true, Password: []byte("hush")}
		}
		b.Clients[0].Username = "t/ann"
		if _, err := process(p, b); failed(hook.Point.String(), err) {
			reached = starts
		}
	}
	_, err = p.Configure(ctx, &pluginv1.ConfigureRequest{Config: config})
	failed("Configure", err)
	_, err = p.Health(ctx, &pluginv1.HealthRequest{})
	failed("Health", err)
	_, err = p.Stop(ctx, &pluginv1.StopRequest{})
	failed("Stop", err)
	return reached
}

// TestExamples: what is broken below is whole before.
func TestExamples(t *testing.T) {
	for i := range examples {
		file, config := example(t, i)
		if got := live(t, file, config); got != answers {
			t.Errorf("%s reached stage %d", examples[i].path, got)
		}
	}
}

// corrupt changes a module: flips holds a bit's place in each three bytes, and what comes
// after cut eighths of a percent of it is not there.
func corrupt(file []byte, cut uint16, flips []byte) []byte {
	file = bytes.Clone(file)
	for ; len(flips) >= 3; flips = flips[3:] {
		bit := (int(flips[0])<<16 | int(flips[1])<<8 | int(flips[2])) % (8 * len(file))
		file[bit/8] ^= 1 << (bit % 8)
	}
	if int(cut) < 800 {
		file = file[:int64(len(file))*int64(cut)/800]
	}
	return file
}

// TestCorrupt: example modules that were cut off or have a few bits flipped, and bytes that
// are no module at all, are refused or fail as plugins do, and nothing worse.
func TestCorrupt(t *testing.T) {
	if raceEnabled {
		t.Skip("compiles some hundred modules, which takes minutes under the race detector")
	}
	rng := rand.New(rand.NewSource(5))
	reached := map[stage]int{}
	for i := range examples {
		file, config := example(t, i)
		for _, cut := range []uint16{0, 1, 10, 100, 400, 700, 799} {
			if got := live(t, corrupt(file, cut, nil), config); got != 0 {
				t.Errorf("%s cut off at %d/800 reached stage %d", examples[i].path, cut, got)
			}
		}
		for n := range 24 {
			flips := make([]byte, 3*(1+n%3))
			rng.Read(flips)
			reached[live(t, corrupt(file, 800, flips), config)]++
		}
		noise := make([]byte, 1+rng.Intn(4096))
		rng.Read(noise)
		if live(t, noise, config) != 0 || live(t, slices.Concat(file[:8], noise), config) != 0 {
			t.Errorf("%d random bytes are loaded", len(noise))
		}
	}
	// What Go makes is forty times as large, and takes as long to compile.
	file, err := goGuest()
	if err != nil {
		t.Fatalf("building the Go guest: %v\n%s", err, file)
	}
	for _, cut := range []uint16{1, 100, 400, 799} {
		if got := live(t, corrupt(file, cut, nil), "{}"); got != 0 {
			t.Errorf("the Go guest cut off at %d/800 reached stage %d", cut, got)
		}
	}
	for range 4 {
		flips := make([]byte, 12)
		rng.Read(flips)
		reached[live(t, corrupt(file, 800, flips), "{}")]++
	}
	t.Logf("with flipped bits: %d refused, %d did not open, %d did not describe themselves, %d did not start, %d failed at work, %d worked",
		reached[0], reached[loaded], reached[opens], reached[describes], reached[starts], reached[answers])
	if reached[0] == 0 || reached[answers] == 0 {
		t.Error("the bits were flipped in one place only")
	}
}

// FuzzCorrupt: as TestCorrupt, for any bits.
func FuzzCorrupt(f *testing.F) {
	for i := range examples {
		f.Add(byte(i), uint16(800), []byte{1, 2, 3})
		f.Add(byte(i), uint16(790), []byte{})
	}
	f.Fuzz(func(t *testing.T, which byte, cut uint16, flips []byte) {
		file, config := example(t, int(which))
		live(t, corrupt(file, cut, flips[:min(len(flips), 3*16)]), config)
	})
}
