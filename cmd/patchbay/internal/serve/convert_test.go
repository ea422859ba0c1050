package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func load(t *testing.T, yaml string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "patchbay.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Load(config.Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPlaces: where is listened, and who may connect, with and without plugins that
// decide about that.
func TestPlaces(t *testing.T) {
	const closed, here = "nobody may connect: no authentication is configured", "this machine only"
	const plugins, herePlugins = "plugins decide who may connect", "this machine only, and plugins decide who may connect"
	for _, c := range []struct {
		listener string
		decided  bool
		want     []string // address, access, "anonymous" if such clients are let in
	}{
		{"tcp: ':1883'", false, []string{"127.0.0.1:1883 " + here + " anonymous", "[::1]:1883 " + here + " anonymous"}},
		{"tcp: ':1883'", true, []string{":1883 " + plugins}},
		{"tcp: '0.0.0.0:0'", false, []string{"127.0.0.1:0 " + here + " anonymous"}},
		{"tcp: '192.0.2.1:1883'", false, nil},
		{"tcp: '192.0.2.1:1883'", true, []string{"192.0.2.1:1883 " + plugins}},
		{"tcp: '127.0.0.1:1883'", false, []string{"127.0.0.1:1883 " + here + " anonymous"}},
		{"tcp: '127.0.0.1:1883'", true, []string{"127.0.0.1:1883 " + herePlugins}},
		{"unix: sock", true, []string{"sock " + herePlugins}},
		{"tcp: ':1883', allow_anonymous: true", false, []string{":1883 anyone may connect anonymous"}},
		{"tcp: ':1883', allow_anonymous: true", true, []string{":1883 " + plugins + " anonymous"}},
		{"tcp: ':1883', allow_anonymous: false", false, []string{":1883 " + closed}},
		{"tcp: ':1883', allow_anonymous: false", true, []string{":1883 " + plugins}},
	} {
		all, err := places(load(t, "listeners: [{"+c.listener+"}]"), c.decided)
		var got []string
		for i := range all {
			s := all[i].address + " " + all[i].access()
			if all[i].anonymous() {
				s += " anonymous"
			}
			got = append(got, s)
		}
		if (err != nil) != (c.want == nil) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s, decided %v:\n%q, %v\nwant %q", c.listener, c.decided, got, err, c.want)
		}
	}
}

// TestPluginSpec: nothing of an entry is lost on its way to the host.
func TestPluginSpec(t *testing.T) {
	entry := config.Plugin{
		Name: "n", Plugin: "p", Path: "a.wasm", Runtime: "auto", Config: config.JSON{Text: `{"a":1}`, Shown: "{}"},
		Grants: config.Grants{{Name: "kv"}}, Revoke: []string{"log"}, Namespaces: []string{""}, SHA256: "sum", Dev: true,
		Hooks: config.Hooks{{Point: pluginv1.PointTick, Off: true}, {Point: pluginv1.PointPermit, Deadline: config.Duration(time.Second), Failure: pluginv1.FailurePolicyContinue}},
		Args:  []string{"x"}, Env: []string{"Y"}, MemoryLimit: 1, Fuel: 2, QueueSize: 3, PublicRoutes: true, Optional: true,
	}
	s := pluginSpec(&entry)
	want := pluginhost.Spec{
		Name: "n", Plugin: "p", Path: "a.wasm", Runtime: pluginhost.WASM, Config: []byte(`{"a":1}`), Grants: []pluginv1.Grant{{Name: "kv"}},
		Revoked: []string{"log"}, Namespaces: []string{""}, SHA256: "sum", Dev: true, Args: []string{"x"}, Env: []string{"Y"},
		Hooks: map[pluginv1.Point]pluginhost.HookSpec{
			pluginv1.PointTick: {Off: true}, pluginv1.PointPermit: {Deadline: time.Second, Failure: pluginv1.FailurePolicyContinue},
		},
		MemoryLimit: 1, Fuel: 2, QueueSize: 3, PublicRoutes: true, Optional: true, Disabled: true,
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("%+v\nwant %+v", s, want)
	}
	// A field that is added to the host's Spec has to be thought of here.
	for v, i := reflect.ValueOf(s), 0; i < v.NumField(); i++ {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Source" {
			t.Error(fmt.Sprint(name, " is not set by any key"))
		}
	}
}
