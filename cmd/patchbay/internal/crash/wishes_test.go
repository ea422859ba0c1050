package crash

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// wish is a Topic Filter that a subscriber subscribes to, always or now and then.
type wish struct {
	account      *account
	filter, wire string
	id           uint32 // Subscription Identifier
	toggles      bool

	sub   *subscription // from SUBSCRIBE to UNSUBACK
	asks  packet.Type   // SUBSCRIBE or UNSUBSCRIBE without an answer, or 0
	times int           // how often it was sent
	pid   uint16        // its Packet Identifier
}

// asking reports whether a SUBSCRIBE or UNSUBSCRIBE is without an answer.
func (s *subscriber) asking() bool {
	return slices.ContainsFunc(s.wishes, func(w *wish) bool { return w.asks != 0 })
}

// ask subscribes to what has never been subscribed to, and asks again where the
// connection ended before the answer came.
func (s *subscriber) ask() {
	for _, w := range s.wishes {
		switch {
		case w.asks != 0:
			s.sendAsk(w)
		case w.sub == nil && !w.toggles:
			s.subscribe(w)
		}
	}
}

// change subscribes to or unsubscribes from one of the filters that toggle.
func (s *subscriber) change() {
	for _, w := range s.wishes {
		switch {
		case !w.toggles || w.asks != 0 || !s.oneIn(2):
		case w.sub == nil:
			s.subscribe(w)
		default:
			s.l.unsubscribing(w.sub)
			w.asks, w.times = packet.TypeUnsubscribe, 0
			s.sendAsk(w)
		}
	}
}

func (s *subscriber) subscribe(w *wish) {
	w.sub = s.l.subscribing(w.account, w.filter, w.wire, w.id)
	w.asks, w.times = packet.TypeSubscribe, 0
	s.sendAsk(w)
}

func (s *subscriber) sendAsk(w *wish) {
	s.nextID++
	w.pid = s.nextID
	w.times++
	s.l.remark(s.who, fmt.Sprintf("sends %v for %s", w.asks, w.wire))
	var err error
	if w.asks == packet.TypeUnsubscribe {
		u := packet.Unsubscribe{PacketID: w.pid, Filters: []string{w.wire}}
		s.out, err = u.Append(s.out, s.version)
	} else {
		u := packet.Subscribe{PacketID: w.pid, Subscriptions: []packet.Subscription{{Filter: w.wire, QoS: w.account.qos}}}
		if w.id != 0 {
			u.Props.SetSubscriptionID(w.id)
		}
		s.out, err = u.Append(s.out, s.version)
	}
	if err != nil {
		s.l.fault(s.who, err.Error())
	}
}

// answered takes a SUBACK or UNSUBACK.
func (s *subscriber) answered(typ packet.Type, body []byte) error {
	id, codes, err := decodeAnswer(typ, s.version, body)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.wishes, func(w *wish) bool { return w.asks == typ-1 && w.pid == id })
	if i < 0 || len(codes) != 1 {
		return fmt.Errorf("%v with identifier %d and %d codes, where it is not awaited", typ, id, len(codes))
	}
	w := s.wishes[i]
	w.asks = 0
	if typ == packet.TypeSuback {
		s.l.subscribed(s.who, w.sub, codes[0])
		return nil
	}
	s.l.unsubscribed(s.who, w.sub, codes[0], w.times == 1)
	w.sub = nil
	return nil
}

func decodeAnswer(typ packet.Type, v packet.Version, body []byte) (id uint16, codes []packet.ReasonCode, err error) {
	if typ == packet.TypeSuback {
		var a packet.Suback
		err = a.Decode(v, body)
		return a.PacketID, a.Codes, err
	}
	var a packet.Unsuback
	err = a.Decode(v, body)
	if v != packet.V5 {
		a.Codes = []packet.ReasonCode{packet.Success} // MQTT 3 has none
	}
	return a.PacketID, a.Codes, err
}

// sharedTopics is the first level of the topics that are subscribed to through
// shared subscriptions only.
const sharedTopics = "shared/"

// accountOf is where a message belongs that the subscriber received.
func (s *subscriber) accountOf(m *message) *account {
	if strings.HasPrefix(m.stream.topic, sharedTopics) {
		return s.group
	}
	return s.account
}
