package pluginhost_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Plugins of a few lines, each for what one test is about. They run as builtin ones: what
// is tested is the host.

// with starts a broker whose builtin plugins are these, under their names, in this
// order.
func with(t *testing.T, change func(*pluginhost.Spec), plugins ...sdk.Plugin) *fixture {
	t.Helper()
	f := start(t, func(o *pluginhost.Options) {
		o.Builtin = func(name string) (sdk.Plugin, bool) {
			i := slices.IndexFunc(plugins, func(p sdk.Plugin) bool { return p.Name == name })
			if i < 0 {
				return sdk.Plugin{}, false
			}
			return plugins[i], true
		}
	})
	var list []pluginhost.Spec
	for i, p := range plugins {
		s := pluginhost.Spec{Name: p.Name, Source: fmt.Sprintf("plugins[%d]", i)}
		if change != nil {
			change(&s)
		}
		list = append(list, s)
	}
	f.apply(list...)
	return f
}

func plugin(name string, value any, hooks ...sdk.Hook) sdk.Plugin {
	return sdk.Plugin{Name: name, Version: "1", New: func() any { return value }, Hooks: hooks}
}

// echo publishes what it observes again, with another topic.
type echo struct {
	host     *sdk.Host
	from, to string
	as       string
	seen     atomic.Int32
	refused  atomic.Int32
}

func (e *echo) Start(_ context.Context, h *sdk.Host, _ struct{}) error { e.host = h; return nil }

func (e *echo) Observe(ctx context.Context, b *sdk.EventBatch) error {
	for i := range b.Len() {
		m := b.At(i).Message
		if m.Topic != e.from {
			continue
		}
		e.seen.Add(1)
		out := sdk.Message{Topic: e.to, Payload: slices.Clone(m.Payload), Hops: m.Hops}
		var results []sdk.PublishResult
		var err error
		if e.as != "" {
			results, err = e.host.PublishAs(ctx, e.as, out)
		} else {
			results, err = e.host.Publish(ctx, out)
		}
		if err != nil {
			return err
		}
		if results[0].ReasonCode >= 0x80 {
			e.refused.Add(1)
		}
	}
	return nil
}

func published() sdk.Hook { return sdk.Hook{Point: sdk.PointPublished, Fields: sdk.FieldPayload} }

func grant(names ...string) func(*pluginhost.Spec) {
	return func(s *pluginhost.Spec) {
		for _, n := range names {
			s.Grants = append(s.Grants, pluginv1.Grant{Name: n})
		}
	}
}

// What a plugin publishes does not come back to it, and two that answer each other come
// to an end.
func TestLoops(t *testing.T) {
	alone := &echo{from: "self", to: "self"}
	ping := &echo{from: "ping", to: "pong"}
	pong := &echo{from: "pong", to: "ping"}
	f := with(t, grant("publish"), plugin("alone", alone, published()), plugin("ping", ping, published()), plugin("pong", pong, published()))
	sub := connect(t, f.addr, "sub", "")
	sub.subscribe("#")
	p := connect(t, f.addr, "p", "")
	p.publish("self", "1", 0, 0)
	sub.expect("self", "1")
	sub.expect("self", "1")
	p.publish("ping", "2", 0, 0)
	for i := range 9 { // the first one and eight hops
		sub.expect([]string{"ping", "pong"}[i%2], "2")
	}
	eventually(t, "the end of the loop", func() bool { return ping.refused.Load()+pong.refused.Load() == 1 })
	sub.quiet()
	if n := alone.seen.Load(); n != 1 {
		t.Errorf("it has seen %d messages, want the client's alone", n)
	}
}

// veto refuses what a client publishes below "no", and lets others see what is asked.
type veto struct {
	mu    sync.Mutex
	asked []string
}

func (v *veto) Publish(_ context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, r.Client.ClientID+" "+strings.Clone(r.Message.Topic)+" "+r.Message.Origin)
	if r.Message.Topic == "no" {
		return sdk.Deny(sdk.QuotaExceeded, "no"), nil
	}
	return sdk.Continue(), nil
}

