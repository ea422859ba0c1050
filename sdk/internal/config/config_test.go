package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

type limits struct {
	Rate  float64 `json:"rate" default:"2.5" min:"0.5" max:"100"`
	Burst uint16  `json:"burst" default:"10"`
}

type common struct {
	Debug bool `json:"debug" default:"true"`
}

type sample struct {
	common
	Issuer  string            `json:"issuer" required:"true" doc:"Who signs." example:"https://id.example.com" min:"3"`
	Key     Secret            `json:"key" min:"4"`
	Pass    string            `json:"pass" secret:"true"`
	Leeway  Duration          `json:"leeway" default:"30s" min:"0s" max:"1h"`
	Cache   Size              `json:"cache" default:"64KiB" max:"1MiB"`
	Mode    string            `json:"mode" default:"strict" enum:"strict,lax"`
	Hosts   []string          `json:"hosts" default:"a, b" max:"3"`
	Labels  map[string]int    `json:"labels" max:"2"`
	Limits  limits            `json:"limits"`
	Extra   *limits           `json:"extra"`
	Net     netip.Prefix      `json:"net" default:"10.0.0.0/8"`
	Levels  []int8            `json:"levels" enum:"1,2,3"`
	Nested  []limits          `json:"nested"`
	Ignored func()            `json:"-"`
	Texts   map[string]Secret `json:"texts"`
}

func decode(text string) (sample, error) {
	var c sample
	err := Decode(text, reflect.ValueOf(&c).Elem())
	return c, err
}

