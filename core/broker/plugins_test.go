package broker

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// asClient publishes as a client and waits for the result.
func asClient(t testing.TB, b *Broker, namespace, clientID string, m *packet.Message) hook.PublishResult {
	t.Helper()
	done, result := results(t)
	b.Plugins().PublishAs(namespace, clientID, m, done)
	return result()
}

func retainedText(topic, payload string) *packet.Message {
	return &packet.Message{Topic: []byte(topic), Payload: []byte(payload), Retain: true}
}

func TestPluginsPublish(t *testing.T) {
	b, addr := start(t)
	var origins []string
	var mu sync.Mutex
	note := func(what string, m *packet.Message) {
		mu.Lock()
		defer mu.Unlock()
		origin := "none"
		if m.Origin != nil {
			origin = fmt.Sprint(m.Origin.Plugin, m.Origin.Hops)
		}
		origins = append(origins, what+" "+origin)
	}
	b.Install(&fakeHost{
		receive: func(r *hook.ReceiveRequest) { note("receive", r.Message) },
		observe: func(e *hook.Event) {
			if e.Client != nil || e.Namespace != "" {
				t.Errorf("%v of %+v in %q", e.Point, e.Client, e.Namespace)
			}
			note(e.Point.String(), e.Message)
		},
	}, hook.SetOf(hook.InterceptDeliver, hook.Published))
	sub := connect(t, addr, "sub")
	sub.subscribe("#", 1)
	m := text("a", "x", 1)
	m.Origin = &packet.Origin{Plugin: "rules", Hops: 3}
	if r := publishFor(t, b, "", m); r.Code != packet.Success || r.Receivers != 1 || r.ID == 0 {
		t.Errorf("%+v", r)
	}
	sub.expectPublish("a", "x")
	mu.Lock()
	if want := []string{"Published rules3", "receive rules3"}; !slices.Equal(origins, want) {
		t.Errorf("%q, want %q", origins, want)
	}
	mu.Unlock()
	b.Install(nil, 0)
	for _, c := range []struct {
		name string
		m    *packet.Message
		want packet.ReasonCode
	}{
		{"wildcard", text("a/#", "", 0), packet.TopicNameInvalid},
		{"empty", text("", "", 0), packet.TopicNameInvalid},
		{"$SYS", text("$SYS/broker/x", "", 0), packet.NotAuthorized},
		{"QoS", text("a", "", 3), packet.QoSNotSupported},
		{"nobody", text("$else", "", 1), packet.NoMatchingSubscribers},
	} {
		if r := publishFor(t, b, "", c.m); r.Code != c.want || r.Receivers != 0 || c.want.IsError() != (r.Reason != "") {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	if r := publishFor(t, b, "elsewhere", retainedText("r", "kept")); r.Code.IsError() {
		t.Errorf("%+v", r)
	}
	sub.expectQuiet()
	got := 0
	b.Plugins().Retained("elsewhere", "+", func(m *packet.Message) bool {
		got++
		return string(m.Payload) == "kept" && m.Kept()
	})
	if got != 1 {
		t.Errorf("%d retained messages", got)
	}
}

// Order is kept, however many publish at once elsewhere.
func TestPluginsPublishInOrder(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t)
		b.Install(&fakeHost{
			authorize: func(r *hook.AuthorizeRequest, done func()) bool {
				r.Allow = true
				return answer(done)
			},
			publish: func(_ []*hook.PublishRequest, done func()) bool { return answer(done) },
		}, hook.SetOf(hook.AuthorizePublish, hook.InterceptPublish))
		sub := connect(t, addr, "sub")
		sub.subscribe("#", 0)
		const n = 300
		var wg sync.WaitGroup
		wg.Add(2 * n)
		for i := range n {
			b.Plugins().PublishAs("", "sub", text("as", fmt.Sprint(i), 1), func(hook.PublishResult) { wg.Done() })
			b.Plugins().Publish("", text("own", fmt.Sprint(i), 1), func(hook.PublishResult) { wg.Done() })
		}
		next := map[string]int{}
		for range 2 * n {
			h, body := sub.read()
			var m packet.Publish
			if err := packet.DecodePublish(&m, sub.v, h, body, true); err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprint(next[string(m.Topic)]); string(m.Payload) != want {
				t.Fatalf("%s: got %s, want %s", m.Topic, m.Payload, want)
			}
			next[string(m.Topic)]++
		}
		wg.Wait()
		left := make(chan int)
		b.errand(func(*transport.Pass) { left <- len(b.proxies) })
		if n := <-left; n > 0 {
			t.Errorf("%d proxies are left", n)
		}
	})
}

