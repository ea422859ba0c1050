package main_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"
)

func strs(packets []seen) []string {
	var all []string
	for _, p := range packets {
		all = append(all, p.String())
	}
	return all
}

// TestTimedResend: with session.retry_interval, what an MQTT 3.1.1 client leaves
// unacknowledged is sent again on the same connection, PUBLISH with DUP and
// PUBREL, later each time, and not for ever. MQTT 5 forbids it [MQTT-4.4.0-1]:
// those clients get nothing twice.
func TestTimedResend(t *testing.T) {
	t.Parallel()
	b := start(t, `
listeners: [{name: tcp, tcp: "127.0.0.1:0"}]
session: {retry_interval: 1s, retry_backoff: 2, retry_max: 2}
`)
	const interval = time.Second
	publisher := mustConnect5(t, b.target("tcp", nil), "publisher")
	type subscriber struct {
		name     string
		qos      byte
		lose     byte
		version5 bool
		want     []string // what the broker sends; ID stands for the identifier
		proxy    *proxy
	}
	subscribers := []*subscriber{
		{name: "puback", qos: 1, lose: typePuback, want: []string{"PUBLISH puback q1 dup=false ID", "PUBLISH puback q1 dup=true ID", "PUBLISH puback q1 dup=true ID"}},
		{name: "pubrec", qos: 2, lose: typePubrec, want: []string{"PUBLISH pubrec q2 dup=false ID", "PUBLISH pubrec q2 dup=true ID", "PUBLISH pubrec q2 dup=true ID"}},
		{name: "pubcomp", qos: 2, lose: typePubcomp, want: []string{"PUBLISH pubcomp q2 dup=false ID", "PUBREL ID", "PUBREL ID", "PUBREL ID"}},
		{name: "puback5", qos: 1, lose: typePuback, version5: true, want: []string{"PUBLISH puback5 q1 dup=false ID"}},
		{name: "pubrec5", qos: 2, lose: typePubrec, version5: true, want: []string{"PUBLISH pubrec5 q2 dup=false ID"}},
		{name: "pubcomp5", qos: 2, lose: typePubcomp, version5: true, want: []string{"PUBLISH pubcomp5 q2 dup=false ID", "PUBREL ID"}},
	}
	for _, s := range subscribers {
		s.proxy = newProxy(t, b, s.lose)
		var c client
		if s.version5 {
			c = mustConnect5(t, s.proxy.target(), s.name)
		} else {
			c = mustConnect3(t, s.proxy.target(), s.name)
		}
		if err := c.subscribe(s.name, func(message) {}); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range subscribers {
		if err := publisher.publish(s.name, s.qos, "x"); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range subscribers {
		s.proxy.count(s.name, len(s.want))
	}
	// The cap is reached when the wait after the last resend is over. Nothing came
	// meanwhile, and the messages are still there for the next connection.
	b.metric("patchbay_messages_given_up_total", atLeast(2))
	b.metric("patchbay_messages_retransmitted_total", is(6))
	for _, s := range subscribers {
		packets := s.proxy.count(s.name, len(s.want))
		id := fmt.Sprint(packets[0].id)
		var want []string
		for _, w := range s.want {
			want = append(want, strings.Replace(w, "ID", id, 1))
		}
		if got := strs(packets); !slices.Equal(got, want) {
			t.Errorf("%s: the broker sent %q, want %q", s.name, got, want)
			continue
		}
		if n := b.client(s.name).Inflight; n != 1 {
			t.Errorf("%s: %d messages in flight, want 1", s.name, n)
		}
		if s.version5 {
			continue
		}
		n := len(packets)
		first, second := packets[n-2].at.Sub(packets[n-3].at), packets[n-1].at.Sub(packets[n-2].at)
		t.Logf("%s: sent again after %v and %v", s.name, first, second)
		// The times are of the proxy: a packet may have been under way for a moment.
		const early = 250 * time.Millisecond
		if first < interval-early || second < 2*interval-early || first > 10*interval || second > 15*interval {
			t.Errorf("%s: sent again after %v and %v, want about %v and %v", s.name, first, second, interval, 2*interval)
		}
	}
}

// TestTimedResendEnds: an acknowledgement that gets through ends the resending, and
// without session.retry_interval there is none.
func TestTimedResendEnds(t *testing.T) {
	t.Parallel()
	b := start(t, `
listeners: [{name: tcp, tcp: "127.0.0.1:0"}]
session: {retry_interval: 1s, retry_backoff: 1, retry_max: 50}
`)
	off := start(t, `listeners: [{name: tcp, tcp: "127.0.0.1:0"}]`)
	publisher := mustConnect5(t, b.target("tcp", nil), "publisher")
	p, silent := newProxy(t, b, typePuback), newProxy(t, off, typePuback)
	for _, proxy := range []*proxy{p, silent} {
		if err := mustConnect3(t, proxy.target(), "subscriber").subscribe("end", func(message) {}); err != nil {
			t.Fatal(err)
		}
	}
	if err := mustConnect5(t, off.target("tcp", nil), "publisher").publish("end", 1, "x"); err != nil {
		t.Fatal(err)
	}
	if err := publisher.publish("end", 1, "x"); err != nil {
		t.Fatal(err)
	}
	p.count("two resends", 3)
	p.set()
	eventually(t, patience, func() bool { return b.client("subscriber").Inflight == 0 }, "the message is acknowledged")
	n := len(p.count("", 0))
	// Two more intervals, by the broker's clock: another client's resends.
	clock := newProxy(t, b, typePuback)
	if err := mustConnect3(t, clock.target(), "clock").subscribe("clock", func(message) {}); err != nil {
		t.Fatal(err)
	}
	if err := publisher.publish("clock", 1, "x"); err != nil {
		t.Fatal(err)
	}
	clock.count("two resends", 3)
	if got := p.count("", 0); len(got) != n {
		t.Errorf("sent again after the acknowledgement: %v", got[n:])
	}
	if got := silent.count("", 1); len(got) != 1 || off.client("subscriber").Inflight != 1 {
		t.Errorf("retry_interval is off, and the broker sent %v", got)
	}
}

// TestResendOnReconnect: whatever the version, and with no interval set, all that
// was not acknowledged comes again on the next connection, at once, in the original
// order, under the same identifiers, as far as its handshake had got.
func TestResendOnReconnect(t *testing.T) {
	t.Parallel()
	b := start(t, `listeners: [{name: tcp, tcp: "127.0.0.1:0"}]`)
	publisher := mustConnect5(t, b.target("tcp", nil), "publisher")
	for _, version := range []string{"3.1.1", "5"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			id := "subscriber-" + version
			p := newProxy(t, b, typePubcomp)
			connect := func() client {
				t.Helper()
				if version == "5" {
					return mustConnect5(t, p.target(), id, func(c *paho.Connect) {
						c.CleanStart, c.Properties = false, &paho.ConnectProperties{SessionExpiryInterval: paho.Uint32(600)}
					})
				}
				return mustConnect3(t, p.target(), id, func(o *mqtt3.ClientOptions) {
					// Without a handler Paho acknowledges nothing.
					o.SetCleanSession(false).SetDefaultPublishHandler(func(mqtt3.Client, mqtt3.Message) {})
				})
			}
			c := connect()
			if err := c.subscribe(id+"/#", func(message) {}); err != nil {
				t.Fatal(err)
			}
			publish := func(qos byte, names ...string) {
				t.Helper()
				for _, name := range names {
					if err := publisher.publish(id+"/"+name, qos, "x"); err != nil {
						t.Fatal(err)
					}
				}
			}
			// Two that were received, their PUBCOMP lost; then four of which the
			// broker hears nothing at all, one acknowledged in between.
			publish(2, "a", "b")
			p.wait("PUBREL for a and b", func(_ []seen, lost int) bool { return lost == 2 })
			p.set(typePuback, typePubrec, typePubcomp)
			publish(1, "c")
			publish(2, "d")
			p.wait("c and d received", func(_ []seen, lost int) bool { return lost == 4 })
			p.set(typePubrec, typePubcomp)
			publish(1, "acknowledged")
			eventually(t, patience, func() bool { return b.client(id).Inflight == 4 }, "one of five is acknowledged")
			p.set(typePuback, typePubrec, typePubcomp)
			publish(1, "e")
			publish(2, "f")
			before := p.wait("e and f received", func(_ []seen, lost int) bool { return lost == 6 })
			ids := map[string]uint16{}
			for _, packet := range before {
				if packet.kind == typePublish {
					ids[strings.TrimPrefix(packet.topic, id+"/")] = packet.id
				}
			}
			p.cut()
			eventually(t, patience, func() bool { return b.away(id) }, "the broker has noticed")
			publish(1, "later")
			p.forget()
			p.set()
			connect()
			want := []string{
				fmt.Sprintf("PUBREL %d", ids["a"]),
				fmt.Sprintf("PUBREL %d", ids["b"]),
				fmt.Sprintf("PUBLISH %s/c q1 dup=true %d", id, ids["c"]),
				fmt.Sprintf("PUBLISH %s/d q2 dup=true %d", id, ids["d"]),
				fmt.Sprintf("PUBLISH %s/e q1 dup=true %d", id, ids["e"]),
				fmt.Sprintf("PUBLISH %s/f q2 dup=true %d", id, ids["f"]),
			}
			// PUBRELs for d and f follow as their PUBRECs come in.
			got := p.count("everything resent", len(want)+3)
			var again []string
			var fresh []seen
			for _, packet := range got {
				switch {
				case packet.topic == id+"/later":
					fresh = append(fresh, packet)
				case packet.kind == typePubrel && (packet.id == ids["d"] || packet.id == ids["f"]):
				default:
					again = append(again, packet.String())
				}
			}
			if !slices.Equal(again, want) {
				t.Errorf("the broker sent\n%q, want\n%q", again, want)
			}
			if len(fresh) != 1 || fresh[0].dup() || slices.Index(strs(got), fresh[0].String()) < slices.Index(strs(got), want[5]) {
				t.Errorf("what was published meanwhile comes once, last, and without DUP: %v", strs(got))
			}
			eventually(t, patience, func() bool { return b.client(id).Inflight == 0 }, "everything is acknowledged")
		})
	}
}

// away reports whether a session has no connection.
func (b *broker) away(id string) bool {
	b.t.Helper()
	r := b.operator("clients", "show", id, "--json")
	return r.code == 0 && strings.Contains(r.stdout, `"online": false`)
}
