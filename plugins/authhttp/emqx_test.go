package authhttp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// emqxConfig is one endpoint in mode emqx.
func emqxConfig(name, url, more string) string {
	if more != "" {
		more = "," + more
	}
	return fmt.Sprintf(`{"mode":"emqx","retries":0,%q:{"url":%q%s}}`, name, url, more)
}

// Requests are those that EMQX makes.
func TestEMQXRequests(t *testing.T) {
	f := newFake(t)
	f.says(204, "", "")
	c := ann()
	c.Attributes = []sdk.Pair{{Name: "group", Value: "g1"}}
	const query = "?u=${username}&c=${clientid}&t=${topic}&a=${action}&x=${access}&q=${qos}&r=${retain}&g=${client_attrs.group}"
	for _, x := range []struct {
		name, endpoint, path, more string
		want, contentType, header  string
	}{
		{"as it comes", "authenticate", "/a", ``, `POST /a {"password":"p&w","username":"ann/é"}`, contentJSON, ""},
		{"as it comes", "authorize", "/a", ``, `POST /a {"action":"publish","topic":"a b/c","username":"ann/é"}`, contentJSON, ""},
		{"all of a login", "authenticate", "/a", `"body":{"1":"${clientid}","2":"${peerhost}:${peerport}","3":"${proto_name}${proto_ver}","4":"[${mountpoint}]","5":"${listener}","6":"${zone}",
			"7":"${cert_subject}/${cert_common_name}","8":"${cert_pem}","9":"${namespace}"}`,
			`POST /a {"1":"c 1","2":"192.0.2.7:4711","3":"MQTT5","4":"[]","5":"tls","6":"default","7":"CN=dev 1/dev 1",` +
				`"8":"-----BEGIN CERTIFICATE-----\nCQ==\n-----END CERTIFICATE-----\n","9":""}`, contentJSON, ""},
		{"a form", "authenticate", "/a", `"encoding":"form","body":{"user":"${username}","pass":"${password}"}`, "POST /a pass=p%26w&user=ann%2F%C3%A9", contentForm, ""},
		{"in the query", "authorize", "/a" + query, `"method":"GET"`, "GET /a?u=ann%2F%C3%A9&c=c+1&t=a+b%2Fc&a=publish&x=2&q=1&r=true&g=g1 ", "", ""},
		{"in the query, with a body", "authorize", "/a?x=1", `"method":"GET","body":{"t":"${topic}"}`, "GET /a?x=1&t=a+b%2Fc ", "", ""},
		{"in the path", "authorize", "/u/${username}/${clientid}/${topic}/end", `"method":"GET"`, "GET /u/ann%2F%C3%A9/c%201/a%20b%2Fc/end ", "", ""},
		{"in a header", "authorize", "/a", `"headers":{"x-user":"${username}"},"body":{"a":"b"}`, `POST /a {"a":"b"}`, contentJSON, "ann/é"},
	} {
		p := builtin(t, emqxConfig(x.endpoint, f.URL+x.path, x.more))
		want := "allow"
		if x.endpoint == "authenticate" {
			if got := said(login(t, p, c, withPassword("p&w"))); got != want {
				t.Errorf("%s: %s", x.name, got)
			}
		} else if got := said(publish(t, p, c, "a b/c", 1, true)); got != want+" for 30000ms" {
			t.Errorf("%s: %s", x.name, got)
		}
		got := f.one()
		if got.String() != x.want || got.contentType != x.contentType || got.header.Get("X-User") != x.header {
			t.Errorf("%s: %s (%s)\nwant %s", x.name, got, got.contentType, x.want)
		}
	}
	// A subscription is told by its action.
	p := builtin(t, emqxConfig("authorize", f.URL+"/${action}/${access}", ""))
	subscribe(t, p, c, "a/#", 1)
	if got := f.one(); got.uri != "/subscribe/1" {
		t.Errorf("%s", got)
	}
}

