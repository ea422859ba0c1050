package sdk

import (
	"context"
	"slices"
	"strings"
	"testing"
)

type consuming struct{}

func (consuming) Consume(context.Context, *ConsumeBatch) error { return nil }

// A Queue whose name ends with "*" asks for a host that knows such patterns.
func TestQueuePatterns(t *testing.T) {
	for name, want := range map[string]string{"*": "", "route-*": "", "a": "", "a*b": "needs a name", "**": "needs a name", "": "needs a name"} {
		p := Plugin{Name: "p", New: func() any { return consuming{} }, Queues: []Queue{{Name: name, TopicFilters: []string{"#"}}}}
		m, err := p.Manifest()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if err == nil && slices.Contains(m.NeededFeatures, "consumer_patterns") != strings.HasSuffix(name, "*") {
			t.Errorf("%q needs %v", name, m.NeededFeatures)
		}
	}
}