// Publishing as a client is subject to all that the client is subject to, but for the
// plugin's own hooks.
func TestPublishAs(t *testing.T) {
	yes, no, absent := &echo{from: "in/yes", to: "out", as: "c"}, &echo{from: "in/no", to: "no", as: "c"}, &echo{from: "in/absent", to: "out", as: "nobody"}
	v := new(veto)
	f := with(t, grant("publish_as_client"), plugin("yes", yes, published()), plugin("no", no, published()), plugin("absent", absent, published()),
		plugin("veto", v))
	sub := connect(t, f.addr, "sub", "")
	sub.subscribe("out")
	sub2 := connect(t, f.addr, "sub2", "")
	sub2.subscribe("no")
	connect(t, f.addr, "c", "")
	p := connect(t, f.addr, "p", "")
	p.publish("in/yes", "1", 0, 0)
	sub.expect("out", "1")
	p.publish("in/no", "2", 0, 0)
	eventually(t, "the refusal", func() bool { return no.refused.Load() == 1 })
	p.publish("in/absent", "3", 0, 0)
	eventually(t, "the refusal", func() bool { return absent.refused.Load() == 1 })
	sub.quiet()
	sub2.quiet()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Contains(v.asked, "c out yes") || !slices.Contains(v.asked, "c no no") {
		t.Errorf("asked about %q", v.asked)
	}
}

// queueReader notes what it consumes.
type queueReader struct{ notes *notes }

type notes struct {
	mu   sync.Mutex
	list []string
}

func (n *notes) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, s)
}

func (n *notes) get() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.list)
}

func (q *queueReader) Consume(_ context.Context, b *sdk.ConsumeBatch) error {
	for i := range b.Len() {
		q.notes.add(string(b.At(i).Message.Payload))
	}
	return nil
}

