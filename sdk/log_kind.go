package sdk

import (
	"reflect"
	"strconv"
)

// textOfKind is textOf for types that are named after a simple one.
func textOfKind(x any) string {
	v := reflect.ValueOf(x)
	switch k := v.Kind(); {
	case k == reflect.String:
		return v.String()
	case k == reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	case v.CanFloat():
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case k == reflect.Slice:
		s := "["
		for i := range v.Len() {
			if i > 0 {
				s += " "
			}
			s += textOf(v.Index(i).Interface())
		}
		return s + "]"
	}
	return v.Type().String()
}