func TestPublishAs(t *testing.T) {
	both(t, func(t *testing.T, answer func(func()) bool) {
		b, addr := start(t, func(o *Options) { o.MQTT.MaxQoS, o.MQTT.RetainAvailable, o.MQTT.MaxPacketSize = 1, false, 1000 })
		h := &fakeHost{
			authenticate: func(r *hook.AuthRequest, done func()) bool {
				r.Result = hook.AuthResult{Accept: true}
				if r.Client.ID != "watch" {
					r.Result.Permissions = access.NewPermissions([]access.Rule{{Allow: true, Actions: access.Publish | access.Subscribe, Filter: "may/#"}})
				}
				return answer(done)
			},
			authorize: func(r *hook.AuthorizeRequest, done func()) bool {
				r.Allow = r.Topic != "may/denied" && r.Topic != "may/thrown out"
				r.Code, r.Reason, r.Disconnect = packet.QuotaExceeded, "enough", r.Topic == "may/thrown out"
				return answer(done)
			},
			publish: func(batch []*hook.PublishRequest, done func()) bool {
				for _, r := range batch {
					switch string(r.Message.Topic) {
					case "may/change":
						r.Message = &packet.Message{Topic: []byte("changed"), Payload: r.Message.Payload, QoS: 1}
						r.Extra = []*packet.Message{text("extra", "1", 0)}
					case "may/drop":
						r.Verdict = hook.Drop
					case "may/deny":
						r.Verdict, r.Code, r.Reason = hook.Deny, packet.PayloadFormatInvalid, "no"
					case "may/disconnect":
						r.Verdict = hook.Disconnect
					}
				}
				return answer(done)
			},
			gate: func(r *hook.GateRequest, done func()) bool {
				if string(r.Message.Topic) == "may/gate" {
					r.Code = packet.ImplementationSpecificError
				}
				return answer(done)
			},
		}
		b.Install(h, hook.SetOf(hook.Authenticate, hook.AuthorizePublish, hook.InterceptPublish, hook.GatePublish, hook.Dropped))
		watch := connect(t, addr, "watch")
		watch.subscribe("#", 1)
		c := connect(t, addr, "c", keepSession)
		c.subscribe("may/#", 0)
		unformatted := text("may/x", "\xff", 0)
		unformatted.Props = []byte{byte(packet.PropPayloadFormatIndicator), 1}
		for _, x := range []struct {
			m    *packet.Message
			want packet.ReasonCode
			got  []string // by the subscriber
		}{
			{text("may/x", "1", 1), packet.Success, []string{"may/x 1"}},
			{text("other", "2", 1), packet.NotAuthorized, nil},
			{text("may/denied", "3", 1), packet.QuotaExceeded, nil},
			{text("may/change", "4", 1), packet.Success, []string{"changed 4", "extra 1"}},
			{text("may/drop", "5", 1), packet.Success, nil},
			{text("may/deny", "6", 0), packet.PayloadFormatInvalid, nil},
			{text("may/gate", "7", 1), packet.ImplementationSpecificError, []string{"may/gate 7"}},
			{text("may/gate", "8", 0), packet.Success, []string{"may/gate 8"}},
			{text("may/#", "9", 0), packet.TopicNameInvalid, nil},
			{text("$SYS/x", "10", 0), packet.NotAuthorized, nil},
			{text("may/x", "11", 2), packet.QoSNotSupported, nil},
			{retainedText("may/x", "12"), packet.RetainNotSupported, nil},
			{unformatted, packet.PayloadFormatInvalid, nil},
			{text("may/x", string(make([]byte, 2000)), 0), packet.PacketTooLarge, nil},
		} {
			r := asClient(t, b, "", "c", x.m)
			if r.Code != x.want || r.Code.IsError() && r.Reason == "" || len(x.got) > 0 && r.Receivers == 0 {
				t.Errorf("%s: %+v, want %v", x.m.Topic, r, x.want)
			}
			for _, want := range x.got {
				p := watch.expectAnyPublish()
				if got := string(p.Topic) + " " + string(p.Payload); got != want {
					t.Errorf("%s: the subscriber got %s, want %s", x.m.Topic, got, want)
				}
				if p.QoS > 0 {
					watch.sendAck(packet.TypePuback, p.PacketID, packet.Success)
				}
			}
		}
		want := []string{
			"Dropped other not_authorized", "Dropped may/denied not_authorized", "Dropped may/drop plugin", "Dropped may/deny plugin",
		}
		if got := h.seen(); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		for _, id := range []string{"nobody", "watch"} {
			namespace := ""
			if id == "watch" {
				namespace = "elsewhere"
			}
			if r := asClient(t, b, namespace, id, text("may/x", "", 0)); r.Code != packet.NotAuthorized {
				t.Errorf("as %s in %q: %+v", id, namespace, r)
			}
		}
		if r := asClient(t, b, "", "c", text("may/disconnect", "", 0)); r.Code != packet.AdministrativeAction {
			t.Errorf("%+v", r)
		}
		for _, topic := range []string{"may/x", "may/gate", "may/gate"} {
			if p := c.expectAnyPublish(); string(p.Topic) != topic {
				t.Errorf("the client itself got %s, want %s", p.Topic, topic)
			}
		}
		c.expectEnd(packet.AdministrativeAction)
		eventually(t, "c is away", func() bool { i, _ := b.Plugins().Session("", "c"); return !i.Connected })
		if r := asClient(t, b, "", "c", text("may/x", "away", 1)); r.Code != packet.Success {
			t.Errorf("as a client that is away: %+v", r)
		}
		watch.expectPublish("may/x", "away")
		c = connect(t, addr, "c", keepSession)
		if r := asClient(t, b, "", "c", text("may/thrown out", "", 0)); r.Code != packet.QuotaExceeded {
			t.Errorf("%+v", r)
		}
		c.expectEnd(packet.QuotaExceeded)
	})
}

