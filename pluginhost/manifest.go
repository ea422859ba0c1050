package pluginhost

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/topic"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// features are the names of what this host has beyond the first release of the
// contract.
var features = []string{"permit", "consumer_patterns", "screen", "only_refuses"}

// defaultGrants are had by every plugin that does not get them taken away.
var defaultGrants = []string{"log", "metrics", "timers"}

// checkManifest checks what a plugin says of itself. How it runs decides about some of
// it.
func checkManifest(m *pluginv1.Manifest, rt Runtime) error {
	if !validName(m.Name) {
		return fmt.Errorf("name %q: 1 to 64 of a-z, 0-9 and \"-\", beginning with a letter", m.Name)
	}
	for _, f := range m.NeededFeatures {
		if !slices.Contains(features, f) {
			return fmt.Errorf("it needs the feature %q, which this version of the broker does not have: use a newer broker, or an older version of the plugin", f)
		}
	}
	if m.Instances > 1 {
		return fmt.Errorf("instances is %d: it can be 0 or 1", m.Instances)
	}
	waits := rt == Process || rt == WASM && (m.Instances == 1 || m.Preemptible)
	if err := checkHooks(m.Hooks, waits); err != nil {
		return err
	}
	names := map[string]bool{}
	for i := range m.Consumers {
		c := &m.Consumers[i]
		if name := strings.TrimSuffix(c.Name, "*"); !validConsumerName(name) && c.Name != "*" {
			return fmt.Errorf("consumers[%d]: name %q: 1 to 64 of a-z, 0-9 and \"-\", with or without a \"*\" at its end", i, c.Name)
		}
		if names[c.Name] {
			return fmt.Errorf("consumers[%d]: the name %q is there twice", i, c.Name)
		}
		names[c.Name] = true
		if err := checkConsumer(c); err != nil {
			return fmt.Errorf("consumer %q: %w", c.Name, err)
		}
	}
	for i, g := range m.Grants {
		if g.Name == "" {
			return fmt.Errorf("grants[%d]: it has no name", i)
		}
	}
	for i, r := range m.HTTPRoutes {
		if strings.HasPrefix(r.Path, "/") {
			return fmt.Errorf("http_routes[%d]: path %q must not begin with \"/\"", i, r.Path)
		}
	}
	return nil
}

// checkHooks checks hooks. waits says that the plugin cannot always answer at once.
func checkHooks(hooks []pluginv1.Hook, waits bool) error {
	seen := map[pluginv1.Point]bool{}
	for i := range hooks {
		h := &hooks[i]
		if h.Point.Mode() == 0 {
			return fmt.Errorf("hooks[%d]: point %d is none", i, h.Point)
		}
		if err := checkHook(h, waits); err != nil {
			return fmt.Errorf("hook %s: %w", pointName(h.Point), err)
		}
		if seen[h.Point] {
			return fmt.Errorf("hook %s is there twice", pointName(h.Point))
		}
		seen[h.Point] = true
	}
	return nil
}

func checkHook(h *pluginv1.Hook, waits bool) error {
	for _, f := range h.TopicFilters {
		if err := checkFilter(f); err != nil {
			return err
		}
	}
	authOnly := uint32(pluginv1.FieldPassword | pluginv1.FieldConnect)
	switch {
	case h.MinQoS > 2:
		return fmt.Errorf("min_qos is %d", h.MinQoS)
	case h.MaxBatch > maxEvents:
		return fmt.Errorf("max_batch is %d, more than %d", h.MaxBatch, maxEvents)
	case h.MaxDelayMs > 1000:
		return fmt.Errorf("max_delay_ms is %d, more than 1,000", h.MaxDelayMs)
	case h.DeadlineMs > 60_000:
		return fmt.Errorf("deadline_ms is %d, more than 60,000", h.DeadlineMs)
	case h.Fields&authOnly != 0 && h.Point != pluginv1.PointAuthenticate:
		return errors.New("FIELD_PASSWORD and FIELD_CONNECT are for authenticate only")
	case h.OnlyRefuses && h.Point != pluginv1.PointAuthenticate:
		return errors.New("only_refuses is for authenticate only")
	case waits && (h.Point == pluginv1.PointAuthorizeReceive || h.Point == pluginv1.PointInterceptDeliver):
		return errors.New("a delivery cannot wait, so that only a builtin plugin, or one in WebAssembly without \"instances: 1\" and \"preemptible\", can have this hook")
	}
	return checkFailure(h.Point, h.Failure)
}

