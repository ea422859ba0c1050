package crash

import (
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// world is a ledger with one publisher, one subscriber and one subscription to t/#
// that was acknowledged.
type world struct {
	l        *ledger
	pub, sub actor
	account  *account
	subs     *subscription
	one, two *stream
}

func newWorld() *world {
	l := newLedger()
	w := &world{l: l, pub: l.enter("pub", "a publisher"), sub: l.enter("sub", "a subscriber"), account: l.account("sub", 2, true)}
	w.one = &stream{publisher: w.pub, topic: "t/1", qos: 1}
	w.two = &stream{publisher: w.pub, topic: "t/2", qos: 2}
	w.subs = w.subscribe()
	return w
}

func (w *world) subscribe() *subscription {
	s := w.l.subscribing(w.account, "t/#", "t/#", 7)
	w.l.subscribed(w.sub, s, packet.GrantedQoS2)
	return s
}

func (w *world) unsubscribe() {
	w.l.unsubscribing(w.subs)
	w.l.unsubscribed(w.sub, w.subs, packet.Success, true)
}

func (w *world) publish(s *stream) *message { return w.l.publish(s, false, false, 10, nil, 0) }

func (w *world) acknowledged(s *stream) *message {
	m := w.publish(s)
	w.l.acknowledged(m, packet.Success)
	return m
}

func (w *world) arrive(m *message) { w.arriveAs(m, m.stream.qos, 7) }

func (w *world) arriveAs(m *message, qos byte, ids ...uint32) {
	p := decoded(m, qos, ids...)
	w.l.arrived(w.sub, w.account, packet.V5, &p, m)
}

// decoded is m as a subscriber of MQTT 5 sees it.
func decoded(m *message, qos byte, ids ...uint32) (p packet.Publish) {
	b, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{
		Topic: []byte(m.stream.topic), Payload: m.payload, Forward: m.forward, SubscriptionIDs: ids, PacketID: 1, QoS: qos,
	})
	h, n, err := packet.ReadHeader(b)
	if err == nil {
		err = packet.DecodePublish(&p, packet.V5, h, b[n:], true)
	}
	if err != nil {
		panic(err)
	}
	return p
}

// expect compares the violations with what one of them has to say; empty for none.
func (l *ledger) expect(t *testing.T, want string) {
	t.Helper()
	report := l.report(maxViolations)
	switch {
	case want == "" && len(l.broken()) > 0:
		t.Errorf("there is nothing wrong, but:\n%s", report)
	case want != "" && !strings.Contains(report, want):
		t.Errorf("not found: %q. The report:\n%s", want, report)
	case want != "" && len(l.broken()) != 1:
		t.Errorf("%d violations instead of one:\n%s", len(l.broken()), report)
	}
}

