package trial

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// Compare says, a line for each difference, in what an answer is other than the one that
// is expected: "event 0: action: want ACTION_DENY, got ACTION_ALLOW". Of errors it is
// enough that the one that is expected is a part of the other.
func Compare(want, got *Answer) []string {
	w, g := want.values(), got.values()
	if text, ok := w.byName["error"]; ok && strings.Contains(g.byName["error"], text[1:len(text)-1]) {
		delete(w.byName, "error")
		delete(g.byName, "error")
	}
	var lines []string
	for _, name := range union(w.names, g.names) {
		x, inWant := w.byName[name]
		y, inGot := g.byName[name]
		switch {
		case !inWant && inGot:
			lines = append(lines, name+": want nothing, got "+y)
		case inWant && !inGot:
			lines = append(lines, name+": want "+x+", got nothing")
		case x != y:
			lines = append(lines, name+": want "+x+", got "+y)
		}
	}
	return lines
}

// String tells the answer in one line: "event 0: DENY 0x86 wrong password".
func (a *Answer) String() string {
	v := a.values()
	if len(v.names) == 0 {
		if a.Result != nil {
			return "nothing acknowledged"
		}
		return "continue"
	}
	var parts []string
	for _, name := range v.names {
		parts = append(parts, name+"="+v.byName[name])
	}
	return strings.Join(parts, " ")
}

// values are all scalars of a message by their place in it, in order.
type values struct {
	names  []string
	byName map[string]string
}

func (a *Answer) values() *values {
	v := &values{byName: map[string]string{}}
	if a.Result != nil {
		v.walk("", v1json.AppendJSON(nil, a.Result), "results", "offset", "offset ")
		return v
	}
	v.walk("", v1json.AppendJSON(nil, a.Answer), "verdicts", "event", "event ")
	return v
}

// walk notes the scalars of an object. The elements of its list are named by one of
// their members, which may be left out if it is 0.
func (v *values) walk(at string, text []byte, list, member, name string) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var top map[string]any
	if err := d.Decode(&top); err != nil {
		return // AppendJSON's own
	}
	elements, _ := top[list].([]any)
	delete(top, list)
	for _, e := range elements {
		o := e.(map[string]any)
		key := "0"
		if n, ok := o[member]; ok {
			key = fmt.Sprint(n)
			delete(o, member)
		}
		v.object(at+name+key+": ", o)
	}
	v.object(at, top)
}

func (v *values) object(at string, o map[string]any) {
	names := make([]string, 0, len(o))
	for name := range o {
		names = append(names, name)
	}
	// What is decided before what it is made of.
	slices.SortFunc(names, func(a, b string) int {
		if (a == "action") != (b == "action") {
			if a == "action" {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		v.value(at+name, name, o[name])
	}
}

func (v *values) value(at, name string, x any) {
	switch x := x.(type) {
	case map[string]any:
		v.object(at+".", x)
	case []any:
		for i, e := range x {
			v.value(fmt.Sprintf("%s[%d]", at, i), name, e)
		}
	case string:
		v.put(at, scalar(name, x))
	default:
		v.put(at, meaning(name, fmt.Sprint(x)))
	}
}

func (v *values) put(at, text string) {
	v.names = append(v.names, at)
	v.byName[at] = text
}

// binary are the fields of bytes that hold text often enough to show it.
var binary = []string{"payload", "password", "data", "state", "correlationData", "value"}

// scalar writes a string of the JSON form for people: names of enums as they are, bytes
// as text where they are.
func scalar(name, s string) string {
	if slices.Contains(binary, name) {
		if b, err := base64.StdEncoding.DecodeString(s); err == nil {
			if utf8.Valid(b) {
				return fmt.Sprintf("%q", b)
			}
			return fmt.Sprintf("%d bytes 0x%x", len(b), b)
		}
	}
	if s != "" && strings.ToUpper(s) == s && (name == "action" || name == "outcome" || name == "retain") {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// meaning adds to a number what it stands for.
func meaning(name, n string) string {
	var v uint32
	if _, err := fmt.Sscan(n, &v); err != nil {
		return n
	}
	switch name {
	case "reasonCode":
		return fmt.Sprintf("0x%02X", v)
	case "changed":
		return n + bits(v, func(b uint32) string { return strings.TrimPrefix(pluginv1.Change(b).String(), "CHANGE_") })
	case "actions":
		return n + bits(v, func(b uint32) string { return strings.TrimPrefix(pluginv1.Access(b).String(), "ACCESS_") })
	}
	return n
}

func bits(v uint32, name func(bit uint32) string) string {
	var names []string
	for b := uint32(1); b != 0 && b <= v; b <<= 1 {
		if v&b != 0 {
			names = append(names, name(b))
		}
	}
	return " (" + strings.Join(names, "|") + ")"
}

// union has the names of both lists, those of one element together.
func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, name := range b {
		if !slices.Contains(a, name) {
			out = append(out, name)
		}
	}
	element := func(name string) int {
		at, _, found := strings.Cut(name, ": ")
		_, number, _ := strings.Cut(at, " ")
		if n, err := strconv.Atoi(number); found && err == nil {
			return n
		}
		return math.MaxInt // of none
	}
	slices.SortStableFunc(out, func(x, y string) int { return cmp.Compare(element(x), element(y)) })
	return out
}
