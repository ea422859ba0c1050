package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPluginsPage: what docs/plugins.md shows can be loaded, and what it lists is there.
func TestPluginsPage(t *testing.T) {
	content, err := os.ReadFile("../../../../docs/plugins.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	t.Chdir(t.TempDir())
	if err := os.Mkdir("plugins", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"plugins/auth.wasm", "plugins/bridge", "token"} {
		writeFile(t, file, "x")
	}
	schema := compileSchema(t)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(blocks) != 4 {
		t.Errorf("%d examples", len(blocks))
	}
	for _, block := range blocks {
		text := strings.ReplaceAll(block[1], "/run/secrets/token", "token")
		writeFile(t, "patchbay.yaml", text)
		if strings.HasPrefix(text, "# NAME.yaml\n") {
			if _, err := PluginFile("patchbay.yaml", false, nil); err != nil {
				t.Errorf("%v\nin\n%s", err, text)
			}
			continue
		}
		if _, _, err := Load(Sources{File: "patchbay.yaml", Environ: []string{"API_TOKEN=x"}}); err != nil {
			t.Errorf("%v\nin\n%s", err, text)
		}
		if err := validateYAML(schema, []byte(text)); err != nil {
			t.Errorf("%v\nin\n%s", err, text)
		}
	}
	for _, point := range points() {
		if !strings.Contains(page, "`"+pointName(point)+"`") {
			t.Errorf("the hook %s is not listed", pointName(point))
		}
	}
	for _, kind := range grantKinds() {
		if !strings.Contains(page, "\n| `"+kind.name+"` |") {
			t.Errorf("the grant %s is not listed", kind.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(notInFolder)) {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("that %s has no place in the folder is not said", name)
		}
	}
}
