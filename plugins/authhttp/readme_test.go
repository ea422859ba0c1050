package authhttp

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every key of the config and every metric is in the README.
func TestReadme(t *testing.T) {
	text := readme(t)
	m, err := Plugin().Manifest()
	if err != nil {
		t.Fatal(err)
	}
	type properties map[string]struct {
		Properties map[string]any `json:"properties"`
	}
	var s struct {
		Properties properties `json:"properties"`
	}
	if err := json.Unmarshal([]byte(m.ConfigSchema), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Properties) < 15 {
		t.Fatalf("the schema has %d keys", len(s.Properties))
	}
	names := []string{"requests_total", "request_seconds", "answers_total", "waiting", "login_cache_total"}
	for key, p := range s.Properties {
		names = append(append(names, key), slices.Collect(maps.Keys(p.Properties))...)
	}
	for _, name := range names {
		if !regexp.MustCompile("`" + name + "[`{]").MatchString(text) {
			t.Errorf("README.md does not have %s", name)
		}
	}
	for _, list := range [][]string{placeholders, loginPlaceholders, authorizePlaceholders} {
		for _, name := range list {
			if !strings.Contains(text, "${"+name+"}") {
				t.Errorf("README.md does not have ${%s}", name)
			}
		}
	}
}

// Every example of a config starts.
func TestReadmeConfigs(t *testing.T) {
	n := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readme(t), -1) {
		var c struct {
			Plugins []struct {
				Name, Plugin string
				Config       map[string]any
			}
		}
		if err := yaml.Unmarshal([]byte(strings.ReplaceAll(block[1], "${env:AUTH_TOKEN}", "secret")), &c); err != nil {
			t.Fatalf("%v\n%s", err, block[1])
		}
		for _, p := range c.Plugins {
			if p.Name != "auth-http" && p.Plugin != "auth-http" {
				continue
			}
			delete(p.Config, "tls") // files that are not there
			text, err := json.Marshal(p.Config)
			if err != nil {
				t.Fatal(err)
			}
			plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), string(text))
			n++
		}
	}
	if n < 4 {
		t.Errorf("%d examples", n)
	}
}

// Every question and answer in the README is one.
func TestReadmeAnswers(t *testing.T) {
	answers := 0
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(readme(t), -1) {
		for part := range strings.SplitSeq(block[1], "\n\n") {
			if strings.Contains(part, `"action"`) {
				d := json.NewDecoder(strings.NewReader(part))
				d.DisallowUnknownFields()
				if err := d.Decode(new(nativeQuestion)); err != nil {
					t.Errorf("%v\n%s", err, part)
				}
				continue
			}
			answers++
			if _, err := readNative([]byte(part), &nativeQuestion{Action: "authenticate", Method: "X"}, &question{client: ann()}); err != nil {
				t.Errorf("%v\n%s", err, part)
			}
		}
	}
	if answers < 3 {
		t.Errorf("%d answers", answers)
	}
}
