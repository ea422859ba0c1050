package glob

import (
	"regexp"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"*", "a/b", true},
		{"a*", "a", true}, {"a*", "ba", false}, {"*a", "ba", true}, {"*a", "ab", false}, {"a*a", "a", false},
		{"a*a", "aa", true}, {"a*b*c", "abc", true}, {"a*b*c", "aXbYbZc", true}, {"a*b*c", "acb", false}, {"*a*", "bab", true},
		{"a**b", "ab", true}, {"*ab*ab", "ab", false}, {"*ab*ab", "abab", true}, {"a.c", "abc", false}, {"[a]", "a", false},
	} {
		if got := Match(c.pattern, c.s); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
	if !Any([]string{"x", "a*"}, "ab") || Any([]string{"x", "y*"}, "ab") || Any(nil, "") {
		t.Error("Any is not one of them")
	}
}

// A pattern means what the regular expression of its parts means.
func FuzzMatch(f *testing.F) {
	f.Add("a*b*", "aXbY")
	f.Add("*ab*ab", "ab")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 64 || len(s) > 256 {
			return
		}
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		re, err := regexp.Compile(`(?s)\A` + strings.Join(parts, `.*`) + `\z`)
		if err != nil || strings.ToValidUTF8(s, "") != s || strings.ToValidUTF8(pattern, "") != pattern {
			return
		}
		if got := Match(pattern, s); got != re.MatchString(s) {
			t.Fatalf("Match(%q, %q) = %v", pattern, s, got)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Match("sensor-*-of-*", "sensor-17-of-hall-3") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
