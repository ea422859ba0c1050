package authhttp

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// What the service is told.
func TestNativeQuestions(t *testing.T) {
	f := newFake(t)
	f.says(200, contentJSON, `{"result":"ignore"}`)
	p := builtin(t, strings.Replace(f.config(modeNative, `"methods":["X"],"cache_ttl":"0s"`, "authenticate", "permit", "authorize"),
		`/authenticate"`, `/authenticate","headers":{"authorization":"Bearer secret"}`, 1))
	about := map[string]any{
		"client_id": "c 1", "username": "ann/é", "remote_address": "192.0.2.7", "listener": "tls", "transport": "tls", "protocol_version": 5.0,
		"certificate": map[string]any{"subject": "CN=dev 1", "common_name": "dev 1", "sha256": "0102"},
	}
	with := func(more map[string]any) map[string]any {
		out := maps.Clone(about)
		maps.Copy(out, more)
		return out
	}
	c := ann()
	c.Namespace, c.Attributes = "plant", []sdk.Pair{{Name: "site", Value: "<7>"}}
	member := map[string]any{"namespace": "plant", "attributes": map[string]any{"site": "<7>"}}
	for _, q := range []struct {
		name string
		ask  func()
		want map[string]any
	}{
		{"a password", func() { login(t, p, ann(), withPassword("<pass>")) },
			with(map[string]any{"action": "authenticate", "password": "<pass>", "clean_start": true})},
		{"a password that is no text", func() { login(t, p, ann(), withPassword("\xff\x00")) },
			with(map[string]any{"action": "authenticate", "password_base64": "/wA=", "clean_start": true})},
		{"an enhanced authentication", func() {
			login(t, p, ann(), &sdk.Authentication{Method: "X", Data: []byte{1}, Step: 2, State: []byte{3}, Reauthentication: true})
		}, with(map[string]any{"action": "authenticate", "clean_start": true, "method": "X", "data": "AQ==", "step": 2.0, "state": "Aw==", "reauthentication": true})},
		{"rights", func() { p.Permit(t, c); p.Completed(t, p.LastEvent()) }, with(map[string]any{"action": "permit"})},
		{"publish", func() { publish(t, p, c, "a/b", 0, true) }, with(map[string]any{"action": "publish", "topic": "a/b", "qos": 0.0, "retain": true})},
		{"subscribe", func() { subscribe(t, p, c, "a/#", 2) }, with(map[string]any{"action": "subscribe", "topic": "a/#", "qos": 2.0})},
	} {
		q.ask()
		got := f.one()
		if q.want["action"] != "authenticate" {
			maps.Copy(q.want, member)
		}
		if !reflect.DeepEqual(object(t, got.body), q.want) {
			t.Errorf("%s: %s\nwant %v", q.name, got.body, q.want)
		}
		if got.method != "POST" || got.contentType != contentJSON {
			t.Errorf("%s: %s %s", q.name, got.method, got.contentType)
		}
		if secret := got.header.Get("Authorization") != ""; secret != (got.uri == "/authenticate") {
			t.Errorf("%s: %v", q.name, got.header)
		}
	}
}

