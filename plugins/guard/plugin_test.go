package guard

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const few = `{"logins":{"per_user":3,"per_address":6,"ban_after":8},"flapping":{"disconnects":3},
	"deny":[{"client_id":"bot-*","reason":"no bots"},{"username":"eve","address":"198.51.100.0/24","namespace":"n"}],"exempt":["203.0.113.0/24"]}`

// The same in all runtimes: who is let through, who is paused, who is banned.
func TestRuntimes(t *testing.T) {
	for _, r := range allRunners(t) {
		t.Run(r.Name, func(t *testing.T) {
			g := &guarded{t: t, at: func() int64 { return time.Now().UnixMilli() }}
			g.Instance = plugintest.Start(t, r, plugintest.NewHost(), strings.Replace(few, `"per_user"`, `"pause":"15m","per_user"`, 1))
			// Two of one user are under way, and then a third; a fourth waits.
			var clients []*pluginv1.Client
			for i := range 4 {
				c := g.client("192.0.2.1", "c", "ann")
				clients = append(clients, c)
				v := g.ask(c, fmt.Sprint(i))
				if want := pluginv1.ActionContinue; i < 3 && v.Action != want {
					t.Fatalf("login %d: %v", i, v.Action)
				}
				if i == 3 && v.Action != pluginv1.ActionDefer {
					t.Fatalf("login %d: %v", i, v.Action)
				}
			}
			last := g.LastEvent()
			for _, c := range clients[:3] {
				g.tell(pluginv1.PointAuthFailed, c, sdk.BadUserNameOrPassword)
			}
			v := g.Completed(t, last)
			if v.Action != pluginv1.ActionDeny || v.ReasonCode != uint32(connectionRateExceeded) || !strings.Contains(v.Reason, "try again in ") {
				t.Errorf("%+v", v)
			}
			if v := g.ask(g.client("192.0.2.2", "c", "ann"), "x"); v.ReasonCode != uint32(connectionRateExceeded) {
				t.Errorf("the user elsewhere: %+v", v)
			}
			if v := g.ask(g.client("192.0.2.1", "c", "bob"), "x"); v.Action != pluginv1.ActionContinue {
				t.Errorf("another user there: %+v", v)
			}
			if v := g.ask(g.client("192.0.2.3", "bot-1", "bob"), "x"); v.ReasonCode != uint32(sdk.Banned) || v.Reason != "no bots" {
				t.Errorf("a bot: %+v", v)
			}
			for i := range 4 {
				if n := len(g.bans()); n != 0 {
					t.Fatalf("%d bans after %d connections", n, i)
				}
				g.tell(pluginv1.PointDisconnected, g.client("192.0.2.9", "flapper", "carl"), 0)
			}
			if b := g.bans(); len(b) != 1 || b[0].ClientID != "flapper" || b[0].Address != "" || !strings.Contains(b[0].Reason, "more than 3 connections") {
				t.Errorf("%+v", b)
			}
		})
	}
}

func TestDeny(t *testing.T) {
	w := newWatchman(t, plugintest.NewHost(), few)
	in := func(c *pluginv1.Client, namespace string) *pluginv1.Client { c.Namespace = namespace; return c }
	for _, c := range []struct {
		client *pluginv1.Client
		want   bool
	}{
		{w.client("192.0.2.1", "bot-", "ann"), true},
		{w.client("", "bot-7", ""), true},
		{w.client("203.0.113.1", "bot-7", ""), true}, // exempt is from pauses
		{w.client("192.0.2.1", "a-bot-7", ""), false},
		{in(w.client("198.51.100.7", "x", "eve"), "n"), true},
		{in(w.client("198.51.100.7", "x", "eve"), "other"), false},
		{in(w.client("198.51.101.7", "x", "eve"), "n"), false},
		{in(w.client("198.51.100.7", "x", "ann"), "n"), false},
		{in(w.client("", "x", "eve"), "n"), false},
		{in(w.client("[::ffff:198.51.100.7]", "x", "eve"), "n"), true},
	} {
		if v := w.ask(c.client, "x"); (v.ReasonCode == uint32(sdk.Banned)) != c.want {
			t.Errorf("%+v: %+v", c.client, v)
		}
	}
	// Who has become somebody that is kept out is sent away.
	w.tell(pluginv1.PointConnected, w.client("192.0.2.1", "bot-9", "ann"), 0)
	calls := w.Host.Calls(pluginv1.HostOpDisconnect)
	if len(calls) != 1 || calls[0].Request.(*pluginv1.DisconnectRequest).ClientID != "bot-9" {
		t.Errorf("%+v", calls)
	}
}