// checkConsumer checks what consume.New would refuse when it is too late.
func checkConsumer(c *pluginv1.Consumer) error {
	switch {
	case len(c.TopicFilters) == 0:
		return errors.New("it has no topic filters")
	case c.MinQoS > 2:
		return fmt.Errorf("min_qos is %d", c.MinQoS)
	case c.MaxBatch > maxEvents:
		return fmt.Errorf("max_batch is %d, more than %d", c.MaxBatch, maxEvents)
	case c.DeadlineMs > 600_000:
		return fmt.Errorf("deadline_ms is %d, more than 600,000", c.DeadlineMs)
	}
	for _, f := range c.TopicFilters {
		if err := checkFilter(f); err != nil {
			return err
		}
	}
	if c.DeadLetterTopic == "" {
		return nil
	}
	if err := topic.ValidNameString(c.DeadLetterTopic); err != nil {
		return fmt.Errorf("dead_letter_topic %q: %w", c.DeadLetterTopic, err)
	}
	return nil
}

func checkFilter(f string) error {
	if strings.HasPrefix(f, topic.SharePrefix) {
		return fmt.Errorf("topic filter %q: it must be without $share", f)
	}
	if err := topic.ValidFilter(f); err != nil {
		return fmt.Errorf("topic filter %q: %w", f, err)
	}
	return nil
}

