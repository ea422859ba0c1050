package broker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// fakeHost is a host made of functions; one that is nil lets everything pass.
type fakeHost struct {
	authenticate func(*hook.AuthRequest, func()) bool
	authorize    func(*hook.AuthorizeRequest, func()) bool
	publish      func([]*hook.PublishRequest, func()) bool
	subscribe    func(*hook.SubscribeRequest, func()) bool
	unsubscribe  func(*hook.UnsubscribeRequest, func()) bool
	will         func(*hook.PublishRequest, func()) bool
	receive      func(*hook.ReceiveRequest)
	gate         func(*hook.GateRequest, func()) bool
	observe      func(*hook.Event)

	mu     sync.Mutex
	events []string
}

func (h *fakeHost) Authenticate(r *hook.AuthRequest, done func()) bool {
	return h.authenticate(r, done)
}
func (h *fakeHost) Authorize(r *hook.AuthorizeRequest, done func()) bool {
	return h.authorize(r, done)
}
func (h *fakeHost) Publish(b []*hook.PublishRequest, done func()) bool { return h.publish(b, done) }
func (h *fakeHost) Subscribe(r *hook.SubscribeRequest, done func()) bool {
	return h.subscribe(r, done)
}
func (h *fakeHost) Unsubscribe(r *hook.UnsubscribeRequest, done func()) bool {
	return h.unsubscribe(r, done)
}
func (h *fakeHost) Will(r *hook.PublishRequest, done func()) bool { return h.will(r, done) }
func (h *fakeHost) Receive(r *hook.ReceiveRequest)                { h.receive(r) }
func (h *fakeHost) Gate(r *hook.GateRequest, done func()) bool    { return h.gate(r, done) }

func (h *fakeHost) Observe(e *hook.Event) {
	text := e.Point.String()
	if e.Message != nil {
		text += " " + string(e.Message.Topic)
	} else if e.Topic != "" {
		text += " " + e.Topic
	}
	if e.Point == hook.Dropped {
		text += " " + e.Reason
	}
	h.mu.Lock()
	h.events = append(h.events, text)
	h.mu.Unlock()
	if h.observe != nil {
		h.observe(e)
	}
}

func (h *fakeHost) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// both runs a test with a host that answers at once and with one that answers
// later from another goroutine.
func both(t *testing.T, run func(t *testing.T, answer func(done func()) bool)) {
	t.Run("at once", func(t *testing.T) { run(t, func(func()) bool { return true }) })
	t.Run("later", func(t *testing.T) {
		run(t, func(done func()) bool {
			go done()
			return false
		})
	})
}

func TestAuthenticateDecides(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t)
		b.Install(&fakeHost{authenticate: func(r *hook.AuthRequest, done func()) bool {
			switch {
			case r.Client.Username == "ann" && string(r.Connect.Password) == "secret":
				r.Result = hook.AuthResult{
					Accept: true, Namespace: "tenant", ClientID: "renamed", CapSessionExpiry: true, MaxSessionExpiry: 7,
					Permissions: access.NewPermissions([]access.Rule{{Allow: true, Actions: access.Publish | access.Subscribe, Filter: "mine/#"}}),
				}
			case r.Client.Username == "banned":
				r.Result = hook.AuthResult{Code: packet.Banned, Reason: "go away"}
			}
			return answer(done)
		}}, hook.SetOf(hook.Authenticate))
		user := func(name, password string) func(*packet.Connect) {
			return func(c *packet.Connect) {
				c.HasUsername, c.Username, c.HasPassword, c.Password = true, name, true, []byte(password)
				c.Props.SetSessionExpiry(100)
			}
		}
		p := connect(t, addr, "x", user("ann", "secret"))
		if p.ack.Props.AssignedClientID != "renamed" || p.ack.Props.SessionExpiry != 7 {
			t.Errorf("CONNACK says %+v", p.ack.Props)
		}
		if info, ok := b.Client("tenant", "renamed"); !ok || info.Username != "ann" {
			t.Errorf("the session is not where the host put it: %+v %v", info, ok)
		}
		p.publish("mine/a", "1", 1, 1)
		p.expectAck(packet.TypePuback, 1, packet.NoMatchingSubscribers)
		p.publish("other", "1", 1, 2)
		p.expectAck(packet.TypePuback, 2, packet.NotAuthorized)
		p.publish("other", "1", 2, 3)
		p.expectAck(packet.TypePubrec, 3, packet.NotAuthorized)
		p.send(&packet.Subscribe{PacketID: 4, Subscriptions: []packet.Subscription{{Filter: "mine/+"}, {Filter: "#"}}})
		_, body := p.read()
		var ack packet.Suback
		if err := ack.Decode(p.v, body); err != nil || !slices.Equal(ack.Codes, []packet.ReasonCode{0, packet.NotAuthorized}) {
			t.Errorf("SUBACK %v %v", ack.Codes, err)
		}

		refused := dial(t, addr)
		refused.sendConnect("y", user("banned", ""))
		if a := refused.expectConnack(packet.Banned); a.Props.ReasonString != "go away" {
			t.Errorf("reason %q", a.Props.ReasonString)
		}
		refused.expectEnd(packet.Success)
		refused = dial(t, addr)
		refused.sendConnect("y", user("nobody", ""))
		refused.expectConnack(packet.NotAuthorized)
		old := dial(t, addr)
		old.sendConnect("z", v311, func(c *packet.Connect) { c.HasUsername, c.Username = true, "nobody" })
		h, body := old.read()
		if h.Type != packet.TypeConnack || body[1] != 5 {
			t.Errorf("MQTT 3.1.1: %v % x, want return code 5", h.Type, body)
		}
	})
}

