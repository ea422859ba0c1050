package authjwt

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// asking is a plugin that asks.
type asking struct {
	t testing.TB
	*plugintest.Instance
	*clock
	start time.Time
}

func startAsking(t testing.TB, h *plugintest.Host, c *clock) *asking {
	t.Helper()
	p := plugintest.Start(t, timed(c), h, inline(t, `"leeway":"0s","ask":{"before":"1m","topic":"auth/${client_id}"}`))
	return &asking{t, p, c, c.now()}
}

// login of a client with a method; exp is from the start.
func (a *asking) login(c *sdk.Client, exp time.Duration, again bool) *pluginv1.AuthResult {
	a.t.Helper()
	token := newSigner("ES256", "e").token(a.t, map[string]any{"sub": "ann", "exp": a.start.Add(exp).Unix()})
	v := a.Authenticate(a.t, c, &sdk.Authentication{Method: "JWT", Data: []byte(token), Reauthentication: again})
	if v.Action != pluginv1.ActionAllow {
		a.t.Fatalf("login: %s", said(v))
	}
	return v.Auth
}

func (a *asking) observe(point sdk.Point, c sdk.Client) {
	a.t.Helper()
	a.Process(a.t, &pluginv1.Batch{Point: point, Clients: []pluginv1.Client{c}, Events: []pluginv1.Event{{Client: 1}}})
}

// connect is a login with what follows.
func (a *asking) connect(id string, connection uint64, exp time.Duration) sdk.Client {
	a.t.Helper()
	c := sdk.Client{ClientID: id, Connection: connection, Namespace: "n"}
	auth := a.login(&c, exp, false)
	c.Username, c.Attributes = "ann", auth.Attributes
	a.observe(sdk.PointConnected, c)
	return c
}

// published lists what was published since the last look.
func (a *asking) published(want ...string) {
	a.t.Helper()
	var got []string
	for _, m := range a.host.Published() {
		got = append(got, fmt.Sprintf("%s %s in %s for %ds", m.Topic, m.Payload, m.Namespace, m.MessageExpiryInterval))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		a.t.Errorf("published %q, want %q", got, want)
	}
}

func (a *asking) says(id string, exp, left time.Duration) string {
	return fmt.Sprintf(`auth/%s {"expires_at":%d} in n for %ds`, id, a.start.Add(exp).Unix(), int(left.Seconds())+1)
}

func TestAsking(t *testing.T) {
	h := plugintest.NewHost()
	a := startAsking(t, h, &clock{t: time.Now().Truncate(time.Second), host: h})
	a.connect("early", 1, 10*time.Minute)
	late := a.connect("late", 2, 20*time.Minute)
	a.connect("gone", 3, 10*time.Minute)
	a.connect("short", 4, time.Minute) // is asked half-way
	a.observe(sdk.PointDisconnected, sdk.Client{ClientID: "gone", Connection: 3})
	a.connect("a/b", 5, 5*time.Minute) // has no topic
	a.advance(t, 20*time.Second)
	a.published()
	a.advance(t, 10*time.Second)
	want := []string{a.says("short", time.Minute, 30*time.Second)}
	a.published(want...)
	a.advance(t, 8*time.Minute+30*time.Second)
	want = append(want, a.says("early", 10*time.Minute, time.Minute))
	a.published(want...)
	// Who has come again is asked before the new token expires.
	a.login(&late, 40*time.Minute, true)
	a.advance(t, 20*time.Minute)
	a.published(want...)
	a.advance(t, 10*time.Minute)
	a.published(append(want, a.says("late", 40*time.Minute, time.Minute))...)
	a.advance(t, time.Hour)
	if n := len(h.Published()); n != 3 {
		t.Errorf("%d were asked", n)
	}
}

// Another instance asks those who were there before it.
func TestAskingAfterReload(t *testing.T) {
	h := plugintest.NewHost()
	start := time.Now().Truncate(time.Second)
	h.State.Clients = []sdk.Client{
		{ClientID: "was", Connection: 7, Namespace: "n", Username: "ann", Attributes: []sdk.Pair{
			{Name: "auth-jwt.expires", Value: strconv.FormatInt(start.Add(10*time.Minute).UnixMilli(), 10)}}},
		{ClientID: "other", Connection: 8, Attributes: []sdk.Pair{{Name: "x.expires", Value: "1"}}},
	}
	a := startAsking(t, h, &clock{t: start, host: h})
	if a.Manifest.Name != "auth-jwt" {
		t.Fatal(a.Manifest.Name)
	}
	a.advance(t, 9*time.Minute)
	a.published(a.says("was", 10*time.Minute, time.Minute))
}

// Clients that cannot authenticate again are not asked.
func TestNotAsked(t *testing.T) {
	h := plugintest.NewHost()
	a := startAsking(t, h, &clock{t: time.Now(), host: h})
	v := login(t, a.Instance, "c", newSigner("ES256", "e").token(t, claims(nil)))
	if got := said(v); got != "allow user=ann" {
		t.Errorf("%s", got)
	}
	a.observe(sdk.PointConnected, sdk.Client{ClientID: "c", Connection: 1, Attributes: v.Auth.Attributes})
	a.advance(t, 2*time.Hour)
	a.published()
}

// A client that cannot be told now does not keep the others from being told.
func TestAskingThatFails(t *testing.T) {
	h := plugintest.NewHost()
	a := startAsking(t, h, &clock{t: time.Now().Truncate(time.Second), host: h})
	a.connect("one", 1, 10*time.Minute)
	a.connect("two", 2, 20*time.Minute)
	h.Fail(pluginv1.HostOpPublish, sdk.ErrUnavailable)
	a.advance(t, 9*time.Minute)
	tried := a.says("one", 10*time.Minute, time.Minute) // the host notes the call that fails, too
	a.published(tried)
	if logs := h.Logs(); len(logs) != 1 || !strings.Contains(logs[0].Message, "cannot be asked") {
		t.Errorf("logs %v", logs)
	}
	// A config that still asks forgets nobody.
	config := inline(t, `"leeway":"0s","ask":{"before":"2m","topic":"auth/${client_id}"}`)
	if res, err := a.Plugin.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: config}); err != nil || res.Problems != nil {
		t.Fatalf("%+v, %v", res, err)
	}
	a.advance(t, 10*time.Minute)
	a.published(tried, a.says("two", 20*time.Minute, time.Minute))
}
