package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	kyaml "github.com/knadh/koanf/parsers/yaml"
	"go.yaml.in/yaml/v3"
)

// yamlParser is koanf's YAML parser with positions: it gives koanf a layer of
// parsed values, and the loader the line of each and what is wrong with it.
type yamlParser struct {
	kyaml.YAML // finds keys that are there twice and bombs of aliases
	loader     *loader
	file       string
	top        *key // what the file has the keys of
}

// Unmarshal never fails: problems go to the loader.
func (p *yamlParser) Unmarshal(content []byte) (map[string]any, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, more yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) { // nothing, or comments only
		return map[string]any{}, nil
	}
	if err != nil {
		p.syntax(err)
		return map[string]any{}, nil
	}
	root := document.Content[0]
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			p.syntax(err)
		} else {
			p.loader.problem(p.at(more.Content[0]), "", "a second YAML document; the configuration is one")
		}
		return map[string]any{}, nil
	}
	if !p.plainKeys(root) {
		return map[string]any{}, nil
	}
	if root.Kind == yaml.MappingNode {
		if _, err := p.YAML.Unmarshal(content); err != nil {
			p.syntax(err)
			if _, ok := errors.AsType[*yaml.TypeError](err); !ok {
				return map[string]any{}, nil // too many aliases: do not follow them
			}
		}
	}
	return p.section(root, p.top, ""), nil
}

func (p *yamlParser) at(n *yaml.Node) Source { return Source{File: p.file, Line: n.Line} }

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// syntax reports an error of the YAML library, which puts the line, if it has
// one, in front of the text.
func (p *yamlParser) syntax(err error) {
	messages := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	if e, ok := errors.AsType[*yaml.TypeError](err); ok {
		messages = e.Errors
	}
	for _, m := range messages {
		src := Source{File: p.file}
		if parts := yamlLine.FindStringSubmatch(m); parts != nil {
			src.Line, _ = strconv.Atoi(parts[1])
			m = parts[2]
		}
		p.loader.problem(src, "", "%s", m)
	}
}

// plainKeys reports whether all keys below n are scalars; YAML would let them
// be lists.
func (p *yamlParser) plainKeys(n *yaml.Node) bool {
	plain := true
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && follow(c).Kind != yaml.ScalarNode {
			p.loader.problem(p.at(c), "", "%s cannot be a key", describe(c))
			plain = false
		}
		plain = p.plainKeys(c) && plain
	}
	return plain
}

// section reads the keys of section k from n. What is wrong is left out.
func (p *yamlParser) section(n *yaml.Node, k *key, path string) map[string]any {
	layer := map[string]any{}
	n = follow(n)
	if isNull(n) { // a section whose keys are all commented out
		return layer
	}
	if n.Kind != yaml.MappingNode {
		wants := k.wants()
		if k.kind == sections { // one of the list
			wants = "a section with keys such as " + k.children[0].name
		}
		p.loader.problem(p.at(n), path, "%s is not %s", describe(n), wants)
		return layer
	}
	for _, pair := range pairs(n) {
		name := follow(pair.key).Value
		c := k.child(name)
		if c == nil {
			p.loader.problem(p.at(pair.key), join(path, name), "unknown key%s", p.loader.suggest(k, name))
			continue
		}
		if v, ok := p.value(pair.key, pair.value, c, join(path, name)); ok {
			layer[name] = v
		}
	}
	return layer
}

