package acl

import (
	"encoding/json"
	"os"
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
	type schema struct {
		Properties map[string]struct {
			Items struct {
				Properties map[string]any `json:"properties"`
			} `json:"items"`
		} `json:"properties"`
	}
	var s schema
	if err := json.Unmarshal([]byte(m.ConfigSchema), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Properties) == 0 {
		t.Fatal("the schema has no keys")
	}
	for key, p := range s.Properties {
		keys := []string{key}
		for inner := range p.Items.Properties {
			keys = append(keys, inner)
		}
		for _, k := range keys {
			if !strings.Contains(string(text), "`"+k+"`") {
				t.Errorf("README.md does not have %s", k)
			}
		}
	}
}