// A message that a plugin publishes as a client does not come back to it by a
// subscription with No Local.
func TestPublishAsIsLocal(t *testing.T) {
	b, addr := start(t)
	c := connect(t, addr, "c")
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "#", NoLocal: true}}})
	c.read()
	asClient(t, b, "", "c", text("t", "local", 0))
	publishFor(t, b, "", text("t", "other", 0))
	c.expectPublish("t", "other")
}

// Plugins publish from within all that the host is asked and told.
func TestPublishFromWithinTheHost(t *testing.T) {
	b, addr := start(t)
	var wg sync.WaitGroup
	again := func(from string) {
		wg.Add(2)
		done := func(hook.PublishResult) { wg.Done() }
		b.Plugins().Publish("", text("from/"+from, "", 1), done)
		b.Plugins().PublishAs("", "p", text("from/"+from, "", 1), done)
	}
	b.Install(&fakeHost{
		publish: func(batch []*hook.PublishRequest, _ func()) bool {
			for _, r := range batch {
				if string(r.Message.Topic) == "t" {
					again("publish")
				}
			}
			return true
		},
		receive: func(r *hook.ReceiveRequest) {
			if string(r.Message.Topic) == "t" {
				again("receive")
			}
		},
		observe: func(e *hook.Event) {
			if string(e.Message.Topic) == "t" {
				again(e.Point.String())
			}
		},
	}, hook.SetOf(hook.InterceptPublish, hook.InterceptDeliver, hook.Published, hook.Delivered, hook.Dropped))
	sub := connect(t, addr, "sub")
	sub.subscribe("from/#", 0)
	p := connect(t, addr, "p")
	p.subscribe("t", 0)
	for i := range 50 {
		p.publish("t", fmt.Sprint(i), 0, 0)
	}
	for range 50 * 4 * 2 {
		sub.expectAnyPublish()
	}
	wg.Wait()
}

