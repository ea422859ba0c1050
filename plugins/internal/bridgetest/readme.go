package bridgetest

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Documented checks that every key of a plugin's config stands, in backticks, in one of these
// files: its README, and docs/bridges.md.
func Documented(t testing.TB, p sdk.Plugin, files ...string) {
	t.Helper()
	var text strings.Builder
	for _, file := range files {
		text.WriteString(read(t, file))
	}
	m, err := p.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal([]byte(m.ConfigSchema), &s); err != nil {
		t.Fatal(err)
	}
	keys := s.keys()
	if len(keys) == 0 {
		t.Fatal("the schema has no keys")
	}
	for _, k := range keys {
		if !strings.Contains(text.String(), "`"+k+"`") {
			t.Errorf("%s is not described in %s", k, strings.Join(files, " or "))
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

// Examples are the configs of the entries of plugins in a file's blocks of YAML, as JSON, with
// texts replaced as strings.NewReplacer does: addresses and files that are not here.
func Examples(t testing.TB, file string, oldnew ...string) (configs []string) {
	t.Helper()
	replace := strings.NewReplacer(oldnew...)
	for _, part := range strings.Split(read(t, file), "```yaml\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		var doc struct {
			Plugins []struct {
				Config map[string]any `yaml:"config"`
			} `yaml:"plugins"`
		}
		if err := yaml.Unmarshal([]byte(replace.Replace(block)), &doc); err != nil {
			t.Fatalf("%s: %v\n%s", file, err, block)
		}
		for _, p := range doc.Plugins {
			config, err := json.Marshal(p.Config)
			if err != nil {
				t.Fatal(err)
			}
			configs = append(configs, string(config))
		}
	}
	if configs == nil {
		t.Fatalf("%s has no example", file)
	}
	return configs
}

func read(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
