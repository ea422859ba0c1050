package bridgemqtt

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// Every key of the config is in the README, or in the page of all bridges.
func TestReadme(t *testing.T) {
	own, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	shared, err := os.ReadFile("../../docs/bridges.md")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Plugin().Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal([]byte(m.ConfigSchema), &s); err != nil {
		t.Fatal(err)
	}
	keys := s.keys()
	if len(keys) < 40 {
		t.Fatalf("the schema has %d keys", len(keys))
	}
	text := string(own) + string(shared)
	for _, k := range keys {
		if !strings.Contains(text, "`"+k+"`") {
			t.Errorf("%s is not described", k)
		}
	}
}

type schema struct {
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
}

func (s *schema) keys() (list []string) {
	for name, p := range s.Properties {
		list = append(list, name)
		list = append(list, p.keys()...)
	}
	if s.Items != nil {
		list = append(list, s.Items.keys()...)
	}
	return list
}
