package router

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// grouped returns a group of n members, and them.
func grouped(strategy Strategy, n int) (*Router, *Group, []*session) {
	r := New(Config{Strategy: strategy})
	all := sessions(n)
	for _, s := range all {
		r.Subscribe(s, "g", "jobs/+", Options{QoS: 1, ID: uint32(s.id)})
	}
	return r, r.Group("g", "jobs/+"), all
}

// distribution picks n times with different publishers and topics, and counts.
func distribution(g *Group, n int, exclude Subscriber) map[Subscriber]int {
	count := map[Subscriber]int{}
	for i := range n {
		if t, ok := g.Pick(uint64(i), fmt.Appendf(nil, "jobs/%d", i), exclude); ok {
			count[t.Sub]++
		}
	}
	return count
}

var strategies = []Strategy{RoundRobin, Random, LeastInflight, Sticky, HashClient, HashTopic}

func TestStrategyNames(t *testing.T) {
	for _, s := range strategies {
		if got, err := ParseStrategy(s.String()); got != s || err != nil {
			t.Errorf("%v: parsed as %v, %v", s, got, err)
		}
	}
	if _, err := ParseStrategy("fair"); err == nil {
		t.Error("unknown name was taken")
	}
	if got := Strategy(99).String(); got != "Strategy(99)" {
		t.Errorf("unknown strategy is %q", got)
	}
}

// Every strategy: a match names the group once, and each member is given what it asked for.
func TestGroupTarget(t *testing.T) {
	for _, strategy := range strategies {
		r, g, all := grouped(strategy, 3)
		list := r.Match([]byte("jobs/x"), nil)
		if len(list) != 1 || list[0].Sub != nil || list[0].Group != g {
			t.Fatalf("%v: match gives %+v", strategy, list)
		}
		if group, filter := g.Name(); group != "g" || filter != "jobs/+" {
			t.Errorf("name is %q %q", group, filter)
		}
		for i := range 30 {
			got, ok := g.Pick(uint64(i), []byte("jobs/x"), nil)
			if !ok || got.Group != g || got.QoS != 1 || len(got.IDs) != 1 || uint64(got.IDs[0]) != got.Sub.Key() {
				t.Fatalf("%v: pick gives %+v, %v", strategy, got, ok)
			}
		}
		for _, s := range all {
			r.Unsubscribe(s, "g", "jobs/+")
		}
		if got, ok := g.Pick(1, nil, nil); ok {
			t.Errorf("%v: picked %+v from an empty group", strategy, got)
		}
		if r.Group("g", "jobs/+") != nil || r.Match([]byte("jobs/x"), nil) != nil {
			t.Errorf("%v: the empty group is still there", strategy)
		}
		mustBeEmpty(t, r)
	}
}

// Every strategy spreads messages of many publishers and topics evenly over those online: each within 20 % (hashed,
// random) or exactly (in turn).
func TestDistribution(t *testing.T) {
	picks := many(60_000)
	for _, strategy := range strategies {
		for name, offline := range map[string]func(i int) bool{
			"all online":   func(int) bool { return false },
			"half offline": func(i int) bool { return i%2 == 0 },
			"in a row":     func(i int) bool { return i > 1 && i < 10 },
			"all offline":  func(int) bool { return true },
		} {
			t.Run(fmt.Sprintf("%v/%s", strategy, name), func(t *testing.T) {
				_, g, all := grouped(strategy, 12)
				may := 0
				for i, s := range all {
					s.offline.Store(offline(i))
					if !offline(i) {
						may++
					}
				}
				none := may == 0
				if none {
					may = len(all)
				}
				want, slack := picks/may, 0
				if strategy == Random || strategy == HashClient || strategy == HashTopic {
					slack = want / 5
				}
				count := distribution(g, picks, nil)
				for i, s := range all {
					switch n := count[s]; {
					case offline(i) && !none:
						if n != 0 {
							t.Errorf("member %d is offline and was picked %d times", i, n)
						}
					case n < want-slack || n > want+slack:
						t.Errorf("member %d was picked %d times, want %d ± %d", i, n, want, slack)
					}
				}
			})
		}
	}
}

