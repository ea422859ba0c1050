package template

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// escape is what a template makes of values before they become a part of it.
type escape uint8

const (
	asText escape = iota
	asURL
	asJSON
)

// Template is a compiled template. The zero value is an empty one. It is immutable.
type Template struct {
	source string
	parts  []part
	escape escape
	fields sdk.Field
}

// part is a literal text, or an expression.
type part struct {
	literal string
	expr    *expression
	quoted  bool // within a JSON string
}

// Text is a template of plain text.
type Text struct{ Template }

// URL is a template of a URL: values are escaped, so that none of them begins another
// path segment or parameter.
type URL struct{ Template }

// JSON is a template of a JSON text. A placeholder between quotes is a part of that
// string, another one is a value: null, true, 3.5, "text", {…}.
type JSON struct{ Template }

// UnmarshalText compiles a template.
func (t *Text) UnmarshalText(b []byte) error { return t.compile(string(b), asText) }

// UnmarshalText compiles a template.
func (t *URL) UnmarshalText(b []byte) error { return t.compile(string(b), asURL) }

// UnmarshalText compiles a template, and checks that it is JSON with values in it.
func (t *JSON) UnmarshalText(b []byte) error { return t.compile(string(b), asJSON) }

// ParseText compiles a template of plain text.
func ParseText(s string) (t Text, err error) {
	return t, t.UnmarshalText([]byte(s))
}

// ParseURL compiles a template of a URL.
func ParseURL(s string) (t URL, err error) {
	return t, t.UnmarshalText([]byte(s))
}

// ParseJSON compiles a template of a JSON text.
func ParseJSON(s string) (t JSON, err error) {
	return t, t.UnmarshalText([]byte(s))
}

// Error says what is wrong with a template, and where.
type Error struct {
	// Offset in the template, in bytes.
	Offset  int
	Message string
}

// Error returns the message with the place, counted from 1 for people.
func (e *Error) Error() string { return fmt.Sprintf("at character %d: %s", e.Offset+1, e.Message) }

func (t *Template) compile(s string, e escape) error {
	*t = Template{source: s, escape: e}
	quoted := false
	for i := 0; i < len(s); {
		begin := strings.Index(s[i:], "${")
		if begin < 0 {
			t.add(s[i:], quoted)
			break
		}
		at := i + begin
		if at > i && s[at-1] == '$' { // $${
			quoted = t.add(s[i:at-1]+"${", quoted)
			i = at + 2
			continue
		}
		quoted = t.add(s[i:at], quoted)
		p := parser{text: s, at: at + 2}
		x, err := p.expression()
		if err != nil {
			return err
		}
		t.parts = append(t.parts, part{expr: x, quoted: quoted})
		t.fields |= x.variable.fields()
		i = p.at
	}
	if e == asJSON && s != "" {
		return t.checkJSON()
	}
	return nil
}

// add adds a literal, and reports whether a JSON string is open after it.
func (t *Template) add(s string, quoted bool) bool {
	if s == "" {
		return quoted
	}
	if n := len(t.parts); n > 0 && t.parts[n-1].expr == nil {
		t.parts[n-1].literal += s
	} else {
		t.parts = append(t.parts, part{literal: s})
	}
	if t.escape != asJSON {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		}
	}
	return quoted
}

// checkJSON looks whether the template is JSON if all its values are null.
func (t *Template) checkJSON() error {
	var b []byte
	for _, p := range t.parts {
		switch {
		case p.expr == nil:
			b = append(b, p.literal...)
		case !p.quoted:
			b = append(b, "null"...)
		}
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return &Error{len(t.source), "it is no JSON, with null in place of every ${…}: " + err.Error()}
	}
	return nil
}

// String returns the template as it was written.
func (t *Template) String() string { return t.source }

// Empty reports whether the template is the empty text.
func (t *Template) Empty() bool { return t.source == "" }

// Constant returns the text of a template without placeholders.
func (t *Template) Constant() (text string, ok bool) {
	switch len(t.parts) {
	case 0:
		return "", true
	case 1:
		return t.parts[0].literal, t.parts[0].expr == nil
	}
	return "", false
}

// Fields is what a message must have for this template, a sum of Field values.
func (t *Template) Fields() sdk.Field { return t.fields }

// Append appends the text. The error says which placeholder had no value that would do;
// dst is returned then as it was.
func (t *Template) Append(dst []byte, s *Source) ([]byte, error) {
	b := dst
	for i := range t.parts {
		p := &t.parts[i]
		if p.expr == nil {
			b = append(b, p.literal...)
			continue
		}
		if t.escape == asText && len(p.expr.calls) == 0 && p.expr.variable.appends() {
			b = p.expr.variable.append(b, s)
			continue
		}
		v, err := p.expr.value(s)
		if err != nil {
			return dst, fmt.Errorf("${%s}: %w", p.expr.source, err)
		}
		if t.escape == asURL && dots(v) {
			return dst, fmt.Errorf("${%s}: %q would lead elsewhere in a URL", p.expr.source, textOf(v))
		}
		b = appendEscaped(b, v, t.escape, p.quoted)
	}
	return b, nil
}

// Wrap returns the text with each value as wrap makes it of the value and of the
// placeholder, as it was written without "${" and "}".
func (t *Text) Wrap(s *Source, wrap func(placeholder, value string) string) (string, error) {
	var b strings.Builder
	for i := range t.parts {
		p := &t.parts[i]
		if p.expr == nil {
			b.WriteString(p.literal)
			continue
		}
		v, err := p.expr.value(s)
		if err != nil {
			return "", fmt.Errorf("${%s}: %w", p.expr.source, err)
		}
		b.WriteString(wrap(p.expr.source, textOf(v)))
	}
	return b.String(), nil
}

// Text returns the text.
func (t *Template) Text(s *Source) (string, error) {
	if c, ok := t.Constant(); ok {
		return c, nil
	}
	b, err := t.Append(make([]byte, 0, 64), s)
	return string(b), err
}

// Value returns a template's value: that of its placeholder if there is nothing else, else
// its text. It is nil, bool, int64, float64, string, []byte, time.Time, or json.RawMessage
// for objects and arrays. Bytes may be those of the Source's message.
func (t *Template) Value(s *Source) (any, error) {
	if len(t.parts) == 1 && t.parts[0].expr != nil {
		x := t.parts[0].expr
		v, err := x.value(s)
		if err != nil {
			return nil, fmt.Errorf("${%s}: %w", x.source, err)
		}
		return typed(v)
	}
	return t.Text(s)
}
