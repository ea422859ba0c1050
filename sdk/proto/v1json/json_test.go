package v1json

import (
	"errors"
	"math"
	"strings"
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func TestAppendJSON(t *testing.T) {
	for _, c := range []struct {
		m    pluginv1.Proto
		want string
	}{
		{&pluginv1.Batch{}, `{}`},
		{&pluginv1.StopResponse{}, `{}`},
		{&pluginv1.Message{Topic: "a\"b\\c\x01\u007f", Payload: []byte{0xFB, 0xFF}, QoS: 1, Retain: true, ID: math.MaxUint64, ReceivedMs: -1},
			`{"topic":"a\"b\\c\u0001` + "\u007f" + `","payload":"+/8=","qos":1,"retain":true,"id":"18446744073709551615","receivedMs":"-1"}`},
		{&pluginv1.Message{Topic: "bad \xFF utf8"}, `{"topic":"bad ` + "\uFFFD" + ` utf8"}`},
		{&pluginv1.Verdict{Action: pluginv1.ActionReplace, Auth: &pluginv1.AuthResult{}}, `{"action":"ACTION_REPLACE","auth":{}}`},
		{&pluginv1.Verdict{Action: 77}, `{"action":77}`},
		{&pluginv1.HostError{Code: -99}, `{"code":-99}`},
		{&pluginv1.Sample{Value: math.Copysign(0, -1), Buckets: []float64{math.Inf(-1), 0.5, math.NaN(), math.Inf(1)}},
			`{"value":-0,"buckets":["-Infinity",0.5,"NaN","Infinity"]}`},
		{&pluginv1.Grant{Name: "kv", Namespaces: []string{"", "a"}}, `{"name":"kv","namespaces":["","a"]}`},
	} {
		if got := string(AppendJSON(nil, c.m)); got != c.want {
			t.Errorf("got\n%s, want\n%s", got, c.want)
		}
	}
	if got := string(AppendJSON([]byte("[1,"), &pluginv1.Pair{Name: "n"})); got != `[1,{"name":"n"}` {
		t.Errorf("appended to a slice it gives %s", got)
	}
}

// What a message may look like in JSON, with what it stands for.
func TestUnmarshalJSON(t *testing.T) {
	for _, c := range []struct {
		json string
		want pluginv1.Proto
	}{
		{` { } `, &pluginv1.Message{}},
		{`{"receivedMs":1,"topic":"t"}`, &pluginv1.Message{ReceivedMs: 1, Topic: "t"}},
		{`{"received_ms":"1"}`, &pluginv1.Message{ReceivedMs: 1}},
		{"\t{\"qos\" :\r\n2 , \"topic\":\"t\"}\n", &pluginv1.Message{QoS: 2, Topic: "t"}},
		{`{"qos":"2"}`, &pluginv1.Message{QoS: 2}},
		{`{"qos":2.0}`, &pluginv1.Message{QoS: 2}},
		{`{"qos":0.2E+1}`, &pluginv1.Message{QoS: 2}},
		{`{"qos":200e-2}`, &pluginv1.Message{QoS: 2}},
		{`{"qos":0e99999999999999999999}`, &pluginv1.Message{}},
		{`{"receivedMs":-50e-1}`, &pluginv1.Message{ReceivedMs: -5}},
		{`{"receivedMs":-0}`, &pluginv1.Message{}},
		{`{"id":18446744073709551615}`, &pluginv1.Message{ID: math.MaxUint64}},
		{`{"receivedMs":-9223372036854775808}`, &pluginv1.Message{ReceivedMs: math.MinInt64}},
		{`{"topic":null,"userProperties":null,"retain":null}`, &pluginv1.Message{}},
		{`{"retain":false}`, &pluginv1.Message{}},
		{`{"retain":true}`, &pluginv1.Message{Retain: true}},
		{`{"topic":"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00"}`, &pluginv1.Message{Topic: "\"\\/\b\f\n\r\tä😀"}},
		{`{"payload":"-_8="}`, &pluginv1.Message{Payload: []byte{0xFB, 0xFF}}},
		{`{"payload":"+/8"}`, &pluginv1.Message{Payload: []byte{0xFB, 0xFF}}},
		{`{"next":[{"a":[null,true,false,1e5,"x"]},{}],"topic":"t"}`, &pluginv1.Message{Topic: "t"}},
		{`{"action":"ACTION_DENY"}`, &pluginv1.Verdict{Action: pluginv1.ActionDeny}},
		{`{"action":2}`, &pluginv1.Verdict{Action: pluginv1.ActionDeny}},
		{`{"action":"ACTION_OF_THE_FUTURE"}`, &pluginv1.Verdict{}},
		{`{"action":-7}`, &pluginv1.Verdict{Action: -7}},
		{`{"value":"-Infinity","buckets":[1,"2.5",1e-7]}`, &pluginv1.Sample{Value: math.Inf(-1), Buckets: []float64{1, 2.5, 1e-7}}},
		{`{"verdicts":[{},{"auth":{}}]}`, &pluginv1.Answer{Verdicts: []pluginv1.Verdict{{}, {Auth: &pluginv1.AuthResult{}}}}},
	} {
		got := pluginv1.New(c.want.MessageName())
		if err := UnmarshalJSON([]byte(c.json), got); err != nil {
			t.Errorf("%s: %v", c.json, err)
		} else if !pluginv1.Equal(got, c.want) {
			t.Errorf("%s is\n%s, want\n%s", c.json, AppendJSON(nil, got), AppendJSON(nil, c.want))
		}
	}
}

func TestUnmarshalJSONRefuses(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{``, "at byte 0: expected an object"},
		{`[]`, "at byte 0: expected an object"},
		{`null`, "at byte 0: expected an object"},
		{`{`, "at byte 1: expected a value"},
		{`{"topic"}`, "at byte 8: expected a colon"},
		{`{"topic":}`, "expected a string"},
		{`{"topic":"t",}`, "expected a value"},
		{`{"topic":"t" "qos":1}`, "expected a comma"},
		{`{"topic":"t"} x`, "at byte 14: expected the end"},
		{`{"topic":1}`, "at byte 9: expected a string"},
		{`{"topic":"t","topic":"u"}`, `"topic" is there twice`},
		{`{"received_ms":1,"receivedMs":1}`, `"receivedMs" is there twice`},
		{`{"topic":"a` + "\n" + `"}`, "control character"},
		{`{"topic":"a\n` + "\x01" + `"}`, "control character"},
		{`{"topic":"a`, "does not end"},
		{`{"topic":"a\n`, "does not end"},
		{`{"topic":"\x"}`, "after a backslash"},
		{`{"topic":"\`, "after a backslash"},
		{`{"topic":"\u12"}`, `after \u`},
		{`{"topic":"\ud83d"}`, `after \u`},
		{`{"topic":"\ude00\ud83d"}`, `after \u`},
		{`{"topic":"` + "\xFF" + `"}`, "not UTF-8"},
		{`{"payload":"a"}`, "base64"},
		{`{"payload":"a+-="}`, "base64"},
		{`{"qos":-1}`, "expected an integer from 0 of 32 bits"},
		{`{"qos":4294967296}`, "32 bits"},
		{`{"qos":1.5}`, "32 bits"},
		{`{"qos":1e400}`, "32 bits"},
		{`{"qos":1e-1}`, "32 bits"},
		{`{"receivedMs":-5e-2}`, "64 bits"},
		{`{"qos":01}`, "expected a value"},
		{`{"qos":1.}`, "expected a value"},
		{`{"qos":1e}`, "expected a value"},
		{`{"qos":1x}`, "expected a value"},
		{`{"qos":+1}`, "expected a value"},
		{`{"qos":""}`, "in quotes"},
		{`{"qos":" 1"}`, "in quotes"},
		{`{"qos":"1 2"}`, "in quotes"},
		{`{"receivedMs":9223372036854775808}`, "64 bits"},
		{`{"retain":1}`, "expected false"},
		{`{"retain":truex}`, "expected true"},
		{`{"retain":nul}`, "expected null"},
		{`{"userProperties":{}}`, "expected an array"},
		{`{"userProperties":[null]}`, "expected an object"},
		{`{"userProperties":[{}`, "expected a comma"},
		{`{"x":` + strings.Repeat("[", 66) + strings.Repeat("]", 66) + `}`, tooMany},
		{`{"userProperties":[` + strings.Repeat("{},", 16_384) + `{}]}`, tooMany},
	} {
		err := UnmarshalJSON([]byte(c.json), new(pluginv1.Message))
		var e *DecodeError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: error is %v, want %q", c.json, err, c.want)
		}
	}
}

// Nothing of the input is kept.
func TestUnmarshalJSONCopies(t *testing.T) {
	data := []byte(`{"topic":"plain","payload":"aGk=","userProperties":[{"name":"n","value":"v"}]}`)
	var m pluginv1.Message
	if err := UnmarshalJSON(data, &m); err != nil {
		t.Fatal(err)
	}
	before := m.AppendTo(nil)
	clear(data)
	if string(m.AppendTo(nil)) != string(before) {
		t.Error("the message has changed with the input")
	}
}
