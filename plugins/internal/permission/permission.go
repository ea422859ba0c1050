package permission

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Max is how many one client can have: the broker goes through them for each message.
const Max = 1024

// Everything is what a client has that may do all things.
func Everything() []sdk.Permission {
	const all = uint32(sdk.AccessPublish | sdk.AccessSubscribe | sdk.AccessReceive)
	// "#" does not match topics that begin with "$" [MQTT-4.7.2-1].
	return []sdk.Permission{{Allow: true, Actions: all, TopicFilter: "#"}, {Allow: true, Actions: all, TopicFilter: "$SYS/#"}}
}

// Read reads permissions in one of three forms:
//
//	[{"allow": ["publish"], "topics": ["a/${client_id}/#"], "qos": [0, 1], "retain": false}]   ours
//	[{"permission": "allow", "action": "publish", "topic": "a/b", "qos": 1, "retain": "all"}]   EMQX 5
//	{"pub": ["a/b"], "sub": ["a/#"], "all": ["c"]}                                              EMQX 4
//
// v is what encoding/json makes of it with UseNumber.
func Read(v any, w Who) (out []sdk.Permission, err error) {
	switch v := v.(type) {
	case map[string]any:
		out, err = byAction(v, w)
	case []any:
		for i, e := range v {
			m, ok := e.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("[%d] is not an object", i)
			}
			read := readRule
			if _, ok := m["permission"]; ok {
				read = readEMQX
			}
			more, err := read(m, w)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			out = append(out, more...)
		}
	default:
		return nil, errors.New("neither a list nor an object")
	}
	if err == nil && len(out) > Max {
		return nil, fmt.Errorf("more than %d", Max)
	}
	return out, err
}

const publishAndSubscribe = sdk.AccessPublish | sdk.AccessSubscribe

var accesses = map[string]sdk.Access{
	"publish": sdk.AccessPublish, "subscribe": sdk.AccessSubscribe, "receive": sdk.AccessReceive, "all": publishAndSubscribe,
}

