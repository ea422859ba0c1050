package template

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

type varKind uint8

const (
	varTopic varKind = iota
	varLevel
	varRest
	varPayload
	varClientID
	varUsername
	varNamespace
	varQoS
	varRetain
	varID
	varTimestamp
	varUserProperty
	varContentType
	varResponseTopic
	varCorrelationData
	varPayloadFormat
	varMessageExpiryInterval
	varPlugin
	varRoute
	varNode
)

var variables = map[string]varKind{
	"topic": varTopic, "payload": varPayload, "client_id": varClientID, "username": varUsername, "namespace": varNamespace,
	"qos": varQoS, "retain": varRetain, "id": varID, "timestamp": varTimestamp, "user_property": varUserProperty,
	"content_type": varContentType, "response_topic": varResponseTopic, "correlation_data": varCorrelationData,
	"payload_format": varPayloadFormat, "message_expiry_interval": varMessageExpiryInterval,
	"plugin": varPlugin, "route": varRoute, "node": varNode,
}

func variableNames() string {
	var names []string
	for name := range variables {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// step is a name or an index in a path.
type step struct {
	name  string // "": index
	index int
}

// variable is what a placeholder begins with.
type variable struct {
	kind  varKind
	level int
	path  []step
}

// fields is what of a message has to be asked for.
func (v *variable) fields() sdk.Field {
	switch v.kind {
	case varPayload:
		return sdk.FieldPayload
	case varUserProperty:
		return sdk.FieldUserProperties
	case varContentType, varResponseTopic, varCorrelationData, varPayloadFormat:
		return sdk.FieldProperties
	}
	return 0
}

// appends reports whether the variable is a text or bytes, which append knows.
func (v *variable) appends() bool {
	switch v.kind {
	case varPayload:
		return len(v.path) == 0
	case varRetain, varTimestamp:
		return false
	}
	return true
}

func (v *variable) append(b []byte, s *Source) []byte {
	switch v.kind {
	case varPayload:
		if s.Scope.Codec == Base64 {
			return base64.StdEncoding.AppendEncode(b, s.Message.Payload)
		}
		return append(b, s.Message.Payload...)
	case varCorrelationData:
		return append(b, s.Message.CorrelationData...)
	case varQoS:
		return strconv.AppendUint(b, uint64(s.Message.QoS), 10)
	case varID:
		return strconv.AppendUint(b, s.Message.ID, 10)
	case varPayloadFormat:
		return strconv.AppendUint(b, uint64(s.Message.PayloadFormat), 10)
	case varMessageExpiryInterval:
		if s.Message.MessageExpiryInterval == 0 {
			return b
		}
		return strconv.AppendUint(b, uint64(s.Message.MessageExpiryInterval), 10)
	}
	text, _ := v.text(s)
	return append(b, text...)
}

// text returns the value of a variable that is a text; false if there is none.
func (v *variable) text(s *Source) (string, bool) {
	m, c := s.Message, s.Client
	some := func(s string) (string, bool) { return s, s != "" }
	switch v.kind {
	case varTopic:
		return m.Topic, true
	case varLevel:
		return level(m.Topic, v.level)
	case varRest:
		return rest(m.Topic, v.level)
	case varClientID:
		if m.Publisher != "" {
			return m.Publisher, true
		}
		return some(c.ClientID)
	case varUsername:
		return some(c.Username)
	case varNamespace:
		if m.Namespace != "" {
			return m.Namespace, true
		}
		return c.Namespace, true
	case varUserProperty:
		for i := range m.UserProperties {
			if p := &m.UserProperties[i]; p.Name == v.path[0].name {
				return p.Value, true
			}
		}
		return "", false
	case varContentType:
		return some(m.ContentType)
	case varResponseTopic:
		return some(m.ResponseTopic)
	case varPlugin:
		return some(s.Scope.Plugin)
	case varRoute:
		return some(s.Scope.Route)
	case varNode:
		return some(s.Scope.Node)
	}
	return "", false
}

// value returns the value of the variable: nil, bool, int64, string, []byte, time.Time, or
// what document has.
func (v *variable) value(s *Source) (any, error) {
	m := s.Message
	switch v.kind {
	case varPayload:
		if len(v.path) == 0 && s.Scope.Codec != JSONCodec {
			return s.Scope.Codec.Encode(m.Payload)
		}
		doc, err := s.document()
		return at(doc, v.path), err
	case varCorrelationData:
		if len(m.CorrelationData) == 0 {
			return nil, nil
		}
		return m.CorrelationData, nil
	case varQoS:
		return int64(m.QoS), nil
	case varRetain:
		return m.Retain, nil
	case varID:
		return int64(m.ID), nil
	case varTimestamp:
		return time.UnixMilli(m.ReceivedMs).UTC(), nil
	case varPayloadFormat:
		return int64(m.PayloadFormat), nil
	case varMessageExpiryInterval:
		if m.MessageExpiryInterval == 0 {
			return nil, nil
		}
		return int64(m.MessageExpiryInterval), nil
	}
	text, ok := v.text(s)
	if !ok {
		return nil, nil
	}
	return text, nil
}
