package services

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/topic"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Names of grants, as in the contract (Grant.name).
const (
	grantPublish         = "publish"
	grantPublishAsClient = "publish_as_client"
	grantDisconnect      = "disconnect"
	grantBan             = "ban"
	grantClients         = "clients"
	grantRetained        = "retained"
	grantKV              = "kv"
	grantHTTP            = "http"
	grantPassword        = "password"
	grantSecrets         = "secrets"
	grantLog             = "log"
	grantMetrics         = "metrics"
	grantTimers          = "timers"
)

// hadByAll are the grants that every plugin has, unless they are taken away.
var hadByAll = [...]string{grantLog, grantMetrics, grantTimers}

var allGrants = append([]string{
	grantPublish, grantPublishAsClient, grantDisconnect, grantBan, grantClients, grantRetained, grantKV, grantHTTP,
	grantPassword, grantSecrets,
}, hadByAll[:]...)

// spaces are namespaces; nil stands for all.
type spaces []string

func (s spaces) has(namespace string) bool { return s == nil || slices.Contains(s, namespace) }

// within returns those of s that outer has too.
func (s spaces) within(outer spaces) spaces {
	switch {
	case s == nil:
		return outer
	case outer == nil:
		return s
	}
	out := spaces{}
	for _, n := range s {
		if outer.has(n) {
			out = append(out, n)
		}
	}
	return out
}

// grant is a pluginv1.Grant that has been read.
type grant struct {
	filters    []string // none: all topics but those of $
	origins    []origin
	names      []string
	namespaces spaces // within those of the plugin
	maxBytes   uint64
}

// given is what the operator gives a plugin. It is immutable.
type given struct {
	version    string
	namespaces spaces
	grants     map[string][]grant
}

// newGiven reads and checks a Config.
func newGiven(c Config) (*given, error) {
	g := &given{version: strings.Clone(c.Version), grants: map[string][]grant{}}
	if len(c.Namespaces) > 0 {
		g.namespaces = cloneAll(c.Namespaces)
	}
	for _, name := range hadByAll {
		g.grants[name] = []grant{{}}
	}
	for i := range c.Grants {
		in := &c.Grants[i]
		if !slices.Contains(allGrants, in.Name) {
			return nil, fmt.Errorf("plugin %q: there is no grant %q; there are %s", c.Name, in.Name, strings.Join(allGrants, ", "))
		}
		out, err := readGrant(in, g.namespaces)
		if err != nil {
			return nil, fmt.Errorf("plugin %q: grant %q: %w", c.Name, in.Name, err)
		}
		g.grants[in.Name] = append(g.grants[in.Name], out)
	}
	for _, name := range c.Revoked {
		if !slices.Contains(allGrants, name) {
			return nil, fmt.Errorf("plugin %q: there is no grant %q to revoke; there are %s", c.Name, name, strings.Join(allGrants, ", "))
		}
		delete(g.grants, name)
	}
	return g, nil
}

func readGrant(in *pluginv1.Grant, outer spaces) (grant, error) {
	g := grant{filters: cloneAll(in.TopicFilters), names: cloneAll(in.Names), maxBytes: in.MaxBytes}
	for _, f := range in.TopicFilters {
		if p, err := topic.ParseFilter(f); err != nil {
			return grant{}, fmt.Errorf("topic filter %q: %w", f, err)
		} else if p.Shared {
			return grant{}, fmt.Errorf("topic filter %q: without $share", f)
		}
	}
	for _, s := range in.Origins {
		o, err := parseOrigin(s)
		if err != nil {
			return grant{}, fmt.Errorf("origin %q: %w", s, err)
		}
		g.origins = append(g.origins, o)
	}
	if len(in.Namespaces) > 0 {
		g.namespaces = spaces(cloneAll(in.Namespaces))
	}
	g.namespaces = g.namespaces.within(outer)
	return g, nil
}

func cloneAll(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, strings.Clone(s))
	}
	return out
}

// reach are the namespaces that the grants of a name cover together.
func (g *given) reach(name string) spaces {
	all := spaces{}
	for _, x := range g.grants[name] {
		if x.namespaces == nil {
			return nil
		}
		all = append(all, x.namespaces...)
	}
	return all
}

// coversTopic reports whether a grant has a Topic Name or a Topic Filter.
func (x *grant) coversTopic(filter string) bool {
	if len(x.filters) == 0 {
		return !strings.HasPrefix(filter, "$")
	}
	return slices.ContainsFunc(x.filters, func(f string) bool { return access.Covers(f, filter) })
}

// may refuses a call for which there is no grant at all.
func (p *Plugin) may(name string) error {
	if len(p.given.Load().grants[name]) > 0 {
		return nil
	}
	return p.refuse(refusal{grant: name, scope: scopeWhole, write: "[" + name + "]"})
}

// mayIn refuses a call about a namespace that the grant does not cover.
func (p *Plugin) mayIn(name, namespace string) error {
	if p.given.Load().reach(name).has(namespace) {
		return nil
	}
	return p.refuseNamespace(name, namespace)
}

// mayTopic refuses a call about a topic that the grant does not cover.
func (p *Plugin) mayTopic(name, namespace, filter string) error {
	g := p.given.Load()
	for i := range g.grants[name] {
		if x := &g.grants[name][i]; x.namespaces.has(namespace) && x.coversTopic(filter) {
			return nil
		}
	}
	if !g.reach(name).has(namespace) {
		return p.refuseNamespace(name, namespace)
	}
	write := fmt.Sprintf("[{%s: [%s]}]", name, quote(filter))
	if namespace != "" {
		write = fmt.Sprintf("[{%s: {topic_filters: [%s], namespaces: [%s]}}]", name, quote(filter), quote(namespace))
	}
	return p.refuse(refusal{
		grant: name, scope: scopeTopic, of: fmt.Sprintf("the topic %s in %s", quote(filter), inWords(namespace)), write: write,
	})
}

func (p *Plugin) refuseNamespace(name, namespace string) error {
	r := refusal{
		grant: name, scope: scopeNamespace, of: inWords(namespace),
		write: fmt.Sprintf("[{%s: {namespaces: [%s]}}]", name, quote(namespace)),
	}
	if !p.given.Load().namespaces.has(namespace) {
		r.also = fmt.Sprintf("namespaces: [%s]", quote(namespace))
	}
	return p.refuse(r)
}

func inWords(namespace string) string {
	if namespace == "" {
		return "the default namespace"
	}
	return "the namespace " + quote(namespace)
}

// maySecret refuses secrets that the grant does not name.
func (p *Plugin) maySecret(name string) error {
	for _, x := range p.given.Load().grants[grantSecrets] {
		if slices.Contains(x.names, name) {
			return nil
		}
	}
	return p.refuse(refusal{
		grant: grantSecrets, scope: scopeName, of: "the secret " + quote(name), write: fmt.Sprintf("[{secrets: [%s]}]", quote(name)),
	})
}

// mayFetch refuses origins that the grant does not name.
func (p *Plugin) mayFetch(o origin) error {
	for _, x := range p.given.Load().grants[grantHTTP] {
		if slices.ContainsFunc(x.origins, func(g origin) bool { return g.covers(o) }) {
			return nil
		}
	}
	return p.refuse(refusal{
		grant: grantHTTP, scope: scopeOrigin, of: "the origin " + quote(o.String()), write: fmt.Sprintf("[{http: [%s]}]", quote(o.String())),
	})
}