func TestPluginsDisconnect(t *testing.T) {
	b, addr := start(t)
	pl := b.Plugins()
	sub := connect(t, addr, "sub")
	sub.subscribe("will", 0)
	c := connect(t, addr, "c", keepSession, func(c *packet.Connect) { c.Will = &packet.Will{Topic: "will", Payload: []byte("w")} })
	info, ok := pl.Session("", "c")
	if !ok || !info.Connected || info.Client.Connection == 0 || info.Disconnected != 0 {
		t.Fatalf("%+v", info)
	}
	r := hook.DisconnectRequest{ClientID: "c", Code: packet.ServerBusy, Reason: "later", Connection: info.Client.Connection + 100}
	if pl.Disconnect(r) || pl.Disconnect(hook.DisconnectRequest{ClientID: "nobody"}) || pl.Disconnect(hook.DisconnectRequest{Namespace: "n", ClientID: "c"}) {
		t.Error("somebody was disconnected who should not")
	}
	r.Connection = info.Client.Connection
	if !pl.Disconnect(r) {
		t.Error("nobody was disconnected")
	}
	c.expectEnd(packet.ServerBusy)
	sub.expectPublish("will", "w")
	eventually(t, "c is away", func() bool { info, _ = pl.Session("", "c"); return !info.Connected })
	if info.Disconnected == 0 || info.SessionExpiry != 1000 || pl.Disconnect(hook.DisconnectRequest{ClientID: "c"}) {
		t.Errorf("%+v", info)
	}
	r.EndSession = true
	if pl.Disconnect(r) {
		t.Error("the connection of that number is gone")
	}
	r.Connection = 0
	if !pl.Disconnect(r) || pl.Disconnect(r) {
		t.Error("the session was not ended once")
	}
	c = connect(t, addr, "c", keepSession, func(c *packet.Connect) { c.Will = &packet.Will{Topic: "will", Payload: []byte("2")} })
	if c.ack.SessionPresent {
		t.Error("the session is still there")
	}
	if !pl.Disconnect(r) {
		t.Error("the session was not ended")
	}
	c.expectEnd(packet.ServerBusy)
	sub.expectPublish("will", "2")
	if _, ok := pl.Session("", "c"); ok {
		t.Error("the session is still there")
	}
}

