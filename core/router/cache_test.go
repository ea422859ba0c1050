package router

import (
	"fmt"
	"strings"
	"testing"
)

// hits tells whether the next lookup of a topic is answered without a walk. The walk's scratch shows it: a walk leaves
// it grown, so it is thrown away before.
func (c *Cache) hits(r *Router, topic string) bool {
	c.walk = walk{}
	c.Lookup(r, []byte(topic))
	return c.walk.levels == nil
}

// A change invalidates what it may concern, and mostly nothing else.
func TestInvalidation(t *testing.T) {
	s, other := &session{id: 1}, &session{id: 2}
	tests := []struct {
		name   string
		change func(r *Router)
		stays  bool // the cached result of a/b
	}{
		{"nothing", func(*Router) {}, true},
		{"same topic", func(r *Router) { r.Subscribe(other, "", "a/b", Options{}) }, false},
		{"same branch", func(r *Router) { r.Subscribe(other, "", "a/x/y", Options{}) }, false},
		{"other branch", func(r *Router) { r.Subscribe(other, "", otherBranch("a", r)+"/b", Options{}) }, true},
		{"leading +", func(r *Router) { r.Subscribe(other, "", "+/b", Options{}) }, false},
		{"leading #", func(r *Router) { r.Subscribe(other, "", "#", Options{}) }, false},
		{"other options", func(r *Router) { r.Subscribe(s, "", "a/b", Options{QoS: 2}) }, false},
		{"same options", func(r *Router) { r.Subscribe(s, "", "a/b", Options{QoS: 1, ID: 4}) }, true},
		{"unsubscribe", func(r *Router) { r.Unsubscribe(s, "", "a/b") }, false},
		{"unsubscribe nobody", func(r *Router) { r.Unsubscribe(other, "", "a/b") }, true},
		{"new group", func(r *Router) { r.Subscribe(s, "h", "a/b", Options{}) }, false},
		{"joining a group", func(r *Router) { r.Subscribe(other, "g", "a/b", Options{}) }, true},
		{"end of a group", func(r *Router) { r.Unsubscribe(s, "g", "a/b") }, false},
	}
	for _, test := range tests {
		r := New(Config{})
		r.Subscribe(s, "", "a/b", Options{QoS: 1, ID: 4})
		r.Subscribe(s, "g", "a/b", Options{})
		c, last := NewCache(64), Last{}
		last.Lookup(r, c, []byte("a/b"))
		test.change(r)
		if last.valid(r) != test.stays {
			t.Errorf("%s: last stays is %v", test.name, !test.stays)
		}
		if c.hits(r, "a/b") != test.stays {
			t.Errorf("%s: entry stays is %v", test.name, !test.stays)
		}
		want := describe(r.Match([]byte("a/b"), nil))
		if got := describe(last.Lookup(r, c, []byte("a/b"))); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %q, want %q", test.name, got, want)
		}
	}
}

// otherBranch returns a first level that shares no counter with the given one.
func otherBranch(first string, r *Router) string {
	for i := 0; ; i++ {
		if name := fmt.Sprint("x", i); branch(r.hash(name)) != branch(r.hash(first)) {
			return name
		}
	}
}

// Several routers share a cache and a Last, without seeing each other's results.
func TestSharedCache(t *testing.T) {
	c, last := NewCache(64), Last{}
	topic := []byte("a/b")
	routers := make([]*Router, 20)
	for i := range routers {
		routers[i] = New(Config{})
		routers[i].Subscribe(&session{id: uint64(i)}, "", "a/b", Options{})
	}
	for range 3 {
		for i, r := range routers {
			if got := c.Lookup(r, topic); len(got) != 1 || got[0].Sub.Key() != uint64(i) {
				t.Errorf("router %d: %+v", i, got)
			}
			if got := last.Lookup(r, c, topic); len(got) != 1 || got[0].Sub.Key() != uint64(i) {
				t.Errorf("router %d: last %+v", i, got)
			}
		}
	}
}

// A topic is copied: the caller's buffer is used again.
func TestTopicIsNotKept(t *testing.T) {
	r := New(Config{})
	r.Subscribe(&session{id: 1}, "", "a", Options{})
	c, last := NewCache(64), Last{}
	buffer := []byte("a")
	last.Lookup(r, c, buffer)
	buffer[0] = 'b'
	if got := last.Lookup(r, c, buffer); len(got) != 0 {
		t.Errorf("b matches %+v", got)
	}
	if got := c.Lookup(r, []byte("a")); len(got) != 1 {
		t.Errorf("a matches %+v", got)
	}
}