// What becomes of its answers.
func TestNativeAnswers(t *testing.T) {
	f := newFake(t)
	p := builtin(t, f.config(modeNative, `"methods":["X"],"retries":0`, "authenticate", "permit", "authorize"))
	end := time.Now().Add(time.Hour).Unix()
	for _, c := range []struct {
		ask    string
		status int
		body   string
		want   string
	}{
		{"login", 200, `{"result":"allow"}`, "allow"},
		{"login", 200, `{"result":"deny"}`, "deny 0x86"},
		{"login", 200, `{"result":"deny","reason":"no such device","reason_code":138}`, "deny 0x8a no such device"},
		{"login", 200, `{"result":"ignore"}`, "continue"},
		{"login", 401, `whatever`, "deny 0x86"},
		{"login", 403, ``, "deny 0x86"},
		{"method", 403, ``, "deny 0x87"},
		{"method", 200, `{"result":"challenge","data":"AQI=","state":"c3RhdGU="}`, "challenge data=\x01\x02 state=state"},
		{"method", 200, `{"result":"allow","data":"aGk="}`, "allow data=hi"},
		{"login", 200, fmt.Sprintf(`{"result":"allow","username":"bob","client_id":"b1","namespace":"plant","groups":["x","y"],"attributes":{"site":"7"},
			"expires_at":%d,"max_session_expiry":60,"quotas":{"publish_rate":5,"max_queued":9},
			"permissions":[{"allow":["publish"],"topics":["dev/${username}/${client_id}"]}]}`, end),
			fmt.Sprintf("allow user=bob id=b1 in=plant groups=x,y site=7 may true:1:dev/bob/b1 session=60 quotas=%+v ends=%d", sdk.Quotas{PublishRate: 5, MaxQueued: 9}, end*1000)},
		{"login", 200, `{"result":"allow","permissions":[]}`, "allow may"},
		{"login", 200, `{"result":"allow","superuser":true}`, "allow may true:7:# true:7:$SYS/#"},

		{"permit", 200, `{"result":"allow","permissions":{"pub":"a"}}`, "allow may true:1:a"},
		{"permit", 200, `{"result":"deny"}`, "deny 0x87"},
		{"permit", 200, `{"result":"ignore"}`, "continue"},
		{"permit", 200, `{"result":"allow"}`, "deny 0x88 who may connect cannot be asked now"},

		{"publish", 200, `{"result":"allow"}`, "allow for 30000ms"},
		{"publish", 200, `{"result":"allow","ttl":0.5}`, "allow for 500ms"},
		{"publish", 200, `{"result":"allow","ttl":0}`, "allow"},
		{"publish", 200, `{"result":"deny","reason_code":144}`, "deny 0x90 for 30000ms"},
		{"publish", 403, ``, "deny 0x87 for 30000ms"},
		{"subscribe", 200, `{"result":"deny","reason":"not yours"}`, "deny 0x87 not yours for 30000ms"},
		{"subscribe", 200, `{"result":"ignore"}`, "continue"},
		{"publish", 503, ``, "deny 0x83 what clients may do cannot be asked now"},

		// What cannot be meant.
		{"login", 500, `{"result":"allow"}`, unavailable},
		{"login", 404, `{"result":"allow"}`, unavailable},
		{"login", 302, `{"result":"allow"}`, unavailable},
		{"login", 200, ``, unavailable},
		{"login", 200, `allow`, unavailable},
		{"login", 200, `{"result":"allow"} {"result":"deny"}`, unavailable},
		{"login", 200, `{"result":"alow"}`, unavailable},
		{"login", 200, `{"result":"allow","permisions":[]}`, unavailable},
		{"login", 200, `{"result":"allow","permissions":"all"}`, unavailable},
		{"login", 200, `{"result":"allow","permissions":[{"allow":["publish"],"topics":["a/${client_id}"],"qos":[3]}]}`, unavailable},
		{"login", 200, `{"result":"deny","reason_code":16}`, unavailable},
		{"login", 200, `{"result":"challenge"}`, unavailable},
		{"login", 200, `{"result":"allow","groups":["a,b"]}`, unavailable},
		{"login", 200, `{"result":"allow","groups":["g"],"attributes":{"groups":"h"}}`, unavailable},
		{"login", 200, `{"result":"allow","client_id":"\u0000"}`, unavailable},
		{"login", 200, `{"result":"allow","quotas":{"publish_rate":-1}}`, unavailable},
		{"login", 200, `{"result":"allow","expires_at":1e300}`, unavailable},
		{"login", 200, `{"result":"allow","ttl":-1}`, unavailable},
		{"login", 200, `{"result":"allow","reason":"` + strings.Repeat("x", maxResponse) + `"}`, unavailable},
		{"login", 200, `{"result":"allow","expires_at":1}`, "deny 0x87 the login has expired"},
		{"login", 200, `{"result":"deny","reason":"` + strings.Repeat("é", 513) + `"}`, "deny 0x86 " + strings.Repeat("é", 512)},
		// ${client_id} with a blank is fine, ${username} with a slash chooses topics.
		{"login", 200, `{"result":"allow","permissions":[{"allow":["publish"],"topics":["a/${username}/#"]}]}`, unavailable},
	} {
		f.says(c.status, contentJSON, c.body)
		var v *pluginv1.Verdict
		switch c.ask {
		case "login":
			v = login(t, p, ann(), withPassword("x"))
		case "method":
			v = login(t, p, ann(), &sdk.Authentication{Method: "X"})
		case "permit":
			v = ask(t, p, sdk.PointPermit, ann(), pluginv1.Event{})
		case "publish":
			v = publish(t, p, ann(), "a", 1, false)
		case "subscribe":
			v = subscribe(t, p, ann(), "a", 1)
		}
		if got := said(v); got != c.want {
			t.Errorf("%s: %d %.100s: %.200s, want %.200s", c.ask, c.status, c.body, got, c.want)
		}
	}
}

const unavailable = "deny 0x88 who may connect cannot be asked now"

// Who is not asked about: methods that the service does not know, and what has no endpoint.
func TestNotAsked(t *testing.T) {
	f := newFake(t)
	f.says(500, "", "")
	p := builtin(t, f.config(modeNative, "", "permit"))
	for name, v := range map[string]*pluginv1.Verdict{
		"a login": login(t, p, ann(), withPassword("x")), "a topic": publish(t, p, ann(), "a", 1, false),
	} {
		if got := said(v); got != "continue" {
			t.Errorf("%s: %s", name, got)
		}
	}
	p = builtin(t, f.config(modeNative, `"methods":["X"]`, "authenticate"))
	if got := said(login(t, p, ann(), &sdk.Authentication{Method: "Y"})); got != "continue" {
		t.Errorf("another method: %s", got)
	}
	if all := f.took(); len(all) != 0 {
		t.Errorf("asked: %v", all)
	}
}

