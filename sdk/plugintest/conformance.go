package plugintest

import (
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Case is something that is asked of a plugin in every runtime.
type Case struct {
	Name string
	// Ask feeds the plugin, and returns what it answered; an error as its text. Answers
	// are compared as they are encoded.
	Ask func(t testing.TB, p *Instance) pluginv1.Proto
}

// Batch makes a Case of a batch, which is copied for each runtime. A failure of the plugin
// is its Answer.error.
func Batch(name string, b *pluginv1.Batch) Case {
	return Case{name, func(t testing.TB, p *Instance) pluginv1.Proto {
		own := &pluginv1.Batch{}
		if err := own.Unmarshal(b.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		for i := range own.Events {
			own.Events[i].ID = 0 // ProcessErr counts them
		}
		a, err := p.ProcessErr(own)
		if err != nil {
			return &pluginv1.Answer{Error: plainError(err)}
		}
		return a
	}}
}

// plainError is the error without what a runtime puts before it.
func plainError(err error) string {
	s := err.Error()
	const wasm = "PLUGIN_OP_PROCESS: "
	if len(s) > len(wasm) && s[:len(wasm)] == wasm {
		return s[len(wasm):]
	}
	return s
}

// Conformance starts the plugin in every runtime with the same config, asks the same in
// the same order, and compares the answers with those of the first runner; it also
// compares the manifests.
func Conformance(t *testing.T, config string, cases []Case, runners ...Runner) {
	t.Helper()
	var instances []*Instance
	for _, r := range runners {
		instances = append(instances, Start(t, r, NewHost(), config))
	}
	for i, p := range instances[1:] {
		if !pluginv1.Equal(p.Manifest, instances[0].Manifest) {
			t.Errorf("manifest of %s is not that of %s", runners[i+1].Name, runners[0].Name)
		}
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			want := c.Ask(t, instances[0])
			for i, p := range instances[1:] {
				if got := c.Ask(t, p); !pluginv1.Equal(got, want) {
					t.Errorf("%s says %+v, %s says %+v", runners[i+1].Name, got, runners[0].Name, want)
				}
			}
		})
	}
}