func validName(s string) bool {
	if len(s) == 0 || len(s) > 64 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// validConsumerName is validName for names that may begin with any of the characters.
func validConsumerName(s string) bool {
	return s != "" && len(s) <= 64 && validName("a"+s[1:]) && validName("a"+s[:1])
}

// grantsOf are the grants that a plugin gets, those included that all have.
func grantsOf(s *Spec) []pluginv1.Grant {
	list := slices.Clone(s.Grants)
	for _, name := range defaultGrants {
		if !slices.Contains(s.Revoked, name) && !hasGrant(s.Grants, name) {
			list = append(list, pluginv1.Grant{Name: name})
		}
	}
	return list
}

func hasGrant(list []pluginv1.Grant, name string) bool {
	return slices.ContainsFunc(list, func(g pluginv1.Grant) bool { return g.Name == name })
}

// missing returns the grants that a plugin asks for and does not get.
func missing(m *pluginv1.Manifest, s *Spec) (needed, optional []pluginv1.Grant) {
	have := grantsOf(s)
	for _, g := range m.Grants {
		switch {
		case hasGrant(have, g.Name):
		case g.Optional:
			optional = append(optional, g)
		default:
			needed = append(needed, g)
		}
	}
	return needed, optional
}

// narrowedWithin checks that what a plugin wants with its config lies within its
// manifest.
func narrowedWithin(n *pluginv1.Narrowed, m *pluginv1.Manifest, waits bool) error {
	if err := checkHooks(n.Hooks, waits); err != nil {
		return err
	}
	for i := range n.Hooks {
		h := &n.Hooks[i]
		j := slices.IndexFunc(m.Hooks, func(x pluginv1.Hook) bool { return x.Point == h.Point })
		if j < 0 {
			return fmt.Errorf("narrowed: hook %s is not in the manifest", pointName(h.Point))
		}
		of := &m.Hooks[j]
		if err := inside(h.TopicFilters, of.TopicFilters, h.Namespaces, of.Namespaces, h.Fields, of.Fields, h.MinQoS, of.MinQoS); err != nil {
			return fmt.Errorf("narrowed: hook %s: %w", pointName(h.Point), err)
		}
		if of.OnlyRefuses && !h.OnlyRefuses {
			return fmt.Errorf("narrowed: hook %s: it has only_refuses in the manifest, and must have it here", pointName(h.Point))
		}
	}
	seen := map[string]bool{}
	for i := range n.Consumers {
		c := &n.Consumers[i]
		of := consumerOf(m, c.Name)
		switch {
		case of == nil:
			return fmt.Errorf("narrowed: consumer %q is not in the manifest", c.Name)
		case !validConsumerName(c.Name):
			return fmt.Errorf("narrowed: consumer %q: a name is 1 to 64 of a-z, 0-9 and \"-\"", c.Name)
		case seen[c.Name]:
			return fmt.Errorf("narrowed: consumer %q is there twice", c.Name)
		}
		seen[c.Name] = true
		if err := checkConsumer(c); err != nil {
			return fmt.Errorf("narrowed: consumer %q: %w", c.Name, err)
		}
		if err := inside(c.TopicFilters, of.TopicFilters, c.Namespaces, of.Namespaces, c.Fields, of.Fields, c.MinQoS, of.MinQoS); err != nil {
			return fmt.Errorf("narrowed: consumer %q: %w", c.Name, err)
		}
	}
	return nil
}

// consumerOf returns the consumer of a manifest that allows one of a name, or the longest
// pattern that does; nil if none does.
func consumerOf(m *pluginv1.Manifest, name string) (of *pluginv1.Consumer) {
	for i := range m.Consumers {
		c := &m.Consumers[i]
		if c.Name == name {
			return c
		}
		prefix, pattern := strings.CutSuffix(c.Name, "*")
		if pattern && strings.HasPrefix(name, prefix) && (of == nil || len(c.Name) > len(of.Name)) {
			of = c
		}
	}
	return of
}

// inside checks what must not be wider than the manifest.
func inside(filters, ofFilters, spaces, ofSpaces []string, fields, ofFields, qos, ofQoS uint32) error {
	if len(ofFilters) > 0 {
		if len(filters) == 0 {
			return errors.New("topic_filters: all topics are more than the manifest has")
		}
		for _, f := range filters {
			if !slices.ContainsFunc(ofFilters, func(of string) bool { return access.Covers(of, f) }) {
				return fmt.Errorf("topic filter %q is not covered by the manifest", f)
			}
		}
	}
	switch {
	case fields&^ofFields != 0:
		return fmt.Errorf("fields %#x are more than the manifest has", fields&^ofFields)
	case qos < ofQoS:
		return fmt.Errorf("min_qos %d is lower than in the manifest", qos)
	case len(ofSpaces) > 0 && len(spaces) == 0:
		return errors.New("namespaces: all are more than the manifest has")
	}
	for _, s := range spaces {
		if len(ofSpaces) > 0 && !slices.Contains(ofSpaces, s) {
			return fmt.Errorf("namespace %q is not in the manifest", s)
		}
	}
	return nil
}

// checkOverrides checks what an operator wants of hooks otherwise than the manifest.
func checkOverrides(hooks map[pluginv1.Point]HookSpec) error {
	for p, h := range hooks {
		if err := checkFailure(p, h.Failure); err != nil {
			return fmt.Errorf("hooks: %s: %w", pointName(p), err)
		}
	}
	return nil
}

// checkFailure checks a failure policy. It says nothing of points that this host does not
// know.
func checkFailure(p pluginv1.Point, f pluginv1.FailurePolicy) error {
	if f < 0 || f > pluginv1.FailurePolicyDrop {
		return fmt.Errorf("failure is %d", f)
	}
	if _, known := hookPoints[p]; !known && p != pluginv1.PointPermit || p.Mode() == pluginv1.Observation {
		return nil
	}
	switch {
	case f == pluginv1.FailurePolicyDrop && !p.Permits(pluginv1.ActionDrop):
		return errors.New("failure \"drop\" is impossible here")
	case f == pluginv1.FailurePolicyDeny && !p.Permits(pluginv1.ActionDeny):
		return errors.New("failure \"deny\" is impossible here")
	}
	return nil
}
