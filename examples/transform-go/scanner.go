package transform

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner finds out where a JSON value ends, and that it is one. encoding/json could do it
// too; but it takes five times the fuel in a sandbox, and more than there is for a message
// in a batch.
type scanner struct {
	text []byte
	at   int
}

// maxDepth is how deep values may nest.
const maxDepth = 100

// next is the byte that comes, 0 at the end.
func (s *scanner) next() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) space() {
	i := s.at
	for i < len(s.text) && (s.text[i] == ' ' || s.text[i] == '\n' || s.text[i] == '\r' || s.text[i] == '\t') {
		i++
	}
	s.at = i
}

// skip goes past a byte and the space before it, if it comes.
func (s *scanner) skip(c byte) bool {
	s.space()
	if s.next() != c {
		return false
	}
	s.at++
	return true
}

// value goes past a value.
func (s *scanner) value(depth int) bool {
	s.space()
	switch c := s.next(); {
	case depth > maxDepth:
		return false
	case c == '{':
		s.at++
		return s.members('}', func() bool {
			_, ok := s.string()
			return ok && s.skip(':') && s.value(depth+1)
		})
	case c == '[':
		s.at++
		return s.members(']', func() bool { return s.value(depth + 1) })
	case c == '"':
		_, ok := s.string()
		return ok
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return s.number()
}

// members goes past what is between commas, and the end.
func (s *scanner) members(end byte, one func() bool) bool {
	if s.skip(end) {
		return true
	}
	for one() {
		if s.skip(end) {
			return true
		}
		if !s.skip(',') {
			return false
		}
	}
	return false
}

func (s *scanner) word(w string) bool {
	if !bytes.HasPrefix(s.text[s.at:], []byte(w)) {
		return false
	}
	s.at += len(w)
	return true
}

// number goes past -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?
func (s *scanner) number() bool {
	t, i := s.text, s.at
	if i < len(t) && t[i] == '-' {
		i++
	}
	begin := i
	i = digits(t, i)
	if i == begin || i > begin+1 && t[begin] == '0' {
		return false
	}
	if i < len(t) && t[i] == '.' {
		begin = i + 1
		if i = digits(t, begin); i == begin {
			return false
		}
	}
	if i < len(t) && (t[i] == 'e' || t[i] == 'E') {
		i++
		if i < len(t) && (t[i] == '-' || t[i] == '+') {
			i++
		}
		begin = i
		if i = digits(t, begin); i == begin {
			return false
		}
	}
	s.at = i
	return true
}

// digits returns where digits end that begin at i.
func digits(t []byte, i int) int {
	for i < len(t) && t[i]-'0' <= 9 {
		i++
	}
	return i
}

// string goes past a string, and returns what is between its quotes.
func (s *scanner) string() (inside []byte, ok bool) {
	if !s.skip('"') {
		return nil, false
	}
	begin := s.at
	for {
		i := s.at
		for i < len(s.text) && s.text[i] != '"' && s.text[i] != '\\' && s.text[i] >= ' ' {
			i++
		}
		s.at = i
		switch s.next() {
		case '"':
			s.at++
			return s.text[begin:i], true
		case '\\':
			s.at++
			if !s.escape() {
				return nil, false
			}
		default:
			return nil, false
		}
	}
}

// one goes past one of some bytes, if it comes.
func (s *scanner) one(of string) bool {
	if s.at == len(s.text) || strings.IndexByte(of, s.text[s.at]) < 0 {
		return false
	}
	s.at++
	return true
}

// escape goes past what follows a backslash.
func (s *scanner) escape() bool {
	if !s.one("u") {
		return s.one(`"\/bfnrt`)
	}
	for range 4 {
		if !s.one("0123456789abcdefABCDEF") {
			return false
		}
	}
	return true
}

// unquote gives the text of what string has found.
func unquote(inside []byte) string {
	if bytes.IndexByte(inside, '\\') < 0 {
		return string(inside)
	}
	b := make([]byte, 0, len(inside))
	for i := 0; i < len(inside); i++ {
		if inside[i] != '\\' {
			b = append(b, inside[i])
			continue
		}
		i++
		switch c := inside[i]; c {
		case 'u':
			r := unit(inside[i:])
			i += 4
			if utf16.IsSurrogate(r) && i+2 < len(inside) && inside[i+1] == '\\' && inside[i+2] == 'u' {
				if both := utf16.DecodeRune(r, unit(inside[i+2:])); both != utf8.RuneError {
					r, i = both, i+6
				}
			}
			b = utf8.AppendRune(b, r)
		case 'b', 'f', 'n', 'r', 't':
			b = append(b, "\b\f\n\r\t"[strings.IndexByte("bfnrt", c)])
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// unit is the number of an escape as u00e9.
func unit(escape []byte) rune {
	n, _ := strconv.ParseUint(string(escape[1:5]), 16, 16) // string has seen to that
	return rune(n)
}
