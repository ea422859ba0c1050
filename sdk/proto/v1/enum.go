package pluginv1

import "strconv"

// number is the String of an enum value that is not known.
func number(v int32) string { return strconv.Itoa(int(v)) }
