package dump

import (
	"slices"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// line is any line but the header; one field is set.
type line struct {
	Session  *sessionLine  `json:"session,omitempty"`
	Inflight *entryLine    `json:"inflight,omitempty"`
	Queued   *entryLine    `json:"queued,omitempty"`
	Retained *retainedLine `json:"retained,omitempty"`
	Value    *valueLine    `json:"value,omitempty"`
	End      *Counts       `json:"end,omitempty"`
}

// header is the first line.
type header struct {
	Format  int    `json:"patchbay_export"`
	Version string `json:"version,omitempty"`
	Created stamp  `json:"created,omitzero"`
}

// Counts are the figures of a dump, or of a store: those of the end line.
type Counts struct {
	Sessions      int64 `json:"sessions"`
	Subscriptions int64 `json:"subscriptions"`
	Received      int64 `json:"received"`
	Inflight      int64 `json:"inflight"`
	Queued        int64 `json:"queued"`
	Retained      int64 `json:"retained"`
	Values        int64 `json:"values"`
	// Unreadable is what the store had and could not be read: it is not in the
	// dump.
	Unreadable int64 `json:"unreadable,omitempty"`
}

type sessionLine struct {
	Namespace     text               `json:"namespace,omitempty"`
	ClientID      text               `json:"client_id"`
	Username      text               `json:"username,omitempty"`
	Expiry        uint32             `json:"session_expiry"`
	Detached      stamp              `json:"detached,omitzero"`
	WillDue       stamp              `json:"will_due,omitzero"`
	Will          *willLine          `json:"will,omitempty"`
	Subscriptions []subscriptionLine `json:"subscriptions,omitempty"`
	Received      []uint16           `json:"received,omitempty"`
}

type willLine struct {
	Delay   uint32      `json:"delay,omitempty"`
	Expiry  *uint32     `json:"message_expiry,omitempty"`
	Message messageLine `json:"message"`
}

type subscriptionLine struct {
	Filter            text   `json:"filter"`
	QoS               byte   `json:"qos"`
	NoLocal           bool   `json:"no_local,omitempty"`
	RetainAsPublished bool   `json:"retain_as_published,omitempty"`
	RetainHandling    byte   `json:"retain_handling,omitempty"`
	ID                uint32 `json:"id,omitempty"`
}

// entryLine is a message of the session before it. QoS and Retain are those of
// delivery, those of publication are the message's.
type entryLine struct {
	PacketID   uint16       `json:"packet_id,omitempty"`
	Released   bool         `json:"released,omitempty"` // PUBREC has come; there is no message any more
	QoS        byte         `json:"qos"`
	Retain     bool         `json:"retain,omitempty"`
	Unscreened bool         `json:"unscreened,omitempty"`
	IDs        []uint32     `json:"subscription_ids,omitempty"`
	Group      text         `json:"group,omitempty"`
	Filter     text         `json:"filter,omitempty"`
	Message    *messageLine `json:"message,omitempty"`
}

type retainedLine struct {
	Namespace text        `json:"namespace,omitempty"`
	Message   messageLine `json:"message"`
}

type valueLine struct {
	Bucket  text   `json:"bucket"`
	Key     text   `json:"key"`
	Version uint64 `json:"version,string"` // above what all readers of JSON take for a number
	Expires stamp  `json:"expires,omitzero"`
	Value   octets `json:"value"`
}

type messageLine struct {
	ID         uint64          `json:"id,string"`
	Topic      text            `json:"topic"`
	QoS        byte            `json:"qos"`
	Retain     bool            `json:"retain,omitempty"`
	Publisher  text            `json:"publisher,omitempty"`
	Received   stamp           `json:"received,omitzero"`
	Expires    stamp           `json:"expires,omitzero"`
	Properties *propertiesLine `json:"properties,omitempty"`
	Payload    octets          `json:"payload"`
}

type propertiesLine struct {
	PayloadFormat   *byte     `json:"payload_format_indicator,omitempty"`
	ContentType     *text     `json:"content_type,omitempty"`
	ResponseTopic   *text     `json:"response_topic,omitempty"`
	CorrelationData *octets   `json:"correlation_data,omitempty"`
	User            [][2]text `json:"user_properties,omitempty"`
	// Wire are properties that this version cannot take apart, as they are.
	Wire octets `json:"wire,omitempty"`
}

func ofSession(s *session) *sessionLine {
	l := &sessionLine{
		Namespace: text(s.Namespace), ClientID: text(s.ClientID), Username: text(s.Username),
		Expiry: s.Expiry, Detached: stamp(s.Detached), WillDue: stamp(s.WillDue), Received: s.received,
	}
	if w := s.Will; w != nil {
		l.Will = &willLine{Delay: w.Delay, Message: ofMessage(w.Message)}
		if w.HasExpiry {
			l.Will.Expiry = &w.Expiry
		}
	}
	for _, sub := range s.subscriptions {
		l.Subscriptions = append(l.Subscriptions, subscriptionLine{
			Filter: text(sub.Filter), QoS: sub.QoS, NoLocal: sub.NoLocal,
			RetainAsPublished: sub.RetainAsPublished, RetainHandling: sub.RetainHandling, ID: sub.ID,
		})
	}
	return l
}

func ofEntry(e *store.Entry) *entryLine {
	l := &entryLine{QoS: e.QoS, Retain: e.Retain, Unscreened: e.Unscreened}
	if r := e.Route; r != nil {
		l.IDs, l.Group, l.Filter = r.IDs, text(r.Group), text(r.Filter)
	}
	m := ofMessage(e.Message)
	l.Message = &m
	return l
}

func ofMessage(m *packet.Message) messageLine {
	return messageLine{
		ID: m.ID, Topic: text(m.Topic), QoS: m.QoS, Retain: m.Retain, Publisher: text(m.Publisher),
		Received: stamp(m.Received), Expires: stamp(m.Expires), Properties: ofProperties(m.Props), Payload: m.Payload,
	}
}

func ofProperties(wire []byte) *propertiesLine {
	if len(wire) == 0 {
		return nil
	}
	var p packet.PublishProps
	if p.Decode(wire, false) != nil || p.Set&^passedOn != 0 {
		return &propertiesLine{Wire: wire}
	}
	l := &propertiesLine{}
	if p.Set.Has(packet.PropPayloadFormatIndicator) {
		l.PayloadFormat = &p.PayloadFormat
	}
	if p.Set.Has(packet.PropContentType) {
		t := text(p.ContentType)
		l.ContentType = &t
	}
	if p.Set.Has(packet.PropResponseTopic) {
		t := text(p.ResponseTopic)
		l.ResponseTopic = &t
	}
	if p.Set.Has(packet.PropCorrelationData) {
		o := octets(p.CorrelationData)
		l.CorrelationData = &o
	}
	for name, value := range p.UserProperties() {
		l.User = append(l.User, [2]text{text(name), text(value)})
	}
	return l
}

// passedOn are the properties that a message keeps.
const passedOn packet.PropSet = 1<<packet.PropPayloadFormatIndicator | 1<<packet.PropContentType | 1<<packet.PropResponseTopic |
	1<<packet.PropCorrelationData | 1<<packet.PropUserProperty

// wire is the inverse of ofProperties; the order of different properties, which
// means nothing, may be another one.
func (l *propertiesLine) wire() ([]byte, error) {
	switch {
	case l == nil:
		return nil, nil
	case l.Wire != nil:
		return l.Wire, nil
	}
	var p packet.Properties
	if l.PayloadFormat != nil {
		p.SetPayloadFormat(*l.PayloadFormat)
	}
	if l.ContentType != nil {
		p.SetContentType(string(*l.ContentType))
	}
	if l.ResponseTopic != nil {
		p.SetResponseTopic(string(*l.ResponseTopic))
	}
	if l.CorrelationData != nil {
		p.SetCorrelationData(*l.CorrelationData)
	}
	for _, u := range l.User {
		p.AddUser(string(u[0]), string(u[1]))
	}
	wire, err := p.AppendForward(nil)
	if err != nil {
		return nil, err
	}
	return wire, new(packet.PublishProps).Decode(slices.Clip(wire), false)
}
