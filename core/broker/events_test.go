package broker

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// seen is an event with what was to be said of it.
type seen struct {
	hook.Event
	topic, payload string
}

// recorder is a host that only looks on, and checks what holds of all events.
type recorder struct {
	fakeHost
	t    testing.TB
	mu   sync.Mutex
	list []seen
}

// eventFields are what sdk/proto/…/event.proto promises at each Point, by the names
// of Event's fields. Namespace comes along wherever there is a Message or Topic.
var eventFields = map[hook.Point][]string{
	hook.Connected:        {"Client"},
	hook.Disconnected:     {"Client", "Code", "Reason"},
	hook.AuthFailed:       {"Client", "Code", "Reason"},
	hook.SessionCreated:   {"Client"},
	hook.SessionResumed:   {"Client"},
	hook.SessionTakenOver: {"Client"},
	hook.SessionExpired:   {"Client", "Reason"},
	hook.Subscribed:       {"Client", "Topic", "QoS", "Subscription", "SubscriptionID"},
	hook.Unsubscribed:     {"Client", "Topic"},
	hook.Published:        {"Client", "Message", "QoS", "Publisher"},
	hook.Delivered:        {"Client", "Message", "QoS", "Publisher"},
	hook.Acknowledged:     {"Client", "Message", "Code", "Publisher"},
	hook.Dropped:          {"Client", "Message", "QoS", "Reason", "Publisher"},
	hook.DeadLettered:     {"Client", "Message", "Reason", "Publisher"},
	hook.RetainedSet:      {"Client", "Message"},
	hook.RetainedCleared:  {"Client", "Topic"},
	hook.WillPublished:    {"Client", "Message", "Publisher"},
	hook.BrokerStarted:    {},
	hook.BrokerStopping:   {},
	hook.LimitReached:     {"Client", "Reason", "Message"},
}

// required are the fields that cannot be zero.
var required = map[string]bool{"Message": true, "Topic": true, "Reason": true, "Subscription": true}

func (r *recorder) Observe(e *hook.Event) {
	v := reflect.ValueOf(*e)
	allowed := eventFields[e.Point]
	for i := range v.NumField() {
		switch name := v.Type().Field(i).Name; {
		case name == "Point", name == "Namespace":
		case name == "Time":
			if e.Time == 0 {
				r.t.Errorf("%v without a time", e.Point)
			}
		case !slices.Contains(allowed, name):
			if !v.Field(i).IsZero() {
				r.t.Errorf("%v with %s: %v", e.Point, name, v.Field(i))
			}
		case required[name] && v.Field(i).IsZero() && !(e.Point == hook.LimitReached && name == "Message"):
			r.t.Errorf("%v without %s", e.Point, name)
		}
	}
	s := seen{Event: *e, topic: e.Topic}
	if e.Message != nil {
		s.topic, s.payload = string(e.Message.Topic), string(e.Message.Payload)
	}
	r.mu.Lock()
	r.list = append(r.list, s)
	r.mu.Unlock()
}

func (r *recorder) count(match func(*seen) bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.list {
		if match(&r.list[i]) {
			n++
		}
	}
	return n
}

// once expects exactly one event that fits, and takes it off the list.
func (r *recorder) once(what string, match func(*seen) bool) {
	r.t.Helper()
	eventually(r.t, what, func() bool { return r.count(match) > 0 })
	if n := r.count(match); n != 1 {
		r.t.Errorf("%s came %d times", what, n)
	}
	r.mu.Lock()
	r.list = slices.DeleteFunc(r.list, func(s seen) bool { return match(&s) })
	r.mu.Unlock()
}

// rest expects that there is nothing else.
func (r *recorder) rest(after string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.list {
		id := ""
		if s.Client != nil {
			id = s.Client.ID
		}
		r.t.Errorf("%s: one more event: %v of %s: %s %s %s", after, s.Point, id, s.topic, s.payload, s.Reason)
	}
	r.list = nil
}

func (r *recorder) of(p hook.Point, id, topic string, more ...func(*seen) bool) {
	r.t.Helper()
	r.once(fmt.Sprint(p, " ", id, " ", topic), func(s *seen) bool {
		return s.Point == p && (id == "" && s.Client == nil || s.Client != nil && s.Client.ID == id) && s.topic == topic &&
			!slices.ContainsFunc(more, func(f func(*seen) bool) bool { return !f(s) })
	})
}

func reason(text string) func(*seen) bool { return func(s *seen) bool { return s.Reason == text } }

