// Package transform is a plugin that enriches JSON messages on their way in: with what
// the topic and the client say, and with what the operator knows of the device. See the
// README beside it; cmd/transform makes it a program and a WebAssembly module.
package transform

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Config is what the operator says.
type Config struct {
	Rules    []Rule   `json:"rules" required:"true" min:"1" max:"256" doc:"The first whose topic matches counts."`
	MaxBytes sdk.Size `json:"max_bytes" default:"4KiB" min:"1" max:"1MiB" doc:"Larger messages are invalid. In WebAssembly more than 4 KiB can take longer than the broker allows."`
}

// Rule says what becomes of the messages of some topics.
type Rule struct {
	Topic  string            `json:"topic" required:"true" doc:"Topic Filter of the messages." example:"plant/+/+/temperature"`
	Remove []string          `json:"remove" doc:"Members to take out."`
	Set    map[string]string `json:"set" doc:"Members to set: name and text, with ${…} in it."`
	// Lookup adds what is known of a thing, by its name.
	LookupKey string                       `json:"lookup_key" doc:"Which entry of lookup is for a message, with ${…} in it."`
	Lookup    map[string]map[string]string `json:"lookup" doc:"Members to set, by key."`
	To        string                       `json:"to" doc:"Topic to publish to instead, with ${…} in it."`
	Invalid   string                       `json:"invalid" enum:"pass,drop,deny" default:"pass" doc:"What becomes of a message that is not a JSON object."`
}

// Plugin is what the plugin says of itself.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "transform", Version: "1.0.0", Author: "Patchbay",
		Description: "Enriches JSON messages with what topic, client and a table say.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		Hooks: []sdk.Hook{hook()},
	}
}

// hook is the default but for two things. On a busy machine a process may wait for its
// turn, and if nobody answers in time the message would go on as it came. And a sandbox
// has 1,000,000 units of fuel for a call: two messages of the worst 4 KiB of JSON take
// half of it, and leave the rest to the garbage collector.
func hook(filters ...string) sdk.Hook {
	return sdk.Hook{Point: sdk.PointInterceptPublish, TopicFilters: filters, Deadline: time.Second, MaxBatch: 2}
}

type plugin struct {
	rules    []rule
	maxBytes int
}

// rule is a Rule that was made ready, and is not changed any more.
type rule struct {
	Rule
	set    []field
	lookup map[string][]field
	key    text
	to     text
}

// field is a member to set.
type field struct {
	name string
	text text
}

// Start gets the config, which fits its schema.
func (p *plugin) Start(_ context.Context, _ *sdk.Host, c Config) error {
	var errs []error
	p.rules, p.maxBytes = nil, int(c.MaxBytes)
	for i := range c.Rules {
		r, err := ready(&c.Rules[i], fmt.Sprintf("/rules/%d", i))
		errs, p.rules = append(errs, err), append(p.rules, r)
	}
	return sdk.Problems(errs...)
}

// ready parses the texts of a rule. The pointer is its place in the config.
func ready(r *Rule, pointer string) (out rule, err error) {
	var errs []error
	parsed := func(at, s string) text {
		t, err := parse(s)
		if err != nil {
			errs = append(errs, sdk.NewProblem(pointer+at, err.Error()))
		}
		return t
	}
	fields := func(at string, m map[string]string) (list []field) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			list = append(list, field{name, parsed(at+"/"+name, m[name])})
		}
		return list
	}
	out = rule{Rule: *r, set: fields("/set", r.Set), key: parsed("/lookup_key", r.LookupKey), to: parsed("/to", r.To), lookup: map[string][]field{}}
	for key, members := range r.Lookup {
		out.lookup[key] = fields("/lookup/"+key, members)
	}
	if len(r.Lookup) > 0 && r.LookupKey == "" {
		errs = append(errs, sdk.NewProblem(pointer+"/lookup_key", "is needed to find an entry of lookup; try ${topic[2]}"))
	}
	return out, sdk.Problems(errs...)
}

// Narrow says, after Start, which messages are of interest with this config: the broker
// does not ask about others.
func (p *plugin) Narrow() *sdk.Narrowed {
	var filters []string
	for i := range p.rules {
		filters = append(filters, p.rules[i].Topic)
	}
	return &sdk.Narrowed{Hooks: []sdk.Hook{hook(filters...)}}
}

// Publish enriches one message.
func (p *plugin) Publish(_ context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
	levels := strings.Split(r.Message.Topic, "/")
	i := slices.IndexFunc(p.rules, func(rule rule) bool { return matches(strings.Split(rule.Topic, "/"), levels) })
	if i < 0 {
		return sdk.Continue(), nil
	}
	rule, from := &p.rules[i], &source{topic: r.Message.Topic, levels: levels, client: r.Client}
	if len(r.Message.Payload) > p.maxBytes {
		return rule.invalid("the payload is too large"), nil
	}
	o, ok := parseObject(r.Message.Payload)
	if !ok {
		return rule.invalid("the payload is not a JSON object"), nil
	}
	for _, name := range rule.Remove {
		o.remove(name)
	}
	for _, list := range [][]field{rule.set, rule.lookup[rule.key.fill(from)]} {
		for _, f := range list {
			o.set(f.name, f.text.fill(from))
		}
	}
	if rule.To != "" {
		topic := rule.to.fill(from)
		if topic == "" || strings.ContainsAny(topic, "+#\x00") {
			return sdk.Deny(sdk.TopicNameInvalid, "there is no topic for it to go to"), nil
		}
		r.SetTopic(topic)
	}
	r.SetPayload(o.encode())
	r.SetContentType("application/json")
	return sdk.Continue(), nil
}

// invalid is what becomes of a message that cannot be enriched.
func (r *rule) invalid(why string) sdk.Decision {
	switch cmp.Or(r.Invalid, "pass") {
	case "drop":
		return sdk.Drop(why)
	case "deny":
		return sdk.Deny(sdk.PayloadFormatInvalid, why)
	}
	return sdk.Continue()
}

// matches reports whether a topic matches a Topic Filter, both as levels.
func matches(filter, topic []string) bool {
	if strings.HasPrefix(topic[0], "$") && filter[0] != topic[0] {
		return false // [MQTT-4.7.2-1]
	}
	for i, level := range filter {
		switch {
		case level == "#":
			return true
		case i == len(topic), level != "+" && level != topic[i]:
			return false
		}
	}
	return len(filter) == len(topic)
}
