package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// structured reads the value of a key whose kind has a form of its own in YAML.
func (p *yamlParser) structured(n *yaml.Node, k *key, path string) (v any, ok bool) {
	if k.kind != grants && n.Kind != yaml.MappingNode || k.kind == grants && n.Kind != yaml.SequenceNode {
		p.loader.problem(p.at(n), path, "%s is not %s", describe(n), k.wants())
		return nil, false
	}
	switch k.kind {
	case freeform:
		j := jsonWriter{parser: p, ok: true}
		j.value(n, path)
		return JSON{string(j.text), string(j.shown)}, j.ok
	case grants:
		v, ok = p.grants(n, path)
	case hooks:
		v, ok = p.hooks(n, path)
	case secretMap:
		return p.secrets(n, path)
	}
	for hidden := range p.loader.hidden {
		if strings.HasPrefix(hidden, path+".") || strings.HasPrefix(hidden, path+"[") {
			p.loader.hidden[path] = true
			break
		}
	}
	return v, ok
}

// scalar reads one text below a structured key, as the value of k would be read.
func (p *yamlParser) scalar(n *yaml.Node, k key, path string) (any, bool) {
	e := follow(n)
	if e.Kind != yaml.ScalarNode || isNull(e) || k.kind == text && e.ShortTag() != "!!str" {
		hint := ""
		if e.Kind == yaml.ScalarNode && !isNull(e) {
			hint = "; write it in quotes"
		}
		p.loader.problem(p.at(n), path, "%s is not %s%s", shownNode(e, k.secret), k.wants(), hint)
		return nil, false
	}
	v, ok := p.loader.value(&k, path, e.Value, p.at(n))
	if ok && v == "" && !k.empty {
		p.loader.problem(p.at(n), path, "must not be empty")
		return nil, false
	}
	return v, ok
}

// shownNode names a value in an error message, but for a secret one.
func shownNode(n *yaml.Node, secret bool) string {
	switch {
	case isNull(n):
		return "nothing"
	case secret && n.Kind == yaml.ScalarNode:
		return "the value (not shown: it is secret)"
	case n.Kind != yaml.ScalarNode && len(n.Content) == 0:
		return strings.Replace(describe(n), "a ", "an empty ", 1)
	}
	return describe(n)
}

// jsonWriter turns YAML into JSON, once as it is and once as it may be shown.
type jsonWriter struct {
	parser      *yamlParser
	text, shown []byte
	ok          bool
}

func (j *jsonWriter) write(s string) { j.text, j.shown = append(j.text, s...), append(j.shown, s...) }

func (j *jsonWriter) wrong(n *yaml.Node, path, format string, args ...any) {
	j.parser.loader.problem(j.parser.at(n), path, format, args...)
	j.ok = false
}

func (j *jsonWriter) value(n *yaml.Node, path string) {
	at := n
	n = follow(n)
	switch n.Kind {
	case yaml.MappingNode:
		j.object(n, path)
	case yaml.SequenceNode:
		j.write("[")
		for i, e := range n.Content {
			if i > 0 {
				j.write(", ")
			}
			j.value(e, fmt.Sprintf("%s[%d]", path, i))
		}
		j.write("]")
	default:
		j.scalar(at, n, path)
	}
}

// maxJSONKey keeps every key short enough to be a key of YAML that is written in one
// line.
const maxJSONKey = 128

func (j *jsonWriter) object(n *yaml.Node, path string) {
	var names []string
	values := map[string]*yaml.Node{}
	for _, pair := range pairs(n) {
		name := follow(pair.key).Value
		if _, again := values[name]; !again {
			names = append(names, name)
		}
		values[name] = pair.value
		if len(name) > maxJSONKey {
			j.wrong(pair.key, path, "a key of %d bytes; %d at most", len(name), maxJSONKey)
		}
	}
	j.write("{")
	for i, name := range names {
		if i > 0 {
			j.write(", ")
		}
		j.write(string(appendJSONString(nil, name)) + ": ")
		j.value(values[name], join(path, name))
	}
	j.write("}")
}

