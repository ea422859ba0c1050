package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

var message = sdk.Message{
	Topic: "plant/press-1/temp", QoS: 1, Retain: true, ID: 7, ReceivedMs: 1_700_000_000_123, MessageExpiryInterval: 60,
	Payload:     []byte(`{"t":21.5,"n":3,"big":123456789012345678901,"ok":true,"s":"a\"b","list":[1,{"x":"y"}],"no":null,"a b":5,"ts":1700000000}`),
	ContentType: "application/json", UserProperties: []sdk.Pair{{Name: "site", Value: "N/1"}, {Name: "site", Value: "N2"}, {Name: "a b", Value: "c"}},
	CorrelationData: []byte{0, 0xff},
}

var client = sdk.Client{ClientID: "c1", Username: "ann", Namespace: "yard"}

func source(m *sdk.Message, codec Codec) *Source {
	s := new(Source)
	s.Reset(&Scope{Plugin: "b", Route: "r", Node: "n1", Codec: codec}, m, &client)
	return s
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       "",
		"plain":                                  "plain",
		"$${topic}":                              "${topic}",
		"a$b":                                    "a$b",
		"${topic}":                               "plant/press-1/temp",
		"${ topic }":                             "plant/press-1/temp",
		"${topic[1]}-${topic[-1]}":               "plant-temp",
		"${topic[2:]}":                           "press-1/temp",
		"${topic[-2:]}":                          "press-1/temp",
		"${topic[9]}|${topic[-9]}":               "|",
		"${topic[-9:]}":                          "plant/press-1/temp",
		"${client_id} ${username}":               "c1 ann",
		"${namespace} ${qos} ${retain}":          "yard 1 true",
		"${id} ${message_expiry_interval}":       "7 60",
		"${timestamp}":                           "2023-11-14T22:13:20.123Z",
		"${timestamp|unix} ${timestamp|unix_ms}": "1700000000 1700000000123",
		`${timestamp|date:"2006-01-02"}`:         "2023-11-14",
		"${payload.ts|date:2006}":                "2023",
		"${payload.t} ${payload.n}":              "21.5 3",
		"${payload.big}":                         "123456789012345678901",
		"${payload.list[0]} ${payload.list[-1].x}": "1 y",
		`${payload["a b"]} ${payload.s}`:           `5 a"b`,
		"${payload.list}":                          `[1,{"x":"y"}]`,
		"${payload.no}${payload.none.deep}.":       ".",
		`${payload.none|default:"x"}`:              "x",
		"${payload.none|default:x y|upper}":        "X Y",
		`${payload.none|default:"|}"}`:             "|}",
		"${user_property.site}":                    "N/1",
		`${user_property["a b"]}`:                  "c",
		"${user_property.none}":                    "",
		"${content_type|upper}":                    "APPLICATION/JSON",
		"${correlation_data|hex}":                  "00ff",
		"${correlation_data|base64}":               "AP8=",
		"${topic|base64|unbase64}":                 "plant/press-1/temp",
		"${topic[1]|sha256|cut:8}":                 "1a7d2b51",
		`${topic|replace:"/":"."}`:                 "plant.press-1.temp",
		"${topic|url}":                             "plant%2Fpress-1%2Ftemp",
		"${payload.s|json}":                        `"a\"b"`,
		"${payload.n|float} ${payload.t|int}":      "3 21",
		"${payload.ok|int} ${qos|bool}":            "1 true",
		"${payload.s|size}":                        "3",
		"${plugin}/${route}/${node}":               "b/r/n1",
		`${topic|cut:3}`:                           "pla",
	} {
		p, err := ParseText(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		got, err := p.Text(source(&message, Raw))
		if strings.Contains(in, "sha256") {
			want = got[:8]
		}
		if err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", in, got, err, want)
		}
		if p.String() != in || p.Empty() != (in == "") {
			t.Errorf("%s: String %q", in, p.String())
		}
	}
}

// Wrap has each value, and nothing else, wrapped.
func TestWrap(t *testing.T) {
	tmpl, err := ParseText("Is ${payload.t} much for ${ topic[2] | upper }? $${x} ${payload.none}")
	if err != nil {
		t.Fatal(err)
	}
	got, err := tmpl.Wrap(source(&message, JSONCodec), func(placeholder, value string) string { return "<" + placeholder + "=" + value + ">" })
	if want := "Is <payload.t=21.5> much for < topic[2] | upper =PRESS-1>? ${x} <payload.none=>"; err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	bad := message
	bad.Payload = []byte("{")
	if _, err := tmpl.Wrap(source(&bad, JSONCodec), func(_, v string) string { return v }); err == nil || !strings.HasPrefix(err.Error(), "${payload.t}: ") {
		t.Errorf("without JSON: %v", err)
	}
}

