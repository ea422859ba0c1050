package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/paho"
)

// jsonMessage is the object of %j, %J and --json, with mosquitto_sub's names in mosquitto_sub's order.
type jsonMessage struct {
	Time       string          `json:"tst"`
	Topic      string          `json:"topic"`
	QoS        byte            `json:"qos"`
	Retain     byte            `json:"retain"`
	Length     int             `json:"payloadlen"`
	PacketID   uint16          `json:"mid,omitempty"`
	Properties *jsonProperties `json:"properties,omitempty"`
	Payload    json.RawMessage `json:"payload"`
}

type jsonProperties struct {
	SubscriptionIdentifier *int     `json:"subscription-identifier,omitempty"`
	User                   userJSON `json:"user-properties,omitempty"`
	ContentType            string   `json:"content-type,omitempty"`
	CorrelationData        jsonText `json:"correlation-data,omitempty"`
	PayloadFormat          *byte    `json:"payload-format-indicator,omitempty"`
	ResponseTopic          string   `json:"response-topic,omitempty"`
	MessageExpiry          *uint32  `json:"message-expiry-interval,omitempty"`
	TopicAlias             *uint16  `json:"topic-alias,omitempty"`
}

// userJSON is an object in the order of the properties; keys may repeat, in MQTT as in JSON.
type userJSON paho.UserProperties

func (u userJSON) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, user := range u {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, quoteJSON(user.Key)...), ':'), quoteJSON(user.Value)...)
	}
	return append(out, '}'), nil
}

// jsonText is binary data: a string where it is UTF-8, else an array of byte values.
type jsonText []byte

func (b jsonText) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return quoteJSON(string(b)), nil
	}
	out := []byte{'['}
	for i, c := range b {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Append(out, c)
	}
	return append(out, ']'), nil
}

// quoteJSON is a JSON string without the HTML escapes of json.Marshal.
func quoteJSON(s string) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	// A string cannot fail to encode, and a bytes.Buffer cannot fail to take it.
	_ = enc.Encode(s)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// appendJSON appends m as one object. With raw the payload must be JSON, and is embedded as it is.
func appendJSON(dst []byte, m *paho.Publish, now time.Time, raw, pretty bool) ([]byte, error) {
	object := jsonMessage{
		Time:  now.Format("2006-01-02T15:04:05.000000-0700"),
		Topic: m.Topic, QoS: m.QoS, Retain: bit(m.Retain), Length: len(m.Payload), PacketID: m.PacketID,
		Properties: jsonPropertiesOf(m.Properties), Payload: json.RawMessage("null"),
	}
	switch {
	case len(m.Payload) == 0:
	case !raw:
		object.Payload, _ = jsonText(m.Payload).MarshalJSON() // never fails
	case json.Valid(m.Payload):
		object.Payload = m.Payload
	default:
		return dst, fmt.Errorf("the payload is not valid JSON on topic %q", m.Topic)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if pretty {
		enc.SetIndent("", "\t")
	}
	if err := enc.Encode(object); err != nil {
		return dst, fmt.Errorf("message on topic %q: %w", m.Topic, err)
	}
	return append(dst, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...), nil
}

// jsonPropertiesOf is nil when there are none.
func jsonPropertiesOf(p *paho.PublishProperties) *jsonProperties {
	if p.SubscriptionIdentifier == nil && len(p.User) == 0 && p.ContentType == "" && len(p.CorrelationData) == 0 &&
		p.PayloadFormat == nil && p.ResponseTopic == "" && p.MessageExpiry == nil && p.TopicAlias == nil {
		return nil
	}
	return &jsonProperties{
		SubscriptionIdentifier: p.SubscriptionIdentifier, User: userJSON(p.User), ContentType: p.ContentType,
		CorrelationData: p.CorrelationData, PayloadFormat: p.PayloadFormat, ResponseTopic: p.ResponseTopic,
		MessageExpiry: p.MessageExpiry, TopicAlias: p.TopicAlias,
	}
}