// What caches hold is bounded in topics' bytes and in targets.
func TestCacheBounds(t *testing.T) {
	r := New(Config{})
	c, last := NewCache(32), Last{}
	many := sessions(100)
	for _, s := range many {
		r.Subscribe(s, "", "many/+", Options{})
		r.Subscribe(s, "", "many/#", Options{})
	}
	r.Subscribe(many[0], "", "#", Options{})

	long := strings.Repeat("x", maxCachedTopic+1)
	for range 2 {
		if got := last.Lookup(r, c, []byte(long)); len(got) != 1 || last.router != nil {
			t.Errorf("long topic: %d targets, remembered %v", len(got), last.router != nil)
		}
	}
	if got := last.Lookup(r, c, []byte("many/x")); len(got) != len(many) || last.router != nil {
		t.Errorf("many targets: %d, remembered %v", len(got), last.router != nil)
	}
	for i := range 1000 {
		if got := c.Lookup(r, fmt.Appendf(nil, "many/%d", i)); len(got) != len(many) {
			t.Fatalf("%d targets", len(got))
		}
		held := 0
		for _, e := range c.entries {
			held += cap(e.targets)
		}
		if held != c.held || held > targetsPerEntry*len(c.entries) {
			t.Fatalf("holds %d targets and counts %d, limit %d", held, c.held, targetsPerEntry*len(c.entries))
		}
	}

	// A result above the whole limit is right, and not kept.
	for _, s := range sessions(targetsPerEntry*len(c.entries) + 1) {
		r.Subscribe(s, "", "huge", Options{})
	}
	if got := c.Lookup(r, []byte("huge")); len(got) != targetsPerEntry*len(c.entries)+2 {
		t.Errorf("%d targets", len(got)) // one more: sessions() made a second session 1, and # matches
	}
	if c.hits(r, "huge") {
		t.Error("a huge result is kept")
	}
}

func TestCacheAllocs(t *testing.T) {
	r := New(Config{})
	for _, s := range sessions(3) {
		r.Subscribe(s, "", "a/+", Options{})
		r.Subscribe(s, "", "a/#", Options{ID: 1})
	}
	c, last := NewCache(64), Last{}
	topic := []byte("a/b")
	c.Lookup(r, topic)
	if n := testing.AllocsPerRun(1000, func() { c.Lookup(r, topic) }); n != 0 {
		t.Errorf("cache hit: %v allocations", n)
	}
	last.Lookup(r, c, topic)
	if n := testing.AllocsPerRun(1000, func() { last.Lookup(r, c, topic) }); n != 0 {
		t.Errorf("last hit: %v allocations", n)
	}
	// A miss that one filter answers needs no memory either: the result is the filter's own list.
	r.Subscribe(&session{id: 9}, "", "b/+", Options{})
	topics := [][]byte{[]byte("b/1"), []byte("b/2")}
	one, i := NewCache(1), 0
	if n := testing.AllocsPerRun(1000, func() { i++; one.Lookup(r, topics[i&1]) }); n != 0 {
		t.Errorf("miss: %v allocations", n)
	}
}

// A cache is small until it displaces what it could have used, and no larger than it may.
func TestCacheGrows(t *testing.T) {
	r, c := New(Config{}), NewCache(4000)
	look := func(topics int) {
		for i := range 40 * topics {
			c.Lookup(r, fmt.Appendf(nil, "t/%d", i%topics))
		}
	}
	if len(c.entries) != 0 {
		t.Errorf("%d entries before the first lookup", len(c.entries))
	}
	look(1)
	if len(c.entries) != firstEntries {
		t.Errorf("%d entries for one topic, want %d", len(c.entries), firstEntries)
	}
	look(3000)
	if len(c.entries) != 4096 {
		t.Errorf("%d entries for 3,000 topics, want 4096", len(c.entries))
	}
	c = NewCache(8)
	look(100)
	if len(c.entries) != 8 {
		t.Errorf("%d entries, want 8", len(c.entries))
	}
}
