package packet

import (
	"encoding/binary"
	"strings"
)

// Subscription is one Topic Filter of a SUBSCRIBE with its Subscription Options. For
// 3.x, QoS is the only option.
type Subscription struct {
	Filter            string
	QoS               byte // Maximum QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0, 1 or 2
}

// Subscribe is a SUBSCRIBE.
type Subscribe struct {
	PacketID      uint16
	Subscriptions []Subscription
	Props         Properties // 5.0 only
}

// The Subscription Options.
const (
	optionQoS               = 3 << 0
	optionNoLocal           = 1 << 2
	optionRetainAsPublished = 1 << 3
	optionRetainHandling    = 3 << 4
	optionReserved          = 3 << 6
)

// Decode fills p from the body of a SUBSCRIBE. It keeps nothing of body. It checks
// all but the syntax of Topic Filters, which is answered filter by filter in the
// SUBACK.
func (p *Subscribe) Decode(v Version, body []byte) error {
	*p = Subscribe{}
	r := reader{b: body, t: TypeSubscribe}
	p.PacketID = r.packetID()
	if v == V5 {
		r.properties(&p.Props, TypeSubscribe)
	}
	if r.err == nil && len(r.b) == 0 {
		return protocolError("MQTT-3.8.3-2", "SUBSCRIBE: no topic filter")
	}
	p.Subscriptions = make([]Subscription, 0, countFilters(r.b, 1))
	for r.err == nil && len(r.b) > 0 {
		filter := string(r.text("topic filter", "MQTT-3.8.3-1"))
		options := r.byte("subscription options")
		if r.err != nil {
			break
		}
		s, err := newSubscription(v, filter, options)
		if err != nil {
			return err
		}
		p.Subscriptions = append(p.Subscriptions, s)
	}
	return r.end()
}

// countFilters counts the Topic Filters in b, each followed by extra bytes, so that
// a list is allocated once and no larger than the packet warrants.
func countFilters(b []byte, extra int) (n int) {
	for len(b) >= 2 {
		size := 2 + int(binary.BigEndian.Uint16(b)) + extra
		if size > len(b) {
			break
		}
		b = b[size:]
		n++
	}
	return n
}

func newSubscription(v Version, filter string, options byte) (Subscription, error) {
	s := Subscription{Filter: filter, QoS: options & optionQoS}
	if v != V5 {
		if options > 2 {
			// By MQTT 3.1.1's own count of statements.
			return s, malformed("MQTT-3.8.3-4", "SUBSCRIBE: requested QoS is not 0, 1 or 2")
		}
		return s, nil
	}
	s.NoLocal = options&optionNoLocal != 0
	s.RetainAsPublished = options&optionRetainAsPublished != 0
	s.RetainHandling = options & optionRetainHandling >> 4
	switch {
	case options&optionReserved != 0:
		return s, malformed("MQTT-3.8.3-5", "SUBSCRIBE: reserved subscription options are set")
	case s.QoS == 3:
		return s, protocolError("", "SUBSCRIBE: maximum QoS is 3")
	case s.RetainHandling == 3:
		return s, protocolError("", "SUBSCRIBE: retain handling is 3")
	case s.NoLocal && strings.HasPrefix(filter, "$share/"):
		return s, protocolError("MQTT-3.8.3-4", "SUBSCRIBE: no local on a shared subscription")
	}
	return s, nil
}

// Append appends p as a packet of version v. The error wraps ErrTooLarge.
func (p *Subscribe) Append(dst []byte, v Version) ([]byte, error) {
	s := sizer{t: TypeSubscribe, n: 2}
	props := 0
	if v == V5 {
		props = s.properties(&p.Props, TypeSubscribe)
	}
	for i := range p.Subscriptions {
		s.str(len(p.Subscriptions[i].Filter), "topic filter")
		s.n++
	}
	dst, err := s.begin(dst)
	if err != nil {
		return dst, err
	}
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	if v == V5 {
		dst = p.Props.append(appendVar(dst, props), TypeSubscribe)
	}
	for i := range p.Subscriptions {
		dst = appendString(dst, p.Subscriptions[i].Filter)
		dst = append(dst, p.Subscriptions[i].options(v))
	}
	return dst, nil
}

func (s *Subscription) options(v Version) byte {
	o := s.QoS
	if v != V5 {
		return o
	}
	if s.NoLocal {
		o |= optionNoLocal
	}
	if s.RetainAsPublished {
		o |= optionRetainAsPublished
	}
	return o | s.RetainHandling<<4
}

// Unsubscribe is an UNSUBSCRIBE.
type Unsubscribe struct {
	PacketID uint16
	Filters  []string
	Props    Properties // 5.0 only
}

// Decode fills p from the body of an UNSUBSCRIBE. It keeps nothing of body. The
// syntax of Topic Filters is not checked.
func (p *Unsubscribe) Decode(v Version, body []byte) error {
	*p = Unsubscribe{}
	r := reader{b: body, t: TypeUnsubscribe}
	p.PacketID = r.packetID()
	if v == V5 {
		r.properties(&p.Props, TypeUnsubscribe)
	}
	if r.err == nil && len(r.b) == 0 {
		return protocolError("MQTT-3.10.3-2", "UNSUBSCRIBE: no topic filter")
	}
	p.Filters = make([]string, 0, countFilters(r.b, 0))
	for r.err == nil && len(r.b) > 0 {
		p.Filters = append(p.Filters, string(r.text("topic filter", "MQTT-3.10.3-1")))
	}
	return r.end()
}

// Append appends p as a packet of version v. The error wraps ErrTooLarge.
func (p *Unsubscribe) Append(dst []byte, v Version) ([]byte, error) {
	s := sizer{t: TypeUnsubscribe, n: 2}
	props := 0
	if v == V5 {
		props = s.properties(&p.Props, TypeUnsubscribe)
	}
	for _, f := range p.Filters {
		s.str(len(f), "topic filter")
	}
	dst, err := s.begin(dst)
	if err != nil {
		return dst, err
	}
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	if v == V5 {
		dst = p.Props.append(appendVar(dst, props), TypeUnsubscribe)
	}
	for _, f := range p.Filters {
		dst = appendString(dst, f)
	}
	return dst, nil
}