// A plugin is only called for what it has somebody to ask about, and not cut off before
// its own time is up.
func TestNarrowing(t *testing.T) {
	f := newFake(t)
	for names, want := range map[string]string{"authenticate": "1", "permit": "10", "authorize": "2 3", "authenticate permit authorize": "1 10 2 3"} {
		_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), f.config(modeNative, `"wait":"55s"`, strings.Fields(names)...))
		var got []string
		for _, h := range res.Narrowed.Hooks {
			got = append(got, fmt.Sprint(int(h.Point)))
			if h.DeadlineMs != 59000 || h.Fields&uint32(sdk.FieldCertificate) != 0 {
				t.Errorf("%s: %+v", names, h)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: points %v", names, got)
		}
	}
	body := `{"mode":"emqx","authenticate":{"url":"http://127.0.0.1/","body":{"c":"${cert_pem}"}}}`
	_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), body)
	if res.Narrowed.Hooks[0].Fields&uint32(sdk.FieldCertificate) == 0 {
		t.Error("the certificate is not asked for")
	}
}

// Both runtimes put the same questions and read answers alike.
func TestEveryRuntime(t *testing.T) {
	f := newFake(t)
	f.does(func(r received) (int, string, string) {
		var q struct {
			Action, Password, Topic string
		}
		if err := json.Unmarshal([]byte(r.body), &q); err != nil {
			return 400, "", ""
		}
		switch {
		case q.Password == "good":
			return 200, contentJSON, `{"result":"allow","attributes":{"site":"7"},"permissions":{"pub":"a"},"quotas":{"max_queued":3}}`
		case q.Action == "authenticate" || q.Topic == "no":
			return 200, contentJSON, `{"result":"deny","reason":"no"}`
		case q.Topic == "error":
			return 500, "", ""
		}
		return 200, contentJSON, `{"result":"ignore"}`
	})
	verdict := func(name string, point sdk.Point, e pluginv1.Event) plugintest.Case {
		return plugintest.Case{Name: name, Ask: func(t testing.TB, p *plugintest.Instance) pluginv1.Proto {
			v := *ask(t, p, point, ann(), e)
			v.Event = 0
			return &v
		}}
	}
	plugintest.Conformance(t, f.config(modeNative, `"retries":0`, "authenticate", "permit", "authorize"), []plugintest.Case{
		verdict("good", sdk.PointAuthenticate, pluginv1.Event{Authentication: withPassword("good")}),
		verdict("bad", sdk.PointAuthenticate, pluginv1.Event{Authentication: withPassword("bad")}),
		verdict("rights", sdk.PointPermit, pluginv1.Event{}),
		verdict("publish", sdk.PointAuthorizePublish, pluginv1.Event{Topic: "no", QoS: 1}),
		verdict("subscribe", sdk.PointAuthorizeSubscribe, pluginv1.Event{Topic: "#"}),
		verdict("an error", sdk.PointAuthorizeSubscribe, pluginv1.Event{Topic: "error"}),
	}, runners(t)...)
}

// Answers of anybody make no identity that the broker cannot use.
func FuzzNativeAnswer(f *testing.F) {
	f.Add([]byte(`{"result":"allow","username":"bob","groups":["a"],"attributes":{"b":"c"},"permissions":{"pub":"a/${client_id}"},"expires_at":99999999999}`), "c", "u")
	f.Add([]byte(`{"result":"deny","reason_code":135,"reason":"x","ttl":1.5}`), "", "")
	f.Add([]byte(`{"result":"challenge","data":"AQ=="}`), "a/b", "+")
	f.Fuzz(func(t *testing.T, body []byte, clientID, username string) {
		q := &question{client: &sdk.Client{ClientID: clientID, Username: username}}
		for _, to := range []*nativeQuestion{{Action: "authenticate", Method: "X"}, {Action: "permit"}, {Action: "publish"}} {
			a, err := readNative(body, to, q)
			if err == nil {
				checkAnswer(t, a)
			}
		}
	})
}

// checkAnswer demands what the contract does of an answer.
func checkAnswer(t *testing.T, a answer) {
	t.Helper()
	id := &a.identity
	seen := map[string]bool{}
	for _, x := range id.Attributes {
		if seen[x.Name] || x.Name == "" {
			t.Errorf("attribute %q", x.Name)
		}
		seen[x.Name] = true
	}
	for _, p := range id.Permissions {
		if !id.HasPermissions || p.Actions == 0 || p.TopicFilter == "" {
			t.Errorf("permission %+v", p)
		}
	}
	if len(a.reason) > 1024 || a.code != 0 && a.code < 0x80 || a.result == deny && len(id.Permissions) > 0 {
		t.Errorf("%+v", a)
	}
}
