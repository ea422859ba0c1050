package convert

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/topic"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Message fills dst from m, with what fields asks for. now is the time in Unix
// milliseconds, from which the Message Expiry Interval is counted. Namespace is left
// empty: it is the caller's to say. It allocates only what dst.UserProperties lacks.
func Message(dst *pluginv1.Message, m *packet.Message, fields pluginv1.Field, now int64) {
	dst.Reset()
	dst.Topic = view(m.Topic)
	dst.QoS, dst.Retain, dst.ID = uint32(m.QoS), m.Retain, m.ID
	dst.ReceivedMs, dst.Publisher = m.Received, m.Publisher
	dst.MessageExpiryInterval, _ = m.RemainingExpiry(now)
	if m.Origin != nil {
		dst.Origin, dst.Hops = m.Origin.Plugin, uint32(m.Origin.Hops)
	}
	if fields&pluginv1.FieldPayload != 0 {
		dst.Payload = m.Payload
	} else {
		dst.PayloadSize = uint32(len(m.Payload))
	}
	properties(dst, m.Props, fields)
}

// properties fills in those of raw, in wire form, that fields asks for.
func properties(dst *pluginv1.Message, raw []byte, fields pluginv1.Field) {
	if len(raw) == 0 || fields&(pluginv1.FieldProperties|pluginv1.FieldUserProperties) == 0 {
		return
	}
	var p packet.PublishProps
	if p.Decode(raw, true) != nil {
		return // a Message's properties have been checked; there is nobody to tell
	}
	if fields&pluginv1.FieldProperties != 0 {
		dst.ContentType, dst.ResponseTopic = view(p.ContentType), view(p.ResponseTopic)
		dst.CorrelationData, dst.PayloadFormat = p.CorrelationData, uint32(p.PayloadFormat)
	}
	if fields&pluginv1.FieldUserProperties != 0 && p.Set.Has(packet.PropUserProperty) {
		for name, value := range p.UserProperties() {
			dst.UserProperties = append(dst.UserProperties, pluginv1.Pair{Name: view(name), Value: view(value)})
		}
	}
}

// Error is why a message of a plugin cannot be published.
type Error struct {
	Code   packet.ReasonCode
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

// Published makes a message that can be published of what a plugin says; its fields that
// are "host only" count for nothing. The result is a view of m; Received is now (Unix
// milliseconds), Publisher and Origin are the caller's to set. The error is an *Error.
func Published(m *pluginv1.Message, now int64) (*packet.Message, error) {
	if err := topic.ValidNameString(m.Topic); err != nil {
		return nil, &Error{packet.TopicNameInvalid, err.Error()}
	}
	switch {
	case m.QoS > 2:
		return nil, &Error{packet.QoSNotSupported, fmt.Sprintf("there is no QoS %d", m.QoS)}
	case m.PayloadFormat > 1:
		return nil, &Error{packet.ProtocolError, fmt.Sprintf("there is no payload_format %d", m.PayloadFormat)}
	case m.PayloadFormat == 1 && !packet.ValidPayloadFormat(m.Payload):
		return nil, &Error{packet.PayloadFormatInvalid, "payload_format is 1, and the payload is not UTF-8"}
	}
	props, err := forward(m)
	if err != nil {
		return nil, &Error{packet.ProtocolError, err.Error()}
	}
	out := &packet.PublishOut{
		Topic: unsafeBytes(m.Topic), Payload: m.Payload, Forward: props, HasExpiry: true, TopicAlias: 1, QoS: byte(m.QoS),
	}
	if !out.Fits(packet.V5) {
		return nil, &Error{packet.PacketTooLarge, "the message is larger than MQTT allows"}
	}
	p := &packet.Message{
		Topic: out.Topic, Payload: m.Payload, Props: props, Received: now, QoS: byte(m.QoS), Retain: m.Retain,
	}
	if m.MessageExpiryInterval != 0 {
		p.Expires = now + int64(m.MessageExpiryInterval)*1000
	}
	return p, nil
}

var errWildcard = errors.New("response_topic has a wildcard [MQTT-3.3.2-14]")

// forward writes the properties of m in wire form.
func forward(m *pluginv1.Message) ([]byte, error) {
	var p packet.Properties
	if m.PayloadFormat != 0 {
		p.SetPayloadFormat(byte(m.PayloadFormat))
	}
	if m.ContentType != "" {
		if err := checkText("content_type", m.ContentType); err != nil {
			return nil, err
		}
		p.SetContentType(m.ContentType)
	}
	if m.ResponseTopic != "" {
		if err := checkText("response_topic", m.ResponseTopic); err != nil {
			return nil, err
		}
		if topic.ValidNameString(m.ResponseTopic) != nil { // it is text: so it is a wildcard
			return nil, errWildcard
		}
		p.SetResponseTopic(m.ResponseTopic)
	}
	if len(m.CorrelationData) > 0 {
		p.SetCorrelationData(m.CorrelationData)
	}
	for i := range m.UserProperties {
		u := &m.UserProperties[i]
		if err := checkText("user_properties", u.Name); err != nil {
			return nil, err
		}
		if err := checkText("user_properties", u.Value); err != nil {
			return nil, err
		}
		p.AddUser(u.Name, u.Value)
	}
	if p.Set == 0 {
		return nil, nil
	}
	return p.AppendForward(nil)
}

// checkText refuses what is no UTF-8 Encoded String.
func checkText(field, s string) error {
	switch {
	case len(s) > topic.MaxLen:
		return fmt.Errorf("%s: a string longer than 65,535 bytes", field)
	case strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("%s: a string with U+0000 [MQTT-1.5.4-2]", field)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s: a string that is not UTF-8 [MQTT-1.5.4-1]", field)
	}
	return nil
}

// view looks at bytes as a string, for as long as they stay as they are.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// unsafeBytes looks at a string as bytes, which must not be written to.
func unsafeBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
