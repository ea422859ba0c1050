package authhttp

import (
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Requests are those that mosquitto-go-auth makes, in both of its modes.
func TestGoAuthRequests(t *testing.T) {
	f := newFake(t)
	f.says(200, "", "")
	all := f.config(modeGoAuth, `"cache_ttl":"0s"`, "authenticate", "superuser", "authorize")
	asForm := strings.ReplaceAll(all, `"},`, `","encoding":"form"},`)
	get := strings.ReplaceAll(all, `"},`, `","method":"GET"},`)
	for _, c := range []struct {
		name, config, contentType string
		want                      []string
	}{
		{"json", all, contentJSON, []string{
			`POST /authenticate {"clientid":"c 1","password":"<p","username":"ann/é"}`, `POST /superuser {"username":"ann/é"}`,
			`POST /authorize {"acc":2,"clientid":"c 1","topic":"a","username":"ann/é"}`,
			`POST /authorize {"acc":4,"clientid":"c 1","topic":"b/#","username":"ann/é"}`,
			`POST /authorize {"acc":1,"clientid":"c 1","topic":"b/#","username":"ann/é"}`,
		}},
		{"form", asForm, contentForm, []string{
			`POST /authenticate clientid=c+1&password=%3Cp&username=ann%2F%C3%A9`, `POST /superuser username=ann%2F%C3%A9`,
			`POST /authorize acc=2&clientid=c+1&topic=a&username=ann%2F%C3%A9`,
			`POST /authorize acc=4&clientid=c+1&topic=b%2F%23&username=ann%2F%C3%A9`,
			`POST /authorize acc=1&clientid=c+1&topic=b%2F%23&username=ann%2F%C3%A9`,
		}},
		{"get", get, contentJSON, []string{
			`GET /authenticate {"clientid":"c 1","password":"<p","username":"ann/é"}`, `GET /superuser {"username":"ann/é"}`,
			`GET /authorize {"acc":2,"clientid":"c 1","topic":"a","username":"ann/é"}`,
			`GET /authorize {"acc":4,"clientid":"c 1","topic":"b/#","username":"ann/é"}`,
			`GET /authorize {"acc":1,"clientid":"c 1","topic":"b/#","username":"ann/é"}`,
		}},
	} {
		p := builtin(t, c.config)
		login(t, p, ann(), withPassword("<p"))
		publish(t, p, ann(), "a", 1, false)
		subscribe(t, p, ann(), "b/#", 1)
		got := f.took()
		if len(got) != len(c.want) {
			t.Fatalf("%s: %v", c.name, got)
		}
		for i, r := range got {
			if r.String() != c.want[i] || r.contentType != c.contentType {
				t.Errorf("%s: %s (%s)\nwant %s", c.name, r, r.contentType, c.want[i])
			}
		}
	}
}

func TestGoAuthAnswers(t *testing.T) {
	f := newFake(t)
	const superuser = "allow may true:7:# true:7:$SYS/#"
	config := func(mode string) string {
		return f.config(modeGoAuth, `"retries":0,"response_mode":"`+mode+`"`, "authenticate", "superuser", "authorize")
	}
	for _, c := range []struct {
		mode   string
		status int
		body   string
		want   string
	}{
		{"status", 200, "", superuser}, {"status", 204, "", superuser}, {"status", 403, "", "deny 0x87"}, {"status", 302, "", "deny 0x87"},
		{"status", 500, "", unavailable}, {"status", 429, "", unavailable},
		{"json", 200, `{"ok":true}`, superuser}, {"json", 200, `{"ok":false,"error":"no"}`, "deny 0x87"}, {"json", 200, `{}`, "deny 0x87"},
		{"json", 200, `ok`, unavailable}, {"json", 403, `{"ok":true}`, "deny 0x87"},
		{"text", 200, "ok", superuser}, {"text", 200, "ok\n", "deny 0x87"}, {"text", 200, "OK", "deny 0x87"}, {"text", 403, "ok", "deny 0x87"},
	} {
		f.says(c.status, "text/plain", c.body)
		p := builtin(t, config(c.mode))
		if got := said(login(t, p, ann(), withPassword("x"))); got != c.want {
			t.Errorf("%s: %d %q: %s, want %s", c.mode, c.status, c.body, got, c.want)
		}
		atSend := map[string]string{superuser: "allow for 30000ms", "deny 0x87": "deny 0x87 for 30000ms", unavailable: "deny 0x83 what clients may do cannot be asked now"}[c.want]
		if got := said(publish(t, p, ann(), "a", 1, false)); got != atSend {
			t.Errorf("%s: %d %q: publish: %s, want %s", c.mode, c.status, c.body, got, atSend)
		}
	}
	// Whom mosquitto-go-auth does not know at all.
	p := builtin(t, config("status"))
	f.took()
	for _, a := range []*sdk.Authentication{{}, {HasUsername: true}, {HasPassword: true}} {
		if got := said(login(t, p, ann(), a)); got != "continue" {
			t.Errorf("%+v: %s", a, got)
		}
	}
	if all := f.took(); len(all) != 0 {
		t.Errorf("asked: %v", all)
	}
}

// Each part of a decision counts.
func TestGoAuthParts(t *testing.T) {
	f := newFake(t)
	p := builtin(t, f.config(modeGoAuth, `"cache_ttl":"0s"`, "authenticate", "superuser", "authorize"))
	subscribers := builtin(t, f.config(modeGoAuth, `"cache_ttl":"0s","subscribe_acc":[4]`, "authorize"))
	for part, want := range map[string][4]string{
		"/superuser": {"allow", "allow", "allow", "allow"},
		`"acc":1`:    {"allow may true:7:# true:7:$SYS/#", "allow", "deny 0x87", "allow"},
		`"acc":2`:    {"allow may true:7:# true:7:$SYS/#", "deny 0x87", "allow", "allow"},
		`"acc":4`:    {"allow may true:7:# true:7:$SYS/#", "allow", "deny 0x87", "deny 0x87"},
	} {
		f.does(func(r received) (int, string, string) {
			if strings.Contains(r.uri+r.body, part) {
				return 403, "", ""
			}
			return 200, "", ""
		})
		got := [4]string{
			said(login(t, p, ann(), withPassword("x"))), said(publish(t, p, ann(), "a", 1, false)), said(subscribe(t, p, ann(), "a", 1)),
			said(subscribe(t, subscribers, ann(), "a", 1)),
		}
		if got != want {
			t.Errorf("without %s: %q, want %q", part, got, want)
		}
	}
}