func TestExclude(t *testing.T) {
	for _, strategy := range strategies {
		r, g, all := grouped(strategy, 3)
		if n := distribution(g, 300, all[1]); n[all[1]] != 0 || n[all[0]]+n[all[2]] != 300 {
			t.Errorf("%v: %v", strategy, n)
		}
		all[0].offline.Store(true)
		if n := distribution(g, 30, all[1]); n[all[2]] != 30 {
			t.Errorf("%v: one online and not excluded: %v", strategy, n)
		}
		all[2].offline.Store(true)
		if n := distribution(g, 30, all[1]); n[all[1]] != 0 || len(n) == 0 {
			t.Errorf("%v: only the excluded one is online: %v", strategy, n)
		}
		r.Unsubscribe(all[0], "g", "jobs/+")
		r.Unsubscribe(all[2], "g", "jobs/+")
		if got, ok := g.Pick(1, nil, all[1]); ok {
			t.Errorf("%v: picked %+v though excluded", strategy, got)
		}
	}
}

// Messages of one publisher (or topic) stay with one member, until that goes offline; the others keep theirs.
func TestAffinity(t *testing.T) {
	const keys = 1000
	for _, strategy := range []Strategy{Sticky, HashClient, HashTopic} {
		t.Run(strategy.String(), func(t *testing.T) {
			r, g, all := grouped(strategy, 10)
			assigned := func() map[int]Subscriber {
				m := map[int]Subscriber{}
				for i := range keys {
					publisher, topic := uint64(i), "jobs/same"
					if strategy == HashTopic {
						publisher, topic = rand.Uint64(), fmt.Sprint("jobs/", i)
					}
					got, _ := g.Pick(publisher, []byte(topic), nil)
					m[i] = got.Sub
				}
				return m
			}
			// moved compares two assignments, and says how many moved that were not with one of those.
			moved := func(a, b map[int]Subscriber, with ...Subscriber) (n int) {
			next:
				for i := range keys {
					for _, s := range with {
						if a[i] == s || b[i] == s {
							continue next
						}
					}
					if a[i] != b[i] {
						n++
					}
				}
				return n
			}
			first := assigned()
			if n := moved(first, assigned()); n != 0 {
				t.Errorf("%d moved though nothing changed", n)
			}
			all[3].offline.Store(true)
			without := assigned()
			if n := moved(first, without, all[3]); n != 0 {
				t.Errorf("%d moved that were not with the one that went offline", n)
			}
			all[3].offline.Store(false)
			again := assigned()
			if strategy == Sticky {
				if n := moved(without, again); n != 0 {
					t.Errorf("%d moved though their member stayed online", n)
				}
			} else if n := moved(first, again); n != 0 {
				t.Errorf("%d did not come back", n)
			}
			r.Unsubscribe(all[5], "g", "jobs/+")
			left := assigned()
			if n := moved(again, left, all[5]); n != 0 {
				t.Errorf("%d moved that were not with the one that left", n)
			}
			joined := &session{id: 77}
			r.Subscribe(joined, "g", "jobs/+", Options{})
			if n := moved(left, assigned(), joined); n != 0 {
				t.Errorf("%d moved to another than the new one", n)
			}
		})
	}
}

// A sticky publisher whose member is offline moves once; with nobody online it stays.
func TestStickyOffline(t *testing.T) {
	_, g, all := grouped(Sticky, 3)
	pick := func(exclude Subscriber) Subscriber {
		got, _ := g.Pick(42, nil, exclude)
		return got.Sub
	}
	first := pick(nil)
	if other := pick(first); other == first || pick(nil) != first {
		t.Error("excluding a member for one message moved the publisher")
	}
	for _, s := range all {
		s.offline.Store(true)
	}
	for range 5 {
		if pick(nil) != first {
			t.Fatal("the publisher moved though nobody is online")
		}
	}
	for _, s := range all {
		if s != first {
			s.offline.Store(false)
			if pick(nil) != s {
				t.Fatal("the publisher did not move to the only one online")
			}
			break
		}
	}
}

