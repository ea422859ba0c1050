package config

import (
	"errors"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// bound is a limit in the form that it is compared in.
type bound struct {
	i int64
	u uint64
	f float64
}

var errBound = errors.New("cannot be read, or the type has no bounds")

// parseBound reads a min or max tag for values of t.
func parseBound(t reflect.Type, s string) (b bound, err error) {
	k := t.Kind()
	switch {
	case t == durationType:
		var d Duration
		d, err = ParseDuration(s)
		b.i = int64(d)
	case t == sizeType:
		var n Size
		n, err = ParseSize(s)
		b.u = uint64(n)
	case t == secretType, k == reflect.String, k == reflect.Slice, k == reflect.Map,
		k >= reflect.Int && k <= reflect.Int64:
		b.i, err = strconv.ParseInt(s, 10, 64)
	case k >= reflect.Uint && k <= reflect.Uintptr:
		b.u, err = strconv.ParseUint(s, 10, 64)
	case k == reflect.Float32 || k == reflect.Float64:
		b.f, err = strconv.ParseFloat(s, 64)
	default:
		err = errBound
	}
	if err != nil {
		err = errBound
	}
	return b, err
}

func less(v reflect.Value, b bound) bool { return compare(v, b) < 0 }
func more(v reflect.Value, b bound) bool { return compare(v, b) > 0 }

func compare(v reflect.Value, b bound) int {
	k := v.Kind()
	switch {
	case v.Type() == secretType:
		return order(int64(utf8.RuneCountInString(v.Interface().(Secret).Reveal())), b.i)
	case k == reflect.String:
		return order(int64(utf8.RuneCountInString(v.String())), b.i)
	case k == reflect.Slice, k == reflect.Map:
		return order(int64(v.Len()), b.i)
	case k >= reflect.Int && k <= reflect.Int64:
		return order(v.Int(), b.i)
	case k >= reflect.Uint && k <= reflect.Uintptr:
		return order(v.Uint(), b.u)
	}
	return order(v.Float(), b.f)
}

func order[T int64 | uint64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