// A config that keeps somebody out sends him away.
func TestDenyCloses(t *testing.T) {
	h := plugintest.NewHost()
	h.State.Clients = []pluginv1.Client{{ClientID: "bot-1", Connection: 7}, {ClientID: "c", Connection: 8}}
	newWatchman(t, h, few)
	if calls := h.Calls(pluginv1.HostOpDisconnect); len(calls) != 1 || calls[0].Request.(*pluginv1.DisconnectRequest).Connection != 7 {
		t.Errorf("%+v", calls)
	}
}

// An address is banned when it has failed often; an IPv6 one with its network.
func TestBanOfAddress(t *testing.T) {
	for address, want := range map[string]string{"192.0.2.1": "192.0.2.1", "[2001:db8:1:2:3::4]": "2001:db8:1:2::/64", "": "", "203.0.113.5": ""} {
		w := newWatchman(t, plugintest.NewHost(), few)
		for i := range 20 {
			w.fail(w.client(address, "c", fmt.Sprint("user", i)), fmt.Sprint(i))
			w.pass(20 * time.Minute)
			if len(w.bans()) > 0 {
				break
			}
		}
		var got string
		if b := w.bans(); len(b) > 0 {
			if got = b[0].Address; !b[0].AllNamespaces || b[0].ExpiresMs-w.at() > time.Hour.Milliseconds() || b[0].Reason != "8 failed logins" {
				t.Errorf("%+v", b[0])
			}
		}
		if got != want {
			t.Errorf("from %s: banned %q, want %q", address, got, want)
		}
	}
}

func TestFlapping(t *testing.T) {
	w := newWatchman(t, plugintest.NewHost(), few)
	end := func(id, namespace, address string, code sdk.ReasonCode) {
		t.Helper()
		c := w.client(address, id, "ann")
		c.Namespace = namespace
		w.tell(pluginv1.PointDisconnected, c, code)
	}
	for range 20 { // slowly
		end("slow", "", "192.0.2.1", 0)
		w.pass(21 * time.Second)
	}
	for i := range 20 { // not their doing, or exempt
		end("kicked", "", "192.0.2.1", []sdk.ReasonCode{0x8B, 0x98, 0x87}[i%3])
		end("exempt", "", "203.0.113.9", 0)
		end("many", fmt.Sprint("n", i), "192.0.2.1", 0)
	}
	if b := w.bans(); len(b) != 0 {
		t.Fatalf("%+v", b)
	}
	for i := range 7 {
		end("quick", "n", "192.0.2.1", []sdk.ReasonCode{0, 0x8E, 0x8D, 0x80}[i%4])
	}
	// It begins anew after a ban, so 7 are one ban.
	if b := w.bans(); len(b) != 1 || b[0].ClientID != "quick" || b[0].Namespace != "n" || b[0].AllNamespaces || b[0].ExpiresMs != w.at()+(5*time.Minute).Milliseconds() {
		t.Errorf("%+v", b)
	}
}

