package bridgewebhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
	"github.com/patchbay-mq/patchbay/sdk"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is the first block of code in a language.
func block(t *testing.T, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(readme(t), "```"+language+"\n")
	code, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatalf("README.md has no %s", language)
	}
	return code
}

// Every key of the config is in the README, or in the page of all bridges.
func TestReadmeKeys(t *testing.T) {
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
	if len(keys) < 30 {
		t.Fatalf("the schema has %d keys", len(keys))
	}
	text := readme(t) + string(shared)
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
		list = append(append(list, name), p.keys()...)
	}
	if s.Items != nil {
		list = append(list, s.Items.keys()...)
	}
	return list
}

// The README's config works, with a server of this test in place of its own.
func TestReadmeConfig(t *testing.T) {
	s := newServer(t)
	text := strings.NewReplacer("https://api.example.com", s.URL, "https://ingest.example.com", s.URL,
		"${file:/run/secrets/api-token}", "the-token", "${file:/run/secrets/hook}", "0123456789abcdef").Replace(block(t, "yaml"))
	var file struct {
		Plugins []struct{ Config map[string]any }
	}
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	c := file.Plugins[0].Config
	c["allow_private"] = []string{"127.0.0.1"}
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, pluginhost.Builtin, string(config))
	p := n.connect("press")
	p.say("plant/7/order", `{"n":1}`)
	r := s.expect(t, 1)[0]
	if r.URL.Path != "/plants/7/orders" || !strings.Contains(r.body, `"device":"press"`) || !strings.Contains(r.body, `"order":{"n":1}`) || r.Header.Get("Idempotency-Key") == "" {
		t.Errorf("%s %s %v", r.URL, r.body, r.Header)
	}
	p.say("plant/7/measured/t", `21.5`)
	if r = s.expect(t, 2)[1]; r.URL.Path != "/lines" || !strings.Contains(r.body, `"payload":21.5`) {
		t.Errorf("%s %s", r.URL, r.body)
	}
}

// The README's lines verify what is signed, and nothing else, in each language.
func TestSignature(t *testing.T) {
	s := newServer(t)
	n := startNode(t, pluginhost.Builtin, local(s.URL, `,"sign":{"secrets":["the new secret 16","the old secret 16"],"header":"x-hook-signature"}`))
	n.connect("p").say("a/b", "héllo\n\x00")
	r := s.expect(t, 1)[0]
	header := r.Header.Get("X-Hook-Signature")
	old := &Sign{Secrets: []sdk.Secret{sdk.NewSecret("the old secret 16")}}
	cases := []struct {
		secret, header, body string
		want                 bool
	}{
		{"the new secret 16", header, r.body, true},
		{"the old secret 16", header, r.body, true},
		{"another secret 16", header, r.body, false},
		{"the old secret 16", header, r.body + " ", false},
		{"the old secret 16", old.value(time.Now().Add(-time.Hour), []byte(r.body)), r.body, false},
		{"the old secret 16", strings.Replace(header, "t=1", "t=2", 1), r.body, false},
	}
	dir := t.TempDir()
	input, err := os.Create(filepath.Join(dir, "cases"))
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, c := range cases {
		fmt.Fprintf(input, "%x %x %x\n", c.secret, c.header, c.body)
		want += fmt.Sprintln(c.want)
	}
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	check := func(name, code string, command ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(command[0], append(command[1:], name, "cases")...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if got := strings.ToLower(string(out)); err != nil || got != want {
			t.Errorf("%s: %v\n%s, want\n%s", name, err, got, want)
		}
	}
	check("v.py", block(t, "python")+`
import sys
for line in open(sys.argv[1]):
    s, h, b = [bytes.fromhex(x) for x in line.split()]
    print(verify(s, h.decode(), b))
`, bridgetest.Tool(t, "python3", "python3"))
	check("v.cjs", block(t, "js")+`
for (const line of require('node:fs').readFileSync(process.argv[2], 'utf8').trim().split('\n')) {
  const [s, h, b] = line.split(' ').map((x) => Buffer.from(x, 'hex'));
  console.log(verify(s, h.toString(), b));
}
`, bridgetest.Tool(t, "node", "nodejs"))
	check("v.go", `package main

import ("bufio"; "crypto/hmac"; "crypto/sha256"; "encoding/hex"; "fmt"; "os"; "strconv"; "strings"; "time")

`+block(t, "go")+`
func main() {
	f, _ := os.Open(os.Args[1])
	for s := bufio.NewScanner(f); s.Scan(); {
		var c [3][]byte
		for i, x := range strings.Fields(s.Text()) { c[i], _ = hex.DecodeString(x) }
		fmt.Println(verify(c[0], string(c[1]), c[2], 5*time.Minute))
	}
}
`, "go", "run")
}

// Without a secret there is no signature.
func TestUnsigned(t *testing.T) {
	s := newServer(t)
	n := startNode(t, pluginhost.Builtin, local(s.URL, ""))
	n.connect("p").say("a/b", "x")
	if h := s.expect(t, 1)[0].Header; h[http.CanonicalHeaderKey("Patchbay-Signature")] != nil {
		t.Errorf("%v", h)
	}
}
