package assistant

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func readme(t *testing.T) string {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every key of the config is in the README.
func TestReadme(t *testing.T) {
	text := readme(t)
	m, err := Plugin().Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal([]byte(m.ConfigSchema), &s); err != nil {
		t.Fatal(err)
	}
	keys := s.keys()
	if len(keys) < 50 {
		t.Fatalf("the schema has %d keys", len(keys))
	}
	for _, k := range keys {
		if !strings.Contains(text, "`"+k+"`") && !strings.Contains(text, "`allow."+k+"`") {
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

// The table of errors has all codes, and no others.
func TestReadmeCodes(t *testing.T) {
	_, text, _ := strings.Cut(readme(t), "## Errors")
	text, _, _ = strings.Cut(text, "\n## ")
	var listed []fault.Code
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(text, -1) {
		listed = append(listed, fault.Code(row[1]))
	}
	codes := fault.Codes()
	if !slices.Equal(listed, codes) {
		t.Errorf("the README has\n%v, the code\n%v", listed, codes)
	}
	b, err := os.ReadFile("internal/fault/fault.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(regexp.MustCompile(`Code += "`).FindAll(b, -1)); n != len(codes) {
		t.Errorf("fault.go has %d codes, Codes() %d", n, len(codes))
	}
}

// Every metric is in the README.
func TestReadmeMetrics(t *testing.T) {
	text := readme(t)
	h := plugintest.NewHost()
	in := plugintest.Start(t, plugintest.Builtin(Plugin()), h, `{"model":"m","base_url":"http://127.0.0.1:1/v1","endpoint":{"retries":0}}`)
	_, err := in.ConsumeErr(&pluginv1.ConsumeBatch{Consumer: askQueue, Deliveries: []pluginv1.Delivery{{Message: &sdk.Message{
		Topic: "assistant/main/x/ask", Payload: []byte("hello"), Publisher: "ann",
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the error", func() bool { return len(h.Published()) > 0 })
	seen := map[string]bool{}
	for _, c := range h.Calls(pluginv1.HostOpMetric) {
		for _, s := range c.Request.(*pluginv1.MetricRequest).Samples {
			seen[s.Name] = true
		}
	}
	if len(seen) < 3 {
		t.Errorf("metrics: %v", seen)
	}
	for name := range seen {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("%s is not described", name)
		}
	}
}
