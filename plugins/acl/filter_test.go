package acl

import (
	"math/rand/v2"
	"testing"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/topic"
)

// What Explain computes is what the broker computes.
func TestFiltersAsTheBroker(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		x, y := randomFilter(r, "a", "b", "+", "$x"), randomFilter(r, "a", "b", "+", "$x")
		meets := false
		for _, n := range names {
			mx, my := topic.Match(x, n), topic.Match(y, n)
			if matches(x, n) != mx {
				t.Fatalf("matches(%q, %q) = %v", x, n, !mx)
			}
			meets = meets || mx && my
		}
		if got := covers(x, y); got != access.Covers(x, y) {
			t.Fatalf("covers(%q, %q) = %v", x, y, got)
		}
		if got := overlaps(x, y); got != meets {
			t.Fatalf("overlaps(%q, %q) = %v", x, y, got)
		}
	}
}

// A filter is one for the plugin if it is one for the broker, but for the length of
// levels that only the broker's limits know.
func FuzzCheckFilter(f *testing.F) {
	for _, s := range []string{"", "a", "a/#", "#/a", "a+", "+/+", "/", "$SYS/#", "a\x00", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := checkFilter(s) == nil, topic.ValidFilter(s) == nil; got != want {
			t.Errorf("checkFilter(%q) takes it: %v, the broker: %v", s, got, want)
		}
	})
}
