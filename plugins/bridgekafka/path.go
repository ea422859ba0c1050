package bridgekafka

import (
	"slices"
	"strconv"
	"strings"
)

// The bridge's own headers and User Properties. pathName is that of bridge-mqtt: the
// brokers at which a message has been, in order, with commas between them.
const (
	reserved  = "patchbay-"
	pathName  = "patchbay-path"
	topicName = "patchbay-topic" // the Kafka topic that the record was written to
	hopsName  = "patchbay-hops"  // how many plugins have published it, or what it answers to
)

// loops decides whether a message may go on.
type loops struct {
	off          bool
	node, remote string
	maxHops      int
}

func path(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

func join(value, name string) string {
	if value == "" {
		return name
	}
	return value + "," + name
}

// leaving returns the path with which a message goes to Kafka; false if it must not: it
// has been there.
func (l *loops) leaving(value string) (string, bool) {
	if l.off {
		return "", true
	}
	p := path(value)
	if len(p) >= l.maxHops || slices.Contains(p, l.remote) || slices.Contains(p, l.node) {
		return "", false
	}
	return join(value, l.node), true
}

// marks are what a record says of where it comes from.
type marks struct{ path, topic, hops string }

// verdict on a record.
type verdict uint8

const (
	taken  verdict = iota
	echo           // this broker has written it
	looped         // it has gone round through other programs
)

// coming returns the path and the hops with which a record of a topic is published here. A
// record that a program has read and written to another topic, as stream processors
// do with headers and all, is a new message: its path begins anew. Only the hops go on, so
// that it does not go round for ever.
func (l *loops) coming(m marks, topic string) (way string, hops uint32, v verdict) {
	if l.off {
		return "", 0, taken
	}
	n, err := strconv.ParseUint(m.hops, 10, 8)
	if err != nil {
		n = 0
	}
	way = m.path
	if m.topic != "" && m.topic != topic {
		way = ""
	}
	p := path(way)
	switch {
	case slices.Contains(p, l.node):
		return "", 0, echo
	case int(n) >= l.maxHops, len(p) >= l.maxHops:
		return "", 0, looped
	}
	if !slices.Contains(p, l.remote) {
		way = join(way, l.remote)
	}
	return way, uint32(n), taken
}
