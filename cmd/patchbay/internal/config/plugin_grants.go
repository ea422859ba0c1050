package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// grantKind is one of the grants that can be given.
type grantKind struct {
	name string
	// scope is the key of what the grant is limited to, "" if there is none, and
	// element how that, or an element of that list, is read.
	scope   string
	element key
	// namespaces says that it can be limited to some, needed that it allows
	// nothing without a scope.
	namespaces, needed bool
}

// grantKinds returns the grants of the contract (Grant in manifest.proto).
func grantKinds() []grantKind {
	filter := key{kind: text, check: "topic_filter", unit: "a Topic Filter"}
	return []grantKind{
		{"publish", "topic_filters", filter, true, false},
		{"publish_as_client", "topic_filters", filter, true, false},
		{"disconnect", "", key{}, true, false},
		{"ban", "", key{}, true, false},
		{"clients", "", key{}, true, false},
		{"retained", "topic_filters", filter, true, false},
		{"kv", "max_bytes", key{kind: size, min: "1KiB"}, false, false},
		{"http", "origins", key{kind: text, check: "origin", unit: "an origin"}, false, true},
		{"password", "", key{}, false, false},
		{"secrets", "names", key{kind: text, check: "secret_name", unit: "a name"}, false, true},
	}
}

func (k *grantKind) keys() (names []string) {
	if k.scope != "" {
		names = append(names, k.scope)
	}
	if k.namespaces {
		names = append(names, "namespaces")
	}
	return names
}

// revocable are what every plugin may do unless it is taken away.
var revocable = []string{"log", "metrics", "timers"}

func (p *yamlParser) grants(n *yaml.Node, path string) (Grants, bool) {
	list, ok := Grants{}, true
	for i, element := range n.Content {
		here := fmt.Sprintf("%s[%d]", path, i)
		p.loader.sources[here] = p.at(element)
		e := follow(element)
		name, scope := e, (*yaml.Node)(nil)
		if e.Kind == yaml.MappingNode && len(e.Content) == 2 {
			name, scope = follow(e.Content[0]), e.Content[1]
		}
		if name.Kind != yaml.ScalarNode || name.ShortTag() != "!!str" {
			p.loader.problem(p.at(element), here, "%s is neither the name of a grant nor one name with its scope", describe(e))
			ok = false
			continue
		}
		g, fine := p.grant(name, scope, here)
		list, ok = append(list, g), ok && fine
	}
	return list, ok
}

// grant reads one grant; scope is nil if there is only its name.
func (p *yamlParser) grant(name, scope *yaml.Node, path string) (g pluginv1.Grant, ok bool) {
	g.Name = name.Value
	kinds := grantKinds()
	i := slices.IndexFunc(kinds, func(k grantKind) bool { return k.name == g.Name })
	switch {
	case slices.Contains(revocable, g.Name):
		p.loader.problem(p.at(name), path, "every plugin has %s; revoke takes it away", g.Name)
	case i < 0:
		names := make([]string, len(kinds))
		for j := range kinds {
			names[j] = kinds[j].name
		}
		p.loader.problem(p.at(name), path, "%s", oneOf(g.Name, "grant", names))
	case scope == nil && kinds[i].needed:
		p.loader.problem(p.at(name), path, "%s alone allows nothing; write {%s: […]} with its %s", g.Name, g.Name, kinds[i].scope)
	case scope == nil:
		return g, true
	default:
		return g, p.scope(&g, &kinds[i], scope, join(path, g.Name))
	}
	return g, false
}

// scope reads what a grant is limited to: its one list or size, or a section.
func (p *yamlParser) scope(g *pluginv1.Grant, kind *grantKind, n *yaml.Node, path string) bool {
	e := follow(n)
	if len(kind.keys()) == 0 {
		p.loader.problem(p.at(n), path, "%s cannot be limited; write %s alone", g.Name, g.Name)
		return false
	}
	if e.Kind != yaml.MappingNode && kind.scope != "" {
		return p.limit(g, kind, kind.scope, n, path)
	}
	if e.Kind != yaml.MappingNode || len(e.Content) == 0 {
		p.loader.problem(p.at(n), path, "%s is not a section with %s", shownNode(e, false), strings.Join(kind.keys(), " or "))
		return false
	}
	ok, scoped := true, false
	for _, pair := range pairs(e) {
		name := follow(pair.key).Value
		if !slices.Contains(kind.keys(), name) {
			p.loader.problem(p.at(pair.key), join(path, name), "%s", oneOf(name, "key of "+g.Name, kind.keys()))
			ok = false
			continue
		}
		scoped = scoped || name == kind.scope
		ok = p.limit(g, kind, name, pair.value, join(path, name)) && ok
	}
	if ok && kind.needed && !scoped {
		p.loader.problem(p.at(n), join(path, kind.scope), "is missing")
		return false
	}
	return ok
}

// limit reads one key of a scope.
func (p *yamlParser) limit(g *pluginv1.Grant, kind *grantKind, name string, n *yaml.Node, path string) (ok bool) {
	switch name {
	case "max_bytes":
		v, fine := p.scalar(n, kind.element, path)
		if fine {
			g.MaxBytes = uint64(v.(Size))
		}
		return fine
	case "namespaces":
		g.Namespaces, ok = p.texts(n, key{kind: text, check: "utf8", empty: true}, path)
	case "topic_filters":
		g.TopicFilters, ok = p.texts(n, kind.element, path)
	case "origins":
		g.Origins, ok = p.texts(n, kind.element, path)
	case "names":
		g.Names, ok = p.texts(n, kind.element, path)
	}
	return ok
}

// texts reads a list that must not be empty: to the contract that would be no limit.
func (p *yamlParser) texts(n *yaml.Node, element key, path string) ([]string, bool) {
	e := follow(n)
	if e.Kind != yaml.SequenceNode || len(e.Content) == 0 {
		p.loader.problem(p.at(n), path, "%s is not a list in [ ] with at least one element", shownNode(e, false))
		return nil, false
	}
	list, ok := make([]string, 0, len(e.Content)), true
	for i, c := range e.Content {
		v, fine := p.scalar(c, element, fmt.Sprintf("%s[%d]", path, i))
		if !fine {
			ok = false
			continue
		}
		list = append(list, v.(string))
	}
	return list, ok
}
