package router

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestMatchTable(t *testing.T) {
	long := strings.Repeat("x", 65535)
	slashes := strings.Repeat("/", 32767)
	tests := []struct {
		filter    string
		match     []string
		different []string
	}{
		{"a", []string{"a"}, []string{"b", "a/", "/a", "aa", "a/b"}},
		{"a/b/c", []string{"a/b/c"}, []string{"a/b", "a/b/c/d", "a/b/C", "a/b/c/"}},
		{"/", []string{"/"}, []string{"a/", "/a", "//"}},
		{"/a", []string{"/a"}, []string{"a", "//a"}},
		{"a//b", []string{"a//b"}, []string{"a/b", "a/x/b"}},
		{"+", []string{"a"}, []string{"/a", "a/", "a/b", "$SYS"}},                           // [MQTT-4.7.1-2]
		{"/+", []string{"/a", "/"}, []string{"a", "/a/"}},                                   //
		{"+/+", []string{"/a", "a/b", "/"}, []string{"a", "a/b/c", "$SYS/a"}},               //
		{"a/+/c", []string{"a/b/c", "a//c", "a/$x/c"}, []string{"a/c", "a/b/d", "a/b/b/c"}}, //
		{"#", []string{"a", "a/b", "/", "//", slashes, long}, []string{"$SYS", "$SYS/a"}},   // [MQTT-4.7.2-1]
		{"a/#", []string{"a", "a/", "a/b", "a/b/c"}, []string{"b", "aa", "/a"}},             // [MQTT-4.7.1-1]
		{"+/#", []string{"a", "a/b", "/"}, []string{"$SYS", "$SYS/a"}},
		{"+/a/#", []string{"x/a", "/a/b"}, []string{"$SYS/a/b", "x/b"}},
		{"$SYS/#", []string{"$SYS", "$SYS/a"}, []string{"SYS", "a/$SYS"}},
		{"$SYS/+", []string{"$SYS/a"}, []string{"$SYS", "$SYS/a/b"}},
		{"$x", []string{"$x"}, []string{"x"}},
		{slashes, []string{slashes}, []string{slashes + "/", slashes[1:]}},
		{long, []string{long}, []string{long[1:]}},
		{strings.Repeat("+/", 32767) + "+", []string{slashes}, []string{slashes + "/", "a"}},
	}
	s := &session{id: 1}
	for _, test := range tests {
		r := New(Config{})
		r.Subscribe(s, "", test.filter, Options{})
		for _, topic := range test.match {
			if len(r.Match([]byte(topic), nil)) != 1 {
				t.Errorf("filter %.40q does not match %.40q", test.filter, topic)
			}
		}
		for _, topic := range test.different {
			if len(r.Match([]byte(topic), nil)) != 0 {
				t.Errorf("filter %.40q matches %.40q", test.filter, topic)
			}
		}
		if !r.Unsubscribe(s, "", test.filter) {
			t.Errorf("filter %.40q cannot be unsubscribed", test.filter)
		}
		mustBeEmpty(t, r)
	}
}

// Overlapping subscriptions of one session are one delivery [MQTT-3.3.4-2..5].
func TestOverlap(t *testing.T) {
	r := New(Config{})
	s := &session{id: 1}
	r.Subscribe(s, "", "a/b", Options{QoS: 0, NoLocal: true, ID: 7})
	mustMatch(t, r, "a/b", "session 1 qos 0 no-local true rap false ids [7]")
	r.Subscribe(s, "", "a/+", Options{QoS: 2, NoLocal: true, ID: 3})
	mustMatch(t, r, "a/b", "session 1 qos 2 no-local true rap false ids [3 7]")
	r.Subscribe(s, "", "#", Options{QoS: 1, RetainAsPublished: true})
	mustMatch(t, r, "a/b", "session 1 qos 2 no-local false rap true ids [3 7]")
	r.Subscribe(s, "", "a/#", Options{ID: 7})
	mustMatch(t, r, "a/b", "session 1 qos 2 no-local false rap true ids [3 7 7]")
	r.Subscribe(s, "g", "a/b", Options{QoS: 1})
	r.Subscribe(s, "h", "a/b", Options{QoS: 1})
	r.Subscribe(s, "g", "a/+", Options{QoS: 1})
	mustMatch(t, r, "a/b", "session 1 qos 2 no-local false rap true ids [3 7 7]",
		"group g a/b", "group h a/b", "group g a/+")
	// What is merged must not have changed the subscriptions themselves.
	mustMatch(t, r, "a/c", "session 1 qos 2 no-local false rap true ids [3 7]", "group g a/+")
	mustMatch(t, r, "x", "session 1 qos 1 no-local false rap true ids []")
}

