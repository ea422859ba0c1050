package config

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// compileSchema compiles the schema, which checks it against the metaschema of
// draft 2020-12.
func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	var text bytes.Buffer
	if err := Schema(&text); err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(&text)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("patchbay.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("patchbay.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validateYAML(schema *jsonschema.Schema, content []byte) error {
	var v any
	if err := yaml.Unmarshal(content, &v); err != nil {
		return err
	}
	return schema.Validate(textKeys(v))
}

// textKeys makes texts of keys such as 1883, as JSON has no others.
func textKeys(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := map[string]any{}
		for k, e := range v {
			m[fmt.Sprint(k)] = textKeys(e)
		}
		return m
	case map[string]any:
		for k, e := range v {
			v[k] = textKeys(e)
		}
	case []any:
		for i, e := range v {
			v[i] = textKeys(e)
		}
	case time.Time:
		return v.String()
	}
	return v
}

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func exampleText(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	if err := Example(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func loadText(t testing.TB, content string) (*Config, *Meta, error) {
	t.Helper()
	writeFile(t, "patchbay.yaml", content)
	return Load(Sources{File: "patchbay.yaml"})
}

func TestExampleIsTheDefaults(t *testing.T) {
	t.Chdir(t.TempDir())
	example := exampleText(t)
	cfg, meta, err := loadText(t, example)
	if err != nil {
		t.Fatal(err)
	}
	defaults, _, _ := Load(Sources{})
	if changes := Diff(defaults, cfg); len(changes) > 0 {
		t.Errorf("the example differs from the defaults: %v", changes)
	}
	if err := validateYAML(compileSchema(t), []byte(example)); err != nil {
		t.Errorf("the schema refuses the example: %v", err)
	}
	// Every key that can be set by itself is in it as a value, not as a
	// comment only.
	declaration().settable(func(k *key) {
		if k.path == "plugins" { // one that is commented out
			return
		}
		if meta.Source(k.path).Line == 0 {
			t.Errorf("%s is not set in the example", k.path)
		}
	})
	for line := range strings.Lines(example) {
		if len([]rune(line)) > 121 {
			t.Errorf("a long line: %s", line)
		}
	}
}

// TestExampleUncommented: the listeners that are commented out in the example
// load too, and have all keys of their transports; and the plugin has all of its.
func TestExampleUncommented(t *testing.T) {
	t.Chdir(t.TempDir())
	writeCertificates(t)
	if err := os.Mkdir("plugins", 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, "plugins/my-auth.wasm", "")
	content := regexp.MustCompile(`(?m)^  #(- |  )`).ReplaceAllString(exampleText(t), "  $1")
	cfg, meta, err := loadText(t, content)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, content)
	}
	if err := validateYAML(compileSchema(t), []byte(content)); err != nil {
		t.Error(err)
	}
	var networks []string
	for i := range cfg.Listeners {
		network := cfg.Listeners[i].Network()
		networks = append(networks, network)
		for _, k := range declaration().child("listeners").children {
			set := meta.Source(join("listeners["+string(rune('0'+i))+"]", k.name)).Line > 0
			if k.only != nil && set != k.appliesTo(network) {
				t.Errorf("%s listener: %s set: %v", network, k.name, set)
			}
		}
	}
	for _, k := range declaration().child("plugins").children {
		if meta.Source("plugins[0]."+k.name).Line == 0 {
			t.Errorf("plugins: %s is not in the example", k.name)
		}
	}
	if got := strings.Join(networks, " "); got != "tcp tls ws wss unix" {
		t.Errorf("listeners %s", got)
	}
}

// TestSchemaRefuses: what an editor marks.
func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	for _, good := range []string{
		"", "mqtt:", "mqtt: {max_qos: 1}", "session: {max_expiry: never}", "session: {max_expiry: 2d}",
		"listeners: [{tls: ':8883', min_version: 1.2, allow_anonymous: true}]", "listeners: [{unix: a, mode: 0660}]",
		"plugins: [{name: a, config: {a: [1, {b: null}]}, grants: [kv, {kv: 5}, {kv: {max_bytes: 1MiB}}, {publish: [a]}], hooks: {tick: off}}]",
		"plugins:", "secrets: {a: b}", "plugins: [{name: a, hooks: {permit: {failure: deny, deadline: 1s}}, config: null, namespaces: ['']}]",
		"admin: {pprof: '${env:PPROF}'}", "limits: {memory: 80%, publish_rate: 5}",
	} {
		if err := validateYAML(schema, []byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"mqt: {}", "mqtt: {max_qos: 3}", "mqtt: {max_qos: high}", "mqtt: 5", "log: {level: loud}", "shutdown_timeout: 10",
		"shutdown_timeout: never", "listeners: [{tcp: ':1', ws: ':2'}]", "listeners: [{name: x}]", "listeners: {tcp: ':1'}",
		"listeners: [{tls: ':1', certificates: [{cert: a}]}]", "limits: {memory: lots}", "sys: {disable: a}",
		"plugins: [{config: {}}]", "plugins: [{name: a, config: []}]", "plugins: [{name: a, grants: [http]}]",
		"plugins: [{name: a, grants: [{kv: 1, ban: 2}]}]", "plugins: [{name: a, grants: [{http: []}]}]", "plugins: [{name: a, grants: [kf]}]",
		"plugins: [{name: a, hooks: {permit: {failure: drop}}}]", "plugins: [{name: a, hooks: {x: off}}]", "secrets: {a: 5}", "plugins: [{name: a, args: [5]}]",
		"admin: {pprof: maybe}", "limits: {max_connections: -1}", "limits: {out_buffer_high: 5 apples}",
	} {
		if err := validateYAML(schema, []byte(bad)); err == nil {
			t.Errorf("%s: passes", bad)
		}
	}
}