// What a restart finds again.
func TestRestart(t *testing.T) {
	h := plugintest.NewHost()
	w := newWatchman(t, h, few)
	known := w.client("192.0.2.7", "c", "ann")
	w.ask(known, "right")
	w.tell(pluginv1.PointConnected, known, 0)
	for i := range 5 {
		w.fail(w.client("192.0.2.1", "c", "ann"), fmt.Sprint(i))
	}
	if v := w.ask(w.client("192.0.2.2", "c", "ann"), "x"); v.Action != pluginv1.ActionDeny {
		t.Fatalf("%+v", v)
	}
	w.pass(period)
	next := newWatchman(t, h, few)
	if v := next.ask(next.client("192.0.2.2", "c", "ann"), "x"); v.ReasonCode != uint32(connectionRateExceeded) {
		t.Errorf("the pause is forgotten: %+v", v)
	}
	if v := next.ask(next.client("192.0.2.7", "c", "ann"), "x"); v.Action != pluginv1.ActionContinue {
		t.Errorf("the known one is forgotten: %+v", v)
	}
}

// What the broker cannot do now is done later, and told by the plugin's health.
func TestTrouble(t *testing.T) {
	h := plugintest.NewHost()
	w := newWatchman(t, h, few)
	health := func() string {
		t.Helper()
		r, err := w.Plugin.Health(t.Context(), &pluginv1.HealthRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(r.Status, r.Message)
	}
	if got := health(); got != fmt.Sprint(pluginv1.HealthStatusServing) {
		t.Errorf("health: %s", got)
	}
	w.fail(w.client("192.0.2.1", "c", "ann"), "x")
	h.Fail(pluginv1.HostOpKVSet, errors.New("the disk is full"), errors.New("the disk is full"), errors.New("the disk is full"))
	w.Plugin.Timer(t.Context(), &pluginv1.TimerFired{Name: tick})
	if got := health(); !strings.Contains(got, "cannot be stored") || !strings.HasPrefix(got, fmt.Sprint(pluginv1.HealthStatusDegraded)) {
		t.Errorf("health: %s", got)
	}
	w.Plugin.Timer(t.Context(), &pluginv1.TimerFired{Name: tick})
	if got := health(); got != fmt.Sprint(pluginv1.HealthStatusServing) {
		t.Errorf("health: %s", got)
	}
	if n := len(h.Calls(pluginv1.HostOpKVSet)); n != 6 {
		t.Errorf("%d writes, want 3 that fail and the same 3 again", n)
	}
	h.Fail(pluginv1.HostOpBanAdd, errors.New("too many bans"))
	for range 4 {
		w.tell(pluginv1.PointDisconnected, w.client("192.0.2.1", "c", "ann"), 0)
	}
	if got := health(); !strings.Contains(got, "too many bans") {
		t.Errorf("health: %s", got)
	}
}

// Each config does no more than it says.
func TestNarrow(t *testing.T) {
	for config, want := range map[string]int{
		`{}`: 4,
		`{"logins":{"per_user":0,"per_address":0}}`: 1,
		`{"flapping":{"disconnects":0}}`:            3,
		`{"logins":{"per_user":0,"per_address":0},"deny":[{"client_id":"x"}],"flapping":{"disconnects":0}}`: 3,
		`{"logins":{"per_user":0,"per_address":0},"flapping":{"disconnects":0}}`:                            0,
	} {
		_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
		if len(res.Problems) > 0 || res.Narrowed == nil || len(res.Narrowed.Hooks) != want {
			t.Errorf("%s: %+v", config, res)
		}
	}
}

func TestConfigure(t *testing.T) {
	w := newWatchman(t, plugintest.NewHost(), few)
	for i := range 3 {
		w.fail(w.client("192.0.2.1", "c", "ann"), fmt.Sprint(i))
	}
	r, err := w.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"exempt":["192.0.2.0/24"],"logins":{"per_user":3}}`})
	if err != nil || len(r.Problems) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if v := w.ask(w.client("192.0.2.1", "c", "ann"), "x"); v.Action != pluginv1.ActionContinue {
		t.Errorf("exempt: %+v", v)
	}
	if v := w.ask(w.client("192.0.3.1", "c", "ann"), "x"); v.Action != pluginv1.ActionDeny {
		t.Errorf("what was counted is forgotten: %+v", v)
	}
	r, err = w.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{"exempt":["192.0.2.1/24"]}`})
	if err != nil || len(r.Problems) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestProblems(t *testing.T) {
	for config, want := range map[string]string{
		`{"exempt":["10.0.0.0/8","ten"]}`:            `/exempt/1 "ten" is neither`,
		`{"exempt":["10.0.0.1/8"]}`:                  `/exempt/0 "10.0.0.1/8": the range begins at 10.0.0.0/8`,
		`{"deny":[{"reason":"x"}]}`:                  `/deny/0 it needs client_id`,
		`{"deny":[{"address":"fe80::1%eth0"}]}`:      `/deny/0/address "fe80::1%eth0" is neither`,
		`{"logins":{"pause":"1h","max_pause":"1m"}}`: `/logins/pause it is longer`,
		`{"logins":{"max_pause":"2h"}}`:              `/logins/forget it must not be shorter than max_pause, 2h0m0s`,
		`{"logins":{"per_address":200}}`:             `/logins/ban_after it is less than per_address, 200`,
		`{"logins":{"per_user":-1}}`:                 `/logins/per_user `,
		`{"max_entries":1}`:                          `/max_entries `,
		`{"logins":{"per_usr":1}}`:                   `/logins/per_usr unknown key`,
	} {
		_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
		if len(res.Problems) != 1 {
			t.Errorf("%s: %+v", config, res.Problems)
			continue
		}
		if got := res.Problems[0].Pointer + " " + res.Problems[0].Message; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
}

// Bans need their grant; all else goes without any.
func TestGrants(t *testing.T) {
	start := func(config string) *pluginv1.StartResponse {
		t.Helper()
		p, err := plugintest.Builtin(Plugin()).Open(t.Context(), plugintest.NewHost())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		r, err := p.Start(t.Context(), &pluginv1.StartRequest{Name: "guard", Config: config, Host: &pluginv1.HostInfo{}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := start(`{}`); len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Message, "grants: [ban]") {
		t.Errorf("%+v", r)
	}
	if r := start(`{"flapping":{"disconnects":0},"logins":{"ban_after":0},"deny":[{"client_id":"x"}]}`); len(r.Problems) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestHTTP(t *testing.T) {
	w := newWatchman(t, plugintest.NewHost(), few)
	for i := range 4 {
		w.fail(w.client("192.0.2.1", "c", "ann"), fmt.Sprint(i))
	}
	ask := func(method, query string, status uint32) string {
		t.Helper()
		r, err := w.Plugin.HTTP(t.Context(), &pluginv1.HTTPRequest{Method: method, Path: "pauses", Query: query})
		if err != nil || r.Status != status {
			t.Errorf("%s %s: %+v, %v", method, query, r, err)
			return ""
		}
		return string(r.Body)
	}
	if got := ask("GET", "", 200); strings.Count(got, `"user":"ann"`) != 2 || !strings.Contains(got, `"address":"192.0.2.1/32"`) || !strings.Contains(got, `"failures":3`) {
		t.Errorf("%s", got)
	}
	ask("DELETE", "", 400)
	ask("DELETE", "user=bob", 404)
	ask("DELETE", "address=here", 400)
	ask("DELETE", "address=192.0.2.2", 404)
	ask("DELETE", "user=ann", 200)
	if got := ask("GET", "", 200); got != `{"pauses":[]}`+"\n" {
		t.Errorf("%s", got)
	}
	if v := w.ask(w.client("192.0.2.1", "c", "ann"), "x"); v.Action != pluginv1.ActionContinue {
		t.Errorf("%+v", v)
	}
	ask("DELETE", "address=192.0.2.1", 200) // the failures of the address
}