func TestDefaults(t *testing.T) {
	c, err := decode(`{"issuer":"abc"}`)
	if err != nil {
		t.Fatal(err)
	}
	want := sample{
		common: common{Debug: true}, Issuer: "abc", Leeway: Duration(30 * time.Second), Cache: 64 << 10, Mode: "strict",
		Hosts: []string{"a", "b"}, Limits: limits{2.5, 10}, Net: netip.MustParsePrefix("10.0.0.0/8"),
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
}

func TestAllGiven(t *testing.T) {
	c, err := decode(`{"debug":false,"issuer":"x\u00e9y","key":"hush","pass":"p","leeway":"2m","cache":512,"mode":"lax",
		"hosts":[],"labels":{"a":-1},"limits":{"rate":1},"extra":{"burst":3},"net":"::/0","levels":[3,1],
		"nested":[{"rate":7}],"texts":{"k":"v"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Debug || c.Issuer != "xéy" || c.Key.Reveal() != "hush" || c.Leeway.Std() != 2*time.Minute || c.Cache != 512 ||
		len(c.Hosts) != 0 || c.Labels["a"] != -1 || c.Limits != (limits{1, 10}) || *c.Extra != (limits{2.5, 3}) ||
		c.Net.Bits() != 0 || c.Levels[0] != 3 || c.Nested[0] != (limits{7, 10}) || c.Texts["k"].Reveal() != "v" {
		t.Errorf("got %+v", c)
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`[]`, `must be an object, not a list`},
		{`{`, `not JSON: no name at offset 1`},
		{`{}`, `/issuer: is required: Who signs.`},
		{`{"issuer":"abc","isuer":1}`, `/isuer: unknown key "isuer", did you mean "issuer"?`},
		{`{"issuer":"abc","a/b~":1}`, `/a~1b~0: unknown key "a/b~"`},
		{`{"issuer":"é"}`, `/issuer: must be at least 3 characters long`},
		{`{"issuer":"abc","leeway":"-1s"}`, `/leeway: must be at least 0s`},
		{`{"issuer":"abc","leeway":"soon"}`, `/leeway: must be a duration as "30s", "1h30m" or "7d"`},
		{`{"issuer":"abc","leeway":3}`, `/leeway: must be a duration as "30s", not a number`},
		{`{"issuer":"abc","cache":"2MiB"}`, `/cache: must be at most 1MiB`},
		{`{"issuer":"abc","cache":-1}`, `/cache: must be a size as "64KiB", "10MB" or a number of bytes`},
		{`{"issuer":"abc","mode":"x"}`, `/mode: must be one of strict, lax`},
		{`{"issuer":"abc","hosts":["a","b","c","d"]}`, `/hosts: must be at most 3 elements long`},
		{`{"issuer":"abc","hosts":["a",1]}`, `/hosts/1: must be a string, not a number`},
		{`{"issuer":"abc","labels":{"x":1.5}}`, `/labels/x: 1.5 is not a number that fits int`},
		{`{"issuer":"abc","limits":{"burst":70000,"rate":0}}`, `/limits/burst: 70000 is not a number that fits uint16; /limits/rate: must be at least 0.5`},
		{`{"issuer":"abc","levels":[1,4]}`, `/levels: must be one of 1, 2, 3`},
		{`{"issuer":"abc","net":"x"}`, `/net: netip.ParsePrefix("x"): no '/'`},
		{`{"issuer":null,"debug":"x"}`, `/issuer: must be a string, not null; /debug: must be true or false, not a string`},
		{`{"issuer":"abc","key":"no"}`, `/key: must be at least 4 characters long`},
	} {
		_, err := decode(c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestSchema(t *testing.T) {
	text := Schema(reflect.TypeFor[sample]())
	raw, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("config.json", raw); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	// The schema and Decode must say the same, where a schema can say it.
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{`{"issuer":"abc"}`, true},
		{`{}`, false},
		{`{"issuer":"ab"}`, false},
		{`{"issuer":"abc","x":1}`, false},
		{`{"issuer":"abc","leeway":"30m","cache":"1KiB","hosts":["a"]}`, true},
		{`{"issuer":"abc","leeway":"7d"}`, false}, // more than its max, which the schema does not know
		{`{"issuer":"abc","leeway":"soon"}`, false},
		{`{"issuer":"abc","cache":7}`, true},
		{`{"issuer":"abc","cache":-7}`, false},
		{`{"issuer":"abc","mode":"none"}`, false},
		{`{"issuer":"abc","hosts":["a","b","c","d"]}`, false},
		{`{"issuer":"abc","limits":{"rate":1000}}`, false},
		{`{"issuer":"abc","limits":{"burst":70000}}`, false},
		{`{"issuer":"abc","levels":[1,9]}`, false},
		{`{"issuer":"abc","extra":{"rate":1}}`, true},
		{`{"issuer":"abc","key":"abc"}`, false},
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(c.text))
		if err != nil {
			t.Fatal(err)
		}
		_, decoded := decode(c.text)
		if (decoded == nil) != c.ok {
			t.Errorf("%s: Decode says %v", c.text, decoded)
		}
		if err := schema.Validate(v); (err == nil) != c.ok && !strings.Contains(c.text, "7d") {
			t.Errorf("%s: the schema says %v", c.text, err)
		}
	}
	for _, part := range []string{`"key":{"type":"string","minLength":4,"writeOnly":true}`, `"description":"Who signs."`, `"default":["a","b"]`, `"examples":["https://id.example.com"]`} {
		if !strings.Contains(text, part) {
			t.Errorf("no %s in %s", part, text)
		}
	}
}

func TestCheck(t *testing.T) {
	if err := Check(reflect.TypeFor[sample]()); err != nil {
		t.Error(err)
	}
	type loop struct {
		Next []loop `json:"next"`
	}
	for _, v := range []any{
		3, loop{},
		struct{ C chan int }{},
		struct {
			A int `default:"x"`
		}{},
		struct {
			A int `default:"3" max:"2"`
		}{},
		struct {
			A bool `min:"2"`
		}{},
		struct {
			A string `required:"true" default:"x"`
		}{},
		struct {
			A string
			B string `json:"A"`
		}{},
		struct {
			A string `enum:"a,b" default:"c"`
		}{},
		struct{ M map[int]string }{},
	} {
		if Check(reflect.TypeOf(v)) == nil {
			t.Errorf("%T is taken", v)
		}
	}
}

func TestSecretNeverPrints(t *testing.T) {
	inner := struct{ s Secret }{NewSecret("hush")}
	s := inner.s
	encoded, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s), fmt.Sprintf("%v %+v %#v", inner, inner, &inner), string(encoded),
	} {
		if strings.Contains(text, "hush") {
			t.Errorf("shown in %s", text)
		}
	}
	if s.Reveal() != "hush" {
		t.Error("not revealed")
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "1KiB": 1024, "2 MB": 2e6, "3B": 3, "16777215TiB": 16777215 << 40} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
		if again, err := ParseSize(want.String()); err != nil || again != want {
			t.Errorf("%s became %s", text, want)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1.5MB", "16777216TiB", "1XB"} {
		if _, err := ParseSize(text); err == nil {
			t.Errorf("size %q is taken", text)
		}
	}
	if d, err := ParseDuration("2d"); err != nil || d.Std() != 48*time.Hour {
		t.Errorf("2d: %v, %v", d, err)
	}
	if _, err := ParseDuration("300000d"); err == nil {
		t.Error("300000d is taken")
	}
}

// Whatever the text, Decode must not panic, must not let a secret through in an error,
// and must take what the schema's validator refuses only where a schema is weaker.
func FuzzDecode(f *testing.F) {
	f.Add(`{"issuer":"abc","leeway":"1s","cache":"1KiB","hosts":["a"],"labels":{"x":1},"limits":{"rate":1},"net":"::/0"}`)
	f.Add(`{"issuer":"abc","key":"hush","texts":{"a":"b"},"nested":[{"burst":1}],"levels":[1]}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := decode(text)
		if err != nil {
			if e := err.(*ParseError); len(e.Problems) == 0 || len(e.Problems) > maxProblems {
				t.Fatalf("%d problems", len(e.Problems))
			}
			return
		}
		if len(c.Issuer) < 3 || c.Leeway < 0 || c.Cache > 1<<20 || len(c.Hosts) > 3 || c.Limits.Rate < 0.5 {
			t.Fatalf("%s gave %+v", text, c)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	var c sample
	for b.Loop() {
		if err := Decode(`{"issuer":"abc","key":"hush","leeway":"2m","limits":{"rate":1}}`, reflect.ValueOf(&c).Elem()); err != nil {
			b.Fatal(err)
		}
	}
}
