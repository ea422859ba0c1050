package statement

import (
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/internal/template"
)

// A statement is read as far as is needed to tell what stands in quotes and comments from
// what does not. A mistake about that can make a statement wrong, but cannot make a value a
// part of it: every placeholder becomes a parameter.

// token is a piece of a statement.
type token struct {
	kind  tokenKind
	begin int
	end   int
}

type tokenKind uint8

const (
	tokenOther       tokenKind = iota // one byte
	tokenSpace                        // blanks and comments
	tokenWord                         // a keyword, a name, a number
	tokenQuoted                       // a string, or a quoted name
	tokenPlaceholder                  // ${…}
	tokenParameter                    // what the database itself holds to be a parameter
)

// next reads the token at i.
func (d *Dialect) next(s string, i int) token {
	t := token{begin: i, end: i + 1}
	rest := s[i:]
	switch c := s[i]; {
	case strings.HasPrefix(rest, "${"):
		_, n, _ := placeholder(rest)
		t.kind, t.end = tokenPlaceholder, i+n
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
		t.kind = tokenSpace
	case strings.HasPrefix(rest, "--") && (!d.backslash || len(rest) == 2 || rest[2] <= ' '), c == '#' && d.backslash:
		t.kind, t.end = tokenSpace, i+until(rest, "\n", 0)
	case strings.HasPrefix(rest, "/*"):
		t.kind, t.end = tokenSpace, i+commentLen(rest, d.nested)
	case c == '\'':
		t.kind, t.end = tokenQuoted, i+quotedLen(rest, '\'', d.backslash)
	case (c == 'e' || c == 'E') && d.dollar && len(rest) > 1 && rest[1] == '\'':
		t.kind, t.end = tokenQuoted, i+1+quotedLen(rest[1:], '\'', true)
	case c == '"':
		t.kind, t.end = tokenQuoted, i+quotedLen(rest, '"', d.backslash)
	case c == '`' && !d.dollar:
		t.kind, t.end = tokenQuoted, i+quotedLen(rest, '`', false)
	case c == '[' && d.brackets:
		t.kind, t.end = tokenQuoted, i+until(rest, "]", 1)
	case c == '$' && d.dollar:
		d.dollarToken(&t, rest)
	case c == '?' && !d.dollar, d.brackets && len(rest) > 1 && wordByte(rest[1]) && (c == '@' || c == '$' || c == ':'):
		t.kind, t.end = tokenParameter, i+1+wordLen(rest[1:])
	case wordByte(c):
		t.kind = tokenWord
		for t.end < len(s) && (wordByte(s[t.end]) || s[t.end] == '$' && d.dollar && !strings.HasPrefix(s[t.end:], "${")) {
			t.end++
		}
	}
	return t
}

// dollarToken reads $1 and $tag$…$tag$.
func (d *Dialect) dollarToken(t *token, rest string) {
	n := 1 + wordLen(rest[1:])
	switch {
	case n < len(rest) && rest[n] == '$' && (n == 1 || rest[1] < '0' || rest[1] > '9'):
		tag := rest[:n+1]
		t.kind, t.end = tokenQuoted, t.begin+until(rest, tag, len(tag))
	case n > 1:
		t.kind, t.end = tokenParameter, t.begin+n
	}
}

// wordByte reports whether a byte may be a part of a name.
func wordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

// wordLen is the length of the name that s begins with.
func wordLen(s string) (n int) {
	for n < len(s) && wordByte(s[n]) {
		n++
	}
	return n
}

// until is the length of s up to the end of what ends it, looked for from a place on.
func until(s, end string, from int) int {
	if n := strings.Index(s[from:], end); n >= 0 {
		return from + n + len(end)
	}
	return len(s)
}

// quotedLen is the length of what stands in quotes. Doubled ones are two strings in a row,
// which comes to the same.
func quotedLen(s string, quote byte, backslash bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && backslash:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

func commentLen(s string, nested bool) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			if depth == 0 || nested {
				depth++
			}
			i++
		case "*/":
			i++
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// placeholder compiles the placeholder with which s begins, and returns its length: up to
// the first "}" with which it is whole, since one may stand in quotes within.
func placeholder(s string) (t template.Text, n int, err error) {
	for {
		next := strings.IndexByte(s[n:], '}')
		if next < 0 {
			if err == nil {
				_, err = template.ParseText(s)
			}
			return t, len(s), err
		}
		n += next + 1
		if t, err = template.ParseText(s[:n]); err == nil {
			return t, n, nil
		}
	}
}
