package pluginhost

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

// changes are all bits of Verdict.changed.
const changes = uint32(pluginv1.ChangeTopic | pluginv1.ChangePayload | pluginv1.ChangeQoS | pluginv1.ChangeRetain |
	pluginv1.ChangeMessageExpiryInterval | propertyChanges)

// propertyChanges are those that concern Message.Props.
const propertyChanges = pluginv1.ChangeUserProperties | pluginv1.ChangeContentType | pluginv1.ChangeResponseTopic |
	pluginv1.ChangeCorrelationData | pluginv1.ChangePayloadFormat

// maxString is the longest string of MQTT in bytes.
const maxString = 65535

// checkChanges checks what a verdict wants to make of a message, if its action is one
// that makes something of it.
func checkChanges(p pluginv1.Point, v *pluginv1.Verdict, counts bool) error {
	switch {
	case v.Changed&^changes != 0:
		return fmt.Errorf("changed has bits that this host does not know: %#x", v.Changed&^changes)
	case !counts:
		return nil
	case v.Changed != 0 && v.Replacement == nil:
		return errors.New("changed without replacement")
	case p == pluginv1.PointInterceptDeliver && v.Changed&uint32(pluginv1.ChangeQoS) != 0:
		return errors.New("intercept_deliver cannot change the QoS")
	case len(v.Additional) > 0 && p != pluginv1.PointInterceptPublish && p != pluginv1.PointInterceptWill:
		return fmt.Errorf("%s cannot have additional messages", pointName(p))
	}
	if v.Changed != 0 {
		if err := checkMessage(v.Replacement, v.Changed); err != nil {
			return fmt.Errorf("replacement: %w", err)
		}
	}
	for i := range v.Additional {
		if err := checkMessage(&v.Additional[i], changes); err != nil {
			return fmt.Errorf("additional message %d: %w", i, err)
		}
	}
	return nil
}

