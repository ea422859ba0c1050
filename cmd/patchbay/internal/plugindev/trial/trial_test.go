package trial

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

func batch(t testing.TB, text string) *pluginv1.Batch {
	t.Helper()
	b := new(pluginv1.Batch)
	if err := v1json.UnmarshalJSON([]byte(text), b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNarrow: a hook gets what a broker would send it, and verdicts find back to where
// the event was.
func TestNarrow(t *testing.T) {
	b := batch(t, `{"point":"POINT_INTERCEPT_PUBLISH","clients":[{"clientId":"a","username":"u","namespace":"n","remoteAddress":"x",
		"attributes":[{"name":"k","value":"v"}],"tls":{"version":"1.3","certificate":{"commonName":"c","der":"AAAA"}}},{"clientId":"b"}],"events":[
		{"client":1,"message":{"topic":"a/b","payload":"AAAA","qos":1,"contentType":"t","userProperties":[{"name":"p"}]}},
		{"client":2,"message":{"topic":"other","qos":2}},
		{"client":1,"message":{"topic":"a/c","qos":0}},
		{"client":2,"messageOf":1}]}`)
	for _, c := range []struct {
		hook  pluginv1.Hook
		index []uint32
	}{
		{pluginv1.Hook{}, []uint32{0, 1, 2, 3}},
		{pluginv1.Hook{TopicFilters: []string{"x", "a/+"}}, []uint32{0, 2, 3}},
		{pluginv1.Hook{MinQoS: 1}, []uint32{0, 1, 3}},
		{pluginv1.Hook{Namespaces: []string{"n"}}, []uint32{0, 2}},
		{pluginv1.Hook{Namespaces: []string{""}, TopicFilters: []string{"other"}}, []uint32{1}},
		{pluginv1.Hook{TopicFilters: []string{"none"}}, nil},
	} {
		if _, index := narrow(b, &c.hook); !slices.Equal(index, c.index) {
			t.Errorf("%+v: %v, want %v", c.hook, index, c.index)
		}
	}
	for fields, want := range map[uint32]string{
		0: `{"point":"POINT_INTERCEPT_PUBLISH","clients":[{"clientId":"a","username":"u","namespace":"n"},{"clientId":"b"}],"events":[{"client":1,"message":{"topic":"a/b","qos":1,"payloadSize":3}}]}`,
		uint32(pluginv1.FieldPayload | pluginv1.FieldProperties | pluginv1.FieldUserProperties): `{"point":"POINT_INTERCEPT_PUBLISH","clients":[{"clientId":"a","username":"u","namespace":"n"},{"clientId":"b"}],` +
			`"events":[{"client":1,"message":{"topic":"a/b","payload":"AAAA","qos":1,"userProperties":[{"name":"p"}],"contentType":"t"}}]}`,
		uint32(pluginv1.FieldConnection | pluginv1.FieldAttributes | pluginv1.FieldTLS): `{"point":"POINT_INTERCEPT_PUBLISH","clients":[{"clientId":"a","username":"u","namespace":"n","attributes":[{"name":"k","value":"v"}],` +
			`"remoteAddress":"x","tls":{"version":"1.3","certificate":{"commonName":"c"}}},{"clientId":"b"}],"events":[{"client":1,"message":{"topic":"a/b","qos":1,"payloadSize":3}}]}`,
	} {
		one := *b
		one.Events = b.Events[:1]
		out, _ := narrow(&one, &pluginv1.Hook{Fields: fields})
		if got := string(v1json.AppendJSON(nil, out)); got != want {
			t.Errorf("fields %d:\n%s, want\n%s", fields, got, want)
		}
	}
	auth := batch(t, `{"point":"POINT_AUTHENTICATE","events":[{"authentication":{"password":"AAAA","connect":{"receiveMaximum":1}}}]}`)
	out, _ := narrow(auth, &pluginv1.Hook{Point: pluginv1.PointAuthenticate})
	if a := out.Events[0].Authentication; a.Password != nil || a.Connect != nil || auth.Events[0].Authentication.Password == nil {
		t.Errorf("%+v", a)
	}
}

func answer(t testing.TB, text string) *Answer {
	t.Helper()
	a := &Answer{Answer: new(pluginv1.Answer)}
	if err := v1json.UnmarshalJSON([]byte(text), a.Answer); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCompare(t *testing.T) {
	for _, c := range []struct{ want, got, lines string }{
		{`{}`, `{}`, ""},
		{`{"verdicts":[{"event":1,"action":"ACTION_DENY","reasonCode":135}]}`, `{"verdicts":[{"event":1,"action":"ACTION_DENY","reasonCode":135}]}`, ""},
		{
			`{"verdicts":[{"action":"ACTION_DENY","reasonCode":135,"reason":"no"}]}`, `{"verdicts":[{"action":"ACTION_ALLOW","auth":{"username":"u"}},{"event":2,"action":"ACTION_DROP"}]}`,
			"event 0: action: want ACTION_DENY, got ACTION_ALLOW\nevent 0: reason: want \"no\", got nothing\nevent 0: reasonCode: want 0x87, got nothing\n" +
				"event 0: auth.username: want nothing, got \"u\"\nevent 2: action: want nothing, got ACTION_DROP",
		},
		{
			`{"verdicts":[{"action":"ACTION_REPLACE","changed":3,"replacement":{"topic":"a","payload":"aGk="}}]}`,
			`{"verdicts":[{"action":"ACTION_REPLACE","changed":1,"replacement":{"topic":"a","payload":"//8="}}]}`,
			"event 0: changed: want 3 (TOPIC|PAYLOAD), got 1 (TOPIC)\nevent 0: replacement.payload: want \"hi\", got 2 bytes 0xffff",
		},
		{`{"error":"out of fuel"}`, `{"error":"wasm plugin: PROCESS: out of fuel: so much"}`, ""},
		{`{"error":"out of fuel"}`, `{"error":"trapped"}`, `error: want "out of fuel", got "trapped"`},
		{`{}`, `{"error":"trapped"}`, `error: want nothing, got "trapped"`},
	} {
		if got := strings.Join(Compare(answer(t, c.want), answer(t, c.got)), "\n"); got != c.lines {
			t.Errorf("%s and %s:\n%s\nwant\n%s", c.want, c.got, got, c.lines)
		}
	}
	r := func(text string) *Answer {
		a := &Answer{Result: new(pluginv1.ConsumeResult)}
		if err := v1json.UnmarshalJSON([]byte(text), a.Result); err != nil {
			t.Fatal(err)
		}
		return a
	}
	got := Compare(r(`{"acknowledgedOffset":"3","results":[{"offset":"2","outcome":"OUTCOME_OK"}]}`), r(`{"acknowledgedOffset":"1"}`))
	if want := []string{"offset 2: outcome: want OUTCOME_OK, got nothing", "acknowledgedOffset: want \"3\", got \"1\""}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestSample: what is made up for a hook is about it, at every point.
func TestSample(t *testing.T) {
	for p := pluginv1.Point(1); p < 64; p++ {
		if p.Mode() == 0 || strings.HasPrefix(p.String(), "4") || strings.HasPrefix(p.String(), "1") {
			continue
		}
		for _, filters := range [][]string{nil, {"plant/+/#"}, {"a"}, {"#"}} {
			k := pluginv1.Hook{Point: p, TopicFilters: filters, MinQoS: 2}
			if !strings.HasPrefix(p.String(), "POINT_") {
				continue
			}
			b := Sample(&k)
			if _, index := narrow(b, &k); len(index) != 1 {
				t.Errorf("%v %v: the hook would not be asked", p, filters)
			}
			if l := (&Line{Batch: b}).String(); !strings.HasPrefix(l, strings.ToLower(strings.TrimPrefix(p.String(), "POINT_"))) {
				t.Errorf("%v: %s", p, l)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"point":"POINT_AUTHENTICATE","clients":[{"clientId":"a"}],"events":[{"client":1,"authentication":{}}]}`))
	f.Add([]byte("# comment\n\n" + `{"consumer":"c","deliveries":[{"offset":"1","message":{"topic":"t"}}]}`))
	f.Add([]byte(`{"point":"POINT_DELIVERED","events":[{"messageOf":2},{"message":{}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		for i := range lines {
			l := &lines[i]
			_ = l.String()
			if l.Batch == nil {
				continue
			}
			out, index := narrow(l.Batch, &pluginv1.Hook{Point: l.Batch.Point, TopicFilters: []string{"a/#"}, Fields: 3})
			if len(out.Events) != len(index) {
				t.Errorf("%d events, %d places", len(out.Events), len(index))
			}
		}
	})
}

func TestPlaces(t *testing.T) {
	err := stringError("wasm error: unreachable\nwasm stack trace:\n\t._ZN4auth5check17h0123456789abcdefE(i32,i32) i32\n" +
		"\t\t0x5c: /rustc/abc/library/core/src/x.rs:1:2 (inlined)\n\t\t      /src/lib.rs:12:3 (inlined)\n\t\t      /src/lib.rs:40:9\n\t.patchbay_call(i32,i32) i64\n\t\t0x99: /src/lib.rs:7:1")
	want := []string{"auth::check at /src/lib.rs:12:3 (inlined)", "auth::check at /src/lib.rs:40:9", "patchbay_call at /src/lib.rs:7:1"}
	if got := places(err); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if places(nil) != nil || places(stringError("no trace")) != nil {
		t.Error("places out of nothing")
	}
}

type stringError string

func (e stringError) Error() string { return string(e) }
