package authcert

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// text is literal text with placeholders ${NAME}: as a pattern, what has to be there and
// what is taken from it; as a template, what is put together.
type text struct {
	source string
	parts  []part
}

// part is literal text, or a placeholder.
type part struct{ literal, name string }

// parseText reads a text with placeholders.
func parseText(s string) (*text, error) {
	t := &text{source: s}
	for rest := s; rest != ""; {
		before, after, found := strings.Cut(rest, "${")
		if before != "" {
			t.parts = append(t.parts, part{literal: before})
		}
		if !found {
			break
		}
		name, next, closed := strings.Cut(after, "}")
		if !closed {
			return nil, errors.New("a ${ without closing }")
		}
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return nil, fmt.Errorf("${%s}: a name has a-z, 0-9 and _", name)
		}
		t.parts = append(t.parts, part{name: name})
		rest = next
	}
	return t, nil
}

// placeholders lists the names, in order.
func (t *text) placeholders() (out []string) {
	for _, p := range t.parts {
		if p.name != "" {
			out = append(out, p.name)
		}
	}
	return out
}

// checkPattern says what keeps a text from being a pattern: then it would not be clear
// what a placeholder takes.
func (t *text) checkPattern() error {
	seen := map[string]bool{}
	for i, p := range t.parts {
		switch {
		case p.name == "":
			continue
		case slices.Contains(fields, p.name):
			return fmt.Errorf("${%s} is a field of certificates, and takes nothing here: give it another name", p.name)
		case seen[p.name]:
			return fmt.Errorf("${%s} is there twice", p.name)
		case i > 0 && t.parts[i-1].name != "":
			return fmt.Errorf("between ${%s} and ${%s} has to be some text", t.parts[i-1].name, p.name)
		}
		seen[p.name] = true
	}
	return nil
}

// match holds a pattern against all of s. A placeholder takes one character or more, no "/"
// and none like the one that follows it in the pattern: so there is one way to match at
// most, and a name within a longer one cannot pass for another part of it. What was taken
// is put into taken.
func (t *text) match(s string, taken map[string]string) bool {
	for i, p := range t.parts {
		if p.name == "" {
			if !strings.HasPrefix(s, p.literal) {
				return false
			}
			s = s[len(p.literal):]
			continue
		}
		stop := "/"
		if i+1 < len(t.parts) {
			stop += firstRune(t.parts[i+1].literal)
		}
		end := strings.IndexAny(s, stop)
		if end < 0 {
			end = len(s)
		}
		if end == 0 {
			return false
		}
		taken[p.name] = s[:end]
		s = s[end:]
	}
	return s == ""
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}

// fill puts values in. It reports false if there is none for a placeholder.
func (t *text) fill(value func(name string) (string, bool)) (string, bool) {
	var b strings.Builder
	for _, p := range t.parts {
		v := p.literal
		if p.name != "" {
			var ok bool
			if v, ok = value(p.name); !ok {
				return "", false
			}
		}
		b.WriteString(v)
	}
	return b.String(), true
}

// only returns the name if the text is one placeholder and nothing else.
func (t *text) only() string {
	if len(t.parts) == 1 {
		return t.parts[0].name
	}
	return ""
}
