package packet

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// wire turns "20 02 'ab' 00" into bytes: hexadecimal with blanks, and text in
// single quotes.
func wire(tb testing.TB, s string) []byte {
	tb.Helper()
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			tb.Fatalf("bad test bytes %q: %v", s, err)
		}
		out = append(out, b...)
	}
	return out
}

// message is a decoded PUBLISH with everything in it copied, for comparison.
type message struct {
	Topic, Payload                              string
	PacketID                                    uint16
	QoS                                         byte
	Dup, Retain                                 bool
	Set                                         PropSet
	PayloadFormat                               byte
	TopicAlias                                  uint16
	MessageExpiry                               uint32
	ContentType, ResponseTopic, CorrelationData string
	User                                        []UserProperty
	SubscriptionIDs                             []uint32
}

func copyPublish(p *Publish) *message {
	m := &message{
		Topic: string(p.Topic), Payload: string(p.Payload), PacketID: p.PacketID, QoS: p.QoS, Dup: p.Dup, Retain: p.Retain,
		Set: p.Props.Set, PayloadFormat: p.Props.PayloadFormat, TopicAlias: p.Props.TopicAlias,
		MessageExpiry: p.Props.MessageExpiry, ContentType: string(p.Props.ContentType),
		ResponseTopic: string(p.Props.ResponseTopic), CorrelationData: string(p.Props.CorrelationData),
	}
	for k, v := range p.Props.UserProperties() {
		m.User = append(m.User, UserProperty{string(k), string(v)})
	}
	for id := range p.Props.SubscriptionIdentifiers() {
		m.SubscriptionIDs = append(m.SubscriptionIDs, id)
	}
	return m
}

// ackCopy is a decoded acknowledgement, copied.
type ackCopy struct {
	Type         Type
	PacketID     uint16
	Code         ReasonCode
	ReasonString string
	User         []UserProperty
}

func copyAck(t Type, a *Ack) *ackCopy {
	c := &ackCopy{Type: t, PacketID: a.PacketID, Code: a.Code, ReasonString: string(a.ReasonString)}
	for k, v := range a.UserProperties() {
		c.User = append(c.User, UserProperty{string(k), string(v)})
	}
	return c
}

type ping Type

type appender interface {
	Append(dst []byte, v Version) ([]byte, error)
}

// decodeFrame decodes one whole packet of any type. fromServer allows what only a
// Server sends.
func decodeFrame(v Version, frame []byte, fromServer bool) (any, error) {
	read := ReadHeader
	if v == V31 {
		read = ReadHeaderV31
	}
	h, n, err := read(frame)
	if err != nil {
		return nil, err
	}
	if n == 0 || len(frame) < n+h.Remaining {
		return nil, errIncomplete
	}
	if len(frame) > n+h.Remaining {
		return nil, fmt.Errorf("%d bytes after the packet", len(frame)-n-h.Remaining)
	}
	return decodeBody(v, h, frame[n:], fromServer)
}

var errIncomplete = fmt.Errorf("incomplete")

func decodeBody(v Version, h Header, body []byte, fromServer bool) (any, error) {
	switch h.Type {
	case TypeConnect:
		p := new(Connect)
		return p, p.Decode(h, body)
	case TypePublish:
		var p Publish
		if err := DecodePublish(&p, v, h, body, fromServer); err != nil {
			return nil, err
		}
		return copyPublish(&p), nil
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		var a Ack
		if err := DecodeAck(&a, h.Type, v, body); err != nil {
			return nil, err
		}
		return copyAck(h.Type, &a), nil
	case TypePingreq, TypePingresp:
		r := reader{b: body, t: h.Type}
		return ping(h.Type), r.end()
	}
	p := map[Type]interface {
		Decode(v Version, body []byte) error
	}{
		TypeConnack: new(Connack), TypeSubscribe: new(Subscribe), TypeSuback: new(Suback), TypeUnsubscribe: new(Unsubscribe),
		TypeUnsuback: new(Unsuback), TypeDisconnect: new(Disconnect), TypeAuth: new(Auth),
	}[h.Type]
	return p, p.Decode(v, body)
}

// encodeFrame is the inverse of decodeFrame.
func encodeFrame(v Version, p any) ([]byte, error) {
	switch p := p.(type) {
	case appender:
		return p.Append(nil, v)
	case *message:
		out, _ := AppendPublish(nil, v, p.out())
		return out, nil
	case *ackCopy:
		var props Properties
		if p.ReasonString != "" {
			props.SetReasonString(p.ReasonString)
		}
		props.User = p.User
		return AppendAck(nil, p.Type, v, p.PacketID, p.Code, &props), nil
	case ping:
		if Type(p) == TypePingreq {
			return slices.Clone(Pingreq), nil
		}
		return slices.Clone(Pingresp), nil
	}
	panic(fmt.Sprintf("no encoder for %T", p))
}

// out is the PublishOut for m.
func (m *message) out() *PublishOut {
	o := &PublishOut{
		Topic: []byte(m.Topic), Payload: []byte(m.Payload), SubscriptionIDs: m.SubscriptionIDs, MessageExpiry: m.MessageExpiry,
		HasExpiry: m.Set.Has(PropMessageExpiryInterval), TopicAlias: m.TopicAlias, PacketID: m.PacketID, QoS: m.QoS,
		Dup: m.Dup, Retain: m.Retain,
	}
	if m.Set.Has(PropPayloadFormatIndicator) {
		o.Forward = append(o.Forward, byte(PropPayloadFormatIndicator), m.PayloadFormat)
	}
	for _, s := range []struct {
		id Property
		v  string
	}{{PropContentType, m.ContentType}, {PropResponseTopic, m.ResponseTopic}, {PropCorrelationData, m.CorrelationData}} {
		if m.Set.Has(s.id) {
			o.Forward = appendString(append(o.Forward, byte(s.id)), s.v)
		}
	}
	for _, u := range m.User {
		o.Forward = appendString(appendString(append(o.Forward, byte(PropUserProperty)), u.Key), u.Value)
	}
	return o
}
