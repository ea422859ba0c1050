package jsontext

import (
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Kind is what a Value is.
type Kind uint8

// The kinds of values.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// String returns the kind with its article, as messages need it: "a number".
func (k Kind) String() string {
	return [...]string{"null", "true or false", "a number", "a string", "a list", "an object"}[k]
}

// Value is a JSON value.
type Value struct {
	Kind Kind
	// Text is the value of a string, the literal of a number, "true" or "false".
	Text string
	// Items are the elements of an array.
	Items []Value
	// Members are those of an object in their order, names unique.
	Members []Member
}

// Member is a name with its value.
type Member struct {
	Name  string
	Value Value
}

// maxDepth bounds nesting: a parser that recurses must not run out of stack.
const maxDepth = 64

// Parse reads exactly one value. An error names the offset in bytes. The result does
// not refer to s where that has escapes, and otherwise shares its memory.
func Parse(s string) (Value, error) {
	p := parser{s: s}
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	p.space()
	if p.i < len(s) {
		return Value{}, p.fail("more than one value")
	}
	return v, nil
}

type parser struct {
	s string
	i int
}

func (p *parser) fail(what string) error {
	return errors.New(what + " at offset " + strconv.Itoa(p.i))
}

func (p *parser) space() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\n' || p.s[p.i] == '\t' || p.s[p.i] == '\r') {
		p.i++
	}
}

func (p *parser) value(depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, p.fail("values are nested too deep")
	}
	p.space()
	if p.i >= len(p.s) {
		return Value{}, p.fail("the text ends too early")
	}
	switch c := p.s[p.i]; {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		t, err := p.text()
		return Value{Kind: String, Text: t}, err
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for word, kind := range map[string]Kind{"null": Null, "true": Bool, "false": Bool} {
		if len(p.s)-p.i >= len(word) && p.s[p.i:p.i+len(word)] == word {
			p.i += len(word)
			return Value{Kind: kind, Text: word}, nil
		}
	}
	return Value{}, p.fail("not a value")
}

func (p *parser) object(depth int) (Value, error) {
	v := Value{Kind: Object}
	seen := map[string]bool{}
	p.i++
	for first := true; ; first = false {
		p.space()
		if p.take('}') {
			return v, nil
		}
		if !first && !p.take(',') {
			return v, p.fail(`no "," or "}"`)
		}
		p.space()
		if p.i >= len(p.s) || p.s[p.i] != '"' {
			return v, p.fail("no name")
		}
		name, err := p.text()
		if err != nil {
			return v, err
		}
		if seen[name] {
			return v, p.fail("the name " + strconv.Quote(name) + " is there twice, again")
		}
		seen[name] = true
		p.space()
		if !p.take(':') {
			return v, p.fail(`no ":"`)
		}
		inner, err := p.value(depth + 1)
		if err != nil {
			return v, err
		}
		v.Members = append(v.Members, Member{name, inner})
	}
}

func (p *parser) array(depth int) (Value, error) {
	v := Value{Kind: Array}
	p.i++
	for first := true; ; first = false {
		p.space()
		if p.take(']') {
			return v, nil
		}
		if !first && !p.take(',') {
			return v, p.fail(`no "," or "]"`)
		}
		inner, err := p.value(depth + 1)
		if err != nil {
			return v, err
		}
		v.Items = append(v.Items, inner)
	}
}

func (p *parser) take(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *parser) digits() bool {
	from := p.i
	for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
		p.i++
	}
	return p.i > from
}

func (p *parser) number() (Value, error) {
	from := p.i
	p.take('-')
	if !p.take('0') && !p.digits() {
		return Value{}, p.fail("not a number")
	}
	if p.take('.') && !p.digits() {
		return Value{}, p.fail("not a number")
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		if !p.digits() {
			return Value{}, p.fail("not a number")
		}
	}
	return Value{Kind: Number, Text: p.s[from:p.i]}, nil
}

// text reads a string, of which p is at the quotation mark.
func (p *parser) text() (string, error) {
	p.i++
	from := p.i
	var out []byte
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '"':
			s := p.s[from:p.i]
			if out != nil {
				s = string(append(out, s...))
			}
			if !utf8.ValidString(s) {
				return "", p.fail("a string is not UTF-8")
			}
			p.i++
			return s, nil
		case c < ' ':
			return "", p.fail("a control character in a string")
		case c == '\\':
			out = append(out, p.s[from:p.i]...)
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
			from = p.i
		default:
			p.i++
		}
	}
	return "", p.fail("a string does not end")
}

const (
	escapes = `"\/bfnrt`
	escaped = "\"\\/\b\f\n\r\t"
)

func (p *parser) escape() (rune, error) {
	p.i++
	if p.i >= len(p.s) {
		return 0, p.fail("a string does not end")
	}
	c := p.s[p.i]
	for i := range len(escapes) {
		if escapes[i] == c {
			p.i++
			return rune(escaped[i]), nil
		}
	}
	if c != 'u' {
		return 0, p.fail("not an escape")
	}
	r, ok := p.hex()
	if !ok {
		return 0, p.fail("not an escape")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if p.i+1 < len(p.s) && p.s[p.i] == '\\' && p.s[p.i+1] == 'u' {
		p.i++
		if low, ok := p.hex(); ok {
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				return r, nil
			}
		}
	}
	return 0, p.fail("half of a surrogate pair")
}

// hex reads "uXXXX".
func (p *parser) hex() (rune, bool) {
	if len(p.s)-p.i < 5 {
		return 0, false
	}
	v, err := strconv.ParseUint(p.s[p.i+1:p.i+5], 16, 16)
	p.i += 5
	return rune(v), err == nil
}

// AppendString appends s as a JSON string.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
