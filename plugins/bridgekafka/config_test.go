package bridgekafka

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

func TestConfigs(t *testing.T) {
	const (
		remote = `{"remote":{"brokers":["h"]%s},%s}`
		route  = `"routes":[{"name":"r","filters":["a/#"],"topic":"t"%s}]`
		from   = `"from":[{"name":"f","topics":["k"],"group":"g","topic":"t"%s}]`
	)
	with := func(more, what string, args ...any) string {
		return fmt.Sprintf(remote, more, fmt.Sprintf(what, args...))
	}
	for config, want := range map[string]string{
		with("", route, ""): "",
		with("", from, ""):  "",
		with("", `"routes":[{"name":"r","filters":["a/#"],"topic":"t","key":""}]`):        "",
		with(`,"sasl":{"mechanism":"plain","username":"u","password":"hush"}`, route, ""): "",
		`{"remote":{"brokers":["h"]}}`:                                                                           "/routes there is nothing to do",
		`{"remote":{"brokers":["tcp://u:hush@h"]},` + fmt.Sprintf(route, "") + `}`:                               "/remote/brokers/0 a broker is HOST:PORT",
		`{"remote":{"brokers":["tcp://h"]},` + fmt.Sprintf(route, "") + `}`:                                      `/remote/brokers/0 "tcp://h"`,
		`{"remote":{"brokers":["h:0"]},` + fmt.Sprintf(route, "") + `}`:                                          `/remote/brokers/0 "h:0"`,
		with(`,"name":"a b"`, route, ""):                                                                         "/remote/name a name has neither",
		with(`,"name":"test"`, route, ""):                                                                        `/remote/name "test" is the name of this broker`,
		with(`,"sasl":{"username":"u"}`, route, ""):                                                              "/remote/sasl/mechanism",
		with(`,"sasl":{"mechanism":"scram-sha-512","password":"hush"}`, route, ""):                               "/remote/sasl/username scram-sha-512 needs",
		with(`,"sasl":{"mechanism":"gssapi"}`, route, ""):                                                        "/remote/sasl/mechanism",
		with(`,"tls":{"ca_file":"/none"}`, route, ""):                                                            "/remote/tls/enabled",
		with(`,"tls":{"enabled":true,"ca_file":"/none"}`, route, ""):                                             "/remote/tls/ca_file open /none",
		with(`,"tls":{"enabled":true,"cert_file":"/none"}`, route, ""):                                           "/remote/tls/cert_file a certificate needs its key",
		with("", `"producer":{"acks":"none"},`+route, ""):                                                        "/producer/acks",
		with("", `"producer":{"compression":"zip"},`+route, ""):                                                  "/producer/compression",
		with("", `"producer":{"max_batch":"1GiB"},`+route, ""):                                                   "/producer/max_batch",
		with("", `"loops":{"max_hops":9},`+route, ""):                                                            "/loops/max_hops",
		with("", `"routes":[{"name":"r","filters":["a/#"]}]`):                                                    "/routes/0/topic is required",
		with("", `"routes":[{"name":"r","filters":["a/#"],"topic":"a/b"}]`):                                      `/routes/0/topic "a/b"`,
		with("", `"routes":[{"name":"r","filters":["a/#"],"topic":"${topc}"}]`):                                  "/routes/0/topic",
		with("", route, `,"partition":"x"`):                                                                      "/routes/0/partition",
		with("", route, `,"headers":{"patchbay-x":"1"}`):                                                         "/routes/0/headers",
		with("", route, `,"value":"{\"a\":"`):                                                                    "/routes/0/value",
		with("", route, `,"value":"{\"a\":1}","tombstones":true`):                                                "/routes/0/tombstones",
		with("", `"routes":[{"name":"r","filters":[],"topic":"t"}]`):                                             "/routes/0/filters",
		with("", route+`,"from":[{"name":"r","topics":["k"],"group":"g","topic":"t"}]`, ""):                      "/from/0/name",
		with("", from, `,"pattern":"x"`):                                                                         "/from/0/topics either",
		with("", `"from":[{"name":"f","group":"g","topic":"t"}]`):                                                "/from/0/topics either",
		with("", `"from":[{"name":"f","pattern":"(","group":"g","topic":"t"}]`):                                  "/from/0/pattern",
		with("", `"from":[{"name":"f","topics":["k"],"group":"g","topic":"t/#"}]`):                               "/from/0/topic",
		with("", `"from":[{"name":"F","topics":["k"],"group":"g","topic":"t"}]`):                                 "/from/0/name",
		with("", `"from":[{"name":"f","topics":["a b"],"group":"g","topic":"t"}]`):                               "/from/0/topics/0",
		with("", from, `,"retry_max":"10ms"`):                                                                    "/from/0/retry_max",
		with("", from, `,"qos":3`):                                                                               "/from/0/qos",
		with("", `"from":[{"name":"f","topics":["k"],"topic":"t"}]`):                                             "/from/0/group is required",
		with("", `"routes":[{"name":"r","filters":["a"],"topic":"t"},{"name":"r","filters":["b"],"topic":"t"}]`): "/routes/1/name",
	} {
		if got := refusal(t, config); !strings.HasPrefix(got, want) || got != "" && want == "" || strings.Contains(got, "hush") {
			t.Errorf("%s: %q, want %q", config, got, want)
		}
	}
}

// refusal is the first problem of a config, "" if there is none.
func refusal(t *testing.T, config string) string {
	t.Helper()
	_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
	if len(res.Problems) > 0 {
		return res.Problems[0].Pointer + " " + res.Problems[0].Message
	}
	return ""
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"h": "h:9092", "h:1": "h:1", "127.0.0.1:9093": "127.0.0.1:9093", "::1": "[::1]:9092", "[::1]:7": "[::1]:7", "[::1]": "[::1]:9092",
		"": "", "h:": "", "h:x": "", "h:65536": "", "kafka://h": "", "a:b:c": "", "u@h": "", "h/x": "",
	} {
		got, err := address(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func FuzzCheckTopic(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a.b_c-1", "a/b", "ä", strings.Repeat("x", 249), strings.Repeat("x", 250)} {
		f.Add(s)
	}
	good := regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := checkTopic(s) == nil, good.MatchString(s) && s != "." && s != ".."; got != want {
			t.Errorf("%q: %v", s, got)
		}
	})
}
