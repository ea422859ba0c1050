package config

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk/internal/jsontext"
)

// Schema returns the JSON Schema (2020-12) of a type that Check accepts.
func Schema(t reflect.Type) string {
	w := writer{b: []byte(`{"$schema":"https://json-schema.org/draft/2020-12/schema",`)}
	w.object(t)
	return string(append(w.b, '}'))
}

// writer appends parts of a schema. Its methods write members without braces around
// them, and no comma before the first.
type writer struct{ b []byte }

func (w *writer) raw(s string)  { w.b = append(w.b, s...) }
func (w *writer) text(s string) { w.b = jsontext.AppendString(w.b, s) }

func (w *writer) object(t reflect.Type) {
	w.raw(`"type":"object","additionalProperties":false,"properties":{`)
	var required []string
	w.properties(t, &required, true)
	w.raw("}")
	if len(required) > 0 {
		w.raw(`,"required":[`)
		for i, name := range required {
			if i > 0 {
				w.raw(",")
			}
			w.text(name)
		}
		w.raw("]")
	}
}

func (w *writer) properties(t reflect.Type, required *[]string, first bool) bool {
	for _, f := range fields(t) {
		if f.inlined {
			first = w.properties(f.typ, required, first)
			continue
		}
		if !first {
			w.raw(",")
		}
		first = false
		w.text(f.name)
		w.raw(":{")
		w.property(&f)
		w.raw("}")
		if f.required {
			*required = append(*required, f.name)
		}
	}
	return first
}

func (w *writer) property(f *field) {
	t := base(f.typ)
	w.schema(t, f.enum)
	doc := f.doc
	if t == durationType || t == sizeType {
		// A schema cannot compare these, so the bounds are for people.
		doc += boundsText(f)
	} else {
		w.bounds(t, f)
	}
	if doc != "" {
		w.raw(`,"description":`)
		w.text(strings.TrimSpace(doc))
	}
	if f.hasDefault {
		w.raw(`,"default":`)
		w.literal(t, f.fallback)
	}
	if f.example != "" {
		w.raw(`,"examples":[`)
		w.literal(t, f.example)
		w.raw("]")
	}
	if f.secret {
		w.raw(`,"writeOnly":true`)
	}
}

func boundsText(f *field) string {
	s := ""
	if f.min != "" {
		s += " At least " + f.min + "."
	}
	if f.max != "" {
		s += " At most " + f.max + "."
	}
	return s
}

func (w *writer) schema(t reflect.Type, enum string) {
	switch {
	case t == durationType:
		w.raw(`"type":"string","pattern":"^[-+]?([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$|^[0-9]+d$"`)
		return
	case t == sizeType:
		w.raw(`"type":["string","integer"],"minimum":0,"pattern":"^[0-9]+ ?([KMGT]i?B|B)?$"`)
		return
	case t == secretType:
		w.raw(`"type":"string"`)
		return
	case reflect.PointerTo(t).Implements(textReaderType):
		w.raw(`"type":"string"`)
		return
	}
	switch k := t.Kind(); {
	case k == reflect.Struct:
		w.object(t)
	case k == reflect.Pointer:
		w.schema(t.Elem(), enum)
	case k == reflect.Slice:
		w.raw(`"type":"array","items":{`)
		w.schema(t.Elem(), enum)
		w.raw("}")
		return
	case k == reflect.Map:
		w.raw(`"type":"object","additionalProperties":{`)
		w.schema(t.Elem(), enum)
		w.raw("}")
		return
	case k == reflect.Bool:
		w.raw(`"type":"boolean"`)
	case k == reflect.String:
		w.raw(`"type":"string"`)
	case k == reflect.Float32 || k == reflect.Float64:
		w.raw(`"type":"number"`)
	default:
		w.raw(`"type":"integer"`)
	}
	if enum != "" {
		w.raw(`,"enum":[`)
		for i, one := range strings.Split(enum, ",") {
			if i > 0 {
				w.raw(",")
			}
			w.literal(t, strings.TrimSpace(one))
		}
		w.raw("]")
	}
}

// bounds writes min and max, and for integers without them what their type can hold.
func (w *writer) bounds(t reflect.Type, f *field) {
	low, high := "minimum", "maximum"
	switch {
	case t == secretType || t.Kind() == reflect.String:
		low, high = "minLength", "maxLength"
	case t.Kind() == reflect.Slice:
		low, high = "minItems", "maxItems"
	case t.Kind() == reflect.Map:
		low, high = "minProperties", "maxProperties"
	}
	lowest, highest := f.min, f.max
	if k := t.Kind(); k >= reflect.Uint && k <= reflect.Uint64 {
		if lowest == "" {
			lowest = "0"
		}
		if highest == "" && t.Bits() < 64 {
			highest = strconv.FormatUint(1<<t.Bits()-1, 10)
		}
	}
	if lowest != "" {
		w.raw(`,"` + low + `":` + lowest)
	}
	if highest != "" {
		w.raw(`,"` + high + `":` + highest)
	}
}

// literal writes the text of a tag as a value of t.
func (w *writer) literal(t reflect.Type, s string) {
	if isList(t) {
		w.raw("[")
		for i, item := range strings.Split(s, ",") {
			if i > 0 {
				w.raw(",")
			}
			w.literal(t.Elem(), strings.TrimSpace(item))
		}
		w.raw("]")
		return
	}
	if v := literal(t, s); v.Kind == jsontext.String {
		w.text(s)
	} else {
		w.raw(s)
	}
}