// A second SUBSCRIBE with the same filter replaces the first [MQTT-3.8.4-3].
func TestReplace(t *testing.T) {
	r := New(Config{})
	s := &session{id: 1}
	for _, group := range []string{"", "g"} {
		if r.Subscribe(s, group, "a", Options{QoS: 1, ID: 1}) {
			t.Errorf("group %q: the first subscription existed", group)
		}
		if !r.Subscribe(s, group, "a", Options{QoS: 2, ID: 2}) {
			t.Errorf("group %q: the second subscription did not exist", group)
		}
	}
	mustMatch(t, r, "a", "session 1 qos 2 no-local false rap false ids [2]", "group g a")
	if got, _ := r.Group("g", "a").Pick(0, nil, nil); got.QoS != 2 || !slices.Equal(got.IDs, []uint32{2}) {
		t.Errorf("group member is not replaced: %+v", got)
	}
	if got, want := r.Stats(), (Stats{Subscriptions: 2, Filters: 1, Groups: 1, Nodes: 2}); got != want {
		t.Errorf("stats: got %+v, want %+v", got, want)
	}
	for _, group := range []string{"", "g"} {
		if !r.Unsubscribe(s, group, "a") || r.Unsubscribe(s, group, "a") {
			t.Errorf("group %q: unsubscribe must find it once", group)
		}
	}
	mustBeEmpty(t, r)
}

func TestUnsubscribeUnknown(t *testing.T) {
	r := New(Config{})
	a, b := &session{id: 1}, &session{id: 2}
	r.Subscribe(a, "", "a/b/c", Options{})
	r.Subscribe(a, "g", "a/b/c", Options{})
	before := r.Stats()
	for _, filter := range []string{"a/b/c", "a", "a/b", "a/+/c", "a/#", "x", "a/b/c/d", ""} {
		for _, group := range []string{"", "g", "h"} {
			if r.Unsubscribe(b, group, filter) {
				t.Errorf("unsubscribed %q of group %q that never was", filter, group)
			}
		}
	}
	if r.Stats() != before {
		t.Errorf("stats changed from %+v to %+v", before, r.Stats())
	}
}

// A result that somebody holds stays as it was.
func TestTargetsAreImmutable(t *testing.T) {
	for _, size := range []int{1, 2, 100, blockSize, blockSize + 1, 1000} {
		r := New(Config{})
		c := NewCache(16)
		all := sessions(size)
		for _, s := range all {
			r.Subscribe(s, "", "a", Options{})
		}
		held := c.Lookup(r, []byte("a"))
		want := slices.Clone(held)
		// Who appends to a result and who subscribes must not write into each other's memory.
		extra := append(held, Target{Sub: all[0], QoS: 9})
		for i := range size {
			r.Subscribe(&session{id: uint64(size + i)}, "", "a", Options{})
		}
		if extra[size].QoS != 9 {
			t.Errorf("size %d: the index wrote into a holder's slice", size)
		}
		for _, s := range all {
			r.Subscribe(s, "", "a", Options{QoS: 1})
			r.Unsubscribe(s, "", "a")
		}
		if got := describe(held); !slices.Equal(got, describe(want)) {
			t.Errorf("size %d: held result changed", size)
		}
		now := c.Lookup(r, []byte("a"))
		if len(now) != size || slices.ContainsFunc(now, func(t Target) bool { return slices.Contains(all, t.Sub.(*session)) }) {
			t.Errorf("size %d: %d targets afterwards", size, len(now))
		}
	}
}

func TestOrderIsThatOfSubscribing(t *testing.T) {
	for _, size := range []int{50, 1000} {
		r := New(Config{})
		all := sessions(size)
		for _, s := range all {
			r.Subscribe(s, "", "a", Options{})
		}
		got := r.Match([]byte("a"), nil)
		for i, s := range all {
			if got[i].Sub != s {
				t.Fatalf("size %d: target %d is session %d", size, i, got[i].Sub.Key())
			}
		}
	}
}