func qos(n byte) func(*seen) bool { return func(s *seen) bool { return s.QoS == n } }

func withPayload(text string) func(*seen) bool {
	return func(s *seen) bool { return s.payload == text }
}

func code(c packet.ReasonCode) func(*seen) bool { return func(s *seen) bool { return s.Code == c } }

// observe installs a recorder of all events but Tick.
func observe(t testing.TB, b *Broker) *recorder {
	r := &recorder{t: t}
	set := hook.Set(0)
	for p := hook.Connected; p < hook.Tick; p++ {
		set |= hook.SetOf(p)
	}
	b.Install(r, set)
	return r
}

// Each thing that happens is told once, with the fields that the contract promises.
func TestEachEventOnce(t *testing.T) {
	now := clock.NewManual(time.Now())
	b, addr := start(t, func(o *Options) {
		o.Clock, o.Sys.Interval = now, 0
		o.Session.MaxSubscriptions, o.Retained.MaxPayload = 2, 100
		o.Session.RetryInterval, o.Session.RetryMax, o.Session.RetryBackoff = 1000, 1, 1
	})
	r := observe(t, b)
	expiring := func(c *packet.Connect) {
		c.CleanStart = false
		c.Props.SetSessionExpiry(10)
	}

	sub := connect(t, addr, "sub", expiring)
	r.of(hook.SessionCreated, "sub", "")
	r.of(hook.Connected, "sub", "")
	sub.send(&packet.Subscribe{PacketID: 1, Props: subscriptionID(5), Subscriptions: []packet.Subscription{{Filter: "t", QoS: 2, RetainAsPublished: true}}})
	sub.read()
	r.of(hook.Subscribed, "sub", "t", qos(2), func(s *seen) bool {
		return *s.Subscription == packet.Subscription{Filter: "t", QoS: 2, RetainAsPublished: true} && s.SubscriptionID == 5
	})
	sub.send(&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "u"}, {Filter: "over"}}})
	sub.read()
	r.of(hook.Subscribed, "sub", "u")
	r.of(hook.LimitReached, "sub", "", reason("session.max_subscriptions"))
	sub.send(&packet.Unsubscribe{PacketID: 1, Filters: []string{"u", "never"}})
	sub.read()
	r.of(hook.Unsubscribed, "sub", "u")
	r.rest("subscribe")

	pub := connect(t, addr, "pub", func(c *packet.Connect) { c.Will = &packet.Will{Topic: "t", Payload: []byte("will")} })
	r.of(hook.SessionCreated, "pub", "")
	r.of(hook.Connected, "pub", "")
	pub.publish("t", "1", 1, 1)
	pub.expectAck(packet.TypePuback, 1, packet.Success)
	sub.expectPublish("t", "1")
	sub.sendAck(packet.TypePuback, 1, packet.Success)
	r.of(hook.Published, "pub", "t", qos(1))
	r.of(hook.Delivered, "sub", "t", qos(1), func(s *seen) bool { return s.Publisher == "pub" })
	r.of(hook.Acknowledged, "sub", "t", code(packet.Success))
	pub.publish("t", "2", 2, 2)
	pub.expectAck(packet.TypePubrec, 2, packet.Success)
	sub.expectPublish("t", "2")
	sub.sendAck(packet.TypePubrec, 2, packet.ImplementationSpecificError)
	r.of(hook.Published, "pub", "t", qos(2))
	r.of(hook.Delivered, "sub", "t", qos(2))
	r.of(hook.Acknowledged, "sub", "t", code(packet.ImplementationSpecificError))
	r.of(hook.Dropped, "sub", "t", reason(hook.DropRefusedByClient))
	pub.publish("nobody", "3", 0, 0)
	r.of(hook.Published, "pub", "nobody")
	r.of(hook.Dropped, "pub", "nobody", reason(hook.DropNoSubscriber))
	r.rest("publish")

	retain := func(payload string, expiry uint32) {
		out, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{
			Topic: []byte("r"), Payload: []byte(payload), Retain: true, MessageExpiry: expiry, HasExpiry: expiry > 0,
		})
		pub.write(out)
		r.of(hook.Published, "pub", "r", withPayload(payload))
	}
	retain("x", 0)
	r.of(hook.RetainedSet, "pub", "r")
	retain(strings.Repeat("x", 101), 0)
	r.of(hook.LimitReached, "pub", "r", reason("retained.max_payload"))
	r.of(hook.RetainedCleared, "pub", "r")
	r.of(hook.Dropped, "pub", "r", reason(hook.DropQuota))
	retain("", 0) // there is none
	retain("y", 0)
	r.of(hook.RetainedSet, "pub", "r")
	retain("", 0)
	r.of(hook.RetainedCleared, "pub", "r")
	retain("mortal", 3)
	r.of(hook.RetainedSet, "pub", "r")
	for range 15 {
		now.Advance(time.Second)
	}
	r.of(hook.RetainedCleared, "", "r")
	r.rest("retain")

	// A client that comes twice, goes, comes back, and goes for good.
	again := connect(t, addr, "sub", expiring)
	sub.expectEnd(packet.SessionTakenOver)
	r.of(hook.SessionTakenOver, "sub", "")
	r.of(hook.Disconnected, "sub", "", code(packet.SessionTakenOver))
	r.of(hook.SessionResumed, "sub", "")
	r.of(hook.Connected, "sub", "")
	again.send(&packet.Disconnect{})
	again.expectEnd(packet.Success)
	r.of(hook.Disconnected, "sub", "", code(packet.Success))
	pub.publish("t", "offline", 0, 0)
	r.of(hook.Published, "pub", "t")
	r.of(hook.Dropped, "sub", "t", reason(hook.DropOffline))
	pub.nc.Close()
	r.of(hook.Disconnected, "pub", "", code(packet.UnspecifiedError))
	r.of(hook.Published, "pub", "t", withPayload("will"))
	r.of(hook.Dropped, "sub", "t", withPayload("will"))
	r.of(hook.WillPublished, "pub", "t")
	r.of(hook.SessionExpired, "pub", "")
	now.Advance(15 * time.Second)
	r.of(hook.SessionExpired, "sub", "", reason(sessionExpired))
	r.rest("disconnect")

	// A client that does not acknowledge.
	old := connect(t, addr, "old", v311)
	old.subscribe("o", 1)
	publishFor(t, b, "", text("o", "1", 1))
	eventually(t, "the message to be given up", func() bool {
		now.Advance(500 * time.Millisecond)
		return r.count(func(s *seen) bool { return s.Point == hook.DeadLettered }) > 0
	})
	r.of(hook.SessionCreated, "old", "")
	r.of(hook.Connected, "old", "")
	r.of(hook.Subscribed, "old", "o")
	r.of(hook.Published, "", "o")
	r.of(hook.Delivered, "old", "o")
	r.of(hook.DeadLettered, "old", "o")
	r.rest("retry")

	b.Install(&refuseAll{recorder: r}, hook.SetOf(hook.Authenticate, hook.AuthFailed, hook.Connected, hook.SessionCreated, hook.Disconnected))
	no := dial(t, addr)
	no.sendConnect("no")
	no.expectConnack(packet.Banned)
	r.of(hook.AuthFailed, "no", "", code(packet.Banned), reason("no"))
	r.rest("refused")
}

