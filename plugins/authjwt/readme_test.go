package authjwt

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// Every key of the config is in the README.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Plugin().Manifest()
	if err != nil {
		t.Fatal(err)
	}
	type properties map[string]struct {
		Properties map[string]any `json:"properties"`
		Items      struct {
			Properties map[string]any `json:"properties"`
		} `json:"items"`
	}
	var s struct {
		Properties properties `json:"properties"`
	}
	if err := json.Unmarshal([]byte(m.ConfigSchema), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Properties) == 0 {
		t.Fatal("the schema has no keys")
	}
	for key, p := range s.Properties {
		keys := []string{key}
		for _, inner := range []map[string]any{p.Properties, p.Items.Properties} {
			keys = append(keys, slices.Collect(maps.Keys(inner))...)
		}
		for _, k := range keys {
			if !strings.Contains(string(text), "`"+k+"`") {
				t.Errorf("README.md does not have %s", k)
			}
		}
	}
}