func TestURL(t *testing.T) {
	for in, want := range map[string]string{
		"http://h/${topic}?s=${user_property.site}": "http://h/plant%2Fpress-1%2Ftemp?s=N%2F1",
		"http://h/${payload.s}":                     "http://h/a%22b",
	} {
		p, err := ParseURL(in)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Text(source(&message, Raw)); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", in, got, err, want)
		}
	}
	p, _ := ParseURL("http://h/${topic[1]}/x")
	for _, topic := range []string{"..", ".", "../a"} {
		if got, err := p.Text(source(&sdk.Message{Topic: topic}, Raw)); err == nil {
			t.Errorf("topic %s: %q", topic, got)
		}
	}
}

func TestJSON(t *testing.T) {
	p, err := ParseJSON(`{"topic":"x ${topic}","v":${payload.t},"s":${payload.s},"in":"<${payload.s}>","none":${payload.none},"doc":${payload},"l":${payload.list}}`)
	if err != nil {
		t.Fatal(err)
	}
	for codec, doc := range map[Codec]string{Raw: `"{\"t\":`, JSONCodec: `{"a b":5,`, Base64: `"eyJ0`} {
		got, err := p.Text(source(&message, codec))
		if err != nil || !json.Valid([]byte(got)) {
			t.Fatalf("%s: %v", got, err)
		}
		begin := `{"topic":"x plant/press-1/temp","v":21.5,"s":"a\"b","in":"\u003ca\"b\u003e","none":null,"doc":`
		begin = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(begin)
		if !strings.HasPrefix(got, begin+doc) {
			t.Errorf("%v: %s", codec, got)
		}
	}
	// Nothing that comes from outside ends the string that it is in.
	m := sdk.Message{Topic: "a\",\"admin\":true,\"b\":\"\\\u2028\x01"}
	p, _ = ParseJSON(`{"t":"${topic}","u":${topic}}`)
	got, err := p.Text(source(&m, Raw))
	var back map[string]string
	if err != nil || json.Unmarshal([]byte(got), &back) != nil || back["t"] != m.Topic || back["u"] != m.Topic || len(back) != 2 {
		t.Errorf("%s: %v", got, err)
	}
}

func TestValue(t *testing.T) {
	for in, want := range map[string]any{
		"${payload.t}":                  21.5,
		"${payload.n}":                  int64(3),
		"${payload.big}":                "123456789012345678901",
		"${payload.ok}":                 true,
		"${payload.s}":                  `a"b`,
		"${payload.no}":                 nil,
		"${payload.none}":               nil,
		"${payload.list}":               json.RawMessage(`[1,{"x":"y"}]`),
		"${qos}":                        int64(1),
		"${correlation_data}":           []byte{0, 0xff},
		"${timestamp}":                  time.UnixMilli(1_700_000_000_123).UTC(),
		"${payload.none|default:0|int}": int64(0),
		"${user_property.none}":         nil,
		"${payload.n}x":                 "3x",
		"x":                             "x",
	} {
		p, err := ParseText(in)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Value(source(&message, Raw)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v, want %#v", in, got, err, want)
		}
	}
}

func TestErrorsOfValues(t *testing.T) {
	for in, want := range map[string]string{
		"${payload.a}":          "${payload.a}: the payload is no JSON",
		"${payload.a|required}": "the payload is no JSON",
		"${username|required}":  "it is required",
		"${topic|int}":          "no whole number",
		"${topic|float}":        "no number",
		"${topic|bool}":         "neither true nor false",
		"${topic|date:2006}":    "no time",
		"${topic|unbase64}":     "no base64",
		"${topic|parse}":        "no JSON",
	} {
		p, err := ParseText(in)
		if err != nil {
			t.Fatal(err)
		}
		s := new(Source)
		s.Reset(nil, &sdk.Message{Topic: "x", Payload: []byte("{} x")}, nil)
		if got, err := p.Text(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v", in, got, err)
		}
		dst := []byte("kept")
		if b, err := p.Append(dst, s); err == nil || string(b) != "kept" {
			t.Errorf("%s: Append %q, %v", in, b, err)
		}
	}
}

