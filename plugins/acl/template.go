package acl

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// template is a Topic Filter with placeholders.
type template struct {
	source string
	parts  []part
}

// part is literal text, or a placeholder that stands for a value of the client.
type part struct {
	literal     string
	placeholder placeholder
	attribute   string // of attributePlaceholder
}

type placeholder uint8

const (
	noPlaceholder placeholder = iota
	userPlaceholder
	clientPlaceholder
	namespacePlaceholder
	groupPlaceholder
	attributePlaceholder
)

// short are the placeholders of one letter; %c and %u are Mosquitto's.
var short = map[byte]placeholder{
	'u': userPlaceholder, 'c': clientPlaceholder, 'n': namespacePlaceholder, 'g': groupPlaceholder,
}

var long = map[string]placeholder{
	"username": userPlaceholder, "client_id": clientPlaceholder, "namespace": namespacePlaceholder, "group": groupPlaceholder,
}

// parseTemplate reads a Topic Filter of the config.
func parseTemplate(s string) (template, error) {
	t := template{source: s}
	for rest := s; rest != ""; {
		i := strings.IndexAny(rest, "%$")
		if i < 0 {
			t.add(part{literal: rest})
			break
		}
		p, n, err := readPlaceholder(rest[i:])
		if err != nil {
			return t, err
		}
		t.add(part{literal: rest[:i]})
		if p.placeholder == noPlaceholder {
			p.literal = rest[i : i+n]
		}
		t.add(p)
		rest = rest[i+n:]
	}
	// Any value that is put in later has no slash and no wildcard in it.
	sample, _ := t.resolve(func(*part) string { return "x" })
	if err := checkFilter(sample); err != nil {
		return t, err
	}
	if strings.HasPrefix(sample, "$share/") {
		return t, errors.New("rules are about the Topic Filter behind $share/NAME/, without that")
	}
	return t, nil
}

// readPlaceholder reads what a "%" or "$" begins: a placeholder, or that one character.
func readPlaceholder(s string) (p part, n int, err error) {
	switch {
	case len(s) > 1 && s[0] == '%' && short[s[1]] != noPlaceholder:
		return part{placeholder: short[s[1]]}, 2, nil
	case !strings.HasPrefix(s, "${"):
		return part{}, 1, nil
	}
	name, _, closed := strings.Cut(s[2:], "}")
	if !closed {
		return part{}, 0, errors.New("a ${ without closing }")
	}
	n = len("${}") + len(name)
	if attribute, ok := strings.CutPrefix(name, "attribute."); ok && attribute != "" {
		return part{placeholder: attributePlaceholder, attribute: attribute}, n, nil
	}
	if long[name] == noPlaceholder {
		return part{}, 0, errors.New("${" + name + "} is not one of ${username}, ${client_id}, ${namespace}, ${group} and ${attribute.NAME}")
	}
	return part{placeholder: long[name]}, n, nil
}

// mosquittoTemplate reads a pattern of an acl_file, which knows %c and %u.
func mosquittoTemplate(s string) template {
	t := template{source: s}
	for rest := s; rest != ""; {
		i := strings.Index(rest, "%")
		if i < 0 || i+1 == len(rest) {
			t.add(part{literal: rest})
			break
		}
		t.add(part{literal: rest[:i]})
		if letter := rest[i+1]; letter == 'c' || letter == 'u' {
			t.add(part{placeholder: short[letter]})
			rest = rest[i+2:]
		} else {
			t.add(part{literal: "%"})
			rest = rest[i+1:]
		}
	}
	return t
}

// literalTemplate is a Topic Filter without placeholders.
func literalTemplate(s string) template { return template{s, []part{{literal: s}}} }

func (t *template) add(p part) {
	if p.literal != "" || p.placeholder != noPlaceholder {
		t.parts = append(t.parts, p)
	}
}

func (t *template) has(p placeholder) bool {
	for i := range t.parts {
		if t.parts[i].placeholder == p {
			return true
		}
	}
	return false
}

// resolve puts the values in. The first placeholder whose value must not be put in is
// returned as bad; then filter is what is before it.
func (t *template) resolve(value func(*part) string) (filter string, bad *part) {
	var b strings.Builder // also copies: values may point into the host's buffers
	for i := range t.parts {
		p := &t.parts[i]
		v := p.literal
		if p.placeholder != noPlaceholder {
			v = value(p)
			// The rest of the filter has room too, if it is as long as its source.
			if unusable(v, b.Len() == 0) != "" || b.Len()+len(v)+len(t.source) > maxFilter {
				return b.String(), p
			}
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// unusable says why a value must not become a part of a Topic Filter; "" if it may.
// With a wildcard or a slash in it, or a "$" in front, a client that chooses its own name
// would choose its own rules.
func unusable(v string, first bool) string {
	switch {
	case v == "":
		return "is empty"
	case strings.ContainsAny(v, "+#/"):
		return `has "+", "#" or "/" in it`
	case first && v[0] == '$':
		return `begins with "$", at the beginning of the filter`
	case !utf8.ValidString(v) || strings.Contains(v, "\x00") || len(v) > maxFilter:
		return "cannot be in a topic"
	}
	return ""
}

// widest are the filters of all that a template could mean whose first part to be left
// out comes after prefix.
func widest(prefix string) []string {
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		return []string{prefix[:i+1] + "#"}
	}
	if strings.HasPrefix(prefix, "$") {
		return []string{"$SYS/#"}
	}
	return []string{"#", "$SYS/#"}
}

func (p *part) String() string {
	switch p.placeholder {
	case userPlaceholder:
		return "the user name"
	case clientPlaceholder:
		return "the client id"
	case namespacePlaceholder:
		return "the namespace"
	case groupPlaceholder:
		return "the group"
	}
	return "the attribute " + strconv.Quote(p.attribute)
}