func TestEnhancedAuthentication(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t)
		b.Install(&fakeHost{authenticate: func(r *hook.AuthRequest, done func()) bool {
			switch step := fmt.Sprintf("%d:%s", r.Step, r.Data); {
			case r.Method != "challenge":
				r.Result = hook.AuthResult{Code: packet.BadAuthenticationMethod}
			case r.Step == 0:
				r.State = "hello " + string(r.Data)
				r.Result = hook.AuthResult{Code: packet.ContinueAuthentication, AuthData: []byte("riddle")}
			case step == "1:answer":
				r.Result = hook.AuthResult{Accept: true, AuthData: []byte(r.State.(string))}
			}
			return answer(done)
		}}, hook.SetOf(hook.Authenticate))

		method := func(name string) func(*packet.Connect) {
			return func(c *packet.Connect) {
				c.Props.SetAuthMethod(name)
				c.Props.SetAuthData([]byte("ann"))
			}
		}
		auth := func(code packet.ReasonCode, method, data string) *packet.Auth {
			a := &packet.Auth{Code: code}
			a.Props.SetAuthMethod(method)
			a.Props.SetAuthData([]byte(data))
			return a
		}
		expectAuth := func(p *peer, code packet.ReasonCode, data string) {
			t.Helper()
			h, body := p.read()
			var a packet.Auth
			if h.Type != packet.TypeAuth || a.Decode(p.v, body) != nil || a.Code != code || string(a.Props.AuthData) != data || a.Props.AuthMethod != "challenge" {
				t.Fatalf("got %v %v %q, want AUTH %v %q", h.Type, a.Code, a.Props.AuthData, code, data)
			}
		}
		p := dial(t, addr)
		p.sendConnect("a", method("challenge"))
		expectAuth(p, packet.ContinueAuthentication, "riddle")
		p.send(auth(packet.ContinueAuthentication, "challenge", "answer"))
		ack := p.expectConnack(packet.Success)
		if ack.Props.AuthMethod != "challenge" || string(ack.Props.AuthData) != "hello ann" {
			t.Errorf("CONNACK %+v", ack.Props)
		}

		// Re-authentication on the open connection, with traffic in between.
		p.send(auth(packet.ReAuthenticate, "challenge", "bob"))
		expectAuth(p, packet.ContinueAuthentication, "riddle")
		p.expectQuiet()
		p.send(auth(packet.ContinueAuthentication, "challenge", "answer"))
		expectAuth(p, packet.Success, "hello bob")
		p.send(auth(packet.ReAuthenticate, "challenge", "bob"))
		expectAuth(p, packet.ContinueAuthentication, "riddle")
		p.send(auth(packet.ContinueAuthentication, "challenge", "wrong"))
		p.expectEnd(packet.NotAuthorized)

		for name, misbehave := range map[string]func(*peer){
			"another method":   func(p *peer) { p.send(auth(packet.ContinueAuthentication, "other", "answer")) },
			"out of turn":      func(p *peer) { p.send(auth(packet.ReAuthenticate, "challenge", "answer")) },
			"a foreign packet": func(p *peer) { p.publish("t", "x", 0, 0) },
		} {
			p := dial(t, addr)
			p.sendConnect("b", method("challenge"))
			expectAuth(p, packet.ContinueAuthentication, "riddle")
			misbehave(p)
			h, body := p.read()
			var a packet.Connack
			if h.Type != packet.TypeConnack || a.Decode(p.v, body) != nil || a.Code != packet.ProtocolError {
				t.Errorf("%s: got %v %v", name, h.Type, a.Code)
			}
		}
		p = dial(t, addr)
		p.sendConnect("c", method("unheard of"))
		p.expectConnack(packet.BadAuthenticationMethod)
	})
}

