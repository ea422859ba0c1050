package authcert

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct{ pattern, s, want string }{
		{"abc", "abc", "map[]"},
		{"abc", "abcd", ""},
		{"${x}", "a b.c@d", "map[x:a b.c@d]"},
		{"${x}", "", ""},
		{"${x}", "a/b", ""},
		{"${d}.${t}.example.com", "d1.plant.example.com", "map[d:d1 t:plant]"},
		{"${d}.${t}.example.com", "d1.x.plant.example.com", ""},
		{"${d}.example.com", "a.b.example.com", ""},
		{"${d}.example.com", "a.example.com.evil.org", ""},
		{"${d}.example.com", ".example.com", ""},
		{"spiffe://d/${t}/device/${d}", "spiffe://d/plant/device/7", "map[d:7 t:plant]"},
		{"spiffe://d/${t}/device/${d}", "spiffe://d/plant/device/7/x", ""},
		{"spiffe://d/${t}/device/${d}", "spiffe://d/plant/x/device/7", ""},
		{"spiffe://d/${t}/device/${d}", "spiffe://d//device/7", ""},
		{"${u}@${t}.example.com", "a@b.example.com", "map[t:b u:a]"},
		{"${u}@${t}.example.com", "a@b@c.example.com", "map[t:b@c u:a]"},
		{"dev-${n}x", "dev-12x", "map[n:12]"},
		{"dev-${n}é", "dev-1é", "map[n:1]"},
		{"$x", "$x", "map[]"},
	} {
		p, err := parseText(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		taken := map[string]string{}
		got := ""
		if p.match(c.s, taken) {
			got = fmt.Sprint(taken)
		}
		if got != c.want {
			t.Errorf("%s with %s: %q, want %q", c.pattern, c.s, got, c.want)
		}
	}
}

// naive is match with a regular expression.
func naive(p *text, s string) map[string]string {
	var re strings.Builder
	re.WriteString(`(?s)\A`)
	for i, part := range p.parts {
		if part.name == "" {
			re.WriteString(regexp.QuoteMeta(part.literal))
			continue
		}
		stop := "/"
		if i+1 < len(p.parts) {
			stop += firstRune(p.parts[i+1].literal)
		}
		re.WriteString("(?P<" + "n" + part.name + ">[^" + regexp.QuoteMeta(stop) + "]+)")
	}
	re.WriteString(`\z`)
	x, err := regexp.Compile(re.String())
	if err != nil {
		return nil
	}
	m := x.FindStringSubmatch(s)
	if m == nil {
		return nil
	}
	out := map[string]string{}
	for i, name := range x.SubexpNames() {
		if i > 0 {
			out[name[1:]] = m[i]
		}
	}
	return out
}

func FuzzPattern(f *testing.F) {
	f.Add("spiffe://d/${t}/device/${d}", "spiffe://d/plant/device/7")
	f.Add("${d}.${t}.example.com", "d1.plant.example.com")
	f.Add("a${x}b", "aabb")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		p, err := parseText(pattern)
		if err != nil || p.checkPattern() != nil || strings.ContainsAny(pattern, "^-\\]") || !isName(pattern) || !isName(s) {
			return // what regular expressions in brackets write otherwise
		}
		taken := map[string]string{}
		fits := p.match(s, taken)
		want := naive(p, s)
		if fits != (want != nil) || fits && !maps.Equal(taken, want) {
			t.Errorf("%q with %q: %v %v, want %v", pattern, s, fits, taken, want)
		}
		if !fits {
			return
		}
		// Put together again, it is the same.
		if again, ok := p.fill(func(name string) (string, bool) { v, ok := taken[name]; return v, ok }); !ok || again != s {
			t.Errorf("%q with %q makes %q", pattern, s, again)
		}
	})
}

func TestPins(t *testing.T) {
	const digits = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
	var colons []string
	for i := 0; i < len(digits); i += 2 {
		colons = append(colons, digits[i:i+2])
	}
	for line, want := range map[string]string{
		"": "none", "# x": "none", "   \r\n": "none",
		digits + " ann":                 "{ann   [] [] false }",
		"sha256:" + digits + " ann\r\n": "{ann   [] [] false }",
		strings.Join(colons, ":") + " ann namespace=n client_id=c groups=a,b": "{ann c n [a b] [] false }",
		"!" + digits:                            "{   [] [] true }",
		digits:                                  "the user name is missing",
		digits + " ann groups=a,":               `"": a group has a name`,
		digits + " ann x=y":                     `"x=y" is none of`,
		digits + " ann namespace=":              `"namespace=" is none of`,
		digits + " ann namespace=a namespace=b": `"namespace=b" is none of`,
		"!" + digits + " ann":                   "a certificate that is refused",
		digits[1:] + " ann":                     "a fingerprint is",
		digits + "00 ann":                       "a fingerprint is",
		strings.Replace(strings.Join(colons, ":"), ":", "-", 1) + " ann": "a fingerprint is",
		"x" + digits[1:] + " ann": "a fingerprint is",
		digits + " \xff":          "it is not UTF-8",
	} {
		_, x, err := parseLine(line)
		got := "none"
		if err != nil {
			got = err.Error()
		} else if x != nil {
			got = fmt.Sprint(*x)
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF ann namespace=n groups=a,b")
	f.Add("!sha256:00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF")
	f.Fuzz(func(t *testing.T, line string) {
		if _, x, err := parseLine(line); err == nil && x != nil && x.fault() != "" {
			t.Errorf("%q has a fault: %s", line, x.fault())
		}
	})
}
