package jsontext

import (
	"encoding/json"
	"reflect"
	"strconv"
	"testing"
)

// tree makes of a Value what encoding/json makes of the text, with UseNumber.
func tree(v Value) any {
	switch v.Kind {
	case Bool:
		return v.Text == "true"
	case Number:
		return v.Text
	case String:
		return v.Text
	case Array:
		out := []any{}
		for _, x := range v.Items {
			out = append(out, tree(x))
		}
		return out
	case Object:
		out := map[string]any{}
		for _, m := range v.Members {
			out[m.Name] = tree(m.Value)
		}
		return out
	}
	return nil
}

func plain(v any) any {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

func TestParse(t *testing.T) {
	for _, s := range []string{
		`{}`, `[]`, ` null `, `true`, `"a\u00e9\ud83d\ude00\n\/"`, `{"a":[1,2,{"b":"c"}],"d":false}`, `"é"`, `7`, `[[],{}]`,
	} {
		v, err := Parse(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		var want any
		if err := json.Unmarshal([]byte(s), &want); err != nil {
			t.Fatal(err)
		}
		if got := tree(v); !reflect.DeepEqual(got, plain(want)) {
			t.Errorf("%s: got %v, want %v", s, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		``, `{`, `[`, `"`, `{"a"}`, `{"a":}`, `{,}`, `[1,]`, `{"a":1,}`, `{"a":1,"a":2}`, `01`, `1.`, `-`, `1e`, `tru`, `{} {}`,
		`"\x"`, `"\ud83d"`, `"\ud83dx"`, `"\u12"`, "\"\n\"", "\"\xff\"", `[1 2]`, `'a'`, `+1`, `.5`,
	} {
		if v, err := Parse(s); err == nil {
			t.Errorf("%s is taken as %v", s, v)
		}
	}
	deep := ""
	for range 100 {
		deep += "["
	}
	if _, err := Parse(deep); err == nil {
		t.Error("100 levels are taken")
	}
}

// What is taken must be what encoding/json takes, and strings survive being written.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x",null,true]}`, `"\ud83d\ude00"`, `-1.5e+3`, `{"a":{},"b":[]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := Parse(s)
		if err != nil {
			return
		}
		if !json.Valid([]byte(s)) {
			t.Fatalf("%q is not JSON", s)
		}
		if v.Kind == String {
			again, err := Parse(string(AppendString(nil, v.Text)))
			if err != nil || again.Text != v.Text {
				t.Fatalf("%q became %q: %v", v.Text, again.Text, err)
			}
		}
	})
}
