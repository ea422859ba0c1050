package template

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// function is applied to a value. One that has nothing to work on is not called for nil,
// which stays nil.
type function struct {
	args    int
	example string
	// nothing says that it is called for nil too.
	nothing bool
	apply   func(v any, args []string) (any, error)
	// check says what is wrong with arguments, "" if nothing is.
	check func(args []string) string
}

// functions are those of the language. docs/bridges.md has them for operators.
var functions = map[string]*function{
	"upper":  onText(strings.ToUpper),
	"lower":  onText(strings.ToLower),
	"trim":   onText(strings.TrimSpace),
	"url":    onText(url.QueryEscape),
	"text":   onText(func(s string) string { return s }),
	"base64": onBytes(base64.StdEncoding.EncodeToString),
	"hex":    onBytes(hex.EncodeToString),
	"sha256": onBytes(func(b []byte) string {
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	}),
	"unbase64": {apply: func(v any, _ []string) (any, error) {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(textOf(v)))
		if err != nil {
			return nil, errors.New("it is no base64")
		}
		return b, nil
	}},
	"json": {nothing: true, apply: func(v any, _ []string) (any, error) { return json.RawMessage(appendJSON(nil, v)), nil }},
	"parse": {apply: func(v any, _ []string) (any, error) {
		d := json.NewDecoder(strings.NewReader(textOf(v)))
		d.UseNumber()
		var out any
		if err := d.Decode(&out); err != nil || d.More() {
			return nil, errors.New("it is no JSON")
		}
		return out, nil
	}},
	"default": {args: 1, example: `default:"none"`, nothing: true, apply: func(v any, args []string) (any, error) {
		if v == nil {
			return args[0], nil
		}
		return v, nil
	}},
	"required": {nothing: true, apply: func(v any, _ []string) (any, error) {
		if v == nil {
			return nil, errors.New("it is required, and not there")
		}
		return v, nil
	}},
	"int":   {apply: toInt},
	"float": {apply: toFloat},
	"bool":  {apply: toBool},
	"size":  {apply: func(v any, _ []string) (any, error) { return int64(len(bytesOf(v))), nil }},
	"unix":  {apply: onTime(func(t time.Time, _ []string) any { return t.Unix() })},
	"unix_ms": {
		apply: onTime(func(t time.Time, _ []string) any { return t.UnixMilli() }),
	},
	"time": {apply: onTime(func(t time.Time, _ []string) any { return t })},
	"date": {args: 1, example: `date:"2006-01-02"`, apply: onTime(func(t time.Time, args []string) any { return t.Format(args[0]) })},
	"replace": {args: 2, example: `replace:"/":"."`, check: notEmpty, apply: func(v any, args []string) (any, error) {
		s := textOf(v)
		if n := strings.Count(s, args[0]); len(s)+n*(len(args[1])-len(args[0])) > maxText {
			return nil, errors.New("it would be longer than 16 MiB")
		}
		return strings.ReplaceAll(s, args[0], args[1]), nil
	}},
	"cut": {args: 1, example: "cut:64", check: notNumber, apply: func(v any, args []string) (any, error) {
		n, _ := strconv.Atoi(args[0])
		s := textOf(v)
		for len(s) > n {
			_, size := utf8.DecodeLastRuneInString(s)
			s = s[:len(s)-size]
		}
		return s, nil
	}},
}

func functionNames() string {
	var names []string
	for name := range functions {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// maxText is how long a text may become by replacing.
const maxText = 16 << 20

func notEmpty(args []string) string {
	if args[0] == "" {
		return "replace needs something to replace"
	}
	return ""
}

func notNumber(args []string) string {
	if n, err := strconv.Atoi(args[0]); err != nil || n < 0 {
		return strconv.Quote(args[0]) + " is not a number of bytes"
	}
	return ""
}

func onText(f func(string) string) *function {
	return &function{apply: func(v any, _ []string) (any, error) { return f(textOf(v)), nil }}
}

func onBytes(f func([]byte) string) *function {
	return &function{apply: func(v any, _ []string) (any, error) { return f(bytesOf(v)), nil }}
}

// onTime takes times, RFC 3339, and numbers: seconds, or milliseconds if they are so many
// that seconds would be past the year 5000.
func onTime(f func(time.Time, []string) any) func(any, []string) (any, error) {
	return func(v any, args []string) (any, error) {
		t, ok := v.(time.Time)
		if ok {
			return f(t, args), nil
		}
		text := textOf(v)
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			if t = time.Unix(n, 0); n > 100_000_000_000 || n < -100_000_000_000 {
				t = time.UnixMilli(n)
			}
			return f(t.UTC(), args), nil
		}
		if x, err := strconv.ParseFloat(text, 64); err == nil && x > -1e11 && x < 1e11 {
			return f(time.UnixMicro(int64(x*1e6)).UTC(), args), nil
		}
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, errors.New("it is no time: neither RFC 3339 nor seconds or milliseconds since 1970")
		}
		return f(t, args), nil
	}
}

