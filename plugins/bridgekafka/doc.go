// Package bridgekafka is the plugin "bridge-kafka": it takes messages to Apache Kafka, and
// records of Kafka to here.
//
//	queue of the route ──► Send ──► record ──► kgo.Client ──► Kafka
//	Host.Publish ◄── deliver ◄── message ◄── group of kgo ◄──┘
//
// It owns what becomes of topics, keys, partitions and headers on the way, when an offset
// counts as done, and that nothing goes round. What waits on the way out is the host's
// (package plugins/internal/bridge), what waits on the way in is Kafka's; the protocol is
// that of github.com/twmb/franz-go.
//
// Start at plugin.go; config.go, check.go, work.go (a config at work), monitor.go (whether
// Kafka answers), out.go and record.go (to Kafka), in.go, deliver.go and message.go (from
// Kafka), path.go (loops).
package bridgekafka