func TestPluginsSeeSessions(t *testing.T) {
	b, addr := start(t)
	b.Install(&fakeHost{authenticate: func(r *hook.AuthRequest, _ func()) bool {
		r.Result = hook.AuthResult{Accept: true, Namespace: r.Client.Username, Attributes: map[string]string{"k": "v"}}
		return true
	}}, hook.SetOf(hook.Authenticate))
	for _, id := range []string{"a", "b", "c"} {
		connect(t, addr, id, func(c *packet.Connect) {
			if c.HasUsername = id == "c"; c.HasUsername {
				c.Username = "n"
			}
		}).subscribe("x/"+id, 1)
	}
	list := func(namespace string, all bool) (ids []string) {
		b.Plugins().Sessions(namespace, all, func(i hook.SessionInfo) bool {
			if i.SubscriptionCount != 1 || i.Subscriptions != nil || i.Client.Attributes["k"] != "v" {
				t.Errorf("%+v", i)
			}
			ids = append(ids, i.Client.Namespace+"/"+i.Client.ID)
			return true
		})
		slices.Sort(ids)
		return ids
	}
	for _, c := range []struct {
		namespace string
		all       bool
		want      []string
	}{
		{"", false, []string{"/a", "/b"}}, {"n", false, []string{"n/c"}}, {"m", false, nil}, {"", true, []string{"/a", "/b", "n/c"}},
	} {
		if got := list(c.namespace, c.all); !slices.Equal(got, c.want) {
			t.Errorf("%q %v: %q, want %q", c.namespace, c.all, got, c.want)
		}
	}
	n := 0
	b.Plugins().Sessions("", true, func(hook.SessionInfo) bool { n++; return false })
	if n != 1 {
		t.Errorf("the walk went on to %d sessions", n)
	}
	c := connect(t, addr, "d")
	c.send(&packet.Subscribe{PacketID: 1, Props: subscriptionID(7), Subscriptions: []packet.Subscription{{Filter: "f", QoS: 2, NoLocal: true, RetainHandling: 1}}})
	c.read()
	i, ok := b.Plugins().Session("", "d")
	if !ok || len(i.Subscriptions) != 1 || i.Subscriptions[0] != (packet.Subscription{Filter: "f", QoS: 2, NoLocal: true, RetainHandling: 1}) ||
		!slices.Equal(i.Identifiers, []uint32{7}) {
		t.Errorf("%+v", i)
	}
	if _, ok := b.Plugins().Session("n", "d"); ok {
		t.Error("a session of another namespace")
	}
}

func subscriptionID(id uint32) (p packet.Properties) {
	p.SetSubscriptionID(id)
	return p
}

// Answers that were kept, or are under way, are not given any more.
func TestForgetAnswers(t *testing.T) {
	b, addr := start(t)
	type call struct {
		r    *hook.AuthorizeRequest
		done func()
	}
	calls := make(chan call)
	b.Install(&fakeHost{authorize: func(r *hook.AuthorizeRequest, done func()) bool {
		go func() { calls <- call{r, done} }()
		return false
	}}, hook.SetOf(hook.AuthorizePublish))
	answer := func(allow bool) {
		t.Helper()
		select {
		case c := <-calls:
			c.r.Allow, c.r.CacheMillis = allow, 60_000
			c.done()
		case <-time.After(patience):
			t.Fatal("the host was not asked")
		}
	}
	p := connect(t, addr, "p")
	id := uint16(0)
	expect := func(code packet.ReasonCode) {
		t.Helper()
		p.expectAck(packet.TypePuback, id, code)
	}
	publish := func() {
		id++
		p.publish("t", "", 1, id)
	}
	publish()
	answer(true)
	expect(packet.NoMatchingSubscribers)
	publish() // from memory
	expect(packet.NoMatchingSubscribers)
	b.Plugins().ForgetAnswers()
	publish()
	answer(false)
	expect(packet.NotAuthorized)
	b.Plugins().ForgetAnswers()
	publish()
	c := <-calls // asked before, answered after
	b.Plugins().ForgetAnswers()
	c.r.Allow, c.r.CacheMillis = true, 60_000
	c.done()
	expect(packet.NoMatchingSubscribers)
	publish()
	answer(false)
	expect(packet.NotAuthorized)
}

func TestEmit(t *testing.T) {
	b, _ := start(t)
	h := &fakeHost{observe: func(e *hook.Event) {
		if e.Time == 0 {
			t.Error("an event without a time")
		}
	}}
	b.Install(h, hook.SetOf(hook.PluginStateChanged))
	b.Plugins().Emit(&hook.Event{Point: hook.PluginStateChanged, Plugin: "p"})
	b.Plugins().Emit(&hook.Event{Point: hook.Tick})
	if got := h.seen(); !slices.Equal(got, []string{"PluginStateChanged"}) {
		t.Errorf("%q", got)
	}
}
