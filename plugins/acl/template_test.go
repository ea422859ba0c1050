package acl

import (
	"strings"
	"testing"
)

func TestTemplates(t *testing.T) {
	c := Client{Username: "ann", ClientID: "c1", Namespace: "hall", Attributes: map[string]string{"tenant": "acme", "odd}": "x"}}
	for _, k := range []struct{ source, want string }{
		{"a/b", "a/b"}, {"%u", "ann"}, {"%c/%u/%n/%g", "c1/ann/hall/crew"}, {"a/%u-%c/#", "a/ann-c1/#"}, {"%%u", "%ann"},
		{"100%", "100%"}, {"%x/%", "%x/%"}, {"${username}/${client_id}", "ann/c1"}, {"n-${namespace}/${group}", "n-hall/crew"},
		{"t/${attribute.tenant}/#", "t/acme/#"}, {"$SYS/%u", "$SYS/ann"}, {"$/a", "$/a"}, {"a$/%u", "a$/ann"}, {"+/%u/+", "+/ann/+"},
	} {
		tpl, err := parseTemplate(k.source)
		if err != nil {
			t.Errorf("%s: %v", k.source, err)
			continue
		}
		got, bad := tpl.resolve(func(p *part) string { return c.value(p, "crew") })
		if got != k.want || bad != nil {
			t.Errorf("%s: %q, %v", k.source, got, bad)
		}
	}
	for source, want := range map[string]string{
		"": "not empty", "a+": "whole levels", "a/#/b": "last level", "%u#": "whole levels", "${user}": "is not one of", "${username": "closing",
		"${attribute.}": "is not one of", "$share/g/a": "$share", "a\x00": "U+0000", "\xff": "UTF-8", strings.Repeat("a", 65536): "65,535",
	} {
		if _, err := parseTemplate(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v", source, err)
		}
	}
}

// Whatever a client calls itself, its rule has the levels and wildcards that were written,
// and a name that begins with "$" only if that was written.
func FuzzTemplate(f *testing.F) {
	f.Add("dev/%u/+/%c/#", "ann", "c")
	f.Add("%u/a", "$SYS", "#")
	f.Add("a%c", "", "x/y")
	f.Add("$%u", "share", "")
	f.Fuzz(func(t *testing.T, source, user, id string) {
		for _, tpl := range []func() (template, bool){
			func() (template, bool) { p, err := parseTemplate(source); return p, err == nil },
			func() (template, bool) { return mosquittoTemplate(source), checkFilter(source) == nil },
		} {
			p, ok := tpl()
			if !ok {
				continue
			}
			c := Client{Username: user, ClientID: id}
			got, bad := p.resolve(func(p *part) string { return c.value(p, "g") })
			if bad != nil {
				for _, w := range widest(got) {
					if err := checkFilter(w); err != nil {
						t.Fatalf("%q: %q: %v", source, w, err)
					}
				}
				continue
			}
			if err := checkFilter(got); err != nil {
				t.Fatalf("%q with %q, %q: %q: %v", source, user, id, got, err)
			}
			for _, s := range []string{"/", "+", "#"} {
				if strings.Count(got, s) != strings.Count(source, s) {
					t.Fatalf("%q with %q, %q has other levels: %q", source, user, id, got)
				}
			}
			if got[0] == '$' && source[0] != '$' {
				t.Fatalf("%q with %q, %q: %q", source, user, id, got)
			}
		}
	})
}
