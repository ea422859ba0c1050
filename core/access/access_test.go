package access

import (
	"math/rand"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/topic"
)

func TestFirstRuleThatAppliesDecides(t *testing.T) {
	p := NewPermissions([]Rule{
		{Allow: false, Actions: Publish | Subscribe, Filter: "plant/secret/#"},
		{Allow: true, Actions: Publish, Filter: "plant/+/state", QoS: QoS(0) | QoS(1), Retain: NotRetained},
		{Allow: true, Actions: Subscribe, Filter: "plant/#"},
		{Allow: true, Actions: Publish, Filter: "temp/#", Until: 1000},
	})
	publish := []struct {
		name   string
		qos    byte
		retain bool
		now    int64
		want   bool
	}{
		{"plant/a/state", 1, false, 1, true},
		{"plant/a/state", 2, false, 1, false},
		{"plant/a/state", 1, true, 1, false},
		{"plant/secret/state", 0, false, 1, false},
		{"plant/a", 0, false, 1, false},
		{"temp/x", 0, false, 999, true},
		{"temp/x", 0, false, 1000, false},
	}
	for _, c := range publish {
		if got := p.MayPublish(c.name, c.qos, c.retain, c.now); got != c.want {
			t.Errorf("publish %s qos %d retain %v at %d: %v", c.name, c.qos, c.retain, c.now, got)
		}
	}
	for filter, want := range map[string]bool{
		"plant/a/#": true, "plant/a": true, "#": false, "plant/#": false, "plant/+/x": false, "other": false,
	} {
		if got := p.MaySubscribe(filter, 0, 1); got != want {
			t.Errorf("subscribe %s: %v", filter, got)
		}
	}
	if !p.MayReceive("anything", 0, false, 1) || p.FiltersReceive() {
		t.Error("no rule speaks of receiving, yet it is filtered")
	}
	var none *Permissions
	if !none.MayPublish("x", 2, true, 1) || !none.MaySubscribe("#", 2, 1) || !none.MayReceive("x", 0, false, 1) {
		t.Error("nil Permissions must allow everything")
	}
}

// Covers and Overlaps are held against what they mean: all short topic names
// over a small alphabet.
func TestCoversAndOverlapsByEnumeration(t *testing.T) {
	parts := []string{"a", "b", "$x", ""}
	var names []string
	var build func(prefix []string)
	build = func(prefix []string) {
		if len(prefix) > 0 && strings.Join(prefix, "/") != "" {
			names = append(names, strings.Join(prefix, "/"))
		}
		if len(prefix) == 4 {
			return
		}
		for _, p := range parts {
			build(append(prefix[:len(prefix):len(prefix)], p))
		}
	}
	build(nil)
	rng := rand.New(rand.NewSource(2))
	filter := func() string {
		n := 1 + rng.Intn(3)
		f := make([]string, n)
		for i := range f {
			f[i] = []string{"a", "b", "+", "$x"}[rng.Intn(4)]
		}
		if rng.Intn(3) == 0 {
			f[n-1] = "#"
		}
		return strings.Join(f, "/")
	}
	for range 3000 {
		x, y := filter(), filter()
		covers, meets := true, false
		for _, n := range names {
			mx, my := topic.Match(x, n), topic.Match(y, n)
			covers = covers && (mx || !my)
			meets = meets || mx && my
		}
		if got := Covers(x, y); got != covers {
			t.Fatalf("Covers(%q, %q) = %v", x, y, got)
		}
		if got := Overlaps(x, y); got != meets {
			t.Fatalf("Overlaps(%q, %q) = %v", x, y, got)
		}
	}
}

func TestBucket(t *testing.T) {
	b := Bucket{Rate: 10, Burst: 20}
	if b.Take(20, 1000) != 0 {
		t.Fatal("the burst was not granted")
	}
	if w := b.Take(1, 1000); w < 100 || w > 101 {
		t.Fatalf("one token too many must wait 100 ms, got %d", w)
	}
	if b.Take(1, 1300) != 0 {
		t.Fatal("tokens did not come back")
	}
	if b.Take(100, 1_000_000); b.Take(1, 1_000_000) < 8000 {
		t.Fatal("an oversized take must be paid for afterwards")
	}
	if (&Bucket{}).Take(1e9, 5) != 0 {
		t.Fatal("a bucket without a rate limited")
	}
}