// byAction reads {"pub": …, "sub": …, "all": …}.
func byAction(m map[string]any, w Who) ([]sdk.Permission, error) {
	var out []sdk.Permission
	known := 0
	for _, a := range [...]struct {
		name   string
		access sdk.Access
	}{{"pub", sdk.AccessPublish}, {"sub", sdk.AccessSubscribe}, {"all", publishAndSubscribe}} {
		v, there := m[a.name]
		if !there {
			continue
		}
		known++
		filters, err := topicFilters(v, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		for _, f := range filters {
			out = append(out, sdk.Permission{Allow: true, Actions: uint32(a.access), TopicFilter: f})
		}
	}
	if known != len(m) {
		return nil, errors.New("there is more in it than pub, sub and all")
	}
	return out, nil
}

// readRule reads an element of ours.
func readRule(m map[string]any, w Who) ([]sdk.Permission, error) {
	var p sdk.Permission
	var filters []string
	for name, v := range m {
		var err error
		switch name {
		case "allow", "deny":
			p.Allow = name == "allow"
			if p.Actions != 0 {
				return nil, errors.New("either allow or deny")
			}
			p.Actions, err = actions(v)
		case "topics":
			filters, err = topicFilters(v, w)
		case "qos":
			p.QoS, err = qos(v)
		case "retain":
			p.Retain, err = retain(v)
		default:
			return nil, fmt.Errorf("%q is not known", name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if p.Actions == 0 || filters == nil {
		return nil, errors.New("allow or deny, and topics, have to be there")
	}
	return each(p, filters), nil
}

// readEMQX reads an element as EMQX has them.
func readEMQX(m map[string]any, w Who) ([]sdk.Permission, error) {
	var p sdk.Permission
	var filters []string
	for name, v := range m {
		var err error
		switch name {
		case "permission":
			p.Allow = v == "allow"
			if v != "allow" && v != "deny" {
				err = errors.New("neither allow nor deny")
			}
		case "action":
			s, _ := v.(string)
			if p.Actions = uint32(accesses[s]); p.Actions == 0 || s == "receive" {
				err = errors.New("none of publish, subscribe and all")
			}
		case "topic":
			if _, ok := v.(string); !ok {
				err = errors.New("not a text")
				break
			}
			filters, err = topicFilters(v, w)
		case "qos":
			p.QoS, err = qos(v)
		case "retain":
			if v != "all" {
				p.Retain, err = retain(v)
			}
		default:
			return nil, fmt.Errorf("%q is not known", name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if p.Actions == 0 || filters == nil {
		return nil, errors.New("action and topic have to be there")
	}
	return each(p, filters), nil
}

func each(p sdk.Permission, filters []string) []sdk.Permission {
	out := make([]sdk.Permission, len(filters))
	for i, f := range filters {
		p.TopicFilter = f
		out[i] = p
	}
	return out
}

func actions(v any) (uint32, error) {
	names, ok := v.([]any)
	if !ok {
		names = []any{v}
	}
	var out uint32
	for _, name := range names {
		s, _ := name.(string)
		a := accesses[s]
		if a == 0 {
			return 0, fmt.Errorf("%v is none of publish, subscribe, receive and all", name)
		}
		out |= uint32(a)
	}
	if out == 0 {
		return 0, errors.New("a list of publish, subscribe, receive and all")
	}
	return out, nil
}

// qos is a level or a list of them, as a mask.
func qos(v any) (uint32, error) {
	levels, ok := v.([]any)
	if !ok {
		levels = []any{v}
	}
	var out uint32
	for _, l := range levels {
		switch l {
		case json.Number("0"), json.Number("1"), json.Number("2"):
			out |= 1 << (l.(json.Number)[0] - '0')
		default:
			return 0, errors.New("0, 1, 2, or a list of them")
		}
	}
	if out == 0 {
		return 0, errors.New("no level at all")
	}
	return out, nil
}

func retain(v any) (sdk.RetainRule, error) {
	switch v {
	case true, json.Number("1"), "true", "1":
		return sdk.RetainOnlyRetained, nil
	case false, json.Number("0"), "false", "0":
		return sdk.RetainNotRetained, nil
	}
	return 0, errors.New("neither true nor false")
}

// topicFilters reads one or several Topic Filters and puts the client in.
func topicFilters(v any, w Who) ([]string, error) {
	values, ok := v.([]any)
	if !ok {
		values = []any{v}
	}
	out := make([]string, len(values))
	for i, v := range values {
		s, ok := v.(string)
		if !ok {
			return nil, errors.New("not a Topic Filter")
		}
		// EMQX's "eq a/+" means the filter a/+ itself and not what it matches, which the
		// broker's permissions cannot say; without wildcards it is the topic as it is.
		if exact, eq := strings.CutPrefix(s, "eq "); eq {
			if strings.ContainsAny(exact, "+#") {
				return nil, fmt.Errorf("%q: eq is not possible here with wildcards", s)
			}
			s = exact
		}
		if err := CheckPlaceholders(s); err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		if out[i], ok = w.Topic(s); !ok {
			return nil, fmt.Errorf("%q: the client's name or id cannot be in a Topic Filter", s)
		}
		if err := checkFilter(out[i]); err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
	}
	return out, nil
}

// checkFilter says what is wrong with a Topic Filter (MQTT 5 §4.7).
func checkFilter(s string) error {
	if !Usable(s) || strings.HasPrefix(s, "$share/") {
		return errors.New("not a Topic Filter, which has no $share here")
	}
	levels := strings.Split(s, "/")
	for i, l := range levels {
		if l != "+" && l != "#" && strings.ContainsAny(l, "+#") || l == "#" && i < len(levels)-1 {
			return errors.New("+ and # stand for whole levels, # for the last one")
		}
	}
	return nil
}

// Usable reports whether a text can be a name in MQTT.
func Usable(s string) bool {
	return s != "" && len(s) <= 65535 && utf8.ValidString(s) && !strings.Contains(s, "\x00")
}
