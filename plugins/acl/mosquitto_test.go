package acl

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "acl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The lines that Mosquitto 2.0 takes and refuses, each tried with it.
var fileLines = map[string]string{
	"":                                 "",
	"topic a":                          "",
	"topic a\r\nuser b\r\ntopic c\r\n": "",
	"  topic a\n":                      "",
	"   \n\n# x\n":                     "",
	"topic  read   a  \t\n":            "",
	"topic read a b\n":                 "",
	"topic read\n":                     "",
	"topic deny\n":                     "",
	"user  a b  \ntopic a\n":           "",
	"pattern a\n":                      "",
	"pattern deny %u\n":                "",
	"topic read $share/g/a\n":          "",
	"  # a\n":                          `:1: "#" is none of`,
	"\ttopic a\n":                      `is none of "topic", "pattern" and "user"`,
	"topic\tread\ta\n":                 `is none of "topic", "pattern" and "user"`,
	"topic a\ntopic foo a\n":           `:2: "foo" is none of read`,
	"topic read a/#/b\n":               "last level",
	"topic read a+/b\n":                "whole levels",
	"topic\n":                          "not empty",
	"user\n":                           "user name",
	"foo\n":                            "is none of",
	"TOPIC a\n":                        "is none of",
	"pattern a/%c+\n":                  "whole levels",
	"\xef\xbb\xbftopic a\n":            "is none of",
	// These it takes, and they can match nothing that MQTT carries.
	"topic a\xff\n":  "UTF-8",
	"topic a\x00b\n": "U+0000",
}

func TestFileLines(t *testing.T) {
	for text, want := range fileLines {
		_, err := parseFile("acl", []byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func TestFileRules(t *testing.T) {
	text := `# general
topic read open/#
topic deny open/secret

user ann
topic readwrite a/b c
topic write w
user bob
topic readwrite bob/#
user ann
topic deny a/x

pattern read in/%c
pattern write out/%u/%c
pattern deny no/%u
`
	rules := rulesOf(t, `{"acl_file":`+jsonOf(t, file(t, text))+`}`)
	path := rules.file.path
	for _, k := range []struct {
		user, id string
		q        Question
		want     bool
		rule     string
	}{
		{"", "c1", Question{Action: "receive", Topic: "open/x"}, true, ":2"},
		{"", "c1", Question{Action: "receive", Topic: "open/secret"}, false, ":3"},
		{"", "c1", Question{Action: "publish", Topic: "open/x"}, false, "default"},
		{"", "c1", Question{Action: "publish", Topic: "out//c1"}, false, "default"},
		{"", "c1", Question{Action: "receive", Topic: "in/c1"}, true, ":13"},
		{"ann", "c1", Question{Action: "receive", Topic: "open/x"}, false, "default"},
		{"ann", "c1", Question{Action: "publish", Topic: "a/b c"}, true, ":6"},
		{"ann", "c1", Question{Action: "publish", Topic: "a/x"}, false, ":11"},
		{"ann", "c1", Question{Action: "publish", Topic: "out/ann/c1"}, true, ":14"},
		{"ann", "c1", Question{Action: "publish", Topic: "out/bob/c1"}, false, "default"},
		{"ann", "c1", Question{Action: "subscribe", Topic: "anything/#"}, true, ""},
		{"ann", "+", Question{Action: "receive", Topic: "in/+"}, false, ""},
		{"ann", "+", Question{Action: "receive", Topic: "in/x"}, false, "default"},
		{"ann", "x/y", Question{Action: "receive", Topic: "in/x/y"}, false, "default"},
		{"bob", "c", Question{Action: "publish", Topic: "bob/a/b", QoS: 2, Retain: true}, true, ":9"},
		{"eve", "c", Question{Action: "publish", Topic: "bob/a/b"}, false, "default"},
		{"x/y", "c", Question{Action: "publish", Topic: "no/z"}, false, ":15"},
	} {
		x, err := rules.Explain(Client{Username: k.user, ClientID: k.id}, k.q)
		if err != nil {
			if !strings.ContainsAny(k.q.Topic, "+#") {
				t.Errorf("%+v: %v", k.q, err)
			}
			continue
		}
		want := k.rule
		if want != "default" {
			want = path + want
		}
		if x.Allowed != k.want || x.Rule != want {
			t.Errorf("%s %s %+v: %v by %s (%s), want %v by %s", k.user, k.id, k.q, x.Allowed, x.Rule, x.Reason, k.want, want)
		}
	}
}

// Rules of the config come first, and what they allow to subscribe to comes.
func TestFileWithRules(t *testing.T) {
	rules := rulesOf(t, `{"acl_file":`+jsonOf(t, file(t, "topic deny a/#\ntopic read b\n"))+`,"rules":[
		{"allow":["subscribe"],"topics":["a/b"]},{"deny":["receive"],"topics":["b"]},{"allow":["publish"],"topics":["a/p"]}]}`)
	p := permissionsOf(t, rules, Client{ClientID: "c"})
	for topic, want := range map[string]bool{"a/b": true, "a/c": false, "b": false, "c": false} {
		if got := ask(p, Question{Action: "receive", Topic: topic}); got != want {
			t.Errorf("receive %s: %v", topic, got)
		}
	}
	if !ask(p, Question{Action: "publish", Topic: "a/p"}) || ask(p, Question{Action: "publish", Topic: "b"}) {
		t.Error("publish")
	}
}

// A file is refused or means the same however its lines are ended, and never panics; what
// it gives a client are valid filters (permissionsOf looks at them).
func FuzzFile(f *testing.F) {
	f.Add("topic read a/#\nuser ann\ntopic deny b\npattern write %u/%c/#\n", "ann", "c")
	f.Add("pattern readwrite %c%u\r\n# x\n", "+", "a/b")
	f.Add("topic $share/a/b\nuser \ntopic deny\n", "", "$SYS")
	f.Fuzz(func(t *testing.T, text, user, id string) {
		a, err := parseFile("acl", []byte(text))
		if err != nil {
			return
		}
		rules := &Rules{file: a}
		c := Client{Username: user, ClientID: id}
		permissionsOf(t, rules, c)
		b, err := parseFile("acl", []byte(strings.ReplaceAll(text, "\n", "\r\n")))
		if err != nil {
			t.Fatalf("with CRLF: %v", err)
		}
		got, want := (&Rules{file: b}).resolve(&c, true), rules.resolve(&c, true)
		if !slices.Equal(got, want) {
			t.Fatalf("with CRLF %v, without %v", got, want)
		}
	})
}
