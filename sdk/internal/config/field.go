package config

import (
	"errors"
	"reflect"
	"strings"
)

var (
	durationType = reflect.TypeFor[Duration]()
	sizeType     = reflect.TypeFor[Size]()
	secretType   = reflect.TypeFor[Secret]()
)

// textReader is encoding.TextUnmarshaler.
type textReader interface{ UnmarshalText(text []byte) error }

var textReaderType = reflect.TypeFor[textReader]()

// field is a field of a struct with its tags.
type field struct {
	index                                 int
	name, doc, example, fallback, enum    string
	min, max                              string
	required, secret, hasDefault, inlined bool
	typ                                   reflect.Type
}

// fields returns the fields of a struct that have keys. Fields of embedded structs
// without a json tag count as the outer struct's own.
func fields(t reflect.Type) []field {
	out := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if tag == "-" || !sf.IsExported() && !sf.Anonymous {
			continue
		}
		f := field{
			index: i, name: tag, typ: sf.Type,
			doc: sf.Tag.Get("doc"), example: sf.Tag.Get("example"), enum: sf.Tag.Get("enum"),
			min: sf.Tag.Get("min"), max: sf.Tag.Get("max"),
			required: sf.Tag.Get("required") == "true",
			secret:   sf.Tag.Get("secret") == "true" || sf.Type == secretType,
			inlined:  tag == "" && sf.Anonymous && sf.Type.Kind() == reflect.Struct,
		}
		if f.name == "" {
			f.name = sf.Name
		}
		f.fallback, f.hasDefault = sf.Tag.Lookup("default")
		out = append(out, f)
	}
	return out
}

// Check reports what is wrong with t as the type of a config: types that no JSON value
// fits, and tags that contradict them. It is the author's error, not the operator's.
func Check(t reflect.Type) error {
	if t.Kind() != reflect.Struct {
		return errors.New("config type " + t.String() + " is not a struct")
	}
	return checkStruct(t, t.String(), map[reflect.Type]bool{})
}

func checkStruct(t reflect.Type, at string, above map[reflect.Type]bool) error {
	if above[t] {
		return errors.New("config field " + at + " contains its own type " + t.String())
	}
	above[t] = true
	defer delete(above, t)
	names := map[string]bool{}
	for _, f := range fields(t) {
		here := at + "." + t.Field(f.index).Name
		if !f.inlined && names[f.name] {
			return errors.New("config field " + here + `: the key "` + f.name + `" is another's already`)
		}
		names[f.name] = true
		if err := checkType(f.typ, here, above); err != nil {
			return err
		}
		if err := checkTags(&f, here); err != nil {
			return err
		}
	}
	return nil
}

func checkType(t reflect.Type, at string, above map[reflect.Type]bool) error {
	switch {
	case t == durationType, t == sizeType, t == secretType, reflect.PointerTo(t).Implements(textReaderType):
		return nil
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return nil
	case reflect.Pointer, reflect.Slice:
		return checkType(t.Elem(), at, above)
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return checkType(t.Elem(), at, above)
		}
	case reflect.Struct:
		return checkStruct(t, at, above)
	}
	return errors.New("config field " + at + ": " + t.String() + " is not a type for a config")
}

// checkTags tries the tags out: the default must pass what values must pass, and
// bounds must be readable.
func checkTags(f *field, at string) error {
	if f.required && f.hasDefault {
		return errors.New("config field " + at + " is required and has a default")
	}
	for _, bound := range []string{f.min, f.max} {
		if bound == "" {
			continue
		}
		if _, err := parseBound(base(f.typ), bound); err != nil {
			return errors.New("config field " + at + ": the bound " + bound + " " + err.Error())
		}
	}
	if f.hasDefault {
		d := decoder{}
		d.fallback(reflect.New(f.typ).Elem(), f, "")
		if len(d.problems) > 0 {
			return errors.New("config field " + at + ": its default " + d.problems[0].Message)
		}
	}
	return nil
}

// base is what a pointer points to.
func base(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}
