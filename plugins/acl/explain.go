package acl

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/internal/watch"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Load reads the rules of a config, in JSON, and of the acl_file that it names. Errors
// name what is wrong in the config by JSON Pointers, and in the file by its line.
func Load(config string) (*Rules, error) {
	c, err := sdk.ParseConfig[Config](config)
	if err != nil {
		return nil, err
	}
	rules, err := newRules(&c)
	if err != nil || c.ACLFile == "" {
		return rules, err
	}
	content, err := watch.New(c.ACLFile).Read()
	if err != nil {
		return nil, fmt.Errorf("acl_file: %w", err)
	}
	if rules.file, err = parseFile(c.ACLFile, content); err != nil {
		return nil, fmt.Errorf("acl_file: %w", err)
	}
	return rules, nil
}

// Question is what a client wants to do.
type Question struct {
	// Action is "publish", "subscribe" or "receive".
	Action string `json:"action"`
	// Topic is a Topic Name, or for "subscribe" a Topic Filter.
	Topic string `json:"topic"`
	// QoS is 0 to 2.
	QoS byte `json:"qos"`
	// Retain is the RETAIN flag; without meaning for "subscribe".
	Retain bool `json:"retain"`
}

// Explanation is the answer to a Question, and how it comes about.
type Explanation struct {
	Allowed bool `json:"allowed"`
	// Rule decides: the JSON Pointer of a rule in the config, FILE:LINE of the acl_file, or
	// "default".
	Rule string `json:"rule"`
	// Reason says in a sentence why.
	Reason   string   `json:"reason"`
	Client   Client   `json:"client"`
	Question Question `json:"question"`
	// Steps are the rules in the order in which they count, up to the one that decides.
	Steps []Step `json:"steps"`
}

// Step is a rule that was looked at.
type Step struct {
	Rule string `json:"rule"`
	// Text is the rule in words, Filter what it is about for this client.
	Text   string `json:"text"`
	Filter string `json:"filter,omitempty"`
	// Decides is set for the last one.
	Decides bool `json:"decides"`
	// Why it decides, or does not.
	Why string `json:"why"`
}

// Explain answers a Question as the broker does, by the same permissions, and says which
// rule decides and why those before it do not. It fails for questions that no client can
// ask.
func (r *Rules) Explain(c Client, q Question) (*Explanation, error) {
	c.Address = c.Address.Unmap()
	if err := q.check(); err != nil {
		return nil, err
	}
	out := &Explanation{Client: c, Question: q, Rule: defaultRule, Reason: "no rule applies, and the default is to deny"}
	topic := q.Topic
	if rest, ok := strings.CutPrefix(topic, "$share/"); ok && q.Action == "subscribe" {
		_, topic, _ = strings.Cut(rest, "/")
	}
	entries := r.resolve(&c, true)
	receives := false
	for i := range entries {
		receives = receives || entries[i].skipped == "" && entries[i].actions&sdk.AccessReceive != 0
	}
	if q.Action == "receive" && !receives {
		out.Allowed, out.Reason = true, "no rule speaks of receiving, so what is subscribed may be received"
		return out, nil
	}
	for i := range entries {
		e := &entries[i]
		step := Step{Rule: e.where, Text: e.text, Filter: e.filter}
		step.Decides, step.Why = e.applies(&q, topic)
		out.Steps = append(out.Steps, step)
		if step.Decides {
			out.Allowed, out.Rule, out.Reason = e.allow, e.where, step.Why
			break
		}
	}
	return out, nil
}

func (q *Question) check() error {
	if accesses[q.Action] == 0 || q.Action == "all" {
		return fmt.Errorf("action %q is none of publish, subscribe and receive", q.Action)
	}
	if q.QoS > 2 {
		return fmt.Errorf("qos %d is none of 0, 1 and 2", q.QoS)
	}
	if err := checkFilter(q.Topic); err != nil {
		return fmt.Errorf("topic %q: %w", q.Topic, err)
	}
	if q.Action != "subscribe" && strings.ContainsAny(q.Topic, "+#") {
		return fmt.Errorf("topic %q: a Topic Name has no wildcards", q.Topic)
	}
	if rest, ok := strings.CutPrefix(q.Topic, "$share/"); ok {
		if _, filter, _ := strings.Cut(rest, "/"); filter == "" {
			return fmt.Errorf("topic %q: after $share/NAME/ comes a Topic Filter", q.Topic)
		}
	}
	return nil
}

// applies reports whether an entry decides a question, and why.
func (e *entry) applies(q *Question, topic string) (decides bool, why string) {
	filter := strconv.Quote(e.filter)
	switch {
	case e.skipped != "":
		return false, e.skipped
	case e.actions&accesses[q.Action] == 0:
		return false, "does not speak of " + q.Action
	case e.qos != 0 && e.qos&(1<<q.QoS) == 0:
		return false, "not for QoS " + strconv.Itoa(int(q.QoS))
	case q.Action != "subscribe" && e.retain == sdk.RetainOnlyRetained && !q.Retain:
		return false, "only for messages with RETAIN"
	case q.Action != "subscribe" && e.retain == sdk.RetainNotRetained && q.Retain:
		return false, "only for messages without RETAIN"
	}
	asked := strconv.Quote(topic)
	switch {
	case q.Action != "subscribe":
		if !matches(e.filter, topic) {
			return false, filter + " does not match " + asked
		}
		why = filter + " matches " + asked
	case e.allow:
		if !covers(e.filter, topic) {
			return false, filter + " does not cover all of " + asked
		}
		why = filter + " covers " + asked
	default:
		if !overlaps(e.filter, topic) {
			return false, filter + " has no topic in common with " + asked
		}
		why = asked + " would receive what " + filter + " denies"
	}
	if e.note != "" {
		why += " (" + e.note + ")"
	}
	return true, why
}

// ParseAddress reads an address for Client, without a port; "unix" and "" are those of
// unix sockets.
func ParseAddress(s string) (netip.Addr, error) {
	if s == "" || s == "unix" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, errors.New(strconv.Quote(s) + ` is not an address as "192.0.2.7", and not "unix"`)
	}
	return a.Unmap().WithZone(""), nil
}
