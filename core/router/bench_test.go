package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// forest is a router with n subscriptions of one kind, and topics of which each matches one of them (or, for the
// wildcards, at least one).
type forest struct {
	r       *Router
	filters []string
	topics  [][]byte
	all     []*session
}

var forests = map[string]*forest{} // building one with a million subscriptions takes seconds

var kinds = map[string]func(i int) (filter, topic string){
	"exact": func(i int) (string, string) {
		f := fmt.Sprintf("site/%d/device/%d/state", i%100, i)
		return f, f
	},
	"plus": func(i int) (string, string) {
		return fmt.Sprintf("site/+/device/%d/+", i), fmt.Sprintf("site/%d/device/%d/state", i%100, i)
	},
	"hash": func(i int) (string, string) {
		return fmt.Sprintf("site/%d/device/%d/#", i%100, i), fmt.Sprintf("site/%d/device/%d/a/b", i%100, i)
	},
}

func plant(kind string, n int) *forest {
	key := fmt.Sprint(kind, n)
	if forests[key] == nil {
		clear(forests) // one at a time, for memory
		f := &forest{r: New(Config{}), all: sessions(min(n, 10_000))}
		for i := range n {
			filter, topic := kinds[kind](i)
			f.r.Subscribe(f.all[i%len(f.all)], "", filter, Options{})
			f.filters = append(f.filters, filter)
			if i%max(1, n/10_000) == 0 {
				f.topics = append(f.topics, []byte(topic))
			}
		}
		rand.Shuffle(len(f.topics), func(i, j int) { f.topics[i], f.topics[j] = f.topics[j], f.topics[i] })
		forests[key] = f
	}
	return forests[key]
}

var forestSizes = map[string]int{"1k": 1000, "100k": 100_000, "1M": 1_000_000}

func eachForest(b *testing.B, run func(b *testing.B, f *forest)) {
	for _, kind := range []string{"exact", "plus", "hash"} {
		for _, size := range []string{"1k", "100k", "1M"} {
			b.Run(kind+"/"+size, func(b *testing.B) {
				f := plant(kind, forestSizes[size])
				b.ReportAllocs()
				b.ResetTimer()
				run(b, f)
			})
		}
	}
}

// BenchmarkMatch walks without a cache, over up to 10,000 different topics in random order.
func BenchmarkMatch(b *testing.B) { eachForest(b, matchAll) }

func matchAll(b *testing.B, f *forest) {
	var dst Targets
	for i := range b.N {
		dst = f.r.Match(f.topics[i%len(f.topics)], dst[:0])
		if len(dst) != 1 {
			b.Fatal(len(dst))
		}
	}
}

// BenchmarkMatchChurn is the same while another goroutine subscribes and unsubscribes next to what is matched.
func BenchmarkMatchChurn(b *testing.B) {
	eachForest(b, func(b *testing.B, f *forest) { withChurn(b, f, matchAll) })
}

// BenchmarkCacheChurn looks up 1,000 topics in a cache that the same churn, or one in another branch, invalidates.
func BenchmarkCacheChurn(b *testing.B) {
	for _, branch := range []string{"site", "elsewhere"} {
		b.Run(branch, func(b *testing.B) {
			f := plant("exact", 100_000)
			c := NewCache(4096)
			churned := *f
			if branch != "site" {
				churned.filters = nil
				for _, filter := range f.filters {
					churned.filters = append(churned.filters, branch+strings.TrimPrefix(filter, "site"))
				}
			}
			b.ReportAllocs()
			withChurn(b, &churned, func(b *testing.B, _ *forest) {
				for i := range b.N {
					c.Lookup(f.r, f.topics[i%1000])
				}
			})
		})
	}
}

func withChurn(b *testing.B, f *forest, run func(b *testing.B, f *forest)) {
	var stop atomic.Bool
	done := make(chan int)
	go func() {
		changes := 0
		s := &session{id: 1 << 40}
		for ; !stop.Load(); changes += 2 {
			filter := f.filters[changes/2%len(f.filters)] + "/churn"
			filter = strings.Replace(filter, "#/", "x/", 1)
			f.r.Subscribe(s, "", filter, Options{})
			f.r.Unsubscribe(s, "", filter)
		}
		done <- changes
	}()
	b.ResetTimer()
	run(b, f)
	b.StopTimer()
	stop.Store(true)
	b.ReportMetric(float64(<-done)/b.Elapsed().Seconds(), "changes/s")
}

// BenchmarkCacheHit is over 1,000 topics; two of them in one place of the cache would be a miss.
func BenchmarkCacheHit(b *testing.B) {
	f := plant("exact", 100_000)
	c := NewCache(1 << 20)
	for _, topic := range f.topics[:1000] {
		c.Lookup(f.r, topic)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		c.Lookup(f.r, f.topics[i%1000])
	}
}

func BenchmarkLastHit(b *testing.B) {
	f := plant("exact", 100_000)
	c, last := NewCache(16), Last{}
	topic := f.topics[7]
	last.Lookup(f.r, c, topic)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		last.Lookup(f.r, c, topic)
	}
}

