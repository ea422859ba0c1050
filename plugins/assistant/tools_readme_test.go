package assistant

import (
	"encoding/json"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/patchbay-mq/patchbay/sdk"
)

// example is the config of a section of the README: its members as JSON, without the model,
// which is the test's, and its grants.
func example(t *testing.T, section string) (config string, grants []sdk.Grant) {
	t.Helper()
	_, text, ok := strings.Cut(readme(t), "\n## "+section+"\n")
	_, text, ok2 := strings.Cut(text, "```yaml\n")
	text, _, ok3 := strings.Cut(text, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("%s has no example", section)
	}
	var file struct {
		Plugins []struct {
			Grants []string
			Config map[string]any
		}
	}
	if err := yaml.Unmarshal([]byte(text), &file); err != nil || len(file.Plugins) != 1 {
		t.Fatalf("%v:\n%s", err, text)
	}
	p := &file.Plugins[0]
	delete(p.Config, "model")
	b, err := json.Marshal(p.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range p.Grants {
		if name != "kv" && name != "publish" { // which a site has
			grants = append(grants, sdk.Grant{Name: name})
		}
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(b), "{"), "}"), grants
}

// The example of tools works as it is written.
func TestReadmeTools(t *testing.T) {
	config, grants := example(t, "Tools")
	s := start(t, options{answer: obey, grants: grants, config: config})
	boss := connect(t, s.addr, "boss").subscribe("assistant/approval/+")
	lamp := connect(t, s.addr, "lamp").subscribe("home/+/lamp/set")
	ann := connect(t, s.addr, "ann").conversation("c")
	ann.say("assistant/main/c/ask", order("set_lamp", `{"room":"hall","on":true}`))
	if p := lamp.expect("home/hall/lamp/set", 1); string(p.Payload) != `{"on": true}` {
		t.Errorf("%s", p.Payload)
	}
	lamp.say("home/hall/lamp/state", "on")
	if p := ann.expect("assistant/main/c/answer", 1); !strings.Contains(string(p.Payload), `"payload":"on"`) {
		t.Errorf("%s", p.Payload)
	}
	if got := ann.ask(order("publish", `{"topic":"home/x","payload":"1"}`)); !strings.Contains(got, "refused") {
		t.Errorf("outside of topics: %s", got)
	}
	ann.say("assistant/main/c/ask", order("publish", `{"topic":"plant/x","payload":"1","retain":true}`))
	eventually(t, "the request", func() bool { return len(approvals(boss)) == 1 })
	boss.say(approvals(boss)[0].Topic+"/decision", "yes")
	ann.expect("assistant/main/c/answer", 3)
	if got := ann.ask(order("read_retained", `{"topic_filter":"plant/#"}`)); !strings.Contains(got, `"payload":"1"`) {
		t.Error(got)
	}
}

// So does that of MCP, with another server.
func TestReadmeMCP(t *testing.T) {
	server := startMCP(t)
	config, grants := example(t, "MCP")
	for _, s := range []string{"https://mcp.example.com/mcp", "${env:TICKETS_TOKEN}", `"search"`} {
		if !strings.Contains(config, s) {
			t.Fatalf("%s is not in the example: %s", s, config)
		}
	}
	config = strings.NewReplacer("https://mcp.example.com/mcp", server.url, "${env:TICKETS_TOKEN}", "x", `"search"`, `"open"`).Replace(config)
	s := start(t, options{answer: obey, grants: grants, config: config})
	if got := connect(t, s.addr, "ann").conversation("c").ask(order("tickets_open", `{"door":"front"}`)); !strings.Contains(got, "is open") {
		t.Error(got)
	}
}