// Publishers that are active stay where they are, however many others come by.
func TestStickyForgetsOnlyTheIdle(t *testing.T) {
	_, g, _ := grouped(Sticky, 7)
	first, _ := g.Pick(1, nil, nil)
	for i := range 5 * stickyPublishers {
		g.Pick(uint64(i+1000), nil, nil)
		if i%1000 == 0 {
			if got, _ := g.Pick(1, nil, nil); got.Sub != first.Sub {
				t.Fatalf("moved after %d other publishers", i)
			}
		}
	}
	if n := len(g.sticky.now) + len(g.sticky.old); n > 2*stickyPublishers {
		t.Errorf("%d publishers remembered", n)
	}
}

func TestLeastInflight(t *testing.T) {
	for _, size := range []int{5, 1000} {
		_, g, all := grouped(LeastInflight, size)
		for i, s := range all {
			s.load.Store(int64(10 + i%3))
		}
		least := all[size/2]
		least.load.Store(1)
		hits := 0
		for range size {
			got, _ := g.Pick(0, nil, nil)
			if got.Sub == least {
				hits++
			} else if got.Sub.Load() != 10 {
				t.Fatalf("size %d: picked a load of %d", size, got.Sub.Load())
			}
		}
		// In a large group it is among those looked at 128 times of 1,000; 60 to 200 is six standard deviations.
		if size <= leastWindow && hits != size || size > leastWindow && (hits < 60 || hits > 200) {
			t.Errorf("size %d: the least loaded member was picked %d times of %d", size, hits, size)
		}
		least.offline.Store(true)
		if n := distribution(g, size, nil); n[least] != 0 {
			t.Errorf("size %d: an offline member was picked", size)
		}
	}
}

// Members come and go while messages are distributed: nobody who is a member all the time is ever the reason for
// an empty answer, and nobody who left before the call is picked.
func TestPickConcurrent(t *testing.T) {
	for _, strategy := range strategies {
		r, g, _ := grouped(strategy, 3)
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				mine := &session{id: uint64(100 + i)}
				for range 500 {
					r.Subscribe(mine, "g", "jobs/+", Options{QoS: 2})
					r.Subscribe(mine, "g", "jobs/+", Options{QoS: 1})
					mine.offline.Store(!mine.offline.Load())
					r.Unsubscribe(mine, "g", "jobs/+")
					for k := range 4 {
						if got, ok := g.Pick(uint64(k), nil, nil); !ok || got.Sub == mine {
							t.Errorf("%v: got %+v, %v", strategy, got, ok)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		if g.size() != 3 {
			t.Errorf("%v: %d members left", strategy, g.size())
		}
	}
}

// Groups keep to themselves, and thousands of members or groups are nothing special.
func TestManyGroups(t *testing.T) {
	r := New(Config{})
	all := sessions(5000)
	for i := range 10_000 {
		r.Subscribe(all[i%len(all)], fmt.Sprint("g", i), "a/b", Options{})
	}
	for _, s := range all {
		r.Subscribe(s, "big", "a/b", Options{})
	}
	list := r.Match([]byte("a/b"), nil)
	if len(list) != 10_001 {
		t.Fatalf("%d targets", len(list))
	}
	if n := distribution(r.Group("big", "a/b"), len(all), nil); len(n) != len(all) {
		t.Errorf("%d of %d members picked in one round", len(n), len(all))
	}
	want := Stats{Subscriptions: 15_000, Filters: 1, Groups: 10_001, Nodes: 3}
	if got := r.Stats(); got != want {
		t.Errorf("stats: got %+v, want %+v", got, want)
	}
	for i := range 10_000 {
		r.Unsubscribe(all[i%len(all)], fmt.Sprint("g", i), "a/b")
	}
	for _, s := range all {
		r.Unsubscribe(s, "big", "a/b")
	}
	mustBeEmpty(t, r)
}

func TestPickAllocs(t *testing.T) {
	for _, strategy := range strategies {
		_, g, _ := grouped(strategy, 10)
		topic := []byte("jobs/1")
		if n := testing.AllocsPerRun(1000, func() { g.Pick(1, topic, nil) }); n != 0 {
			t.Errorf("%v: %v allocations", strategy, n)
		}
	}
}
