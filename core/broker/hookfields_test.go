package broker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// Each connection has a number of its own, which a re-authentication keeps.
func TestConnectionNumbers(t *testing.T) {
	b, addr := start(t)
	var mu sync.Mutex
	var numbers []uint64
	b.Install(&fakeHost{authenticate: func(r *hook.AuthRequest, _ func()) bool {
		r.Result = hook.AuthResult{Accept: true, Attributes: map[string]string{"step": fmt.Sprint(r.Step, r.Reauthenticate)}}
		mu.Lock()
		numbers = append(numbers, r.Client.Connection)
		mu.Unlock()
		return true
	}}, hook.SetOf(hook.Authenticate))
	method := func(c *packet.Connect) { c.Props.SetAuthMethod("m") }
	p := connect(t, addr, "a", method)
	connect(t, addr, "b")
	auth := packet.Auth{Code: packet.ReAuthenticate}
	auth.Props.SetAuthMethod("m")
	p.send(&auth)
	p.read()
	mu.Lock()
	defer mu.Unlock()
	if len(numbers) != 3 || numbers[0] == 0 || numbers[0] == numbers[1] || numbers[2] != numbers[0] {
		t.Errorf("connections %d", numbers)
	}
	if i, _ := b.Plugins().Session("", "a"); i.Client.Connection != numbers[0] || i.Client.Attributes["step"] != "0 true" {
		t.Errorf("%+v", i.Client)
	}
}

// What the host was told of a client does not change under its hands.
func TestClientsAreImmutable(t *testing.T) {
	b, addr := start(t)
	var first atomic.Pointer[hook.Client]
	b.Install(&fakeHost{authenticate: func(r *hook.AuthRequest, _ func()) bool {
		first.Store(r.Client)
		r.Result = hook.AuthResult{Accept: true, Username: "renamed", Namespace: "n"}
		return true
	}}, hook.SetOf(hook.Authenticate))
	connect(t, addr, "a", keepSession)
	if c := first.Load(); c.Username != "" || c.Namespace != "" || c.SessionExpiry != 0 {
		t.Errorf("%+v", c)
	}
}

func TestUserPropertiesReachTheHost(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t)
		got := make(chan []packet.UserProperty, 2)
		b.Install(&fakeHost{
			subscribe: func(r *hook.SubscribeRequest, done func()) bool {
				got <- r.UserProperties
				return answer(done)
			},
			unsubscribe: func(r *hook.UnsubscribeRequest, done func()) bool {
				got <- r.UserProperties
				return answer(done)
			},
		}, hook.SetOf(hook.InterceptSubscribe, hook.InterceptUnsubscribe))
		var props packet.Properties
		props.AddUser("k", "1")
		props.AddUser("k", "2")
		p := connect(t, addr, "a")
		p.send(&packet.Subscribe{PacketID: 1, Props: props, Subscriptions: []packet.Subscription{{Filter: "f"}}})
		p.read()
		p.send(&packet.Unsubscribe{PacketID: 2, Props: props, Filters: []string{"f"}})
		p.read()
		want := []packet.UserProperty{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}}
		for range 2 {
			if props := <-got; !slices.Equal(props, want) {
				t.Errorf("%v", props)
			}
		}
	})
}

func TestHostDisconnects(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t)
		h := &fakeHost{
			subscribe: func(r *hook.SubscribeRequest, done func()) bool {
				if r.Subscriptions[0].Filter == "bad" {
					r.Disconnect, r.DisconnectCode, r.Reason = true, packet.Banned, "why not"
				}
				return answer(done)
			},
			unsubscribe: func(r *hook.UnsubscribeRequest, done func()) bool {
				r.Disconnect = true
				return answer(done)
			},
			authorize: func(r *hook.AuthorizeRequest, done func()) bool {
				r.Allow = !strings.HasPrefix(r.Topic, "worse")
				r.Disconnect, r.Code, r.CacheMillis = true, packet.QuotaExceeded, 1000
				return answer(done)
			},
		}
		b.Install(h, hook.SetOf(hook.InterceptSubscribe, hook.InterceptUnsubscribe, hook.AuthorizePublish, hook.AuthorizeSubscribe,
			hook.Dropped, hook.Subscribed))
		for name, c := range map[string]struct {
			act  func(*peer)
			want packet.ReasonCode
		}{
			"subscribe": {func(p *peer) {
				p.send(&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "bad"}}})
			}, packet.AdministrativeAction}, // which DISCONNECT can say
			"unsubscribe": {func(p *peer) { p.send(&packet.Unsubscribe{PacketID: 1, Filters: []string{"f"}}) }, packet.NotAuthorized},
			"authorize subscribe": {func(p *peer) {
				p.send(&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "worse"}, {Filter: "x"}}})
			}, packet.QuotaExceeded},
			"authorize publish": {func(p *peer) {
				p.publish("worse", "", 1, 1)
				p.publish("after", "", 1, 2)
			}, packet.QuotaExceeded},
		} {
			p := connect(t, addr, name)
			c.act(p)
			p.expectEnd(c.want)
		}
		eventually(t, "the message was dropped", func() bool { return len(h.seen()) > 0 })
		if got := h.seen(); !slices.Equal(got, []string{"Dropped worse not_authorized"}) {
			t.Errorf("events %q", got)
		}
	})
}