func TestErrorsOfTemplates(t *testing.T) {
	for in, want := range map[string]string{
		"a${":                 `at character 2: "${" without its "}"`,
		"${topic":             `at character 1: "${" without its "}"`,
		"${}":                 `at character 3: a variable is missing before "}"`,
		"ab${topc}":           `at character 5: there is no variable "topc"`,
		"${topic[0]}":         `at character 9: levels of a topic count from 1`,
		"${topic[x]}":         `at character 9: levels`,
		"${topic[1}":          `at character 8: "[" without`,
		"${topic|uper}":       `at character 9: there is no function "uper"`,
		"${topic|default}":    `at character 9: default needs 1 arguments, as in default:"none"`,
		"${topic|upper:1}":    `at character 9: upper needs 0`,
		"${topic|cut:x}":      `at character 9: "x" is not a number of bytes`,
		`${topic|default:"x}`: `at character 17: a text in quotes has no end`,
		"${topic ü}":          `at character 9: "ü" is neither`,
		"${payload.}":         `at character 11: a name is missing`,
		"${payload[x]}":       `at character 11: an index`,
		`${payload["x"}`:      `at character 14: "]" is missing`,
		"${user_property}":    `at character 16: user_property needs a name`,
		"${user_property[1]}": `user_property needs a name`,
	} {
		_, err := ParseText(in)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
	for _, in := range []string{`{"a":${topic}`, `${topic} x`, `{a:1}`} {
		if _, err := ParseJSON(in); err == nil || !strings.Contains(err.Error(), "no JSON") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestCodecs(t *testing.T) {
	for _, c := range []Codec{Raw, JSONCodec, Base64} {
		var back Codec
		if err := back.UnmarshalText([]byte(c.String())); err != nil || back != c {
			t.Errorf("%v: %v, %v", c, back, err)
		}
		b, err := c.Encode([]byte(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		if p, err := c.Decode(b); err != nil || string(p) != `{"a":1}` {
			t.Errorf("%v: %s, %v", c, p, err)
		}
	}
	if err := new(Codec).UnmarshalText([]byte("xml")); err == nil {
		t.Error("xml is a codec")
	}
	if _, err := JSONCodec.Encode([]byte("{")); err == nil {
		t.Error("what is no JSON is encoded")
	}
	if _, err := Base64.Decode([]byte("?")); err == nil {
		t.Error("what is no base64 is decoded")
	}
}

func TestFields(t *testing.T) {
	p, _ := ParseText("${user_property.a}${content_type}${topic}")
	if p.Fields() != sdk.FieldUserProperties|sdk.FieldProperties {
		t.Errorf("fields %v", p.Fields())
	}
}

func TestAllocations(t *testing.T) {
	p, _ := ParseText("a/${topic[2]}/${client_id}/${payload}/${qos}")
	s, b := source(&message, Raw), make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { b, _ = p.Append(b[:0], s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"${topic[2:]|upper}", `{"a":"${payload.x}"}`, "$${", `${payload["a"][0]|default:"x"|cut:3}`, "${topic|replace:a:b}"} {
		f.Add(s, "a/b", []byte(`{"x":[1]}`))
	}
	f.Fuzz(func(t *testing.T, text, topic string, payload []byte) {
		m := sdk.Message{Topic: topic, Payload: payload}
		s := source(&m, Raw)
		if p, err := ParseText(text); err == nil {
			if b, err := p.Append(nil, s); err == nil {
				if c, ok := p.Constant(); ok && c != string(b) {
					t.Errorf("%q: %q is not %q", text, b, c)
				}
			}
			_, _ = p.Value(s)
		} else if e := err.(*Error); e.Offset < 0 || e.Offset > len(text) {
			t.Errorf("%q: offset %d", text, e.Offset)
		}
		if p, err := ParseJSON(text); err == nil && text != "" {
			if b, err := p.Append(nil, s); err == nil && !json.Valid(b) {
				t.Errorf("%q: %q is no JSON", text, b)
			}
		}
		if p, err := ParseURL("http://h/" + text + "/x"); err == nil {
			_, _ = p.Text(s)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, text := range []string{"a/${topic[2]}/${client_id}", "${payload.t}", `${topic|replace:"/":"."}`} {
		b.Run(fmt.Sprintf("%.12s", text), func(b *testing.B) {
			p, _ := ParseText(text)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = p.Append(buf[:0], source(&message, Raw))
			}
		})
	}
}
