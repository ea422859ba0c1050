package v1json

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// text reads a string.
func (d *decoder) text() string {
	if !d.take('"') {
		d.fail("expected a string")
		return ""
	}
	start := d.i
	for d.i < len(d.b) {
		switch c := d.b[d.i]; {
		case c == '"':
			return d.utf8(d.b[start:d.i])
		case c == '\\':
			return d.escaped(append([]byte(nil), d.b[start:d.i]...))
		case c < ' ':
			d.fail("a control character in a string")
			return ""
		}
		d.i++
	}
	d.fail("the string does not end")
	return ""
}

// utf8 ends a string.
func (d *decoder) utf8(s []byte) string {
	if !utf8.Valid(s) {
		d.fail("the string is not UTF-8")
		return ""
	}
	d.i++
	return string(s)
}

// escaped goes on with a string that has escapes; s is what came before.
func (d *decoder) escaped(s []byte) string {
	for d.i < len(d.b) {
		c := d.b[d.i]
		switch {
		case c == '"':
			return d.utf8(s)
		case c < ' ':
			d.fail("a control character in a string")
			return ""
		case c != '\\':
			s = append(s, c)
			d.i++
			continue
		}
		if s = d.escape(s); d.err != nil {
			return ""
		}
	}
	d.fail("the string does not end")
	return ""
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads what begins with a backslash.
func (d *decoder) escape(s []byte) []byte {
	rest := d.b[d.i+1:]
	switch {
	case len(rest) > 0 && rest[0] == 'u':
		r, ok := d.unicode()
		if utf16.IsSurrogate(r) && ok {
			var low rune
			low, ok = d.unicode()
			r = utf16.DecodeRune(r, low)
			ok = ok && r != utf8.RuneError
		}
		if !ok {
			d.fail("not a character after \\u")
			return s
		}
		return utf8.AppendRune(s, r)
	case len(rest) > 0 && escapes[rest[0]] != 0:
		d.i += 2
		return append(s, escapes[rest[0]])
	}
	d.fail("not a character after a backslash")
	return s
}

// unicode reads \uXXXX.
func (d *decoder) unicode() (rune, bool) {
	if len(d.b)-d.i < 6 || d.b[d.i] != '\\' || d.b[d.i+1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(d.b[d.i+2:d.i+6]), 16, 16)
	if err != nil {
		return 0, false
	}
	d.i += 6
	return rune(v), true
}

// bytes reads base64 in either alphabet, with or without padding.
func (d *decoder) bytes() []byte {
	at := d.i
	s := d.text()
	encoding := base64.StdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.URLEncoding
	}
	if len(s)%4 != 0 {
		encoding = encoding.WithPadding(base64.NoPadding)
	}
	b, err := encoding.DecodeString(s)
	if err != nil && d.err == nil {
		d.i = at
		d.fail("expected base64")
	}
	return b
}

// number reads a number and returns it as it stands there.
func (d *decoder) number() string {
	d.space()
	start := d.i
	if d.peek() == '-' {
		d.i++
	}
	whole := d.digits()
	ok := whole == 1 || whole > 1 && d.b[d.i-whole] != '0'
	if d.i < len(d.b) && d.b[d.i] == '.' {
		d.i++
		ok = ok && d.digits() > 0
	}
	if d.i < len(d.b) && d.b[d.i]|0x20 == 'e' {
		if d.i++; d.i < len(d.b) && (d.b[d.i] == '+' || d.b[d.i] == '-') {
			d.i++
		}
		ok = ok && d.digits() > 0
	}
	if !ok || d.i < len(d.b) && isWord(d.b[d.i]) {
		d.i = start
		d.fail("expected a value")
		return "0"
	}
	return string(d.b[start:d.i])
}

func (d *decoder) digits() (n int) {
	for d.i < len(d.b) && d.b[d.i] >= '0' && d.b[d.i] <= '9' {
		d.i++
		n++
	}
	return n
}

// quotable reads a number that may be in quotes, and returns it as it stands there.
func (d *decoder) quotable() string {
	if d.peek() != '"' {
		return d.number()
	}
	return d.unquoted(d.text())
}

// unquoted checks that s, which was in quotes, is a number.
func (d *decoder) unquoted(s string) string {
	in := decoder{b: []byte(s)}
	if in.number(); in.err != nil || in.i < len(s) || s != strings.TrimSpace(s) {
		d.fail(notQuoted)
		return "0"
	}
	return s
}

const notQuoted = "expected a number in quotes"

func (d *decoder) uint(bits int) uint64 {
	v, err := strconv.ParseUint(integer(d.quotable()), 10, bits)
	if err != nil {
		d.fail("expected an integer from 0 of " + strconv.Itoa(bits) + " bits")
	}
	return v
}

func (d *decoder) uint32() uint32 { return uint32(d.uint(32)) }
func (d *decoder) uint64() uint64 { return d.uint(64) }

func (d *decoder) int(s string, bits int) int64 {
	v, err := strconv.ParseInt(integer(s), 10, bits)
	if err != nil {
		d.fail("expected an integer of " + strconv.Itoa(bits) + " bits")
	}
	return v
}

func (d *decoder) int64() int64 { return d.int(d.quotable(), 64) }

// double reads a number, or one of three words.
func (d *decoder) double() float64 {
	var s string
	if d.peek() != '"' {
		s = d.number()
	} else {
		switch s = d.text(); s {
		case "NaN":
			return math.NaN()
		case "Infinity":
			return math.Inf(1)
		case "-Infinity":
			return math.Inf(-1)
		}
		s = d.unquoted(s)
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		d.fail("expected a number of 64 bits")
	}
	return v
}

// enum reads a name, which find knows, or a number. A name that it does not know
// leaves the value as it is.
func enum[E ~int32](d *decoder, x *E, find func(string) (E, bool)) {
	if d.peek() != '"' {
		*x = E(d.int(d.number(), 32))
		return
	}
	if v, ok := find(d.text()); ok {
		*x = v
	}
}

// integer takes the fraction and the exponent from a number if it is whole, exactly:
// "1.50e1" is "15". Otherwise it returns the number as it is.
func integer(s string) string {
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(s), "e")
	whole, fraction, hasFraction := strings.Cut(mantissa, ".")
	if !hasExponent && !hasFraction {
		return s
	}
	sign := ""
	if rest, ok := strings.CutPrefix(whole, "-"); ok {
		sign, whole = "-", rest
	}
	digits := whole + fraction
	if strings.Trim(digits, "0") == "" {
		return "0"
	}
	shift := 0
	if hasExponent {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil || shift > maxShift || shift < -len(whole) {
			return s
		}
	}
	// The point moves by shift; what is behind it then has to be zeros.
	point := len(whole) + shift
	for len(digits) < point {
		digits += "0"
	}
	if strings.Trim(digits[point:], "0") != "" {
		return s
	}
	return sign + strings.TrimLeft(digits[:point], "0")
}

// maxShift bounds the exponents that are worked out; only a number with hundreds of
// zeros after the point could be an integer beyond.
const maxShift = 400
