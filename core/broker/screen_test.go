package broker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// screen asks what a client would be shown, in words.
func screen(t testing.TB, b *Broker, namespace, clientID string, list ...*packet.Message) []string {
	t.Helper()
	done := make(chan []string, 1)
	b.Plugins().Screen(namespace, clientID, list, func(results []hook.Screened) {
		var out []string
		for _, r := range results {
			s := fmt.Sprintf("%#02x", byte(r.Code))
			if r.Message != nil {
				s += fmt.Sprintf(" %s %t", r.Message.Payload, r.Changed)
			}
			out = append(out, s)
		}
		done <- out
	})
	return <-done
}

// A client is shown what it could subscribe to and would receive, and nothing else;
// whoever is asked at a subscription or a delivery is asked here.
func TestScreen(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t)
		h := &fakeHost{
			authenticate: func(r *hook.AuthRequest, done func()) bool {
				r.Result = hook.AuthResult{Accept: true}
				if r.Client.ID == "ruled" {
					r.Result.Permissions = access.NewPermissions([]access.Rule{
						{Actions: access.Receive, Filter: "may/unreceived"}, {Allow: true, Actions: access.Publish, Filter: "#"},
						{Allow: true, Actions: access.Subscribe | access.Receive, Filter: "may/#"},
					})
				}
				return answer(done)
			},
			subscribe: func(r *hook.SubscribeRequest, done func()) bool {
				for i, s := range r.Subscriptions {
					switch s.Filter {
					case "may/intercepted":
						r.Codes[i] = packet.NotAuthorized
					case "may/renamed":
						r.Subscriptions[i].Filter = "may/other"
					}
				}
				return answer(done)
			},
			authorize: func(r *hook.AuthorizeRequest, done func()) bool {
				r.Allow, r.Disconnect = r.Topic != "may/unauthorized", true
				return answer(done)
			},
			receive: func(r *hook.ReceiveRequest) {
				switch string(r.Message.Topic) {
				case "may/dropped":
					r.Drop = true
				case "may/masked":
					r.Message = &packet.Message{Topic: r.Message.Topic, Payload: []byte("***")}
				}
			},
		}
		b.Install(h, hook.SetOf(hook.Authenticate, hook.InterceptSubscribe, hook.AuthorizeSubscribe, hook.InterceptDeliver))
		free, ruled := connect(t, addr, "free"), connect(t, addr, "ruled")
		var list []*packet.Message
		for _, name := range []string{"may/x", "may/intercepted", "may/renamed", "may/unauthorized", "may/dropped", "may/masked", "may/unreceived", "other", "may/#", ""} {
			list = append(list, text(name, "p", 1))
		}
		want := []string{"0x00 p false", "0x87", "0x87", "0x87", "0x87", "0x00 *** true", "0x00 p false", "0x00 p false", "0x90", "0x90"}
		if got := screen(t, b, "", "free", list...); !slices.Equal(got, want) {
			t.Errorf("free: %q, want %q", got, want)
		}
		want[6], want[7] = "0x87", "0x87"
		if got := screen(t, b, "", "ruled", list...); !slices.Equal(got, want) {
			t.Errorf("ruled: %q, want %q", got, want)
		}
		for _, who := range [][2]string{{"", "nobody"}, {"elsewhere", "free"}} {
			if got := screen(t, b, who[0], who[1], list[0]); got[0] != "0x87" {
				t.Errorf("%q: %q", who, got)
			}
		}
		if got := screen(t, b, "", "free"); len(got) != 0 {
			t.Errorf("nothing: %q", got)
		}
		// Nothing comes of it: no subscription, no delivery, no end.
		publishFor(t, b, "", text("may/x", "1", 1))
		free.expectQuiet()
		ruled.expectQuiet()
	})
}

// Permissions that are not known are not assumed.
func TestScreenOfUnknownClients(t *testing.T) {
	b, _ := start(t, func(o *Options) { o.Store = &fullStore{n: 1} })
	if got := screen(t, b, "", "client-00000000", text("t", "p", 1)); got[0] != "0x00 p false" {
		t.Errorf("without authentication: %q", got)
	}
	b.Install(&fakeHost{}, hook.SetOf(hook.Authenticate))
	if got := screen(t, b, "", "client-00000000", text("t", "p", 1)); got[0] != "0x87" {
		t.Errorf("%q", got)
	}
}
