package crash

import (
	"fmt"
	"slices"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/topic"
)

// account is what one session has received and has yet to receive; or the members
// of a shared subscription together, whose messages go to any one of them. The
// ledger's lock guards it.
type account struct {
	name    string
	qos     byte // of all its subscriptions
	ordered bool
	// early: a message has to be there before it is acknowledged.
	early bool
	// suspects came out of order, after the messages that are their values. They may
	// have been given up; then there is a dead letter, which has not come yet.
	suspects map[*message]*message
	// wants, if not nil, tells the messages that belong there.
	wants func(*message) bool
	subs  []*subscription

	got map[*message]bool
	due map[*stream][]*message // acknowledged and not there, in the order of publishing
	// last is the message that came last for the first time.
	last map[*stream]*message
}

// subscription is one from its SUBSCRIBE to its UNSUBACK.
type subscription struct {
	account *account
	filter  string // what it matches
	wire    string // the whole Topic Filter, with $share
	id      uint32 // Subscription Identifier, 0 none

	asked, granted moment // before SUBSCRIBE was sent, after SUBACK was read
	ending, ended  moment // before UNSUBSCRIBE was sent, after UNSUBACK was read
	void           bool   // its session is no more
}

// surely reports whether m has to be delivered by this subscription: SUBACK was
// seen before m began, and no UNSUBSCRIBE has been sent so far.
func (s *subscription) surely(m *message) bool {
	return s.granted != 0 && s.granted < m.began && s.ending == 0 && topic.Match(s.filter, m.stream.topic)
}

// perhaps reports whether m may be delivered by this subscription: it was not over
// when m began, and m was not acknowledged before it was asked for. (A QoS 1
// message may be on its way twice.)
func (s *subscription) perhaps(m *message) bool {
	early := m.stream.qos == 2 && m.acked != 0 && m.acked < s.asked
	return !s.void && !early && (s.ended == 0 || s.ended > m.began) && topic.Match(s.filter, m.stream.topic)
}

func (a *account) entitled(m *message) bool {
	return (a.wants == nil || a.wants(m)) && slices.ContainsFunc(a.subs, func(s *subscription) bool { return s.surely(m) })
}

// subscribing is told that a SUBSCRIBE is about to be sent for the first time.
func (l *ledger) subscribing(a *account, filter, wire string, id uint32) *subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &subscription{account: a, filter: filter, wire: wire, id: id, asked: l.tick()}
	a.subs = append(a.subs, s)
	return s
}

// subscribed is told of a SUBACK.
func (l *ledger) subscribed(who actor, s *subscription, code packet.ReasonCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if code != packet.ReasonCode(s.account.qos) {
		l.violate(who, nil, fmt.Sprintf("SUBACK for %s has %v", s.wire, code))
	}
	s.granted = l.tick()
	l.totals.Subscribed++
	l.remarkLocked(who, "receives SUBACK for "+s.wire)
}

// unsubscribing is told that an UNSUBSCRIBE is about to be sent.
func (l *ledger) unsubscribing(s *subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.ending = l.tick()
}

// unsubscribed is told of an UNSUBACK. first says that UNSUBSCRIBE was sent once
// only: then there must have been a subscription.
func (l *ledger) unsubscribed(who actor, s *subscription, code packet.ReasonCode, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if code.IsError() || first && code == packet.NoSubscriptionExisted {
		l.violate(who, nil, fmt.Sprintf("UNSUBACK for %s has %v", s.wire, code))
	}
	s.ended = l.tick()
	l.totals.Unsubscribed++
	l.remarkLocked(who, "receives UNSUBACK for "+s.wire)
}

// renewing is told that a CONNECT for a new session is going to be sent: what was
// due to the old one does not have to arrive any more.
func (l *ledger) renewing(a *account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range a.subs {
		if s.ending == 0 {
			s.ending = l.tick()
		}
	}
	clear(a.due)
}

// renewed is told of the CONNACK: what was due to the old session must not arrive
// any more.
func (l *ledger) renewed(who actor, a *account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range a.subs {
		s.void = true
	}
	l.totals.Renewed++
	l.remarkLocked(who, "has a new session")
}

