package wasm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// TestSDK runs a plugin that is written with the Go SDK, which makes the exports.
func TestSDK(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("builds and compiles another Go guest, which takes a minute under the race detector")
	}
	out := filepath.Join(t.TempDir(), "sdk.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out,
		"github.com/patchbay-mq/patchbay/sdk/internal/testplugin/cmd")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	m, err := LoadFile(t.Context(), out, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := open(t, m, &fakeHost{})
	manifest, err := p.Describe(t.Context(), &pluginv1.DescribeRequest{})
	if err != nil || manifest.Name != "testplugin" || manifest.Instances != 1 {
		t.Fatalf("%+v, %v", manifest, err)
	}
	if o, err := p.Start(t.Context(), &pluginv1.StartRequest{Name: "p", Config: `{"password":"password"}`}); err != nil || len(o.Problems) != 1 {
		t.Fatalf("a config that it refuses: %+v, %v", o, err)
	}
	started(t, p, &pluginv1.StartRequest{Name: "p", Config: `{"password":"good one"}`})
	if _, err := process(p, publish("ok/x", "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if h, err := p.Health(t.Context(), &pluginv1.HealthRequest{}); err != nil || h.Status != pluginv1.HealthStatusServing {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := p.Stop(t.Context(), &pluginv1.StopRequest{}); err != nil {
		t.Error(err)
	}
}
