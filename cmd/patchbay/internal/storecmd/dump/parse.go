package dump

import (
	"errors"
	"fmt"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/topic"
)

// This file turns lines into what is stored, and refuses what a broker would not
// have stored: it would be believed from then on.

func (l *sessionLine) session() (*session, error) {
	s := &session{
		Record: store.Record{
			Namespace: string(l.Namespace), ClientID: string(l.ClientID), Username: string(l.Username),
			Expiry: l.Expiry, Detached: int64(l.Detached), WillDue: int64(l.WillDue),
		},
		received: l.Received,
	}
	if s.ClientID == "" {
		return nil, errors.New("client_id is missing")
	}
	filters := make(map[text]struct{}, len(l.Subscriptions))
	for i := range l.Subscriptions {
		sub, err := l.Subscriptions[i].subscribed()
		if _, twice := filters[l.Subscriptions[i].Filter]; twice {
			err = errors.New("a second one")
		}
		if err != nil {
			return nil, fmt.Errorf("subscription to %q: %w", sub.Filter, err)
		}
		filters[l.Subscriptions[i].Filter] = struct{}{}
		s.subscriptions = append(s.subscriptions, sub)
	}
	ids := make(map[uint16]struct{}, len(l.Received))
	for _, id := range l.Received {
		if _, twice := ids[id]; id == 0 || twice {
			return nil, fmt.Errorf("received: packet identifier %d, which is 0 or came before", id)
		}
		ids[id] = struct{}{}
	}
	if w := l.Will; w != nil {
		m, err := w.Message.message()
		if err != nil {
			return nil, fmt.Errorf("will: %w", err)
		}
		s.Will = &store.Will{Message: m, Delay: w.Delay}
		if w.Expiry != nil {
			s.Will.Expiry, s.Will.HasExpiry = *w.Expiry, true
		}
	}
	return s, nil
}

// maxSubscriptionID is the largest Subscription Identifier (§3.8.2.1.2).
const maxSubscriptionID = 268_435_455

func (l *subscriptionLine) subscribed() (store.Subscribed, error) {
	s := store.Subscribed{Filter: string(l.Filter), Subscription: store.Subscription{
		QoS: l.QoS, NoLocal: l.NoLocal, RetainAsPublished: l.RetainAsPublished, RetainHandling: l.RetainHandling, ID: l.ID,
	}}
	if _, err := topic.ParseFilter(s.Filter); err != nil {
		return s, err
	}
	if l.QoS > 2 || l.RetainHandling > 2 || l.ID > maxSubscriptionID {
		return s, fmt.Errorf("qos %d, retain_handling %d, id %d", l.QoS, l.RetainHandling, l.ID)
	}
	return s, nil
}

func (l *entryLine) entry() (e store.Entry, err error) {
	switch {
	case l.Message == nil:
		return e, errors.New("message is missing")
	case l.QoS > 2:
		return e, fmt.Errorf("qos %d", l.QoS)
	}
	for _, id := range l.IDs {
		if id == 0 || id > maxSubscriptionID {
			return e, fmt.Errorf("subscription identifier %d", id)
		}
	}
	e = store.Entry{QoS: l.QoS, Retain: l.Retain, Unscreened: l.Unscreened}
	if l.IDs != nil || l.Group != "" || l.Filter != "" {
		e.Route = &store.Route{IDs: l.IDs, Group: string(l.Group), Filter: string(l.Filter)}
	}
	e.Message, err = l.Message.message()
	return e, err
}

// message returns a kept message.
func (l *messageLine) message() (*packet.Message, error) {
	if err := topic.ValidNameString(string(l.Topic)); err != nil {
		return nil, fmt.Errorf("topic %q: %w", l.Topic, err)
	}
	if l.QoS > 2 {
		return nil, fmt.Errorf("topic %q: qos %d", l.Topic, l.QoS)
	}
	props, err := l.Properties.wire()
	if err != nil {
		return nil, fmt.Errorf("properties: %w", err)
	}
	m := packet.Message{
		Topic: []byte(l.Topic), Payload: l.Payload, Props: props, Publisher: string(l.Publisher),
		Received: int64(l.Received), Expires: int64(l.Expires), QoS: l.QoS, Retain: l.Retain,
	}
	return m.Keep(l.ID), nil
}
