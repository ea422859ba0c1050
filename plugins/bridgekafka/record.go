package bridgekafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
)

// header is one of Route.Headers.
type header struct {
	name  string
	value template.Text
}

// headers are those of a route in the order of their names.
func (r *Route) headers() []header {
	list := make([]header, 0, len(r.Headers))
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		list = append(list, header{name, r.Headers[name]})
	}
	return list
}

// anyPartition says that the key decides.
const anyPartition = -1

// record makes of the i-th message of a batch what goes; false if it must not go. Nothing of
// the record belongs to the batch, which may go before the record does.
func (r *outRoute) record(b *bridge.Batch, i int, arena *[]byte) (rec *kgo.Record, ok bool, err error) {
	m, src := b.Messages[i].Message, b.Source(i)
	// What the templates read of the User Properties is all of them; what goes is not.
	way := ""
	for j := range m.UserProperties {
		if m.UserProperties[j].Name == pathName {
			way = m.UserProperties[j].Value
		}
	}
	if way, ok = r.w.loops.leaving(way); !ok {
		return nil, false, nil
	}
	rec = &kgo.Record{Partition: anyPartition}
	if m.ReceivedMs > 0 {
		rec.Timestamp = time.UnixMilli(m.ReceivedMs)
	}
	topic, err := keep(arena, &r.Topic.Template, src)
	if err != nil {
		return nil, false, fmt.Errorf("topic: %w", err)
	}
	rec.Topic = string(topic)
	if err := checkTopic(rec.Topic); err != nil {
		return nil, false, err
	}
	if rec.Key, err = keep(arena, &r.Key.Template, src); err != nil {
		return nil, false, fmt.Errorf("key: %w", err)
	}
	if rec.Partition, err = r.partition(src); err != nil {
		return nil, false, fmt.Errorf("partition: %w", err)
	}
	if rec.Value, err = r.value(m.Payload, src, arena); err != nil {
		return nil, false, err
	}
	if err := r.head(rec, src, way, arena); err != nil {
		return nil, false, err
	}
	if n := sizeOf(rec); n > int(r.w.c.Producer.MaxBatch) {
		return nil, false, fmt.Errorf("the record has %d bytes, and max_batch is %d", n, r.w.c.Producer.MaxBatch)
	}
	return rec, true, nil
}

// sizeOf is about what a record has in a batch of its own.
func sizeOf(r *kgo.Record) int {
	const batch, record, head = 61, 21, 10 // what the format needs beside them, at most
	n := batch + record + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += head + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// keep appends what a template makes to the arena; nil for an empty text.
func keep(arena *[]byte, t *template.Template, src *template.Source) ([]byte, error) {
	from := len(*arena)
	b, err := t.Append(*arena, src)
	if err != nil {
		return nil, err
	}
	*arena = b
	if len(b) == from {
		return nil, nil
	}
	return b[from:len(b):len(b)], nil
}

func keepText(arena *[]byte, s string) []byte {
	from := len(*arena)
	*arena = append(*arena, s...)
	return (*arena)[from:len(*arena):len(*arena)]
}

// value is that of the record: nil is a tombstone.
func (r *outRoute) value(payload []byte, src *template.Source, arena *[]byte) ([]byte, error) {
	if !r.Value.Empty() {
		v, err := keep(arena, &r.Value.Template, src)
		if err != nil {
			return nil, fmt.Errorf("value: %w", err)
		}
		return v, nil
	}
	if len(payload) == 0 && r.Tombstones {
		return nil, nil
	}
	v, err := r.Codec.Encode(payload)
	if err != nil {
		return nil, err
	}
	from := len(*arena)
	*arena = append(*arena, v...)
	return (*arena)[from:len(*arena):len(*arena)], nil
}

// partition is the one that the template says, or anyPartition.
func (r *outRoute) partition(src *template.Source) (int32, error) {
	if r.Partition.Empty() {
		return anyPartition, nil
	}
	text, err := r.Partition.Text(src)
	if err != nil || text == "" {
		return anyPartition, err
	}
	return partition(text)
}

func partition(text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return anyPartition, fmt.Errorf("%.40q is no number of a partition", text)
	}
	return int32(n), nil
}

// head gives the record its headers: those of the route, the User Properties, and the
// bridge's own.
func (r *outRoute) head(rec *kgo.Record, src *template.Source, way string, arena *[]byte) error {
	m := src.Message
	rec.Headers = make([]kgo.RecordHeader, 0, len(r.heads)+len(m.UserProperties)+3)
	add := func(name string, value []byte) {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: name, Value: value})
	}
	for i := range r.heads {
		h := &r.heads[i]
		v, err := keep(arena, &h.value.Template, src)
		if err != nil {
			return fmt.Errorf("the header %s: %w", h.name, err)
		}
		if v != nil {
			add(h.name, v)
		}
	}
	if r.UserProperties {
		for i := range m.UserProperties {
			if p := &m.UserProperties[i]; !own(p.Name) {
				add(strings.Clone(p.Name), keepText(arena, p.Value))
			}
		}
	}
	if r.w.loops.off {
		return nil
	}
	add(pathName, keepText(arena, way))
	add(topicName, keepText(arena, rec.Topic))
	from := len(*arena)
	*arena = strconv.AppendUint(*arena, uint64(m.Hops), 10)
	add(hopsName, (*arena)[from:len(*arena):len(*arena)])
	return nil
}

// own reports whether a header or User Property is one that the bridge itself writes.
func own(name string) bool { return name == pathName || name == topicName || name == hopsName }

// partitioner has the key decide, but for records that have a partition already.
type partitioner struct{ byKey kgo.Partitioner }

// ForTopic implements kgo.Partitioner.
func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return &topicPartitioner{p.byKey.ForTopic(topic).(keyPartitioner)}
}

// keyPartitioner is what a StickyKeyPartitioner makes.
type keyPartitioner interface {
	kgo.TopicPartitioner
	kgo.TopicPartitionerOnNewBatch
}

type topicPartitioner struct{ keyPartitioner }

// RequiresConsistency implements kgo.TopicPartitioner.
func (p *topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return flightOf(r).partition != anyPartition || p.keyPartitioner.RequiresConsistency(r)
}

// Partition implements kgo.TopicPartitioner.
func (p *topicPartitioner) Partition(r *kgo.Record, n int) int {
	f := flightOf(r)
	if f.partition == anyPartition {
		return p.keyPartitioner.Partition(r, n)
	}
	if int(f.partition) >= n {
		f.partitions.Store(int32(n))
		return -1
	}
	return int(f.partition)
}

// flightKey is the key of a flight in the context of its record, where the partitioner
// finds it: the client writes the record's Partition itself.
type flightKey struct{}

func flightOf(r *kgo.Record) *flight { return r.Context.Value(flightKey{}).(*flight) }

// Value implements context.Context, as a flight is that of its record.
func (f *flight) Value(key any) any {
	if key == (flightKey{}) {
		return f
	}
	return f.Context.Value(key)
}

var _ context.Context = (*flight)(nil)
