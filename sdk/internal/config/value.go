package config

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk/internal/jsontext"
)

// value sets v and reports whether it could; if not it has added a problem.
func (d *decoder) value(v reflect.Value, from jsontext.Value, at string, secret bool) bool {
	t := v.Type()
	switch {
	case t == durationType:
		return d.text(from, at, "a duration as \"30s\"", func(s string) error {
			x, err := ParseDuration(s)
			v.SetInt(int64(x))
			return err
		})
	case t == sizeType:
		if from.Kind == jsontext.Number {
			from.Kind = jsontext.String
		}
		return d.text(from, at, "a size as \"64KiB\"", func(s string) error {
			x, err := ParseSize(s)
			v.SetUint(uint64(x))
			return err
		})
	case t == secretType:
		return d.text(from, at, "a string", func(s string) error {
			v.Set(reflect.ValueOf(NewSecret(strings.Clone(s))))
			return nil
		})
	case reflect.PointerTo(t).Implements(textReaderType):
		return d.text(from, at, "a string", func(s string) error {
			return v.Addr().Interface().(textReader).UnmarshalText([]byte(s))
		})
	}
	switch t.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		return d.value(v.Elem(), from, at, secret)
	case reflect.Slice:
		return d.list(v, from, at, secret)
	case reflect.Map:
		return d.table(v, from, at, secret)
	case reflect.Struct:
		if !d.is(from, jsontext.Object, at) {
			return false
		}
		d.object(v, from, at)
		return true
	}
	return d.scalar(v, from, at, secret)
}

func (d *decoder) is(from jsontext.Value, kind jsontext.Kind, at string) bool {
	if from.Kind != kind {
		d.problem(at, "must be "+kind.String()+", not "+from.Kind.String())
	}
	return from.Kind == kind
}

func (d *decoder) text(from jsontext.Value, at, what string, set func(string) error) bool {
	if from.Kind != jsontext.String {
		d.problem(at, "must be "+what+", not "+from.Kind.String())
		return false
	}
	if err := set(from.Text); err != nil {
		d.problem(at, err.Error())
		return false
	}
	return true
}

func (d *decoder) list(v reflect.Value, from jsontext.Value, at string, secret bool) bool {
	if !d.is(from, jsontext.Array, at) {
		return false
	}
	list := reflect.MakeSlice(v.Type(), len(from.Items), len(from.Items))
	for i, item := range from.Items {
		d.value(list.Index(i), item, at+"/"+strconv.Itoa(i), secret)
	}
	v.Set(list)
	return true
}

func (d *decoder) table(v reflect.Value, from jsontext.Value, at string, secret bool) bool {
	if !d.is(from, jsontext.Object, at) {
		return false
	}
	t := v.Type()
	table := reflect.MakeMapWithSize(t, len(from.Members))
	for _, m := range from.Members {
		item := reflect.New(t.Elem()).Elem()
		d.value(item, m.Value, at+"/"+escape(m.Name), secret)
		table.SetMapIndex(reflect.ValueOf(strings.Clone(m.Name)).Convert(t.Key()), item)
	}
	v.Set(table)
	return true
}

func (d *decoder) scalar(v reflect.Value, from jsontext.Value, at string, secret bool) bool {
	kind := v.Kind()
	switch {
	case kind == reflect.String:
		if !d.is(from, jsontext.String, at) {
			return false
		}
		v.SetString(strings.Clone(from.Text))
		return true
	case kind == reflect.Bool:
		if !d.is(from, jsontext.Bool, at) {
			return false
		}
		v.SetBool(from.Text == "true")
		return true
	}
	if !d.is(from, jsontext.Number, at) {
		return false
	}
	var err error
	bits := v.Type().Bits()
	switch {
	case kind <= reflect.Int64:
		var x int64
		x, err = strconv.ParseInt(from.Text, 10, bits)
		v.SetInt(x)
	case kind <= reflect.Uintptr:
		var x uint64
		x, err = strconv.ParseUint(from.Text, 10, bits)
		v.SetUint(x)
	default:
		var x float64
		x, err = strconv.ParseFloat(from.Text, bits)
		v.SetFloat(x)
	}
	if err != nil {
		got := from.Text
		if secret {
			got = "this"
		}
		d.problem(at, got+" is not a number that fits "+v.Type().String())
	}
	return err == nil
}

// check holds a value against enum, min and max.
func (d *decoder) check(v reflect.Value, f *field, at string) {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if f.enum != "" {
		d.checkEnum(v, f, at)
	}
	if f.min != "" {
		if limit, err := parseBound(v.Type(), f.min); err == nil && less(v, limit) {
			d.problem(at, "must be at least "+f.min+ofWhat(v))
		}
	}
	if f.max != "" {
		if limit, err := parseBound(v.Type(), f.max); err == nil && more(v, limit) {
			d.problem(at, "must be at most "+f.max+ofWhat(v))
		}
	}
}

func (d *decoder) checkEnum(v reflect.Value, f *field, at string) {
	items := []reflect.Value{v}
	if v.Kind() == reflect.Slice {
		items = items[:0]
		for i := range v.Len() {
			items = append(items, v.Index(i))
		}
	}
	for _, item := range items {
		if !among(plainText(item), f.enum) {
			d.problem(at, "must be one of "+strings.ReplaceAll(f.enum, ",", ", "))
			return
		}
	}
}

func among(s, list string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(one) == s {
			return true
		}
	}
	return false
}

func plainText(v reflect.Value) string {
	switch k := v.Kind(); {
	case k == reflect.String:
		return v.String()
	case k >= reflect.Int && k <= reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case k >= reflect.Uint && k <= reflect.Uintptr:
		return strconv.FormatUint(v.Uint(), 10)
	}
	return ""
}

func ofWhat(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return " characters long"
	case reflect.Slice, reflect.Map:
		return " elements long"
	}
	if v.Type() == secretType {
		return " characters long"
	}
	return ""
}