func toInt(v any, _ []string) (any, error) {
	switch x := v.(type) {
	case int64:
		return x, nil
	case bool:
		if x {
			return int64(1), nil
		}
		return int64(0), nil
	}
	s := strings.TrimSpace(textOf(v))
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f > -(1<<63) && f < 1<<63 {
		return int64(f), nil
	}
	return nil, errors.New("it is no whole number")
}

func toFloat(v any, _ []string) (any, error) {
	f, err := strconv.ParseFloat(strings.TrimSpace(textOf(v)), 64)
	if err != nil {
		return nil, errors.New("it is no number")
	}
	return f, nil
}

func toBool(v any, _ []string) (any, error) {
	switch strings.ToLower(strings.TrimSpace(textOf(v))) {
	case "true", "1", "on", "yes":
		return true, nil
	case "false", "0", "off", "no":
		return false, nil
	}
	return nil, errors.New("it is neither true nor false")
}

// value computes the expression. The result is as that of variable.value, or
// json.RawMessage.
func (x *expression) value(s *Source) (any, error) {
	v, err := x.variable.value(s)
	if err != nil {
		return nil, err
	}
	for _, c := range x.calls {
		if v == nil && !c.f.nothing {
			continue
		}
		if v, err = c.f.apply(v, c.args); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// textOf is a value as text.
func textOf(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case []byte:
		return string(x)
	case json.RawMessage:
		return string(x)
	case json.Number:
		return x.String()
	case bool:
		return strconv.FormatBool(x)
	case int64:
		return strconv.FormatInt(x, 10)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case time.Time:
		return x.Format("2006-01-02T15:04:05.000Z07:00")
	}
	return string(appendJSON(nil, v))
}

func bytesOf(v any) []byte {
	if b, ok := v.([]byte); ok {
		return b
	}
	return []byte(textOf(v))
}

// appendJSON appends a value as JSON. Bytes that are no text become text all the same,
// with U+FFFD: base64 is for them.
func appendJSON(b []byte, v any) []byte {
	switch x := v.(type) {
	case json.RawMessage:
		return append(b, x...)
	case []byte:
		return appendJSONString(b, string(x))
	case time.Time:
		return appendJSONString(b, textOf(x))
	case string:
		return appendJSONString(b, x)
	}
	text, err := json.Marshal(v)
	if err != nil { // NaN and infinities: JSON has none
		return append(b, "null"...)
	}
	return append(b, text...)
}

func appendJSONString(b []byte, s string) []byte {
	text, _ := json.Marshal(s) // of a string: cannot fail
	return append(b, text...)
}

// appendEscaped appends a value as a part of a text.
func appendEscaped(b []byte, v any, e escape, quoted bool) []byte {
	switch {
	case e == asURL:
		return append(b, escapeURL(textOf(v))...)
	case e == asText:
		return append(b, textOf(v)...)
	case quoted:
		text := appendJSONString(nil, textOf(v))
		return append(b, text[1:len(text)-1]...)
	}
	return appendJSON(b, v)
}

// dots reports whether a value is a path segment that cannot be escaped: URLs take "%2E"
// for "." too.
func dots(v any) bool {
	s := textOf(v)
	return s == "." || s == ".."
}

// escapeURL escapes all but letters, digits and "-_.~", which fits every part of a URL.
func escapeURL(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// typed makes what Template.Value promises.
func typed(v any) (any, error) {
	switch x := v.(type) {
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n, nil
		}
		if !strings.ContainsAny(x.String(), ".eE") {
			return x.String(), nil // an integer that is too large for int64 keeps its digits
		}
		f, err := x.Float64()
		if err != nil {
			return nil, fmt.Errorf("the number %s is too large", x)
		}
		return f, nil
	case map[string]any, []any:
		return json.RawMessage(appendJSON(nil, x)), nil
	}
	return v, nil
}
