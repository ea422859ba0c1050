package plugincmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/plugins/acl"
)

// run runs a command in this process.
func run(t *testing.T, args ...string) (out string, code int, message string) {
	t.Helper()
	root := &cobra.Command{Use: "patchbay", SilenceErrors: true}
	root.AddCommand(Command(), ACLCommand())
	var b bytes.Buffer
	root.SetArgs(args)
	root.SetOut(&b)
	root.SetErr(&b)
	err := root.ExecuteContext(t.Context())
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return b.String(), 0, ""
	case errors.As(err, &coded):
		return b.String(), coded.ExitCode(), err.Error()
	}
	return b.String(), 1, err.Error()
}

// TestServeByHand: a person who starts what is the broker's to start is told so.
func TestServeByHand(t *testing.T) {
	for _, c := range []struct {
		args []string
		says []string
	}{
		{[]string{"plugin", "serve", "acl"}, []string{"a broker starts this command by itself", "plugins:\n  - name: acl\n    runtime: process"}},
		{[]string{"plugin", "serve", "nobody"}, []string{`no plugin "nobody" is compiled in; there are: `, "acl"}},
		{[]string{"plugin", "serve"}, []string{"patchbay plugin serve: accepts 1 arg(s), received 0"}},
	} {
		_, code, message := run(t, c.args...)
		for _, part := range c.says {
			if code != 2 || !strings.Contains(message, part) {
				t.Errorf("%q: %d, %s; want 2, %s", c.args, code, message, part)
			}
		}
	}
	if out, _, _ := run(t, "plugin", "--help"); strings.Contains(out, "\n  serve") {
		t.Errorf("it is not hidden:\n%s", out)
	}
}

const aclConfig = `plugins:
  - {name: authfile}
  - name: off
    plugin: acl
    enabled: false
    config: {default: allow}
  - name: rights
    plugin: acl
    config:
      rules:
        - {deny: [publish], topics: ["plant/secret"]}
        - {allow: [publish], topics: ["plant/${username}/#"], addresses: [10.0.0.0/8]}
        - {allow: [subscribe], topics: ["plant/#"], groups: [operators], qos: [0, 1]}
  - {name: bad, plugin: acl, config: {rules: [{topics: [a]}]}}
`

func TestExplain(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("patchbay.yaml", []byte(aclConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		says []string
	}{
		{"publish plant/press/x -u press --client-id c --address 10.1.2.3", []string{
			`allowed by /rules/1: "plant/press/#" matches "plant/press/x"`, "(rules of plugin rights, patchbay.yaml:9)",
			"  /rules/0  ", "> /rules/1  ", `"plant/secret" does not match`,
		}},
		{"publish plant/press/x -u press --address 192.0.2.1", []string{"denied by default: ", "  /rules/0  "}},
		{"publish plant/secret -u press --address unix", []string{"denied by /rules/0: "}},
		{"subscribe plant/+ -g operators", []string{"allowed by /rules/2: "}},
		{"subscribe plant/+ -g operators --qos 2", []string{"denied by default: ", "not for QoS 2"}},
		{"subscribe plant/+ --plugin off", []string{"allowed by default: "}},
	} {
		out, code, message := run(t, append([]string{"acl", "explain"}, strings.Fields(c.args)...)...)
		for _, part := range c.says {
			if code != 0 || !strings.Contains(out, part) {
				t.Errorf("%s: %d %s\n%swant %s", c.args, code, message, out, part)
			}
		}
	}
	out, _, _ := run(t, "acl", "explain", "publish", "plant/a", "--user", "a", "--address", "10.0.0.1", "--retain", "--json")
	var answer acl.Explanation
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	if !answer.Allowed || answer.Rule != "/rules/1" || !answer.Question.Retain || answer.Client.Username != "a" || len(answer.Steps) != 2 {
		t.Errorf("%+v", answer)
	}
	for args, says := range map[string]string{
		"publish":                        "accepts 2 arg(s), received 1",
		"write a":                        `action "write" is none of publish`,
		"publish a/#":                    "a Topic Name has no wildcards",
		"publish a --qos 3":              "qos 3 is none of",
		"publish a --address here":       "--address: ",
		"publish a --plugin authfile":    "is not of the compiled-in plugin acl",
		"publish a --plugin nobody":      "there is no such entry",
		"publish a --plugin bad":         "patchbay.yaml:14: plugins[3].config: ",
		"publish a --config gone.yaml":   "gone.yaml: no such file",
		"publish a --nonsense":           "unknown flag",
		"publish a --config /dev/null":   "the configuration has no plugin acl",
		"publish a --attribute nonsense": "nonsense must be formatted as key=value",
	} {
		if _, code, message := run(t, append([]string{"acl", "explain"}, strings.Fields(args)...)...); code != 2 || !strings.Contains(message, says) {
			t.Errorf("%s: %d, %s; want 2, %s", args, code, message, says)
		}
	}
}