func TestCredentialsExpire(t *testing.T) {
	b, addr := start(t)
	b.Install(&fakeHost{authenticate: func(r *hook.AuthRequest, _ func()) bool {
		r.Result = hook.AuthResult{Accept: true, ExpiresAt: time.Now().UnixMilli() + 200}
		return true
	}}, hook.SetOf(hook.Authenticate))
	connect(t, addr, "a").expectEnd(packet.NotAuthorized)
}

func TestNamespacesAreApart(t *testing.T) {
	b, addr := start(t)
	b.Install(&fakeHost{authenticate: func(r *hook.AuthRequest, _ func()) bool {
		r.Result = hook.AuthResult{Accept: true, Namespace: r.Client.Username}
		return true
	}}, hook.SetOf(hook.Authenticate))
	in := func(ns string) func(*packet.Connect) {
		return func(c *packet.Connect) { c.HasUsername, c.Username = true, ns }
	}
	a, bb := connect(t, addr, "same", in("a")), connect(t, addr, "same", in("b"))
	a.subscribe("#", 1)
	bb.subscribe("#", 1)
	a.publish("t", "of a", 0, 0)
	a.expectPublish("t", "of a")
	bb.expectQuiet()
}

func TestAuthorizeAndItsCache(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t)
		var mu sync.Mutex
		asked := map[string]int{}
		b.Install(&fakeHost{authorize: func(r *hook.AuthorizeRequest, done func()) bool {
			mu.Lock()
			asked[r.Point.String()+" "+r.Topic]++
			mu.Unlock()
			r.Allow = !strings.Contains(r.Topic, "no")
			r.CacheMillis = 60_000
			if r.Topic == "uncached" {
				r.CacheMillis = 0
			}
			return answer(done)
		}}, hook.SetOf(hook.AuthorizePublish, hook.AuthorizeSubscribe))
		p := connect(t, addr, "a")
		p.send(&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "yes"}, {Filter: "no"}, {Filter: "$share/g/yes2"}}})
		_, body := p.read()
		var ack packet.Suback
		if err := ack.Decode(p.v, body); err != nil || !slices.Equal(ack.Codes, []packet.ReasonCode{0, packet.NotAuthorized, 0}) {
			t.Fatalf("SUBACK %v %v", ack.Codes, err)
		}
		for range 3 {
			p.publish("no", "", 1, 5)
			p.expectAck(packet.TypePuback, 5, packet.NotAuthorized)
			p.publish("yes", "x", 0, 0)
			p.expectPublish("yes", "x")
			p.publish("uncached", "x", 1, 6)
			p.expectAck(packet.TypePuback, 6, packet.NoMatchingSubscribers)
		}
		mu.Lock()
		defer mu.Unlock()
		for what, want := range map[string]int{
			"AuthorizePublish no": 1, "AuthorizePublish yes": 1, "AuthorizePublish uncached": 3,
			"AuthorizeSubscribe no": 1, "AuthorizeSubscribe yes2": 1,
		} {
			if asked[what] != want {
				t.Errorf("%s was asked %d times, want %d", what, asked[what], want)
			}
		}
	})
}

