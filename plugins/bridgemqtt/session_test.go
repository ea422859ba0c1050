package bridgemqtt

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/pluginhost"
)

// leaveBehind begins exchanges of QoS 2 as a bridge that dies in the middle of them.
func leaveBehind(t *testing.T, addr, clientID string, n int) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	write := func(p *packets.ControlPacket) {
		if _, err := p.WriteTo(nc); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(kind byte) {
		_ = nc.SetReadDeadline(time.Now().Add(wait))
		p, err := packets.ReadPacket(nc)
		if err != nil || p.Type != kind {
			t.Fatalf("%v, %v", p, err)
		}
	}
	hello := packets.NewControlPacket(packets.CONNECT)
	expiry := uint32(1000)
	c := hello.Content.(*packets.Connect)
	c.ClientID, c.CleanStart, c.KeepAlive, c.Properties = clientID, false, 60, &packets.Properties{SessionExpiryInterval: &expiry}
	write(hello)
	expect(packets.CONNACK)
	for i := range n {
		p := packets.NewControlPacket(packets.PUBLISH)
		*p.Content.(*packets.Publish) = packets.Publish{Topic: "up/old", Payload: fmt.Append(nil, i), QoS: 2, PacketID: uint16(i + 1), Properties: &packets.Properties{}}
		write(p)
		expect(packets.PUBREC)
	}
}

// What a bridge before has left at the other broker, half of an exchange of QoS 2, is not
// taken for what this one publishes.
func TestRecovery(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) string{
		"patchbay":  func(t *testing.T) string { return startNode(t, "there").addr },
		"mosquitto": func(t *testing.T) string { return startMosquitto(t, "") },
	} {
		t.Run(name, func(t *testing.T) {
			addr := start(t)
			far := connect(t, addr, "far").subscribe("up/new")
			leaveBehind(t, addr, "the-bridge", 5)
			here := startNode(t, "here")
			near := connect(t, here.addr, "near")
			here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"servers":["mqtt://%s"],"client_id":"the-bridge"},"routes":[{"name":"up","filters":["up/#"]}]}`, addr))
			var want []string
			for i := range 8 {
				near.say("up/new", fmt.Sprint(i), 2)
				want = append(want, fmt.Sprintf("up/new %d", i))
			}
			if got := short(far.expect(8)); !slices.Equal(got, want) {
				t.Errorf("%v", got)
			}
		})
	}
}

// The session at the other broker is one: what it has kept while the bridge was away comes, and
// what was subscribed to and is not any more does not.
func TestSessionStays(t *testing.T) {
	here, there := startNode(t, "here"), startNode(t, "there")
	near, far := connect(t, here.addr, "near").subscribe("#"), connect(t, there.addr, "far")
	const config = `{"remote":{"servers":["mqtt://%s"]},"routes":[%s]}`
	down := `{"name":"down","direction":"in","filters":["down/#"]}`
	here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(config, there.addr, down+`,{"name":"gone","direction":"in","filters":["gone/#"]}`))
	here.connected("b")
	far.say("gone/1", "a", 1)
	near.expect(1)
	if err := here.host.Disable(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		far.say("down/1", fmt.Sprint(i), byte(1+i%2))
	}
	// Another config is another spec; enabling it again is what an operator does.
	if err := here.host.Enable(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	complete(t, near.expect(11)[1:], []string{"down/1"}, 10)
	here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(config, there.addr, down))
	here.connected("b")
	eventually(t, "what is not subscribed to any more is taken back", func() bool {
		n := 0
		there.broker.Subscriptions(func(_, _ string, _ broker.SubscriptionInfo) bool { n++; return true })
		return n == 1
	})
	far.say("gone/1", "b", 1)
	far.say("down/1", "10", 1)
	if got := near.expect(12)[11]; got.Topic != "down/1" {
		t.Errorf("%s %s", got.Topic, got.Payload)
	}
}

// What the other broker refuses is given up, and does not hold up what is behind it; what
// may not be published here is given up too.
func TestRefusals(t *testing.T) {
	here, there := startNode(t, "here"), startNode(t, "there")
	near, far := connect(t, here.addr, "near").subscribe("down/#", "dead"), connect(t, there.addr, "far").subscribe("#")
	here.grants = []string{"down/ok/#"}
	here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"servers":["mqtt://%s"]},"routes":[
		{"name":"up","filters":["up/#"],"codec":"json","dead_letter_topic":"dead"},{"name":"down","direction":"in","filters":["down/#"]}]}`, there.addr))
	here.connected("b")
	near.say("up/1", "{}", 1)
	near.say("up/1", "no JSON", 1)
	near.say("up/1", "[1]", 1)
	far.say("down/no", "x", 1)
	far.say("down/ok/1", "y", 1)
	eventually(t, "what may go has gone", func() bool { return len(far.received()) >= 4 && len(near.received()) >= 2 })
	if got := short(far.received()); !slices.Equal(slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "down") }), []string{"up/1 {}", "up/1 [1]"}) {
		t.Errorf("there: %v", got)
	}
	got := short(near.received())
	slices.Sort(got)
	if !slices.Equal(got, []string{"dead no JSON", "down/ok/1 y"}) {
		t.Errorf("here: %v", got)
	}
	s := here.status("b")
	if s.Routes[0].Refused != 1 || s.Routes[1].Refused != 1 || s.Routes[1].Messages != 1 {
		t.Errorf("%+v", s.Routes)
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		value       string
		max         int
		leaves, out string
		comes, in   string
	}{
		{"", 8, "yes", "here", "yes", "there"},
		{"a", 8, "yes", "a,here", "yes", "a,there"},
		{"a,there", 8, "no", "", "yes", "a,there"},
		{"here", 8, "no", "", "no", ""},
		{"a", 1, "no", "", "no", ""},
		{"", 1, "yes", "here", "yes", "there"},
		{"a,b", 2, "no", "", "no", ""},
	} {
		l := loops{node: "here", remote: "there", maxHops: c.max}
		word := map[bool]string{true: "yes", false: "no"}
		if out, ok := l.leaving(c.value); word[ok] != c.leaves || ok && out != c.out {
			t.Errorf("%q leaves: %v %q", c.value, ok, out)
		}
		if in, ok := l.coming(c.value); word[ok] != c.comes || ok && in != c.in {
			t.Errorf("%q comes: %v %q", c.value, ok, in)
		}
		l.off = true
		if out, ok := l.leaving(c.value); !ok || out != "" {
			t.Errorf("off, %q leaves: %v %q", c.value, ok, out)
		}
	}
}

func TestEcho(t *testing.T) {
	e, now := newEcho(), time.Now()
	e.send("a", []byte("1"), now)
	e.send("a", []byte("1"), now)
	for i, want := range []bool{true, true, false} {
		if e.comes("a", []byte("1")) != want {
			t.Errorf("%d: not %v", i, want)
		}
	}
	if e.comes("a1", nil) || e.comes("", []byte("a1")) {
		t.Error("another message is taken for it")
	}
	for i := range 3 * echoes {
		e.send("b", fmt.Append(nil, i), now)
	}
	if len(e.sent) > echoes || len(e.ring) > 3*echoes || e.comes("b", []byte("0")) || !e.comes("b", fmt.Append(nil, 3*echoes-1)) {
		t.Errorf("%d remembered", len(e.sent))
	}
	e.send("c", nil, now.Add(2*echoTime))
	if len(e.sent) != 1 {
		t.Errorf("%d are remembered for too long", len(e.sent))
	}
}