// jsonNumber is what JSON takes for a number.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// scalar writes a value; at is where it stands, perhaps as an alias of n.
func (j *jsonWriter) scalar(at, n *yaml.Node, path string) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		s, hidden, err := j.parser.loader.expandOnly(n.Value)
		if err == nil {
			err = checkText("", s)
		}
		if err != nil && hidden {
			err = errors.New(strings.ReplaceAll(err.Error(), quote(s), "the value (secret, not shown)"))
		}
		if err != nil {
			j.wrong(at, path, "%s", err)
			return
		}
		j.text = appendJSONString(j.text, s)
		if hidden {
			s = redacted
		}
		j.shown = appendJSONString(j.shown, s)
	case "!!null":
		j.write("null")
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			j.wrong(at, path, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
			return
		}
		number := format(v)
		if jsonNumber.MatchString(n.Value) && !strings.HasSuffix(number, "Inf") {
			number = n.Value // as it was written: not rounded
		} else if n.ShortTag() != "!!bool" && !jsonNumber.MatchString(number) {
			j.wrong(at, path, "%s is no number in JSON; write it in quotes if it is text", n.Value)
			return
		}
		j.write(number)
	default:
		j.wrong(at, path, "a value with the tag %s; there are only texts, numbers, true, false and null", n.Tag)
	}
}

// appendJSONString writes s so that JSON and YAML read the same.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r <= 0xFFFF && !unicode.IsPrint(r):
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}

func appendJSONList(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendJSONString(b, s)
	}
	return append(b, ']')
}

// hooks reads the changes of hooks, and sorts them by point.
func (p *yamlParser) hooks(n *yaml.Node, path string) (Hooks, bool) {
	all, list, ok := points(), Hooks{}, true
	var names []string
	for _, point := range all {
		names = append(names, pointName(point))
	}
	for _, pair := range pairs(n) {
		name := follow(pair.key).Value
		here := join(path, name)
		i := slices.Index(names, name)
		if i < 0 {
			p.loader.problem(p.at(pair.key), here, "%s", oneOf(name, "hook", names))
			ok = false
			continue
		}
		p.loader.sources[here] = p.at(pair.key)
		h, fine := p.hook(pair.value, all[i], here)
		list, ok = append(list, h), ok && fine
	}
	slices.SortFunc(list, func(a, b Hook) int { return int(a.Point - b.Point) })
	return list, ok
}

func (p *yamlParser) hook(n *yaml.Node, point pluginv1.Point, path string) (h Hook, ok bool) {
	h.Point = point
	e := follow(n)
	if e.Kind == yaml.ScalarNode && e.Value == "off" {
		h.Off = true
		return h, true
	}
	if e.Kind != yaml.MappingNode || len(e.Content) == 0 {
		p.loader.problem(p.at(n), path, "%s is neither off nor a section with deadline or failure", shownNode(e, false))
		return h, false
	}
	if point.Mode() == pluginv1.Observation {
		p.loader.problem(p.at(n), path, "nobody waits for an observation; it can only be off")
		return h, false
	}
	ok = true
	for _, pair := range pairs(e) {
		name := follow(pair.key).Value
		here := join(path, name)
		var v any
		fine := false
		switch name {
		case "deadline":
			if v, fine = p.scalar(pair.value, key{kind: duration, min: "1ms", max: "1m"}, here); fine {
				h.Deadline = v.(Duration)
			}
		case "failure":
			if v, fine = p.scalar(pair.value, key{kind: enum, enum: failures(point)}, here); fine {
				h.Failure = failurePolicy(v.(string))
			}
		default:
			p.loader.problem(p.at(pair.key), here, "%s", oneOf(name, "key of a hook", []string{"deadline", "failure"}))
		}
		ok = ok && fine
	}
	return h, ok
}

// failures are the failure policies that a point can have.
func failures(point pluginv1.Point) []string {
	if point.Permits(pluginv1.ActionDrop) {
		return []string{"deny", "continue", "drop"}
	}
	return []string{"deny", "continue"}
}

func failurePolicy(name string) pluginv1.FailurePolicy {
	for policy, n := range failureNames {
		if n == name {
			return policy
		}
	}
	return pluginv1.FailurePolicyDefault
}

func (p *yamlParser) secrets(n *yaml.Node, path string) (Secrets, bool) {
	all, ok := Secrets{}, true
	for _, pair := range pairs(n) {
		name := follow(pair.key).Value
		here := join(path, name)
		if err := checkText("secret_name", name); err != nil {
			p.loader.problem(p.at(pair.key), here, "%s", err)
			ok = false
			continue
		}
		v, fine := p.scalar(pair.value, key{kind: text, secret: true}, here)
		if !fine {
			ok = false
			continue
		}
		all[name] = v.(string)
	}
	return all, ok
}