func TestInterceptors(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t)
		b.Install(&fakeHost{
			publish: func(batch []*hook.PublishRequest, done func()) bool {
				for _, r := range batch {
					switch m := r.Message; string(m.Topic) {
					case "change":
						r.Message = &packet.Message{Topic: []byte("changed"), Payload: append([]byte("new "), m.Payload...), QoS: m.QoS}
						r.Extra = []*packet.Message{{Topic: []byte("extra"), Payload: []byte("1")}, {Topic: []byte("extra"), Payload: []byte("2")}}
					case "drop":
						r.Verdict = hook.Drop
					case "deny":
						r.Verdict, r.Code = hook.Deny, packet.QuotaExceeded
					case "disconnect":
						r.Verdict = hook.Disconnect
					}
				}
				return answer(done)
			},
			subscribe: func(r *hook.SubscribeRequest, done func()) bool {
				if r.Subscriptions[0].Filter == "alias" {
					r.Subscriptions[0].Filter = "#"
				}
				if r.Subscriptions[0].Filter == "refused" {
					r.Codes[0] = packet.ImplementationSpecificError
				}
				return answer(done)
			},
			unsubscribe: func(r *hook.UnsubscribeRequest, done func()) bool {
				r.Codes[0] = packet.ImplementationSpecificError
				return answer(done)
			},
			will: func(r *hook.PublishRequest, done func()) bool {
				r.Message = &packet.Message{Topic: []byte("late"), Payload: []byte("of " + r.Client.ID)}
				return answer(done)
			},
			receive: func(r *hook.ReceiveRequest) {
				switch string(r.Message.Topic) {
				case "private":
					r.Drop = r.Client.ID == "sub"
				case "personal":
					r.Message = &packet.Message{Topic: []byte("personal"), Payload: []byte("for " + r.Client.ID)}
				}
			},
		}, hook.SetOf(hook.InterceptPublish, hook.InterceptSubscribe, hook.InterceptUnsubscribe, hook.InterceptWill, hook.InterceptDeliver))

		sub, pub := connect(t, addr, "sub"), connect(t, addr, "pub", func(c *packet.Connect) { c.Will = &packet.Will{Topic: "will", Payload: []byte("w")} })
		sub.subscribe("alias", 1)
		pub.publish("plain", "a", 1, 1)
		sub.expectPublish("plain", "a")
		sub.sendAck(packet.TypePuback, 1, packet.Success)
		pub.expectAck(packet.TypePuback, 1, packet.Success)
		pub.publish("change", "b", 0, 0)
		sub.expectPublish("changed", "new b")
		sub.expectPublish("extra", "1")
		sub.expectPublish("extra", "2")
		pub.publish("drop", "c", 2, 2)
		pub.expectAck(packet.TypePubrec, 2, packet.Success)
		pub.publish("deny", "c", 2, 3)
		pub.expectAck(packet.TypePubrec, 3, packet.QuotaExceeded)
		pub.publish("private", "c", 0, 0)
		pub.publish("personal", "c", 0, 0)
		sub.expectPublish("personal", "for sub")

		sub.send(&packet.Subscribe{PacketID: 4, Subscriptions: []packet.Subscription{{Filter: "refused"}}})
		var ack packet.Suback
		if _, body := sub.read(); ack.Decode(sub.v, body) != nil || ack.Codes[0] != packet.ImplementationSpecificError {
			t.Errorf("SUBACK %v", ack.Codes)
		}
		sub.send(&packet.Unsubscribe{PacketID: 5, Filters: []string{"#"}})
		var unack packet.Unsuback
		if _, body := sub.read(); unack.Decode(sub.v, body) != nil || unack.Codes[0] != packet.ImplementationSpecificError {
			t.Errorf("UNSUBACK %v", unack.Codes)
		}
		pub.publish("disconnect", "c", 0, 0)
		pub.expectEnd(packet.AdministrativeAction)
		sub.expectPublish("late", "of pub")
	})
}

// A host that takes its time holds up the client that it decides about, keeps
// that client's order, and nobody else.
func TestSlowHostPausesOneClient(t *testing.T) {
	b, addr := start(t)
	type call struct {
		n    int
		done func()
	}
	held := make(chan call, 10)
	b.Install(&fakeHost{publish: func(batch []*hook.PublishRequest, done func()) bool {
		if batch[0].Client.ID == "slow" {
			held <- call{len(batch), done}
			return false
		}
		return true
	}}, hook.SetOf(hook.InterceptPublish))
	sub := connect(t, addr, "sub")
	sub.subscribe("#", 0)
	slow, fast := connect(t, addr, "slow"), connect(t, addr, "fast")
	const n = 200
	var out []byte
	for i := range n {
		out, _ = packet.AppendPublish(out, packet.V5, &packet.PublishOut{Topic: []byte("s"), Payload: fmt.Append(nil, i)})
	}
	slow.write(out)
	first := <-held
	fast.publish("f", "x", 0, 0)
	sub.expectPublish("f", "x")
	if len(held) != 0 {
		t.Fatal("more was shown before the first was decided")
	}
	calls, next := 1, 0
	for c := first; ; c = <-held {
		if c.n > batchMessages {
			t.Fatalf("a batch of %d messages", c.n)
		}
		c.done()
		for range c.n {
			sub.expectPublish("s", fmt.Sprint(next))
			next++
		}
		if next == n {
			break
		}
		calls++
	}
	if calls > n/10 {
		t.Errorf("%d messages took %d calls: they were not batched", n, calls)
	}
	slow.publish("s", "last", 0, 0)
	c := <-held
	slow.nc.Close()
	c.done() // the client is gone; the answer must do no harm
	fast.publish("f", "y", 0, 0)
	for {
		h, body := sub.read()
		var m packet.Publish
		if err := packet.DecodePublish(&m, sub.v, h, body, true); err != nil {
			t.Fatal(err)
		}
		if string(m.Payload) == "y" {
			return
		}
	}
}