// The broker's own beginning and end.
func TestBrokerEvents(t *testing.T) {
	b, addr := start(t)
	r := observe(t, b)
	connected := make(chan error, 1)
	started := func(e *hook.Event) {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			nc.Close()
		}
		connected <- err
	}
	b.Install(&onStart{r, started}, hook.SetOf(hook.BrokerStarted, hook.BrokerStopping))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ctx, patience) }()
	if err := <-connected; err != nil {
		t.Errorf("the broker said that it has started: %v", err)
	}
	r.of(hook.BrokerStarted, "", "")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	r.of(hook.BrokerStopping, "", "")
	if err := b.Close(context.Background()); err != nil {
		t.Error(err)
	}
	r.rest("the end")
	if q := publishFor(t, b, "", text("t", "x", 1)); q.Code != packet.ServerShuttingDown {
		t.Errorf("published after the end: %+v", q)
	}
}

type onStart struct {
	*recorder
	started func(*hook.Event)
}

func (h *onStart) Observe(e *hook.Event) {
	h.recorder.Observe(e)
	if e.Point == hook.BrokerStarted {
		h.started(e)
	}
}

type refuseAll struct{ *recorder }

func (r *refuseAll) Authenticate(q *hook.AuthRequest, _ func()) bool {
	q.Result = hook.AuthResult{Code: packet.Banned, Reason: "no"}
	return true
}

