package v1json

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// AppendJSON appends the JSON form of m to b, without spaces. What is not UTF-8 in a
// string is replaced by U+FFFD. It keeps nothing of m, and may be called by several
// goroutines at once.
func AppendJSON(b []byte, m pluginv1.Proto) []byte { return appendAny(b, m) }

// shut ends an object or array in which a comma follows each element.
func shut(b []byte, c byte) []byte {
	if b[len(b)-1] == ',' {
		b[len(b)-1] = c
		return b
	}
	return append(b, c)
}

const hex = "0123456789abcdef"

// short are the control characters that have an escape of their own.
var short = [' ']byte{'\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		case c == '"', c == '\\':
			b = append(b, '\\', c)
		case c < ' ' && short[c] != 0:
			b = append(b, '\\', short[c])
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
		i++
	}
	return append(b, '"')
}

func appendBytes(b, s []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, s)
	return append(b, '"')
}

func appendUint32(b []byte, v uint32) []byte { return strconv.AppendUint(b, uint64(v), 10) }

func appendUint64(b []byte, v uint64) []byte {
	return append(strconv.AppendUint(append(b, '"'), v, 10), '"')
}

func appendInt64(b []byte, v int64) []byte {
	return append(strconv.AppendInt(append(b, '"'), v, 10), '"')
}

func appendDouble(b []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(b, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(b, `"-Infinity"`...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// appendEnum appends what String returned: a name, or the number of a value that is not
// known.
func appendEnum(b []byte, s string) []byte {
	if s[0] < 'A' {
		return append(b, s...)
	}
	b = append(b, '"')
	return append(append(b, s...), '"')
}

// nonZero tells minus zero from zero.
func nonZero(v float64) bool { return math.Float64bits(v) != 0 }
