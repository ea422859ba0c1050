package access

import (
	"strings"

	"github.com/patchbay-mq/patchbay/core/topic"
)

// Action is what a client wants to do with a topic; a Rule holds a set of them.
type Action uint8

const (
	// Publish is sending a message to a Topic Name.
	Publish Action = 1 << iota
	// Subscribe is adding a Topic Filter.
	Subscribe
	// Receive is getting a message that matched a subscription.
	Receive
)

// QoSSet is a set of QoS levels; the zero value stands for all of them.
type QoSSet uint8

// QoS returns the set of one level.
func QoS(level byte) QoSSet { return 1 << level }

func (s QoSSet) has(level byte) bool { return s == 0 || s&QoS(level) != 0 }

// RetainRule restricts a Rule to messages with or without the RETAIN flag.
type RetainRule uint8

const (
	// AnyRetain applies to all messages.
	AnyRetain RetainRule = iota
	// OnlyRetained applies to messages with the RETAIN flag.
	OnlyRetained
	// NotRetained applies to messages without it.
	NotRetained
)

// Rule allows or denies a set of actions on the topics that match a Topic Filter.
type Rule struct {
	Allow   bool
	Actions Action
	// Filter is a valid Topic Filter; placeholders have been resolved.
	Filter string
	QoS    QoSSet
	Retain RetainRule
	// Until is when the rule ends, in Unix milliseconds; 0 never.
	Until int64
}

// Permissions is an ordered list of rules: the first that applies decides, and
// what no rule speaks of is denied. A nil *Permissions allows everything. It is
// immutable and safe for concurrent use.
type Permissions struct {
	rules   []Rule
	actions Action // that any rule speaks of
}

// NewPermissions copies the rules.
func NewPermissions(rules []Rule) *Permissions {
	p := &Permissions{rules: append([]Rule(nil), rules...)}
	for _, r := range rules {
		p.actions |= r.Actions
	}
	return p
}

// MayPublish decides about one message at now (Unix milliseconds).
func (p *Permissions) MayPublish(name string, qos byte, retain bool, now int64) bool {
	return p.decide(Publish, name, qos, retain, now)
}

// MayReceive decides about one delivery. Without any rule for Receive,
// everything that was subscribed may be received.
func (p *Permissions) MayReceive(name string, qos byte, retain bool, now int64) bool {
	return p == nil || p.actions&Receive == 0 || p.decide(Receive, name, qos, retain, now)
}

// FiltersReceive reports whether MayReceive has to be asked at all.
func (p *Permissions) FiltersReceive() bool { return p != nil && p.actions&Receive != 0 }

func (p *Permissions) decide(a Action, name string, qos byte, retain bool, now int64) bool {
	if p == nil {
		return true
	}
	for i := range p.rules {
		r := &p.rules[i]
		if r.Actions&a == 0 || !r.QoS.has(qos) || r.Until != 0 && now >= r.Until ||
			r.Retain == OnlyRetained && !retain || r.Retain == NotRetained && retain {
			continue
		}
		if topic.Match(r.Filter, name) {
			return r.Allow
		}
	}
	return false
}

// MaySubscribe decides about a Topic Filter (without `$share`): allowed if an
// allow rule covers all that the filter can match, before any deny rule that
// covers it. A deny rule that covers only a part of the filter denies it too,
// since the subscription would receive what is denied.
func (p *Permissions) MaySubscribe(filter string, qos byte, now int64) bool {
	if p == nil {
		return true
	}
	for i := range p.rules {
		r := &p.rules[i]
		if r.Actions&Subscribe == 0 || !r.QoS.has(qos) || r.Until != 0 && now >= r.Until {
			continue
		}
		if r.Allow && Covers(r.Filter, filter) {
			return true
		}
		if !r.Allow && Overlaps(r.Filter, filter) {
			return false
		}
	}
	return false
}

// Covers reports whether every Topic Name that matches the filter inner also
// matches outer.
func Covers(outer, inner string) bool {
	if startsWild(outer) && strings.HasPrefix(inner, "$") {
		return false // [MQTT-4.7.2-1]
	}
	if outer == "+/#" {
		outer = "#" // the same set of names: "+/#" matches its parent level too
	}
	for {
		o, oRest, oMore := strings.Cut(outer, "/")
		i, iRest, iMore := strings.Cut(inner, "/")
		switch {
		case o == "#":
			return true
		case i == "#", o != "+" && o != i:
			return false
		case !oMore && !iMore:
			return true
		case !iMore:
			return oRest == "#" // "a/#" covers "a"
		case !oMore:
			return false
		}
		outer, inner = oRest, iRest
	}
}

// Overlaps reports whether some Topic Name matches both filters.
func Overlaps(a, b string) bool {
	if startsWild(a) && strings.HasPrefix(b, "$") || startsWild(b) && strings.HasPrefix(a, "$") {
		return false
	}
	for {
		x, xRest, xMore := strings.Cut(a, "/")
		y, yRest, yMore := strings.Cut(b, "/")
		switch {
		case x == "#" || y == "#":
			return true
		case x != y && x != "+" && y != "+":
			return false
		case !xMore && !yMore:
			return true
		case !xMore:
			return yRest == "#"
		case !yMore:
			return xRest == "#"
		}
		a, b = xRest, yRest
	}
}

func startsWild(f string) bool { return f != "" && (f[0] == '+' || f[0] == '#') }