// When nobody has an opinion about a client, the listener decides.
func TestUndecided(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t)
		closed, err := b.Listen(Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}})
		if err != nil {
			t.Fatal(err)
		}
		var refuse atomic.Bool
		h := &fakeHost{authenticate: func(r *hook.AuthRequest, done func()) bool {
			r.Result = hook.AuthResult{Undecided: true, Reason: "who is that"}
			switch {
			case refuse.Load():
				r.Result.Code = packet.Banned
			case r.Client.ID == "known" && !r.Reauthenticate:
				r.Result.Accept = true
			}
			return answer(done)
		}}
		b.Install(h, hook.SetOf(hook.Authenticate, hook.AuthFailed))
		connect(t, addr, "a").expectQuiet()
		method := func(c *packet.Connect) { c.Props.SetAuthMethod("m") }
		p := dial(t, addr)
		p.sendConnect("b", method)
		p.expectConnack(packet.BadAuthenticationMethod)
		p = dial(t, closed.Addr().String())
		p.sendConnect("c")
		p.expectConnack(packet.NotAuthorized)
		known := connect(t, closed.Addr().String(), "known", method)
		auth := packet.Auth{Code: packet.ReAuthenticate}
		auth.Props.SetAuthMethod("m")
		known.send(&auth)
		known.expectEnd(packet.BadAuthenticationMethod)
		refuse.Store(true)
		p = dial(t, addr)
		p.sendConnect("d")
		p.expectConnack(packet.Banned)
		eventually(t, "events", func() bool { return len(h.seen()) == 4 })
	})
}