func TestEMQXAnswers(t *testing.T) {
	f := newFake(t)
	logins := builtin(t, emqxConfig("authenticate", f.URL, ""))
	topics := builtin(t, emqxConfig("authorize", f.URL, `"body":{"t":"${topic}"}`))
	end := time.Now().Add(time.Hour).Unix()
	const failed = "deny 0x83 what clients may do cannot be asked now"
	for _, c := range []struct {
		status          int
		kind, body      string
		atLogin, atSend string
	}{
		{204, "", ``, "allow", "allow"},
		{200, contentJSON, `{"result":"allow"}`, "allow", "allow"},
		{200, contentJSON + "; charset=utf-8", `{"result":"allow","is_superuser":false,"more":1}`, "allow", "allow"},
		{200, contentJSON, `{"result":"deny"}`, "deny 0x87", "deny 0x87"},
		{200, contentJSON, `{"result":"ignore"}`, "continue", "continue"},
		{200, contentJSON, `{}`, "continue", "continue"},
		{200, contentForm, `result=allow&is_superuser=true`, "allow may true:7:# true:7:$SYS/#", "allow"},
		{200, contentForm, `result=deny`, "deny 0x87", "deny 0x87"},
		{200, contentJSON, `{"result":"allow","is_superuser":true}`, "allow may true:7:# true:7:$SYS/#", "allow"},
		{200, contentJSON, `{"result":"allow","client_attrs":{"role":"admin","sn":"10c6"},"clientid_override":"x"}`, "allow id=x role=admin sn=10c6", "allow"},
		{200, contentJSON, fmt.Sprintf(`{"result":"allow","expire_at":%d}`, end), fmt.Sprintf("allow ends=%d", end*1000), "allow"},
		{200, contentJSON, `{"result":"allow","expire_at":1}`, "deny 0x87 the login has expired", "allow"},
		{200, contentJSON, `{"result":"allow","acl":[{"permission":"allow","action":"subscribe","topic":"eq t/1","qos":[1]},{"permission":"deny","action":"all","topic":"t/${clientid}"}]}`,
			"allow may true:2:t/1 false:3:t/c 1", "allow"},
		{200, contentJSON, `{"result":"allow","acl":[]}`, "allow may", "allow"},
		// What EMQX ignores, and what cannot be meant.
		{400, contentJSON, `{"result":"allow"}`, "continue", "continue"},
		{302, contentJSON, `{"result":"allow"}`, "continue", "continue"},
		{500, contentJSON, `{"result":"allow"}`, "continue", failed},
		{200, "text/plain", `{"result":"allow"}`, "continue", failed},
		{200, contentJSON, `allow`, "continue", failed},
		{200, contentJSON, `{"result":"allow","acl":[{"permission":"allow","action":"subscribe","topic":"eq t/#"}]}`, "continue", "allow"},
		{200, contentJSON, `{"result":"allow","acl":[{"permission":"allow","action":"all","topic":"t/${username}"}]}`, "continue", "allow"},
		{200, contentJSON, `{"result":"allow","client_attrs":{"role":["admin"]}}`, "continue", "allow"},
	} {
		f.says(c.status, c.kind, c.body)
		if got := said(login(t, logins, ann(), withPassword("x"))); got != c.atLogin {
			t.Errorf("login: %d %s: %s, want %s", c.status, c.body, got, c.atLogin)
		}
		got := strings.TrimSuffix(said(publish(t, topics, ann(), "a", 0, false)), " for 30000ms")
		if got != c.atSend {
			t.Errorf("publish: %d %s: %s, want %s", c.status, c.body, got, c.atSend)
		}
	}
	if n := len(f.took()); n != 44 {
		t.Errorf("%d requests", n)
	}
	// on_error can be another one.
	f.says(500, "", "")
	strict := builtin(t, strings.Replace(emqxConfig("authenticate", f.URL, ""), "{", `{"on_error":"deny",`, 1))
	if got := said(login(t, strict, ann(), withPassword("x"))); got != unavailable {
		t.Errorf("on_error deny: %s", got)
	}
}

// What a client is called chooses no other path, header or user.
func TestEMQXClientsThatCannotBeTold(t *testing.T) {
	f := newFake(t)
	f.says(204, "", "")
	const no = "deny 0x86 the client's name, id or password cannot be sent to the service"
	for _, c := range []struct{ name, path, more, clientID, password, want string }{
		{"a level up", "/${clientid}/x", `"method":"GET"`, "..", "p", no},
		{"a level up with more", "/a${clientid}/x", `"method":"GET"`, "..", "p", "allow"},
		{"another query", "/x?c=${clientid}", `"method":"GET"`, "a&result=b", "p", "allow"},
		{"another header", "/x", `"headers":{"x-c":"${clientid}"}`, "a\r\nx-user: root", "p", no},
		{"a password that JSON does not have", "/x", ``, "c", "\xff", no},
		{"the same in a form", "/x", `"encoding":"form"`, "c", "\xff", "allow"},
	} {
		p := builtin(t, emqxConfig("authenticate", f.URL+c.path, c.more))
		client := ann()
		client.ClientID = c.clientID
		if got := said(login(t, p, client, withPassword(c.password))); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		for _, r := range f.took() {
			if c.want == no || strings.Contains(r.uri, "&result") || r.header.Get("X-User") != "" {
				t.Errorf("%s: %s", c.name, r)
			}
		}
	}
}

func FuzzEMQXAnswer(f *testing.F) {
	f.Add([]byte(`{"result":"allow","is_superuser":1,"client_attrs":{"a":"b"},"expire_at":99999999999,"acl":[{"permission":"allow","action":"all","topic":"eq a/b"}]}`), true)
	f.Add([]byte(`result=allow&is_superuser=true`), false)
	f.Fuzz(func(t *testing.T, body []byte, asJSON bool) {
		kind := contentForm
		if asJSON {
			kind = contentJSON
		}
		in, err := readEMQX(&response{200, kind, body})
		if err != nil {
			return
		}
		if id, err := in.identity(&question{client: ann()}); err == nil {
			checkAnswer(t, answer{result: allow, identity: id})
		}
	})
}

// A request is for the path of the config, whatever the client is called.
func FuzzFilled(f *testing.F) {
	f.Add("..", "ann", "a/b")
	f.Add("a?b#c", "%2e%2e", "\x00")
	f.Fuzz(func(t *testing.T, clientID, username, topic string) {
		e := &endpoint{config: &Endpoint{URL: "http://127.0.0.1/a/${clientid}/${username}?t=${topic}", Method: "POST", Encoding: encodingForm}}
		q := &question{client: &sdk.Client{ClientID: clientID, Username: username}, topic: topic}
		r, err := e.filled(q, map[string]string{"c": "${clientid}"})
		if err != nil {
			return
		}
		u := parsed(t, r.url)
		if levels := strings.Split(u.EscapedPath(), "/"); len(levels) != 4 || levels[1] != "a" || u.Host != "127.0.0.1" {
			t.Errorf("%q %q: %s", clientID, username, r.url)
		}
		if u.Query().Get("t") != topic || len(u.Query()) != 1 || u.Fragment != "" {
			t.Errorf("%q: %s", topic, r.url)
		}
	})
}
