package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/pluginhost/services"
)

// newBans are the bans of a broker; nobody holds them against clients that connect.
func newBans(t *testing.T, b *broker.Broker) *services.Services {
	t.Helper()
	values := new(store.Memory).Values()
	s, err := services.New(services.Options{Broker: b.Plugins(), Values: values, ErrNotFound: store.ErrNotFound, ErrConflict: store.ErrConflict})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestBanCommands(t *testing.T) {
	b, address := newBroker(t)
	bans := newBans(t, b)
	s := start(t, b, func(o *Options) { o.Bans = bans })
	if out := at(t, s, "ban"); out != "ID  CLIENTS  NAMESPACE  FOR  LEFT  BY  REASON\n" {
		t.Errorf("no bans: %q", out)
	}
	c := connect(t, address, "pump", false)
	wantContains(t, at(t, s, "ban", "add", "--client-id", "pump", "--username", "user-of-pump", "--for", "1d12h", "--reason", "it floods"),
		"client id pump, user user-of-pump banned, 1 connection closed (ban ")
	eventually(t, "it is gone", func() bool { return !c.IsConnectionOpen() })
	added := jsonObject[banLine](t, at(t, s, "ban", "add", "--address", "192.0.2.0/24", "--namespace", "", "--until", "2099-01-31T12:00:00Z", "--json"))
	if added.ID == "" || added.Namespace == nil || *added.Namespace != "" || added.Expires.Year() != 2099 || added.Disconnected == nil || *added.Disconnected != 0 {
		t.Errorf("%+v", added)
	}
	at(t, s, "ban", "add", "--address", "2001:DB8::1", "--namespace", "acme")

	list := at(t, s, "ban", "list")
	rows := strings.Split(strings.TrimSpace(list), "\n")
	if len(rows) != 4 {
		t.Fatalf("%s", list)
	}
	wantContains(t, rows[1], "client id pump, user user-of-pump", "  all ", "operator", "1d1", "it floods")
	wantContains(t, rows[2], "address 192.0.2.0/24", `  ""  `)
	wantContains(t, rows[3], "2001:DB8::1", "acme", "for ever")
	for namespace, want := range map[string]int{"acme": 2, "": 2, "other": 1} {
		if got := jsonLines[banLine](t, at(t, s, "ban", "list", "--namespace", namespace, "--json")); len(got) != want {
			t.Errorf("namespace %q: %+v", namespace, got)
		}
	}

	wantContains(t, at(t, s, "ban", "remove", "--address", "2001:db8::1"), "address 2001:DB8::1 no longer banned")
	removed := jsonObject[banRemoved](t, at(t, s, "ban", "remove", added.ID, "--json"))
	if len(removed.Removed) != 1 || removed.Removed[0].Address != "192.0.2.0/24" {
		t.Errorf("%+v", removed)
	}
	for _, args := range []string{"--client-id pump", "--username user-of-pump", "--client-id pump --username user-of-pump --namespace acme", added.ID} {
		if r := run(t, "", append(strings.Fields("ban remove "+args), "--socket", s.Socket())...); r.code() != 1 || len(bans.Bans()) != 1 {
			t.Errorf("remove %s: %+v", args, r)
		}
	}
	at(t, s, "ban", "remove", "--client-id", "pump", "--username", "user-of-pump")
	if left := bans.Bans(); len(left) != 0 {
		t.Errorf("%+v", left)
	}
}

func jsonObject[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// What is wrong is said, with the exit code of a mistake on the command line.
func TestBanRefusals(t *testing.T) {
	b, _ := newBroker(t)
	bans := newBans(t, b)
	s := start(t, b, func(o *Options) { o.Bans = bans })
	for args, want := range map[string]string{
		"add":                                "whom?",
		"add --for 1h":                       "whom?",
		"add --client-id x --for soon":       "--for: ",
		"add --client-id x --for 0":          "over at once",
		"add --client-id x --until tomorrow": "2030-01-31T12:00:00Z",
		"add --client-id x --until 2001-01-31T12:00:00Z":          "over already",
		"add --client-id x --for 1h --until 2099-01-31T12:00:00Z": "none of the others can be",
		"add --address 192.0.2.7/24":                              "begins at 192.0.2.0/24",
		"add --address example.com":                               "neither an IP address nor a range",
		"add --username " + strings.Repeat("x", 65536):            "longer than 65,535",
		"add --client-id x --reason " + strings.Repeat("y", 1025): "1024 are allowed",
		"add x":                        "unknown command",
		"remove":                       "which?",
		"remove 1 --client-id x":       "which?",
		"remove --client-id x --bogus": "unknown flag",
	} {
		r := run(t, "", append(strings.Fields("ban "+args), "--socket", s.Socket())...)
		if text := fmt.Sprint(r.err); r.err == nil || !strings.Contains(text, want) || r.code() != exitUsage && !strings.HasSuffix(want, "be") {
			t.Errorf("ban %.60s: exit code %d, %.200s; want %s", args, r.code(), text, want)
		}
	}
	if n := len(bans.Bans()); n != 0 {
		t.Errorf("%d bans were made", n)
	}
	without := start(t, b, nil)
	if r := run(t, "", "ban", "add", "--client-id", "x", "--socket", without.Socket()); r.code() != 1 {
		t.Errorf("a broker without bans: %+v", r)
	}
}

// faultyBans cannot remove.
type faultyBans struct{ *services.Services }

func (faultyBans) RemoveBan(string) (bool, error) { return false, errors.New("the disk is full") }

func TestBanCannotBeRemoved(t *testing.T) {
	b, _ := newBroker(t)
	bans := newBans(t, b)
	s := start(t, b, func(o *Options) { o.Bans = faultyBans{bans} })
	at(t, s, "ban", "add", "--client-id", "x")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := newCaller(s.Socket()).post(ctx, pathBanRemove, banRemoval{banLine: banLine{ClientID: "x"}})
	if err == nil || !strings.Contains(err.Error(), "0 of 1 bans removed") || !strings.Contains(err.Error(), "the disk is full") {
		t.Error(err)
	}
}