// A consumer goes on where it was, in order, however often the plugin is exchanged.
func TestConsumerAcrossReloads(t *testing.T) {
	n := new(notes)
	f := with(t, nil, sdk.Plugin{
		Name: "reader", Version: "1", New: func() any { return &queueReader{n} },
		Queues: []sdk.Queue{{Name: "all", TopicFilters: []string{"in/#"}, MaxBatch: 7}},
	})
	p := connect(t, f.addr, "p", "")
	const messages = 2000
	go func() {
		for i := range messages {
			b, _ := packet.AppendPublish(nil, p.v, &packet.PublishOut{Topic: []byte("in/x"), Payload: fmt.Appendf(nil, "%04d", i), QoS: 1, PacketID: uint16(i%100 + 1)})
			if i >= 100 {
				_, _, _ = p.next(time.Now().Add(patience))
			}
			_, _ = p.nc.Write(b)
		}
	}()
	for range 20 {
		if err := f.host.Reload(t.Context(), "reader"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the last message", func() bool { l := n.get(); return len(l) > 0 && l[len(l)-1] == fmt.Sprintf("%04d", messages-1) })
	// At least once, and in order but for batches that came again.
	next := 0
	for _, s := range n.get() {
		if want := fmt.Sprintf("%04d", next); s > want {
			t.Fatalf("%s before %s", s, want)
		} else if s == want {
			next++
		}
	}
	if next != messages {
		t.Errorf("%d of %d messages", next, messages)
	}
}

// tenants puts clients into the namespace that their user name says.
type tenants struct{}

func (tenants) Authenticate(_ context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	return sdk.Accept(sdk.Identity{Namespace: strings.TrimPrefix(r.Client.Username, "default")}), nil
}

// spy notes which clients and messages it sees.
type spy struct {
	*notes
	host *sdk.Host
}

func (s *spy) Start(_ context.Context, h *sdk.Host, _ struct{}) error { s.host = h; return nil }

func (s *spy) Publish(_ context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
	s.add("publish " + r.Client.Namespace)
	return sdk.Continue(), nil
}

func (s *spy) Observe(_ context.Context, b *sdk.EventBatch) error {
	for i := range b.Len() {
		s.add("connected " + strings.Clone(b.At(i).Client.Namespace))
	}
	return nil
}

func (s *spy) Consume(_ context.Context, b *sdk.ConsumeBatch) error {
	for i := range b.Len() {
		s.add("consume " + string(b.At(i).Message.Payload))
	}
	return nil
}

func TestNamespaces(t *testing.T) {
	s := &spy{notes: new(notes)}
	f := with(t, func(spec *pluginhost.Spec) {
		if spec.Name == "spy" {
			spec.Namespaces = []string{"a", ""}
			spec.Grants = []pluginv1.Grant{{Name: "publish"}}
		}
	}, plugin("tenants", tenants{}), sdk.Plugin{
		Name: "spy", Version: "1", New: func() any { return s }, Hooks: []sdk.Hook{{Point: sdk.PointConnected}},
		Queues: []sdk.Queue{{Name: "all", TopicFilters: []string{"#"}}},
	})
	for _, ns := range []string{"a", "b", "default"} {
		p := connect(t, f.addr, "c", ns)
		p.publish("t", ns, 1, 1)
		h, _ := p.read()
		if h.Type != packet.TypePuback {
			t.Fatalf("%v", h.Type)
		}
	}
	want := []string{"connected ", "connected a", "consume a", "consume default", "publish ", "publish a"}
	eventually(t, "what it may see", func() bool { return len(s.get()) >= len(want) })
	got := s.get()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("it has seen %q, want %q", got, want)
	}
	if _, err := s.host.Publish(t.Context(), sdk.Message{Topic: "t", Namespace: "b"}); err == nil {
		t.Error("it may publish where it sees nothing")
	}
}

// riddle is an enhanced authentication of two steps, which needs its state.
type riddle struct{}

func (riddle) Authenticate(_ context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	a := r.Authentication
	switch {
	case a.Method != "riddle":
		return sdk.AuthResult{}, nil
	case a.Step == 0:
		return sdk.Challenge([]byte("what?"), []byte("state of "+r.Client.ClientID)), nil
	case string(a.State) == "state of "+r.Client.ClientID && string(a.Data) == "that":
		return sdk.Accept(sdk.Identity{Data: []byte("welcome")}), nil
	}
	return sdk.Refuse(sdk.NotAuthorized, "no"), nil
}

// open lets everybody in; it must not be asked about an exchange that another plugin has
// begun.
type open struct{ asked atomic.Int32 }

func (o *open) Authenticate(context.Context, *sdk.AuthRequest) (sdk.AuthResult, error) {
	o.asked.Add(1)
	return sdk.Accept(sdk.Identity{}), nil
}

func (p *peer) auth(code packet.ReasonCode, data string) {
	p.t.Helper()
	a := packet.Auth{Code: code}
	a.Props.SetAuthMethod("riddle")
	a.Props.SetAuthData([]byte(data))
	p.send(&a)
}

func (p *peer) challenge() {
	p.t.Helper()
	h, body := p.read()
	var a packet.Auth
	if h.Type != packet.TypeAuth || a.Decode(p.v, body) != nil || a.Code != packet.ContinueAuthentication || string(a.Props.AuthData) != "what?" {
		p.t.Fatalf("got %v %v %q, want a challenge", h.Type, a.Code, a.Props.AuthData)
	}
}

func TestChallengeAcrossAReload(t *testing.T) {
	o := new(open)
	f := with(t, nil, plugin("riddle", riddle{}), plugin("open", o))
	method := func(c *packet.Connect) { c.Props.SetAuthMethod("riddle") }
	p := dial(t, f.addr, "p", "", method)
	p.challenge()
	if err := f.host.Reload(t.Context(), "riddle"); err != nil {
		t.Fatal(err)
	}
	p.auth(packet.ContinueAuthentication, "that")
	if a := p.connack(packet.Success); string(a.Props.AuthData) != "welcome" {
		t.Errorf("%q", a.Props.AuthData)
	}
	// Again on the open connection, and wrong.
	p.auth(packet.ReAuthenticate, "")
	p.challenge()
	p.auth(packet.ContinueAuthentication, "what else")
	p.end(packet.NotAuthorized)
	if n := o.asked.Load(); n != 0 {
		t.Errorf("the other plugin was asked %d times", n)
	}
	// When its plugin is gone the exchange is over.
	q := dial(t, f.addr, "q", "", method)
	q.challenge()
	f.apply(pluginhost.Spec{Name: "open", Source: "plugins[0]"})
	q.auth(packet.ContinueAuthentication, "that")
	q.connack(packet.NotAuthorized)
	connect(t, f.addr, "q", "")
}

// guard answers for an hour, and can be made to change its mind.
type guard struct {
	host  *sdk.Host
	asked atomic.Int32
	no    atomic.Bool
}

func (g *guard) Start(_ context.Context, h *sdk.Host, _ struct{}) error { g.host = h; return nil }

func (g *guard) Authorize(context.Context, *sdk.AuthorizeRequest) (sdk.Decision, error) {
	g.asked.Add(1)
	if g.no.Load() {
		return sdk.Deny(sdk.NotAuthorized, "no").Cached(time.Hour), nil
	}
	return sdk.Allow().Cached(time.Hour), nil
}

func TestCachedAnswers(t *testing.T) {
	g := new(guard)
	f := with(t, nil, plugin("guard", g))
	p := connect(t, f.addr, "p", "")
	publish := func(want packet.ReasonCode, asked int32) {
		t.Helper()
		p.publish("t", "x", 1, 1)
		p.puback(1, want)
		if n := g.asked.Load(); n != asked {
			t.Errorf("asked %d times, want %d", n, asked)
		}
	}
	publish(packet.NoMatchingSubscribers, 1)
	publish(packet.NoMatchingSubscribers, 1)
	g.no.Store(true)
	publish(packet.NoMatchingSubscribers, 1)
	if err := g.host.InvalidateDecisions(t.Context(), sdk.InvalidateDecisionsRequest{AllNamespaces: true}); err != nil {
		t.Fatal(err)
	}
	publish(packet.NotAuthorized, 2)
	publish(packet.NotAuthorized, 2)
	g.no.Store(false)
	if err := f.host.Reload(t.Context(), "guard"); err != nil { // another generation may say something else
		t.Fatal(err)
	}
	publish(packet.NoMatchingSubscribers, 3)
	if err := f.host.Disable(t.Context(), "guard"); err != nil {
		t.Fatal(err)
	}
	publish(packet.NoMatchingSubscribers, 3)
}

// rights says what clients may publish to, and can be made to change its mind.
type rights struct {
	host  *sdk.Host
	topic atomic.Value
	out   atomic.Value // a client that is to go
}

func (r *rights) Start(_ context.Context, h *sdk.Host, _ struct{}) error { r.host = h; return nil }

func (r *rights) Permit(_ context.Context, q *sdk.PermitRequest) (sdk.AuthResult, error) {
	if q.Client.ClientID == r.out.Load() {
		return sdk.Refuse(sdk.Banned, "out"), nil
	}
	return sdk.Permit(sdk.Permission{Allow: true, Actions: uint32(sdk.AccessPublish), TopicFilter: r.topic.Load().(string)}), nil
}

func TestPermit(t *testing.T) {
	r := new(rights)
	r.topic.Store("old")
	r.out.Store("nobody")
	f := with(t, nil, plugin("rights", r))
	p, q := connect(t, f.addr, "p", ""), connect(t, f.addr, "q", "")
	may := func(topic string, want packet.ReasonCode) bool {
		p.publish(topic, "x", 1, 1)
		h, body := p.read()
		var a packet.Ack
		return h.Type == packet.TypePuback && packet.DecodeAck(&a, h.Type, p.v, body) == nil && a.Code == want
	}
	if !may("old", packet.NoMatchingSubscribers) || !may("new", packet.NotAuthorized) {
		t.Fatal("the permissions are not in force")
	}
	r.topic.Store("new")
	r.out.Store("q")
	if err := r.host.InvalidateDecisions(t.Context(), sdk.InvalidateDecisionsRequest{AllNamespaces: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new permissions", func() bool { return may("new", packet.NoMatchingSubscribers) })
	if !may("old", packet.NotAuthorized) {
		t.Error("the old permissions are still in force")
	}
	q.end(packet.AdministrativeAction) // DISCONNECT cannot say Banned
	dial(t, f.addr, "q", "").connack(packet.Banned)
	// A new generation is asked about those who are connected.
	r.topic.Store("newest")
	if err := f.host.Reload(t.Context(), "rights"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the newest permissions", func() bool { return may("newest", packet.NoMatchingSubscribers) })
}