// value reads the value of key k; ok is false if there is none that can be
// used.
func (p *yamlParser) value(keyNode, n *yaml.Node, k *key, path string) (v any, ok bool) {
	at := n
	n = follow(n)
	if isNull(n) {
		return nil, false
	}
	switch k.kind {
	case section:
		p.loader.sources[path] = p.at(keyNode)
		return p.section(n, k, path), true
	case sections:
		return p.sections(n, k, path)
	case textList:
		return p.list(n, k, path)
	case freeform, grants, hooks, secretMap:
		p.loader.sources[path] = p.at(keyNode)
		return p.structured(n, k, path)
	}
	// The line of the alias, not of its anchor, is where to look.
	src := p.at(at)
	if n.Kind != yaml.ScalarNode {
		p.loader.problem(p.at(keyNode), path, "%s is not %s", describe(n), k.wants())
		return nil, false
	}
	if k.kind == text && k.check != "mode" && n.ShortTag() != "!!str" {
		if k.secret {
			p.loader.problem(src, path, "the value (not shown: it is secret) is not text; write it in quotes")
		} else {
			p.loader.problem(src, path, "%s is not text; write it in quotes: %q", n.Value, n.Value)
		}
		return nil, false
	}
	if k.kind <= number && n.ShortTag() == "!!str" && !strings.Contains(n.Value, "${") {
		if _, err := k.read(n.Value); err == nil {
			p.loader.problem(src, path, "%q is text; write it without quotes: %s", n.Value, n.Value)
			return nil, false
		}
	}
	return p.loader.value(k, path, n.Value, src)
}

func (p *yamlParser) list(n *yaml.Node, k *key, path string) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		p.loader.problem(p.at(n), path, "%s is not %s", describe(n), k.wants())
		return nil, false
	}
	p.loader.sources[path] = p.at(n)
	list, ok := []string{}, true
	for i, element := range n.Content {
		here := fmt.Sprintf("%s[%d]", path, i)
		e := follow(element)
		if e.Kind != yaml.ScalarNode || e.ShortTag() != "!!str" {
			p.loader.problem(p.at(element), here, "%s is not text", describe(e))
			ok = false
			continue
		}
		// Elements are text of their own: a comma in one does not part it.
		one := *k
		one.kind = text
		v, fine := p.loader.value(&one, here, e.Value, p.at(element))
		if !fine {
			ok = false
			continue
		}
		if v == "" && !k.empty {
			p.loader.problem(p.at(element), here, "must not be empty")
			ok = false
			continue
		}
		if p.loader.hidden[here] {
			p.loader.hidden[path] = true
		}
		list = append(list, v.(string))
	}
	return list, ok
}

func (p *yamlParser) sections(n *yaml.Node, k *key, path string) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		p.loader.problem(p.at(n), path, "%s is not %s", describe(n), k.wants())
		return nil, false
	}
	p.loader.sources[path] = p.at(n)
	list := []any{}
	for i, element := range n.Content {
		here := fmt.Sprintf("%s[%d]", path, i)
		p.loader.sources[here] = p.at(element)
		values := k.defaults()
		for name, v := range p.section(element, k, here) {
			values[name] = v
		}
		if follow(element).Kind == yaml.MappingNode {
			p.required(element, k, values, here)
		}
		list = append(list, values)
	}
	return list, true
}

// required finds keys of an element that must be set and are not.
func (p *yamlParser) required(n *yaml.Node, k *key, values map[string]any, path string) {
	for _, c := range k.children {
		if (c.check == "required" || c.need) && values[c.name] == "" && !p.loader.failed(join(path, c.name)) {
			p.loader.problem(p.at(n), path+"."+c.name, "is missing")
		}
	}
}

// pair is one key and value of a mapping.
type pair struct{ key, value *yaml.Node }

// pairs lists what is in a mapping, including what it merges in by <<; what it
// says itself comes later, and so holds.
func pairs(n *yaml.Node) []pair {
	var merged, own []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.ShortTag() != "!!merge" {
			own = append(own, pair{k, v})
			continue
		}
		from := follow(v)
		if from.Kind == yaml.MappingNode {
			merged = append(merged, pairs(from)...)
		}
		if from.Kind == yaml.SequenceNode {
			// The first of several holds [YAML merge key, 1.1].
			for j := len(from.Content) - 1; j >= 0; j-- {
				if m := follow(from.Content[j]); m.Kind == yaml.MappingNode {
					merged = append(merged, pairs(m)...)
				}
			}
		}
	}
	return append(merged, own...)
}

// follow returns what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describe names a value in an error message.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	}
	return quote(n.Value)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