// A message counts as delivered when it is sent for the first time: at once, later
// from the queue, on subscribing, or to a client that has come back.
func TestDeliveredIsToldOfAllDeliveries(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		b, addr := start(t, withStore(s), func(o *Options) { o.Session.QueueQoS0, o.Sys.Interval = true, 0 })
		r := observe(t, b)
		delivered := func(topic, text string, level byte) {
			t.Helper()
			r.of(hook.Delivered, "sub", topic, withPayload(text), qos(level), func(s *seen) bool { return s.Publisher == "pub" })
		}
		pub := connect(t, addr, "pub")
		out, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: []byte("r"), Payload: []byte("kept"), QoS: 1, PacketID: 9, Retain: true})
		pub.write(out)
		pub.expectAck(packet.TypePuback, 9, packet.NoMatchingSubscribers)
		narrow := func(c *packet.Connect) { c.Props.SetReceiveMaximum(1) }
		sub := connect(t, addr, "sub", keepSession, narrow)
		sub.subscribe("r", 1)
		kept := sub.expectPublish("r", "kept")
		delivered("r", "kept", 1)
		sub.sendAck(packet.TypePuback, kept.PacketID, packet.Success)
		sub.subscribe("t", 2)
		for i := range 3 {
			pub.publish("t", fmt.Sprint(i), byte(i), uint16(i+1))
		}
		sub.expectPublish("t", "0")
		first := sub.expectPublish("t", "1")
		delivered("t", "0", 0)
		delivered("t", "1", 1)
		sub.expectQuiet()
		sub.sendAck(packet.TypePuback, first.PacketID, packet.Success)
		second := sub.expectPublish("t", "2")
		delivered("t", "2", 2)
		sub.nc.Close()
		eventually(t, "sub is away", func() bool { i, _ := b.Client("", "sub"); return !i.Online })
		for i := range 3 {
			pub.publish("t", fmt.Sprint("later", i), byte(i), uint16(i+11))
		}
		eventually(t, "all are queued", func() bool { i, _ := b.Client("", "sub"); return i.Queued == 3 })
		sub = connect(t, addr, "sub", keepSession)
		if again := sub.expectPublish("t", "2"); !again.Dup || again.PacketID != second.PacketID {
			t.Errorf("%+v is not what was sent before", again)
		}
		for i := range 3 {
			sub.expectPublish("t", fmt.Sprint("later", i))
			delivered("t", fmt.Sprint("later", i), byte(i))
		}
		if n := r.count(func(s *seen) bool { return s.Point == hook.Delivered }); n != 0 {
			t.Errorf("%d deliveries too many", n)
		}
	})
}

// A host that decides about deliveries does so about retained messages too.
func TestReceiveDecidesAboutRetainedMessages(t *testing.T) {
	b, addr := start(t)
	for _, name := range []string{"r/a", "r/b", "r/c"} {
		publishFor(t, b, "", retainedText(name, "x"))
	}
	b.Install(&fakeHost{receive: func(r *hook.ReceiveRequest) {
		switch string(r.Message.Topic) {
		case "r/a":
			r.Drop = true
		case "r/b":
			r.Message = &packet.Message{Topic: []byte("r/b"), Payload: []byte("for " + r.Client.ID)}
		}
	}}, hook.SetOf(hook.AuthorizeReceive))
	p := connect(t, addr, "p")
	p.subscribe("r/#", 0)
	got := []string{}
	for range 2 {
		m := p.expectAnyPublish()
		got = append(got, string(m.Topic)+" "+string(m.Payload))
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"r/b for p", "r/c x"}) {
		t.Errorf("%q", got)
	}
	p.expectQuiet()
}

// A session that was restored has a client too, as far as that is known.
func TestEventsOfRestoredSessions(t *testing.T) {
	now := clock.NewManual(time.UnixMilli(1 + 86400*1000 - 500))
	b, _ := start(t, func(o *Options) { o.Store, o.Clock = &fullStore{n: 1}, now })
	r := observe(t, b)
	now.Advance(time.Second)
	r.of(hook.SessionExpired, "client-00000000", "", reason(sessionExpired))
}

func TestPermissionsOfUnknownClientsAreNotAssumed(t *testing.T) {
	b, _ := start(t, func(o *Options) { o.Store = &fullStore{n: 1} })
	if r := asClient(t, b, "", "client-00000000", text("t", "", 1)); r.Code != packet.NoMatchingSubscribers {
		t.Errorf("without authentication: %+v", r)
	}
	b.Install(&fakeHost{}, hook.SetOf(hook.Authenticate))
	if r := asClient(t, b, "", "client-00000000", text("t", "", 1)); r.Code != packet.NotAuthorized {
		t.Errorf("%+v", r)
	}
}
