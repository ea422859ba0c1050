package pluginhost_test

import (
	"path/filepath"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// The modules of testdata/golden were built from our examples by the SDKs of contract 1 as
// they were then. They are never built anew: what was a plugin once is one for ever.
func TestGoldenPlugins(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.wasm")
	if err != nil || len(files) < 5 {
		t.Fatalf("%v, %v", files, err)
	}
	configs := map[string]string{
		"acl-c-1.0.wasm":           `{"rules":[{"allow":true,"topics":["a/#"]}]}`,
		"auth-json-abi-1.0.wasm":   `{"password":"secret"}`,
		"auth-token-rust-1.0.wasm": `{"keys":["0123456789abcdef0123456789abcdef"]}`,
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			m, err := wasm.LoadFile(t.Context(), file, wasm.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { m.Close() })
			p, err := m.Open(t.Context(), plugintest.NewHost())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			manifest, err := p.Describe(t.Context(), &pluginv1.DescribeRequest{})
			if err != nil || manifest.Name == "" || len(manifest.Hooks) == 0 {
				t.Fatalf("%+v, %v", manifest, err)
			}
			config, ok := configs[filepath.Base(file)]
			if !ok {
				return
			}
			out, err := p.Start(t.Context(), &pluginv1.StartRequest{Name: "golden", Config: config, Worker: true})
			if err != nil || len(out.Problems) > 0 {
				t.Fatalf("start: %+v, %v", out, err)
			}
			client := pluginv1.Client{ClientID: "c", Username: "nobody", Connection: 1}
			b := &pluginv1.Batch{Point: manifest.Hooks[0].Point, Clients: []pluginv1.Client{client}, Events: []pluginv1.Event{{
				Client: 1, Authentication: &pluginv1.Authentication{HasPassword: true, Password: []byte("wrong")},
			}}}
			a, done := new(pluginv1.Answer), make(chan error, 1)
			answered, err := p.Process(b, a, func(err error) { done <- err })
			if !answered {
				err = <-done
			}
			if err != nil || a.Error != "" {
				t.Errorf("%s: %v %s", manifest.Hooks[0].Point, err, a.Error)
			}
		})
	}
}
