package bridgemqtt

import (
	"slices"
	"strings"
)

// pathProperty is the User Property that says at which brokers a message has been, in
// order, with commas between them.
const pathProperty = "patchbay-path"

// loops decides whether a message may go on.
type loops struct {
	off          bool
	node, remote string
	maxHops      int
}

// path is the list of brokers of a property; none if it is empty.
func path(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

// leaving returns the path with which a message goes to the remote broker; false if it must not.
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

// coming returns the path with which a message from the remote broker is published here; false if
// it must not be.
func (l *loops) coming(value string) (string, bool) {
	if l.off {
		return "", true
	}
	p := path(value)
	if slices.Contains(p, l.node) {
		return "", false
	}
	if !slices.Contains(p, l.remote) {
		value = join(value, l.remote)
		p = append(p, l.remote)
	}
	return value, len(p) <= l.maxHops
}

func join(value, name string) string {
	if value == "" {
		return name
	}
	return value + "," + name
}