func TestQuotas(t *testing.T) {
	now := clock.NewManual(time.Now())
	b, addr := start(t, func(o *Options) {
		o.Clock = now
		o.Limits.PublisherStall = 0
		o.Session.MaxInflight, o.Session.MaxQueued, o.Session.MaxSubscriptions = 10, 100, 100
	})
	quotas := &hook.Quotas{PublishRate: 2, MaxSubscriptions: 1, MaxInflight: 2, MaxQueued: 3}
	var mu sync.Mutex
	h := &fakeHost{authenticate: func(r *hook.AuthRequest, _ func()) bool {
		mu.Lock()
		defer mu.Unlock()
		given := *quotas
		r.Result = hook.AuthResult{Accept: true, Quotas: &given}
		if r.Client.ID == "free" {
			r.Result.Quotas = nil
		}
		return true
	}}
	b.Install(h, hook.SetOf(hook.Authenticate, hook.LimitReached, hook.Dropped))
	c := connect(t, addr, "c", keepSession, func(c *packet.Connect) { c.Props.SetAuthMethod("m") })
	c.subscribe("t", 1)
	subscribe := func(want packet.ReasonCode) {
		t.Helper()
		c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "more"}}})
		var ack packet.Suback
		if _, body := c.read(); ack.Decode(c.v, body) != nil || ack.Codes[0] != want {
			t.Errorf("SUBACK %v, want %v", ack.Codes, want)
		}
	}
	subscribe(packet.QuotaExceeded)
	free := connect(t, addr, "free")
	for i := range 7 {
		free.publish("t", fmt.Sprint(i), 1, uint16(i+1))
		free.expectAck(packet.TypePuback, uint16(i+1), packet.Success)
	}
	c.expectPublish("t", "0")
	c.expectPublish("t", "1")
	c.expectQuiet() // 2 in flight, 3 wait, 2 were dropped
	if i, _ := b.Client("", "c"); i.Inflight != 2 || i.Queued != 3 {
		t.Errorf("%d in flight, %d wait", i.Inflight, i.Queued)
	}

	// A re-authentication changes them.
	mu.Lock()
	*quotas = hook.Quotas{MaxInflight: 4, MaxSubscriptions: 2, PublishBytesRate: 100}
	mu.Unlock()
	auth := packet.Auth{Code: packet.ReAuthenticate}
	auth.Props.SetAuthMethod("m")
	c.send(&auth)
	c.read()
	subscribe(packet.Success)
	c.sendAck(packet.TypePuback, 1, packet.Success)
	for _, want := range []string{"2", "3", "4"} {
		c.expectPublish("t", want)
	}
	c.sendAck(packet.TypePuback, 2, packet.Success)
	c.expectQuiet()

	// The rate is the connection's own: 100 bytes a second.
	c.publish("r", strings.Repeat("x", 150), 1, 1) // goes into debt
	c.expectAck(packet.TypePuback, 1, packet.NoMatchingSubscribers)
	eventually(t, "the client to be held back", func() bool { c, _ := b.root.connection("c"); return c.Paused() })
	c.publish("r", "y", 1, 2)
	now.Advance(2 * time.Second)
	c.expectAck(packet.TypePuback, 2, packet.NoMatchingSubscribers)
	want := []string{"LimitReached", "Dropped t queue_full", "Dropped t queue_full", "LimitReached"}
	got := slices.DeleteFunc(h.seen(), func(e string) bool { return e == "Dropped r no_subscriber" })
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// What a host says about a refusal reaches the clients that want to know.
func TestReasonsReachTheClient(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t)
		b.Install(&fakeHost{
			authorize: func(r *hook.AuthorizeRequest, done func()) bool {
				r.Allow = r.Topic != "unauthorized"
				r.Reason, r.CacheMillis = "this is not yours, and never was", 60_000
				return answer(done)
			},
			publish: func(batch []*hook.PublishRequest, done func()) bool {
				for _, r := range batch {
					r.Verdict, r.Code, r.Reason = hook.Deny, packet.QuotaExceeded, "there is too much of it already"
				}
				return answer(done)
			},
			unsubscribe: func(r *hook.UnsubscribeRequest, done func()) bool {
				r.Codes[0], r.Reason = packet.NotAuthorized, "stay with us for a little longer"
				return answer(done)
			},
		}, hook.SetOf(hook.AuthorizePublish, hook.AuthorizeSubscribe, hook.InterceptPublish, hook.InterceptUnsubscribe))
		long := "a client that takes small packets only"
		for name, c := range map[string]struct {
			change func(*packet.Connect)
			told   bool
		}{
			"a client":                        {func(*packet.Connect) {}, true},
			"one without problem information": {func(c *packet.Connect) { c.Props.SetRequestProblemInfo(0) }, false},
			long:                              {func(c *packet.Connect) { c.Props.SetMaximumPacketSize(24) }, false},
		} {
			p := connect(t, addr, name, c.change)
			expect := func(what, got, want string) {
				t.Helper()
				if !c.told {
					want = ""
				}
				if got != want {
					t.Errorf("%s to %s has reason %q, want %q", what, name, got, want)
				}
			}
			for i, topic := range []string{"unauthorized", "unauthorized", "denied"} {
				qos := byte(1 + i%2)
				p.publish(topic, "", qos, uint16(i+1))
				_, body := p.read()
				var a packet.Ack
				if err := packet.DecodeAck(&a, ackType(qos), p.v, body); err != nil || !a.Code.IsError() {
					t.Fatalf("%v %v", a, err)
				}
				expect("an acknowledgement", string(a.ReasonString), []string{"this is not yours, and never was", "this is not yours, and never was", "there is too much of it already"}[i])
			}
			p.send(&packet.Subscribe{PacketID: 4, Subscriptions: []packet.Subscription{{Filter: "a"}, {Filter: "unauthorized"}}})
			_, body := p.read()
			var sub packet.Suback
			if err := sub.Decode(p.v, body); err != nil || !slices.Equal(sub.Codes, []packet.ReasonCode{0, packet.NotAuthorized}) {
				t.Fatalf("%v %v", sub, err)
			}
			expect("SUBACK", sub.Props.ReasonString, "this is not yours, and never was")
			p.send(&packet.Unsubscribe{PacketID: 5, Filters: []string{"a"}})
			_, body = p.read()
			var unsub packet.Unsuback
			if err := unsub.Decode(p.v, body); err != nil || unsub.Codes[0] != packet.NotAuthorized {
				t.Fatalf("%v %v", unsub, err)
			}
			expect("UNSUBACK", unsub.Props.ReasonString, "stay with us for a little longer")
		}
	})
}
