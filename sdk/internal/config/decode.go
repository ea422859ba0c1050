package config

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk/internal/jsontext"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// ParseError lists all that is wrong with a config.
type ParseError struct {
	// Problems are in the order of the text, and then of what is missing.
	Problems []pluginv1.Problem
}

// Error returns all problems with their pointers.
func (e *ParseError) Error() string {
	var s strings.Builder
	for i := range e.Problems {
		if i > 0 {
			s.WriteString("; ")
		}
		if p := e.Problems[i].Pointer; p != "" {
			s.WriteString(p)
			s.WriteString(": ")
		}
		s.WriteString(e.Problems[i].Message)
	}
	return s.String()
}

// maxProblems is how many a response of the contract may have.
const maxProblems = 256

// Decode reads a config into v, a settable struct of a type that Check accepts. The
// error is a *ParseError; v is then partly set. Values of secrets are never in it.
func Decode(text string, v reflect.Value) error {
	root, err := jsontext.Parse(text)
	if err != nil {
		return &ParseError{[]pluginv1.Problem{{Message: "not JSON: " + err.Error()}}}
	}
	d := decoder{}
	if root.Kind != jsontext.Object {
		d.problem("", "must be an object, not "+root.Kind.String())
	} else {
		d.object(v, root, "")
	}
	if len(d.problems) > 0 {
		return &ParseError{d.problems[:min(len(d.problems), maxProblems)]}
	}
	return nil
}

type decoder struct{ problems []pluginv1.Problem }

func (d *decoder) problem(at, message string) {
	d.problems = append(d.problems, pluginv1.Problem{Pointer: at, Message: message})
}

// slot is a key that an object may have.
type slot struct {
	field
	value reflect.Value
	seen  bool
}

func slots(v reflect.Value, to []slot) []slot {
	for _, f := range fields(v.Type()) {
		if f.inlined {
			to = slots(v.Field(f.index), to)
		} else {
			to = append(to, slot{field: f, value: v.Field(f.index)})
		}
	}
	return to
}

func (d *decoder) object(v reflect.Value, from jsontext.Value, at string) {
	keys := slots(v, nil)
	for _, m := range from.Members {
		here := at + "/" + escape(m.Name)
		s := find(keys, m.Name)
		if s == nil {
			d.problem(here, unknown(keys, m.Name))
			continue
		}
		s.seen = true
		if before := len(d.problems); d.value(s.value, m.Value, here, s.secret) && len(d.problems) == before {
			d.check(s.value, &s.field, here)
		}
	}
	for i := range keys {
		s := &keys[i]
		switch {
		case s.seen:
		case s.required:
			d.problem(at+"/"+escape(s.name), "is required"+about(s.doc))
		case s.hasDefault:
			d.fallback(s.value, &s.field, at+"/"+escape(s.name))
		case s.typ.Kind() == reflect.Struct && s.typ != secretType && !s.value.Addr().Type().Implements(textReaderType):
			// An object that is absent has its defaults nevertheless; what is required in
			// it is so only if the object is there.
			inner := decoder{}
			inner.object(s.value, jsontext.Value{Kind: jsontext.Object}, "")
		}
	}
}

func about(doc string) string {
	if doc == "" {
		return ""
	}
	return ": " + doc
}

// fallback sets v to the default of f, which is written as text: a list as its
// elements with commas between them.
func (d *decoder) fallback(v reflect.Value, f *field, at string) {
	t := base(f.typ)
	value := jsontext.Value{Kind: jsontext.String, Text: f.fallback}
	if isList(t) {
		value = jsontext.Value{Kind: jsontext.Array}
		for item := range strings.SplitSeq(f.fallback, ",") {
			value.Items = append(value.Items, literal(t.Elem(), strings.TrimSpace(item)))
		}
	} else {
		value = literal(t, value.Text)
	}
	if d.value(v, value, at, f.secret) {
		d.check(v, f, at)
	}
}

func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && !reflect.PointerTo(t).Implements(textReaderType)
}

// literal is what a text in a tag stands for.
func literal(t reflect.Type, s string) jsontext.Value {
	switch {
	case t == durationType || t == sizeType || reflect.PointerTo(t).Implements(textReaderType):
	case t.Kind() == reflect.Bool && (s == "true" || s == "false"):
		return jsontext.Value{Kind: jsontext.Bool, Text: s}
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64:
		if v, err := jsontext.Parse(s); err == nil {
			return v
		}
	}
	return jsontext.Value{Kind: jsontext.String, Text: s}
}

func find(keys []slot, name string) *slot {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

// unknown tells which key may have been meant.
func unknown(keys []slot, name string) string {
	best, at := 1+len(name)/3, -1
	for i := range keys {
		if n := distance(strings.ToLower(name), strings.ToLower(keys[i].name)); n <= best && (at < 0 || n < best) {
			best, at = n, i
		}
	}
	s := "unknown key " + strconv.Quote(name)
	if at >= 0 {
		s += ", did you mean " + strconv.Quote(keys[at].name) + "?"
	}
	return s
}

// distance is the number of letters to add, take away or change (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var row [65]int
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := left
			if a[i] != b[j] {
				cost++
			}
			left = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

var escaper = strings.NewReplacer("~", "~0", "/", "~1")

// escape makes a name a part of a JSON Pointer (RFC 6901).
func escape(name string) string { return escaper.Replace(name) }
