package config

import (
	"encoding"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// parse turns the text of a value into what the field of k holds, or says what
// is wrong with it. A textList is read from text with commas in between.
func (k *key) parse(s string) (any, error) {
	v, err := k.read(s)
	if err != nil {
		return nil, err
	}
	if err := k.inBounds(v); err != nil {
		return nil, err
	}
	return v, k.checkValue(v)
}

func (k *key) read(s string) (any, error) {
	switch k.kind {
	case textList:
		list := []string{}
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		return list, nil
	case boolean:
		switch s {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	case integer:
		// 010 is ten to some readers of YAML, eight to others.
		if n, err := strconv.Atoi(s); err == nil && (n == 0 || s[0] != '0') {
			return n, nil
		}
	case number:
		if f, ok := parseNumber(s); ok {
			return f, nil
		}
	case text:
		return s, nil
	case enum:
		if slices.Contains(k.enum, s) {
			return s, nil
		}
		if near := nearest(s, k.enum); near != "" {
			return nil, fmt.Errorf("%s is not %s; did you mean %s?", quote(s), k.wants(), near)
		}
	case duration:
		return readText[Duration](s)
	case size:
		return readText[Size](s)
	case rate:
		return readText[Rate](s)
	case byteRate:
		return readText[ByteRate](s)
	case memory:
		return readText[Watermark](s)
	case freeform, grants, hooks, secretMap:
		if s != "" {
			return nil, errFileOnly
		}
		return map[kind]any{freeform: JSON{"{}", "{}"}, grants: Grants{}, hooks: Hooks{}, secretMap: Secrets{}}[k.kind], nil
	}
	return nil, fmt.Errorf("%s is not %s", quote(s), k.wants())
}

var errFileOnly = errors.New("can only be set in a configuration file")

// readText reads a value of one of the types in types.go.
func readText[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](s string) (any, error) {
	var v T
	err := P(&v).UnmarshalText([]byte(s))
	return v, err
}

// inBounds compares v with the min and max of k. Never is above every max, and
// allowed or not by itself.
func (k *key) inBounds(v any) error {
	if v == Never {
		if !k.never {
			return errors.New("never is not possible here: " + k.bounds())
		}
		return nil
	}
	if below(v, k.bound(k.min)) || below(k.bound(k.max), v) {
		return fmt.Errorf("%v is out of range: %s", v, k.bounds())
	}
	return nil
}

// bound reads a min or max; nil if there is none.
func (k *key) bound(s string) any {
	if s == "" {
		return nil
	}
	v, err := k.read(s)
	if err != nil {
		return nil // TestDeclaration reads them all
	}
	return v
}

// below reports a < b, for numbers of one type; false if one is nil.
func below(a, b any) bool {
	if a == nil || b == nil {
		return false
	}
	switch a := a.(type) {
	case int:
		return a < b.(int)
	case float64:
		return a < b.(float64)
	case Duration:
		return a < b.(Duration)
	case Size:
		return a < b.(Size)
	case Rate:
		return a < b.(Rate)
	case ByteRate:
		return a < b.(ByteRate)
	}
	return false
}

// format is the opposite of read: the text that parses to v.
func format(v any) string {
	if list, ok := v.([]string); ok {
		return strings.Join(list, ",")
	}
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// nearest returns the one of names that s most likely was meant to be, or "".
func nearest(s string, names []string) string {
	best, bestDistance := "", max(len(s)/3, 2)+1
	for _, n := range names {
		// A word of three letters is two edits from every other one.
		if d := editDistance(strings.ToLower(s), strings.ToLower(n)); d < bestDistance && d < len(n) && d < len(s) {
			best, bestDistance = n, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func editDistance(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return 100 // no key is so long; do not let one that is cost its square
	}
	prev2, prev := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev = prev, row
	}
	return prev[len(b)]
}