// arrived is told of a message that is, by its Packet Identifier, no resend.
func (l *ledger) arrived(who actor, a *account, v packet.Version, p *packet.Publish, m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	l.checkRoute(who, a, v, p, m)
	if want := min(m.stream.qos, a.qos); p.QoS != want {
		l.violate(who, m, fmt.Sprintf("it arrived at QoS %d and not %d", p.QoS, want))
	}
	if a.got[m] {
		l.totals.Repeated++
		if p.QoS == 2 && !m.twice {
			l.violate(who, m, "it arrived a second time at QoS 2")
		}
		return
	}
	a.got[m] = true
	l.totals.Delivered++
	if a.ordered {
		l.checkOrder(who, a, m)
	}
	a.settle(m)
}

// checkRoute: m came by a subscription, and names it.
func (l *ledger) checkRoute(who actor, a *account, v packet.Version, p *packet.Publish, m *message) {
	if !slices.ContainsFunc(a.subs, func(s *subscription) bool { return s.perhaps(m) }) {
		l.violate(who, m, "it arrived and does not belong to a subscription: it began after UNSUBACK, or was acknowledged before SUBSCRIBE, or was due to an older session")
		return
	}
	if v != packet.V5 {
		return
	}
	ids := slices.Collect(p.Props.SubscriptionIdentifiers())
	for _, id := range ids {
		if !slices.ContainsFunc(a.subs, func(s *subscription) bool { return s.id == id && s.perhaps(m) }) {
			l.violate(who, m, fmt.Sprintf("it arrived with Subscription Identifier %d, whose subscription it does not match", id))
		}
	}
	for _, s := range a.subs {
		// An UNSUBSCRIBE that is on its way does not matter if it began later, but
		// when the broker took the message is not known.
		if s.id != 0 && s.surely(m) && !slices.Contains(ids, s.id) && !a.shared() {
			l.violate(who, m, fmt.Sprintf("it arrived without Subscription Identifier %d of %s", s.id, s.wire))
		}
	}
}

// shared: the subscriptions of several sessions are in the account, and a message
// comes by one of them.
func (a *account) shared() bool { return !a.ordered }

// checkOrder looks at a message that came for the first time.
func (l *ledger) checkOrder(who actor, a *account, m *message) {
	if last := a.last[m.stream]; last != nil && m.place < last.place {
		// Whoever subscribes between a QoS 1 message and its resend may well get the
		// next message first.
		if a.entitled(m) {
			l.violate(who, m, fmt.Sprintf(outOfOrder, last.number))
		}
		return
	}
	a.last[m.stream] = m
	for _, missing := range a.due[m.stream] {
		if missing.place >= m.place {
			break
		}
		l.violate(who, missing, fmt.Sprintf("it is lost, or out of order: it was acknowledged, and %s received #%d of the same publisher, topic and QoS before it", a.name, m.number))
		a.settle(missing)
	}
}

const outOfOrder = "out of order: it arrived for the first time after #%d"

// settle takes m off what is due.
func (a *account) settle(m *message) {
	list := a.due[m.stream]
	i := slices.Index(list, m)
	switch {
	case i < 0:
		return
	case len(list) == 1:
		delete(a.due, m.stream)
	case i == 0:
		a.due[m.stream] = list[1:]
	default:
		a.due[m.stream] = slices.Delete(list, i, i+1)
	}
}

// owed is the number of messages that are due at an account.
func (l *ledger) owed(a *account) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, list := range a.due {
		n += len(list)
	}
	return n + len(a.suspects)
}

// missed reports everything that is due at an account as lost.
func (l *ledger) missed(who actor, a *account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, list := range a.due {
		for _, m := range list {
			l.violate(who, m, "it is lost: it was acknowledged and does not arrive at "+a.name)
		}
	}
	for m, last := range a.suspects {
		l.violate(who, m, fmt.Sprintf(outOfOrder, last.number))
	}
	clear(a.due)
	clear(a.suspects)
}
