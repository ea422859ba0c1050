package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// TestPlugin: what a program sees of the entries of plugins.
func TestPlugin(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "a.wasm", "")
	writeFile(t, "patchbay.yaml", `
plugins:
  - name: a
    path: a.wasm
    config: {b: "${env:X}", a: {"1": 0x10}}
    grants: [kv, {kv: 1MiB}, {publish: {topic_filters: [a/#], namespaces: [""]}}, {http: ["http://h"]}, {secrets: [s]}]
    hooks: {tick: off, authenticate: {deadline: 2s, failure: continue}}
    namespaces: ["", b]
  - {name: p, runtime: process}
secrets: {s: t}
`)
	cfg, _, err := Load(Sources{File: "patchbay.yaml", Environ: []string{"X=a \"b\""}})
	if err != nil {
		t.Fatal(err)
	}
	p := &cfg.Plugins[0]
	if want := `{"b": "a \"b\"", "a": {"1": 16}}`; p.Config.Text != want || !json.Valid([]byte(p.Config.Text)) {
		t.Errorf("config %s, want %s", p.Config.Text, want)
	}
	if want := `{"b": "***", "a": {"1": 16}}`; p.Config.Shown != want {
		t.Errorf("shown %s, want %s", p.Config.Shown, want)
	}
	grants := Grants{
		{Name: "kv"}, {Name: "kv", MaxBytes: 1 << 20}, {Name: "publish", TopicFilters: []string{"a/#"}, Namespaces: []string{""}},
		{Name: "http", Origins: []string{"http://h"}}, {Name: "secrets", Names: []string{"s"}},
	}
	if !reflect.DeepEqual(p.Grants, grants) {
		t.Errorf("grants %+v", p.Grants)
	}
	hooks := Hooks{
		{Point: pluginv1.PointAuthenticate, Deadline: Duration(2 * time.Second), Failure: pluginv1.FailurePolicyContinue},
		{Point: pluginv1.PointTick, Off: true},
	}
	if !reflect.DeepEqual(p.Hooks, hooks) {
		t.Errorf("hooks %+v", p.Hooks)
	}
	if !reflect.DeepEqual(p.Namespaces, []string{"", "b"}) || p.Kind() != "wasm" || cfg.Plugins[1].Kind() != "process" || cfg.Secrets["s"] != "t" {
		t.Errorf("%+v, secrets %v", cfg.Plugins, map[string]string(cfg.Secrets))
	}
	if got := cfg.PluginFolder(); got != filepath.Join("patchbay-data", "plugins") {
		t.Errorf("plugin folder %q", got)
	}
	// What is printed as JSON has no secrets either.
	var out strings.Builder
	if err := PrintJSON(&out, cfg, &Meta{}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{`a \"b`, `"t"`} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s is shown:\n%s", secret, out.String())
		}
	}
	if !json.Valid([]byte(out.String())) || !strings.Contains(out.String(), `"b": "***"`) {
		t.Errorf("printed\n%s", out.String())
	}
}

// TestGrantsOfTheContract: every grant that the contract has can be written.
func TestGrantsOfTheContract(t *testing.T) {
	proto, err := os.ReadFile("../../../../sdk/proto/patchbay/plugin/v1/manifest.proto")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(proto), "The names:")
	text, _, _ = strings.Cut(text, "Required.")
	var contract []string
	for _, m := range regexp.MustCompile(`"([a-z_]+)"`).FindAllStringSubmatch(text, -1) {
		contract = append(contract, m[1])
	}
	var ours []string
	for _, k := range grantKinds() {
		ours = append(ours, k.name)
	}
	known := map[string]bool{}
	for _, n := range append(ours, revocable...) {
		known[n] = true
	}
	for _, n := range contract {
		if !known[n] {
			t.Errorf("the contract has a grant %s", n)
		}
	}
	if len(contract) != len(ours)+len(revocable) {
		t.Errorf("the contract has %q; here are %q and %q", contract, ours, revocable)
	}
}

func TestPluginFile(t *testing.T) {
	t.Chdir(t.TempDir())
	read := func(program bool, text string) (*Plugin, error) {
		t.Helper()
		writeFile(t, "a.yaml", text)
		return PluginFile("a.yaml", program, []string{"X=hunter2"})
	}
	p, err := read(false, "config: {a: '${env:X}'}\ngrants: [kv]\nnamespaces: ['']\nfuel: 7")
	if err != nil {
		t.Fatal(err)
	}
	if p.Config.Text != `{"a": "hunter2"}` || len(p.Grants) != 1 || p.Fuel != 7 || !p.Enabled || len(p.Namespaces) != 1 || p.Hooks == nil {
		t.Errorf("%+v", p)
	}
	if p, err = read(true, "dev: true\nargs: [x]"); err != nil || !p.Dev || len(p.Args) != 1 || p.Config.Text != "{}" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err = read(true, ""); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"name: x":                "a.yaml:1: name: has no place here: the file's name is the plugin's",
		"runtime: wasm":          "a.yaml:1: runtime: has no place here: the file tells it",
		"\ngrants: [x]":          `a.yaml:2: grants[0]: "x" is no grant; there are publish`,
		"args: [x]":              "a.yaml:1: args: is for programs; this is a wasm plugin",
		"hoks: {}":               "a.yaml:1: hoks: unknown key; did you mean hooks?",
		"[a]":                    "a.yaml:1: a list is not a section with keys such as config",
		"config: {a: '${env:Y'}": "a.yaml:1: config.a: a ${ without closing",
		"args: ['${Y}']":         "a.yaml:1: args[0]: a ${…} that is neither",
		"a: [":                   "a.yaml:1: did not find expected node content",
	} {
		if _, err := read(false, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := PluginFile("gone.yaml", false, nil); err == nil || err.Error() != "gone.yaml: no such file or directory" {
		t.Error(err)
	}
}