// TestCrashLedger goes through the invariants one by one: what must be found is,
// and what is allowed is not.
func TestCrashLedger(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*world)
		want string
	}{
		{"all is well", func(w *world) {
			for range 3 {
				w.arrive(w.acknowledged(w.one))
				w.arrive(w.acknowledged(w.two))
			}
			w.l.missed(w.sub, w.account)
		}, ""},
		{"lost", func(w *world) { w.acknowledged(w.two); w.l.missed(w.sub, w.account) }, "it is lost"},
		{"lost, and the next one shows it", func(w *world) {
			w.acknowledged(w.two)
			w.arrive(w.acknowledged(w.two))
		}, "it is lost, or out of order"},
		{"lost and not acknowledged", func(w *world) {
			w.publish(w.two)
			w.arrive(w.acknowledged(w.two))
			w.l.missed(w.sub, w.account)
		}, ""},
		{"not acknowledged and there", func(w *world) { w.arrive(w.publish(w.two)) }, ""},
		{"there before the acknowledgement", func(w *world) {
			m := w.publish(w.two)
			w.arrive(m)
			w.l.acknowledged(m, packet.Success)
			w.l.missed(w.sub, w.account)
		}, ""},
		{"twice at QoS 2", func(w *world) { m := w.acknowledged(w.two); w.arrive(m); w.arrive(m) }, "a second time at QoS 2"},
		{"twice at QoS 2, not acknowledged", func(w *world) { m := w.publish(w.two); w.arrive(m); w.arrive(m) }, "a second time at QoS 2"},
		{"twice at QoS 1", func(w *world) { m := w.acknowledged(w.one); w.arrive(m); w.arrive(m) }, ""},
		{"out of order", func(w *world) {
			a, b := w.publish(w.one), w.publish(w.one)
			w.arrive(b)
			w.arrive(a)
		}, "out of order: it arrived for the first time after #2"},
		{"another stream overtakes", func(w *world) {
			a, b := w.acknowledged(w.one), w.acknowledged(w.two)
			w.arrive(b)
			w.arrive(a)
		}, ""},
		{"repeated in another order", func(w *world) {
			a, b := w.acknowledged(w.one), w.acknowledged(w.one)
			w.arrive(a)
			w.arrive(b)
			w.arrive(a)
		}, ""},
		{"subscribed between a message and its resend", func(w *world) {
			w.unsubscribe()
			a, b := w.publish(w.one), w.publish(w.one)
			w.subscribe()
			w.arrive(b)
			w.arrive(a)
		}, ""},
		{"wrong QoS", func(w *world) { w.arriveAs(w.acknowledged(w.two), 1, 7) }, "at QoS 1 and not 2"},
		{"the subscription is gone", func(w *world) {
			w.unsubscribe()
			w.arrive(w.acknowledged(w.two))
		}, "does not belong to a subscription"},
		{"on its way when the subscription ended", func(w *world) {
			m := w.acknowledged(w.two)
			w.unsubscribe()
			w.arrive(m)
		}, ""},
		{"not entitled: UNSUBSCRIBE was sent", func(w *world) {
			w.l.unsubscribing(w.subs)
			w.acknowledged(w.two)
			w.l.missed(w.sub, w.account)
		}, ""},
		{"not entitled: SUBACK was late", func(w *world) {
			w.unsubscribe()
			m := w.publish(w.two)
			w.subscribe()
			w.l.acknowledged(m, packet.Success)
			w.l.missed(w.sub, w.account)
		}, ""},
		{"entitled by an older subscription", func(w *world) {
			w.acknowledged(w.two)
			w.unsubscribe()
			w.subscribe()
			w.l.missed(w.sub, w.account)
		}, "it is lost"},
		{"acknowledged before SUBSCRIBE", func(w *world) {
			w.unsubscribe()
			m := w.acknowledged(w.two)
			w.subs = w.subscribe()
			w.arrive(m)
		}, "does not belong to a subscription"},
		{"due to a session that has ended", func(w *world) {
			w.acknowledged(w.two)
			w.l.renewing(w.account)
			w.l.missed(w.sub, w.account)
			w.acknowledged(w.two)
			w.l.renewed(w.sub, w.account)
			w.subscribe()
			w.l.missed(w.sub, w.account)
			w.arrive(w.acknowledged(w.two))
		}, ""},
		{"due to a session that has ended, and there", func(w *world) {
			m := w.acknowledged(w.two)
			w.l.renewing(w.account)
			w.l.renewed(w.sub, w.account)
			w.subscribe()
			w.arrive(m)
		}, "does not belong to a subscription"},
		{"the subscription was forgotten", func(w *world) {
			w.l.unsubscribing(w.subs)
			w.l.unsubscribed(w.sub, w.subs, packet.NoSubscriptionExisted, true)
		}, "No subscription existed"},
		{"UNSUBSCRIBE was sent twice", func(w *world) {
			w.l.unsubscribing(w.subs)
			w.l.unsubscribed(w.sub, w.subs, packet.NoSubscriptionExisted, false)
		}, ""},
		{"SUBACK refuses", func(w *world) { w.l.subscribed(w.sub, w.subs, packet.UnspecifiedError) }, "SUBACK for t/#"},
		{"without Subscription Identifier", func(w *world) { w.arriveAs(w.acknowledged(w.two), 2) }, "without Subscription Identifier 7"},
		{"wrong Subscription Identifier", func(w *world) { w.arriveAs(w.acknowledged(w.two), 2, 7, 8) }, "with Subscription Identifier 8"},
		{"refused", func(w *world) {
			w.unsubscribe()
			w.l.acknowledged(w.publish(w.two), packet.QuotaExceeded)
		}, "refused it: Quota exceeded"},
		{"no matching subscribers, it says", func(w *world) {
			w.l.acknowledged(w.publish(w.two), packet.NoMatchingSubscribers)
		}, "No matching subscribers, and there is one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			test.do(w)
			w.l.expect(t, test.want)
		})
	}
}

