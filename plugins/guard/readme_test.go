package guard

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every key of the config, and every metric, is in the README; and nothing that is not.
func TestReadme(t *testing.T) {
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	m, err := Plugin().Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal([]byte(m.ConfigSchema), &s); err != nil {
		t.Fatal(err)
	}
	keys := s.keys()
	if len(keys) < 20 {
		t.Fatalf("the schema has %d keys", len(keys))
	}
	for _, k := range keys {
		if !strings.Contains(text, "`"+k+"`") {
			t.Errorf("README.md does not have %s", k)
		}
	}
	_, table, _ := strings.Cut(text, "## Config")
	table, _, _ = strings.Cut(table, "The grant")
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z0-9_]+`(, `[a-z0-9_]+`)*) \\|").FindAllStringSubmatch(table, -1) {
		for k := range strings.SplitSeq(row[1], ", ") {
			if !slices.Contains(keys, strings.Trim(k, "`")) {
				t.Errorf("README.md has %s, which is no key", k)
			}
		}
	}
	source, err := os.ReadFile("plugin.go")
	if err != nil {
		t.Fatal(err)
	}
	metrics := regexp.MustCompile(`h\.(?:Counter|Gauge)\("([a-z_]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(metrics) != 6 {
		t.Fatalf("%d metrics", len(metrics))
	}
	for _, name := range metrics {
		if !strings.Contains(text, "| `"+name[1]) {
			t.Errorf("README.md does not have the metric %s", name[1])
		}
	}
}

type schema struct {
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
}

func (s *schema) keys() (list []string) {
	for name, p := range s.Properties {
		list = append(append(list, name), p.keys()...)
	}
	if s.Items != nil {
		list = append(list, s.Items.keys()...)
	}
	return list
}