// checkMessage checks those fields of a message that count.
func checkMessage(m *pluginv1.Message, count uint32) error {
	has := func(c pluginv1.Change) bool { return count&uint32(c) != 0 }
	if has(pluginv1.ChangeTopic) {
		if err := topic.ValidNameString(m.Topic); err != nil {
			return fmt.Errorf("topic %q: %w", m.Topic, err)
		}
		if m.Topic == "$SYS" || strings.HasPrefix(m.Topic, "$SYS/") {
			return fmt.Errorf("topic %q: only the broker publishes there", m.Topic)
		}
	}
	switch {
	case count&uint32(propertyChanges|pluginv1.ChangePayload) != 0 && sizeOf(m) > maxPacket:
		return errors.New("it is larger than MQTT allows")
	case has(pluginv1.ChangeQoS) && m.QoS > 2:
		return fmt.Errorf("QoS %d", m.QoS)
	case has(pluginv1.ChangePayloadFormat) && m.PayloadFormat > 1:
		return fmt.Errorf("payload_format %d", m.PayloadFormat)
	case has(pluginv1.ChangeCorrelationData) && len(m.CorrelationData) > maxString:
		return errors.New("correlation_data is longer than 65,535 bytes")
	}
	if has(pluginv1.ChangeContentType) {
		if err := checkText("content_type", m.ContentType); err != nil {
			return err
		}
	}
	if has(pluginv1.ChangeResponseTopic) && m.ResponseTopic != "" {
		if err := topic.ValidNameString(m.ResponseTopic); err != nil {
			return fmt.Errorf("response_topic %q: %w", m.ResponseTopic, err)
		}
	}
	if has(pluginv1.ChangeUserProperties) {
		for _, u := range m.UserProperties {
			if err := checkText("user_properties", u.Name); err != nil {
				return err
			}
			if err := checkText("user_properties", u.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxPacket is the largest Remaining Length of MQTT, less what a PUBLISH has beside
// what a plugin says.
const maxPacket = 268_435_455 - 64

// sizeOf is about how large m is in a PUBLISH, with 5 bytes for the lengths and the
// identifier of each property.
func sizeOf(m *pluginv1.Message) int {
	n := len(m.Topic) + len(m.Payload) + len(m.ContentType) + len(m.ResponseTopic) + len(m.CorrelationData)
	for i := range m.UserProperties {
		n += len(m.UserProperties[i].Name) + len(m.UserProperties[i].Value) + 5
	}
	return n
}

func checkText(field, s string) error {
	switch {
	case len(s) > maxString:
		return fmt.Errorf("%s: a string longer than 65,535 bytes", field)
	case strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("%s: a string with U+0000 [MQTT-1.5.4-2]", field)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s: a string that is not UTF-8 [MQTT-1.5.4-1]", field)
	}
	return nil
}

// changed makes the message that a verdict, which was checked, makes of m. It shares
// no memory with the verdict, and with m what stays as it is.
func changed(m *packet.Message, v *pluginv1.Verdict) *packet.Message {
	r := v.Replacement
	has := func(c pluginv1.Change) bool { return v.Changed&uint32(c) != 0 }
	n := &packet.Message{
		Topic: m.Topic, Payload: m.Payload, Props: m.Props, Publisher: m.Publisher, ID: m.ID, Received: m.Received,
		Expires: m.Expires, Origin: m.Origin, QoS: m.QoS, Retain: m.Retain,
	}
	if has(pluginv1.ChangeTopic) {
		n.Topic = []byte(r.Topic)
	}
	if has(pluginv1.ChangePayload) {
		n.Payload = append([]byte{}, r.Payload...)
	}
	if has(pluginv1.ChangeQoS) {
		n.QoS = byte(r.QoS)
	}
	if has(pluginv1.ChangeRetain) {
		n.Retain = r.Retain
	}
	if has(pluginv1.ChangeMessageExpiryInterval) {
		n.Expires = packet.NoExpiry
		if r.MessageExpiryInterval != 0 {
			n.Expires = m.Received + int64(r.MessageExpiryInterval)*1000
		}
	}
	if v.Changed&uint32(propertyChanges) != 0 {
		n.Props = changedProps(m.Props, r, v.Changed)
	}
	return n
}

// additional makes a message that is to be routed after m.
func additional(m *packet.Message, a *pluginv1.Message) *packet.Message {
	return changed(&packet.Message{Publisher: m.Publisher, Received: m.Received, Origin: m.Origin},
		&pluginv1.Verdict{Changed: changes, Replacement: a})
}

// changedProps makes the properties of a message anew. raw comes from the codec, and
// so is valid.
func changedProps(raw []byte, r *pluginv1.Message, count uint32) []byte {
	var old packet.PublishProps
	_ = old.Decode(raw, true)
	var p packet.Properties
	has := func(c pluginv1.Change) bool { return count&uint32(c) != 0 }
	pick := func(c pluginv1.Change, old, new string, set func(string)) {
		if has(c) {
			old = new
		}
		if old != "" {
			set(old)
		}
	}
	pick(pluginv1.ChangeContentType, string(old.ContentType), r.ContentType, p.SetContentType)
	pick(pluginv1.ChangeResponseTopic, string(old.ResponseTopic), r.ResponseTopic, p.SetResponseTopic)
	pick(pluginv1.ChangeCorrelationData, string(old.CorrelationData), string(r.CorrelationData),
		func(s string) { p.SetCorrelationData([]byte(s)) })
	format := old.PayloadFormat
	if has(pluginv1.ChangePayloadFormat) {
		format = byte(r.PayloadFormat)
	}
	if format != 0 {
		p.SetPayloadFormat(format)
	}
	if has(pluginv1.ChangeUserProperties) {
		for _, u := range r.UserProperties {
			p.User = append(p.User, packet.UserProperty{Key: u.Name, Value: u.Value})
		}
	} else {
		for k, v := range old.UserProperties() {
			p.User = append(p.User, packet.UserProperty{Key: string(k), Value: string(v)})
		}
	}
	// All of it was checked: by the codec, or by checkMessage.
	out, _ := p.AppendForward(nil)
	return out
}

// text looks at bytes as a string, for as long as they stay as they are.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