func TestGateHoldsAcknowledgementsInOrder(t *testing.T) {
	b, addr := start(t)
	gates := make(chan func(packet.ReasonCode), 10)
	b.Install(&fakeHost{gate: func(r *hook.GateRequest, done func()) bool {
		if string(r.Message.Topic) == "open" {
			return true
		}
		gates <- func(code packet.ReasonCode) { r.Code = code; done() }
		return false
	}}, hook.SetOf(hook.GatePublish))
	sub, pub := connect(t, addr, "sub"), connect(t, addr, "pub")
	sub.subscribe("#", 0)
	pub.publish("open", "0", 1, 1)
	sub.expectPublish("open", "0")
	pub.expectAck(packet.TypePuback, 1, packet.Success)
	pub.publish("held", "1", 1, 2)
	pub.publish("held", "2", 2, 3)
	pub.publish("open", "3", 1, 4)
	for _, p := range []string{"1", "2"} {
		sub.expectPublish("held", p) // delivered, not acknowledged
	}
	sub.expectPublish("open", "3")
	pub.expectQuiet()
	first, second := <-gates, <-gates
	second(packet.QuotaExceeded)
	pub.expectQuiet()
	first(packet.Success)
	pub.expectAck(packet.TypePuback, 2, packet.Success)
	pub.expectAck(packet.TypePubrec, 3, packet.QuotaExceeded)
	pub.expectAck(packet.TypePuback, 4, packet.Success)

	old := connect(t, addr, "old", v311)
	old.publish("held", "5", 1, 5)
	(<-gates)(packet.QuotaExceeded)
	old.publish("open", "6", 1, 6)
	old.expectAck(packet.TypePuback, 6, packet.Success) // 5 is not acknowledged: MQTT 3 cannot say why
}

func TestEventsOfALife(t *testing.T) {
	b, addr := start(t)
	h := &fakeHost{}
	points := []hook.Point{}
	for p := hook.Connected; p < hook.Tick; p++ {
		points = append(points, p)
	}
	b.Install(h, hook.SetOf(points...))
	sub := connect(t, addr, "sub")
	sub.subscribe("t", 1)
	pub := connect(t, addr, "pub", func(c *packet.Connect) { c.Will = &packet.Will{Topic: "w"} })
	pub.publish("t", "x", 1, 1)
	pub.expectAck(packet.TypePuback, 1, packet.Success)
	sub.expectPublish("t", "x")
	sub.sendAck(packet.TypePuback, 1, packet.Success)
	sub.send(&packet.Unsubscribe{PacketID: 5, Filters: []string{"t"}})
	sub.read()
	pub.publish("nobody", "x", 0, 0)
	r, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: []byte("r"), Payload: []byte("x"), Retain: true})
	pub.write(r)
	r, _ = packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: []byte("r"), Retain: true})
	pub.write(r)
	pub.expectQuiet()
	again := connect(t, addr, "pub", keepSession)
	again.nc.Close()
	sub.send(&packet.Disconnect{})
	sub.expectEnd(packet.Success)
	for _, want := range []string{
		"Connected", "SessionCreated", "Subscribed t", "Published t", "Delivered t", "Acknowledged t", "Unsubscribed t",
		"Dropped nobody no_subscriber", "RetainedSet r", "RetainedCleared r", "SessionTakenOver", "WillPublished w", "Disconnected", "SessionExpired",
	} {
		eventually(t, "event "+want, func() bool { return slices.Contains(h.seen(), want) })
	}
	connect(t, addr, "pub", keepSession)
	eventually(t, "SessionResumed", func() bool { return slices.Contains(h.seen(), "SessionResumed") })
}