// TestCrashLedgerContent: a message has to be what was published.
func TestCrashLedgerContent(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*packet.Publish)
		want   string
	}{
		{"as it was", func(*packet.Publish) {}, ""},
		{"topic", func(p *packet.Publish) { p.Topic = []byte("t/2") }, "its topic: t/2"},
		{"payload", func(p *packet.Publish) { p.Payload[len(p.Payload)-1]++ }, "its payload"},
		{"payload cut", func(p *packet.Publish) { p.Payload = p.Payload[:len(p.Payload)-1] }, "its payload"},
		{"properties", func(p *packet.Publish) { p.Props = packet.PublishProps{} }, "its properties"},
		{"unknown number", func(p *packet.Publish) { p.Payload = []byte("0 #2|") }, "that nobody published"},
		{"unknown publisher", func(p *packet.Publish) { p.Payload = []byte("200 #1|") }, "that nobody published"},
		{"garbage", func(p *packet.Publish) { p.Payload = []byte("garbage") }, "that nobody published"},
		{"nothing", func(p *packet.Publish) { p.Payload = nil }, "that nobody published"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			m := w.l.publish(w.one, false, false, 20, properties(1), 0)
			p := decoded(&message{stream: m.stream, payload: append([]byte(nil), m.payload...), forward: m.forward}, 1)
			test.change(&p)
			if got := w.l.identify(w.sub, packet.V5, &p); (got == m) != (test.want == "") {
				t.Errorf("identified as %v", got)
			}
			w.l.expect(t, test.want)
		})
	}
}

// TestCrashLedgerRetained: the newest acknowledged value or a later one.
func TestCrashLedgerRetained(t *testing.T) {
	const topic = "t/1"
	for _, test := range []struct {
		name   string
		values string // one letter each: a acknowledged, u not, A and U the same with an empty payload
		found  int    // number of the value that is there, 0 none
		want   string
	}{
		{"nothing was published", "", 0, ""},
		{"the newest", "aa", 2, ""},
		{"an old one", "aa", 1, "#1 is what is retained"},
		{"none", "aa", 0, "nothing is retained"},
		{"the newest acknowledged", "aau", 2, ""},
		{"a later one", "aauu", 4, ""},
		{"one between", "aauu", 3, ""},
		{"one before", "aauu", 1, "#1 is what is retained"},
		{"nothing acknowledged, none there", "uu", 0, ""},
		{"nothing acknowledged, one there", "uu", 1, ""},
		{"deleted", "aA", 0, ""},
		{"deleted and back", "aA", 1, "#1 is what is retained"},
		{"perhaps deleted, gone", "aU", 0, ""},
		{"perhaps deleted, there", "aU", 1, ""},
		{"deleted and new", "Aa", 2, ""},
		{"deleted and new, gone", "Aa", 0, "nothing is retained"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			w.unsubscribe()
			found := map[string]*message{}
			for i, v := range test.values {
				m := w.l.publish(w.one, true, v == 'A' || v == 'U', 10, nil, 0)
				if v == 'a' || v == 'A' {
					w.l.acknowledged(m, packet.Success)
				}
				if test.found == i+1 {
					found[topic] = m
				}
			}
			wanted := len(w.l.mustRetain("t/")) > 0
			if test.found == 0 && wanted == (test.want == "") {
				t.Errorf("wanted: %v", wanted)
			}
			w.l.checkRetained(w.sub, "t/", found)
			w.l.checkRetained(w.sub, "elsewhere/", nil)
			w.l.expect(t, test.want)
		})
	}
}

// TestCrashLedgerShared: one member of a shared subscription gets a message, and
// their order does not matter.
func TestCrashLedgerShared(t *testing.T) {
	w := newWorld()
	w.account.ordered = false
	w.l.subscribed(w.sub, w.l.subscribing(w.account, "t/#", "$share/g/t/#", 9), packet.GrantedQoS2)
	a, b := w.acknowledged(w.two), w.acknowledged(w.two)
	w.arriveAs(b, 2, 9)
	w.arriveAs(a, 2, 7)
	w.l.missed(w.sub, w.account)
	w.l.expect(t, "")
	w.arriveAs(b, 2, 7)
	w.l.expect(t, "a second time at QoS 2")
}