// Many sessions on one filter, leaving in any order.
func TestManySubscribers(t *testing.T) {
	n := many(100_000)
	r := New(Config{})
	all := sessions(n)
	for _, s := range all {
		if r.Subscribe(s, "", "a/b", Options{QoS: 1}) {
			t.Fatal("existed before")
		}
	}
	if got := len(r.Match([]byte("a/b"), nil)); got != n {
		t.Fatalf("%d targets, want %d", got, n)
	}
	rand.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i, s := range all {
		if !r.Unsubscribe(s, "", "a/b") {
			t.Fatal("did not exist")
		}
		if left := n - i - 1; left%9973 == 0 || left < 2 {
			got := map[Subscriber]bool{}
			for _, target := range r.Match([]byte("a/b"), nil) {
				got[target.Sub] = true
			}
			if len(got) != left {
				t.Fatalf("%d targets, want %d", len(got), left)
			}
			for _, s := range all[i+1:] {
				if !got[s] {
					t.Fatalf("session %d is missing", s.id)
				}
			}
		}
	}
	mustBeEmpty(t, r)
}

// Memory comes back, whatever the shape of the index was.
func TestMemoryReturns(t *testing.T) {
	n := many(100_000)
	shapes := map[string]func(i int) (filter string, s int){
		"wide":        func(i int) (string, int) { return fmt.Sprintf("device/%d", i), 0 },
		"deep":        func(i int) (string, int) { return fmt.Sprintf("%d/%d/%d/x/y", i/1000, i/30, i), 0 },
		"wildcards":   func(i int) (string, int) { return fmt.Sprintf("+/%d/+/#", i), 0 },
		"subscribers": func(i int) (string, int) { return "a", i },
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			r := New(Config{})
			all := sessions(n)
			before := heap()
			for i := range n {
				filter, s := shape(i)
				r.Subscribe(all[s], "", filter, Options{})
			}
			full := heap()
			for i := range n {
				filter, s := shape(i)
				r.Unsubscribe(all[s], "", filter)
			}
			mustBeEmpty(t, r)
			after := heap()
			t.Logf("%.0f bytes per subscription", float64(full-before)/float64(n))
			if full-before < int64(n)*40 || after-before > (full-before)/20 {
				t.Errorf("heap: %d empty, %d full, %d empty again", before, full, after)
			}
			runtime.KeepAlive(r)
			runtime.KeepAlive(all)
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // the second one empties sync.Pool
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// 2^12 filters made of + and a literal match one topic: as many visits, and no more.
func TestManyBranches(t *testing.T) {
	r := New(Config{})
	const levels = 12
	for i := range 1 << levels {
		parts := make([]string, levels)
		for j := range parts {
			parts[j] = "+"
			if i>>j&1 == 1 {
				parts[j] = "a"
			}
		}
		r.Subscribe(&session{id: uint64(i)}, "", strings.Join(parts, "/"), Options{})
	}
	topic := []byte(strings.Repeat("a/", levels-1) + "a")
	if got := len(r.Match(topic, nil)); got != 1<<levels {
		t.Errorf("%d targets, want %d", got, 1<<levels)
	}
	if got := len(r.Match([]byte(strings.Repeat("b/", levels-1)+"b"), nil)); got != 1 {
		t.Errorf("%d targets, want 1", got)
	}
	w := &walk{}
	w.begin(r, topic)
	w.run(r.root)
	if len(w.levels) != levels || cap(w.todo) > 4*levels {
		t.Errorf("walk used %d levels and room for %d branches", len(w.levels), cap(w.todo))
	}
}

func TestMatchAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool allocate")
	}
	r := New(Config{})
	for i, s := range sessions(100) {
		r.Subscribe(s, "", fmt.Sprintf("a/b/%d", i), Options{ID: 1})
		r.Subscribe(s, "", "a/b/literal", Options{ID: 1})
		r.Subscribe(s, "", "+/wild/#", Options{})
		r.Subscribe(s, "", "a/wild/+", Options{})
	}
	for _, topic := range []string{"a/b/7", "a/b/literal", "a/b/nobody", "a/wild/x"} {
		dst := make(Targets, 0, 1000)
		name := []byte(topic)
		if n := testing.AllocsPerRun(1000, func() { dst = r.Match(name, dst[:0]) }); n != 0 {
			t.Errorf("match %q: %v allocations", topic, n)
		}
	}
}