// BenchmarkMerge unites the subscribers of a large filter with those of a small one, ns per match.
func BenchmarkMerge(b *testing.B) {
	for _, size := range [][2]int{{1, 1}, {5, 3}, {100, 10}, {2000, 1}, {2000, 2000}, {100_000, 1}} {
		b.Run(fmt.Sprintf("%d+%d", size[0], size[1]), func(b *testing.B) {
			r := New(Config{})
			all := sessions(size[0])
			for i, s := range all {
				r.Subscribe(s, "", "a/b", Options{})
				if i < size[1] {
					r.Subscribe(s, "", "a/+", Options{})
				}
			}
			var dst Targets
			topic := []byte("a/b")
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				dst = r.Match(topic, dst[:0])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size[0]), "ns/target")
		})
	}
}

// BenchmarkWide adds a million literal filters under one parent, then removes them.
func BenchmarkWide(b *testing.B) {
	benchChanges(b, 1_000_000, func(i int) (int, string) { return 0, fmt.Sprintf("wide/%d", i) })
}

// BenchmarkCrowd subscribes 100,000 sessions to one filter, then unsubscribes them in another order.
func BenchmarkCrowd(b *testing.B) {
	benchChanges(b, 100_000, func(i int) (int, string) { return i, "crowd" })
}

func benchChanges(b *testing.B, n int, subscription func(i int) (session int, filter string)) {
	all := sessions(min(n, 100_000))
	filters := make([]string, n)
	order := rand.Perm(n)
	who := make([]int, n)
	for i := range n {
		who[i], filters[i] = subscription(i)
	}
	b.Run("subscribe", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			r := New(Config{})
			for i := range n {
				r.Subscribe(all[who[i]], "", filters[i], Options{})
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/change")
	})
	b.Run("unsubscribe", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			b.StopTimer()
			r := New(Config{})
			for i := range n {
				r.Subscribe(all[who[i]], "", filters[i], Options{})
			}
			b.StartTimer()
			for _, i := range order {
				r.Unsubscribe(all[who[i]], "", filters[i])
			}
			if r.Stats().Nodes != 1 {
				b.Fatal("something is left")
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/change")
	})
}

// BenchmarkCrowdLookup looks up a filter with 100,000 subscribers, of which one changes before each lookup.
func BenchmarkCrowdLookup(b *testing.B) {
	r, c := New(Config{}), NewCache(1<<14)
	all := sessions(100_000)
	for _, s := range all {
		r.Subscribe(s, "", "crowd", Options{})
	}
	topic := []byte("crowd")
	for _, changes := range []int{0, 1} {
		b.Run(fmt.Sprintf("changes=%d", changes), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if changes > 0 {
					r.Subscribe(all[i%len(all)], "", "crowd", Options{QoS: byte(i/len(all)&1 ^ 1)})
				}
				if len(c.Lookup(r, topic)) != len(all) {
					b.Fatal("wrong")
				}
			}
		})
	}
}

// BenchmarkLongTopic matches topics of 65,535 bytes with one filter that is as deep, and with one that is not.
func BenchmarkLongTopic(b *testing.B) {
	topics := map[string]string{
		"slashes": strings.Repeat("/", 65535),
		"levels":  strings.Repeat("a/", 32767) + "a",
		"name":    strings.Repeat("a", 65535),
	}
	filters := map[string]string{
		"#":     "#",
		"equal": "",
		"plus":  strings.Repeat("+/", 32767) + "+",
	}
	for _, topic := range []string{"slashes", "levels", "name"} {
		for _, filter := range []string{"#", "equal", "plus"} {
			b.Run(topic+"/"+filter, func(b *testing.B) {
				r := New(Config{})
				f := filters[filter]
				if f == "" {
					f = topics[topic]
				}
				r.Subscribe(&session{id: 1}, "", f, Options{})
				name := []byte(topics[topic])
				b.ReportAllocs()
				b.ResetTimer()
				var dst Targets
				for range b.N {
					dst = r.Match(name, dst[:0])
				}
			})
		}
	}
}

// BenchmarkBranches matches a topic that 4,096 filters of + and one literal match.
func BenchmarkBranches(b *testing.B) {
	r := New(Config{})
	s := &session{id: 1}
	const levels = 12
	for i := range 1 << levels {
		parts := slices.Repeat([]string{"+"}, levels)
		for j := range parts {
			if i>>j&1 == 1 {
				parts[j] = "a"
			}
		}
		r.Subscribe(s, "", strings.Join(parts, "/"), Options{})
	}
	topic := []byte(strings.Repeat("a/", levels-1) + "a")
	var dst Targets
	b.ReportAllocs()
	for b.Loop() {
		dst = r.Match(topic, dst[:0])
	}
}

func BenchmarkPick(b *testing.B) {
	for _, strategy := range strategies {
		for _, size := range []int{10, 5000} {
			b.Run(fmt.Sprintf("%v/%d", strategy, size), func(b *testing.B) {
				_, g, _ := grouped(strategy, size)
				topic := []byte("site/7/device/1234/state")
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					g.Pick(uint64(i&1023), topic, nil)
				}
			})
		}
	}
}
