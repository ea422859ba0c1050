package pluginhost

import (
	"strings"
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Consumers that the config makes have to fit a pattern of the manifest, the longest one.
func TestConsumerPatterns(t *testing.T) {
	consumer := func(name string, filters ...string) pluginv1.Consumer {
		return pluginv1.Consumer{Name: name, TopicFilters: filters}
	}
	m := &pluginv1.Manifest{Name: "p", Consumers: []pluginv1.Consumer{consumer("*", "a/#"), consumer("b-*", "b/#"), consumer("one", "#")}}
	if err := checkManifest(m, Builtin); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		wanted []pluginv1.Consumer
		want   string
	}{
		{[]pluginv1.Consumer{consumer("x", "a/b"), consumer("y", "a/#"), consumer("b-1", "b/c"), consumer("one", "z")}, ""},
		{[]pluginv1.Consumer{consumer("x", "b/c")}, `"b/c" is not covered`},
		{[]pluginv1.Consumer{consumer("b-1", "a/b")}, `"a/b" is not covered`},
		{[]pluginv1.Consumer{consumer("x", "a/b"), consumer("x", "a/c")}, "is there twice"},
		{[]pluginv1.Consumer{consumer("b-*", "b/c")}, `a name is 1 to 64`},
		{[]pluginv1.Consumer{consumer("X", "a/c")}, `a name is 1 to 64`},
	} {
		err := narrowedWithin(&pluginv1.Narrowed{Consumers: c.wanted}, m, false)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.wanted, err, c.want)
		}
	}
	for _, name := range []string{"a*b", "**", "", "A*"} {
		if err := checkManifest(&pluginv1.Manifest{Name: "p", Consumers: []pluginv1.Consumer{consumer(name, "#")}}, Builtin); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
	if narrowedWithin(&pluginv1.Narrowed{Consumers: []pluginv1.Consumer{consumer("x", "a")}}, &pluginv1.Manifest{}, false) == nil {
		t.Error("a consumer without a pattern is taken")
	}
	// Without a word of the plugin's, a pattern is no consumer.
	g := &generation{plugin: &plugin{}, spec: &Spec{}, manifest: m}
	if err := g.want(nil); err != nil || len(g.wanted.Consumers) != 1 || g.wanted.Consumers[0].Name != "one" {
		t.Errorf("%+v, %v", g.wanted, err)
	}
}
