package bridgekafka

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// The place of a record, as templates and User Properties have it.
const (
	kafkaTopic     = "kafka_topic"
	kafkaPartition = "kafka_partition"
	kafkaOffset    = "kafka_offset"
	kafkaKey       = "kafka_key"
	kafkaTimestamp = "kafka_timestamp"
)

// message makes of a record what is to be published; false if nothing is. An error says
// that it cannot be.
func (s *source) message(r *kgo.Record) (m sdk.Message, ok bool, err error) {
	heads, k := headers(r)
	way, hops, v := s.w.loops.coming(k, r.Topic)
	switch v {
	case echo:
		return m, false, nil
	case looped:
		return m, false, fmt.Errorf("it has gone over %d bridges, as loops.max_hops allows: a loop?", s.w.loops.maxHops)
	}
	place := []sdk.Pair{
		{Name: kafkaTopic, Value: r.Topic}, {Name: kafkaPartition, Value: strconv.Itoa(int(r.Partition))},
		{Name: kafkaOffset, Value: strconv.FormatInt(r.Offset, 10)}, {Name: kafkaTimestamp, Value: r.Timestamp.UTC().Format(time.RFC3339Nano)},
	}
	if r.Key != nil {
		if key := text(r.Key); len(key) <= maxProperty {
			place = append(place, sdk.Pair{Name: kafkaKey, Value: key})
		}
	}
	m = sdk.Message{QoS: s.QoS, Retain: s.Retain, Namespace: s.Namespace, Hops: hops}
	if m.Payload, err = s.Codec.Decode(r.Value); err != nil && r.Value != nil {
		return m, false, err
	}
	if m.Topic, err = s.topic(r, m.Payload, append(place, heads...)); err != nil {
		return m, false, err
	}
	if s.UserProperties {
		m.UserProperties = heads
	}
	if s.Metadata {
		m.UserProperties = append(m.UserProperties, place...)
	}
	if way != "" {
		if !isText(way) || len(way) > maxProperty { // none of us has written that
			way = s.w.loops.remote
		}
		m.UserProperties = append(m.UserProperties, sdk.Pair{Name: pathName, Value: way})
	}
	return m, true, nil
}

// topic is the Topic Name by the route's template. The place of the record comes first, so
// that no header takes its names.
func (s *source) topic(r *kgo.Record, payload []byte, pairs []sdk.Pair) (string, error) {
	of := sdk.Message{
		Topic: r.Topic, Payload: payload, UserProperties: pairs, ReceivedMs: r.Timestamp.UnixMilli(), QoS: s.QoS, Retain: s.Retain, Namespace: s.Namespace,
	}
	var src template.Source
	src.Reset(&s.scope, &of, nil)
	topic, err := s.Topic.Text(&src)
	if err == nil {
		err = bridge.CheckTopic(topic)
	}
	if err != nil {
		return "", fmt.Errorf("topic: %w", err)
	}
	return topic, nil
}

// maxProperty is how long a text of MQTT may be.
const maxProperty = 65535

// headers are those of a record as User Properties, and the bridge's own.
func headers(r *kgo.Record) (list []sdk.Pair, k marks) {
	for i := range r.Headers {
		h := &r.Headers[i]
		switch h.Key {
		case pathName:
			k.path = string(h.Value)
		case topicName:
			k.topic = string(h.Value)
		case hopsName:
			k.hops = string(h.Value)
		default:
			p := sdk.Pair{Name: h.Key, Value: text(h.Value)}
			if isText(p.Name) && len(p.Name) <= maxProperty && len(p.Value) <= maxProperty {
				list = append(list, p)
			}
		}
	}
	return list, k
}

// text is what MQTT can carry of a value: the text that it is, or base64.
func text(b []byte) string {
	if s := string(b); isText(s) {
		return s
	}
	return base64.StdEncoding.EncodeToString(b)
}

// isText reports whether MQTT can carry a text [MQTT-1.5.4-1] [MQTT-1.5.4-2].
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
