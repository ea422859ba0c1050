package pluginhost

import (
	"fmt"

	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Check holds a manifest against what the operator wants, as a Host does before it
// starts a plugin: names, hooks, features, grants that are needed, and the config against
// its schema. It is for tools that run a plugin without a broker. The error tells what to
// change, faults of the config by JSON Pointer.
func Check(m *pluginv1.Manifest, s *Spec) error {
	if err := checkManifest(m, s.runtime()); err != nil {
		return fmt.Errorf("its manifest: %w", err)
	}
	if needed, _ := missing(m, s); len(needed) > 0 {
		return needsGrants(needed, s)
	}
	return checkConfig(m.ConfigSchema, []byte(s.config()))
}

// CheckBuiltin is Check of a plugin that is compiled in, which it finds by the name in s.
func CheckBuiltin(s *Spec) error {
	p, ok := sdk.Lookup(s.builtin())
	if !ok {
		return unknownBuiltin(s)
	}
	m, err := p.Manifest()
	if err != nil {
		return fmt.Errorf("its manifest: %w", err)
	}
	return Check(m, s)
}

// CheckAnswer says why a Host would take an answer of a hook for a failure of the plugin.
func CheckAnswer(k *pluginv1.Hook, b *pluginv1.Batch, a *pluginv1.Answer) error {
	c := &call{hook: &hooked{point: b.Point, onlyRefuses: k.OnlyRefuses}}
	c.batch.Events, c.answer.Verdicts, c.answer.Error = b.Events, a.Verdicts, a.Error
	return c.valid()
}

// GrantsOf are the grants that a plugin of that Spec gets, those included that every
// plugin has.
func GrantsOf(s *Spec) []pluginv1.Grant { return grantsOf(s) }

// PointName is how a point is written in the broker's config and in tables:
// "intercept_publish".
func PointName(p pluginv1.Point) string { return pointName(p) }
