package router

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// world makes random sessions, filters and topics that meet often.
type world struct {
	*rand.Rand
	sessions []*session
	names    []string
	depth    int
	wild     float64 // share of wildcard levels in filters
}

func (w *world) session() *session { return w.sessions[w.IntN(len(w.sessions))] }

func (w *world) levels() []string {
	list := make([]string, 1+w.IntN(w.depth))
	for i := range list {
		list[i] = w.names[w.IntN(len(w.names))]
	}
	return list
}

func (w *world) topic() string { return strings.Join(w.levels(), "/") }

func (w *world) filter() string {
	list := w.levels()
	for i := range list {
		if w.Float64() < w.wild {
			list[i] = "+"
			if i == len(list)-1 && w.IntN(2) == 0 {
				list[i] = "#"
			}
		}
	}
	return strings.Join(list, "/")
}

func (w *world) group() string { return [...]string{"", "", "", "g", "h"}[w.IntN(5)] }

func (w *world) options() Options {
	return Options{
		QoS: byte(w.IntN(3)), NoLocal: w.IntN(2) == 0, RetainAsPublished: w.IntN(2) == 0,
		ID: uint32(max(0, w.IntN(6)-2)),
	}
}

var worlds = []struct {
	name     string
	sessions int
	names    []string
	depth    int
	wild     float64
}{
	{"small", 4, []string{"a", "b", ""}, 4, 0.4},
	{"dollar", 6, []string{"$SYS", "a", "b", "$", ""}, 3, 0.5},
	{"wide", 20, numbers(40), 2, 0.05},
	{"crowded", 600, []string{"a"}, 2, 0.3},  // sets of several blocks
	{"one filter", 400, []string{"a"}, 1, 0}, // results that are a filter's own list
	{"deep", 3, []string{"a", "b"}, 9, 0.3},
}

func numbers(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	return list
}

// Random changes, each checked against the naive router, with and without caches.
func TestModel(t *testing.T) {
	for _, v := range worlds {
		t.Run(v.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			w := &world{rand.New(rand.NewPCG(seed, 1)), sessions(v.sessions), v.names, v.depth, v.wild}
			r, m, c, last := New(Config{}), model{}, NewCache(64), make([]Last, 4)
			steps := many(9_000)
			for step := range steps {
				// Whether more comes or goes alternates, so that tables and blocks grow and shrink.
				adding := 0.2
				if step/1500%2 == 0 {
					adding = 0.8
				}
				k := modelKey{w.session(), w.group(), w.filter()}
				_, existed := m[k]
				var got bool
				if w.Float64() < adding {
					o := w.options()
					got = r.Subscribe(k.s, k.group, k.filter, o)
					m[k] = o
				} else {
					if !existed && w.IntN(4) > 0 { // mostly remove what is there
						for k = range m {
							existed = true
							break
						}
					}
					got = r.Unsubscribe(k.s, k.group, k.filter)
					delete(m, k)
				}
				if got != existed {
					t.Fatalf("step %d: %+v: existed is %v", step, k, got)
				}
				if step%10 != 0 {
					continue
				}
				topic := w.topic()
				want := m.match(topic)
				for how, list := range map[string]Targets{
					"match": r.Match([]byte(topic), nil),
					"cache": c.Lookup(r, []byte(topic)),
					"last":  last[w.IntN(len(last))].Lookup(r, c, []byte(topic)),
				} {
					if got := describe(list); !slices.Equal(got, want) {
						t.Fatalf("step %d: %s %q:\n got %q\nwant %q", step, how, topic, got, want)
					}
				}
				if s := r.Stats(); s.Subscriptions != len(m) {
					t.Fatalf("step %d: %d subscriptions, want %d", step, s.Subscriptions, len(m))
				}
			}
			for k := range m {
				r.Unsubscribe(k.s, k.group, k.filter)
			}
			mustBeEmpty(t, r)
		})
	}
}

// While some sessions come and go, what a match says of the others is exact, and no session is there twice.
func TestModelConcurrent(t *testing.T) {
	for _, v := range worlds {
		t.Run(v.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			w := &world{rand.New(rand.NewPCG(seed, 1)), sessions(v.sessions), v.names, v.depth, v.wild}
			r := New(Config{})
			settled := model{}
			for range 3 * v.sessions {
				k := modelKey{w.session(), "", w.filter()}
				settled[k] = w.options()
				r.Subscribe(k.s, "", k.filter, settled[k])
			}
			start := r.Stats()

			var writers, readers sync.WaitGroup
			var stop atomic.Bool
			for i := range 2 {
				w := &world{rand.New(rand.NewPCG(seed, uint64(i+2))), sessions(v.sessions), v.names, v.depth, v.wild}
				for j, s := range w.sessions {
					s.id = uint64(1_000_000*(i+1) + j)
				}
				writers.Go(func() { churn(w, r) })
			}
			for i := range 2 {
				w := &world{rand.New(rand.NewPCG(seed, uint64(i+4))), nil, v.names, v.depth, v.wild}
				readers.Go(func() {
					c, last := NewCache(16), Last{}
					for !stop.Load() {
						topic := w.topic()
						want := settled.match(topic)
						for range 5 {
							var list Targets
							switch w.IntN(3) {
							case 0:
								list = r.Match([]byte(topic), nil)
							case 1:
								list = c.Lookup(r, []byte(topic))
							default:
								list = last.Lookup(r, c, []byte(topic))
							}
							if problem := checkSettled(list, topic, want); problem != "" {
								t.Errorf("match %q: %s", topic, problem)
								stop.Store(true)
							}
						}
					}
				})
			}
			writers.Wait()
			stop.Store(true)
			readers.Wait()
			if got := r.Stats(); got != start {
				t.Errorf("stats afterwards %+v, before %+v", got, start)
			}
		})
	}
}

// churn subscribes and unsubscribes, and leaves nothing.
func churn(w *world, r *Router) {
	mine := model{}
	for step := range 3000 {
		k := modelKey{w.session(), w.group(), w.filter()}
		if step/500%2 == 1 {
			r.Unsubscribe(k.s, k.group, k.filter)
			delete(mine, k)
			continue
		}
		mine[k] = w.options() // also in place of other options
		r.Subscribe(k.s, k.group, k.filter, mine[k])
	}
	for k := range mine {
		if !r.Unsubscribe(k.s, k.group, k.filter) {
			panic(fmt.Sprintf("%+v is gone", k))
		}
	}
}

// checkSettled compares the settled sessions of a result with want, and looks for what must never be in any.
func checkSettled(list Targets, topic string, want []string) string {
	var settled Targets
	seen := map[any]bool{}
	for _, t := range list {
		switch key := t.key(); {
		case key == nil:
			return "empty target"
		case seen[key]:
			return "twice: " + describeOne(&t)
		default:
			seen[key] = true
		}
		if t.Group != nil {
			if _, filter := t.Group.Name(); !naiveMatch(filter, topic) {
				return "wrong group " + filter
			}
			continue
		}
		if t.Sub.Key() < 1_000_000 {
			settled = append(settled, t)
		}
	}
	if got := describe(settled); !slices.Equal(got, want) {
		return fmt.Sprintf("got %q\nwant %q", got, want)
	}
	return ""
}

// What a goroutine subscribed, the next match sees, whoever else changes what; what it unsubscribed is gone.
func TestChangesAreSeenAtOnce(t *testing.T) {
	r := New(Config{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			c, last := NewCache(16), Last{}
			all := sessions(40)
			for j, s := range all {
				s.id = uint64(i*1000 + j)
			}
			have := map[*session]bool{}
			topic := []byte("a/b")
			for range 3000 {
				s := all[rnd.IntN(len(all))]
				filter := [...]string{"a/b", "a/+", "+/b", "#"}[s.id%4]
				if have[s] {
					r.Unsubscribe(s, "", filter)
				} else {
					r.Subscribe(s, "", filter, Options{})
				}
				have[s] = !have[s]
				for _, list := range []Targets{last.Lookup(r, c, topic), c.Lookup(r, topic), r.Match(topic, nil)} {
					found := slices.ContainsFunc(list, func(t Target) bool { return t.Sub == s })
					if found != have[s] {
						t.Errorf("session %d: found %v, want %v", s.id, found, have[s])
						return
					}
				}
			}
			for s, ok := range have {
				if ok {
					r.Unsubscribe(s, "", [...]string{"a/b", "a/+", "+/b", "#"}[s.id%4])
				}
			}
		})
	}
	wg.Wait()
	mustBeEmpty(t, r)
}

// A lookup in another goroutine, with its own cache, sees nothing older than the last change that was complete when it
// began. The changes are counted by the Subscription Identifier, in sets of one block and of several.
func TestOthersSeeCompleteChanges(t *testing.T) {
	for _, size := range []int{1, 10, 300} {
		for _, filter := range []string{"a/b", "+/b"} {
			t.Run(fmt.Sprintf("%d subscribers of %s", size, filter), func(t *testing.T) {
				r := New(Config{})
				all := sessions(size)
				for _, s := range all {
					r.Subscribe(s, "", filter, Options{ID: 1})
				}
				s := all[size/2]
				var begun, complete atomic.Uint32
				begun.Store(1)
				complete.Store(1)
				var stop atomic.Bool
				var wg sync.WaitGroup
				for i := range 2 {
					wg.Go(func() {
						c, last, topic := NewCache(16), Last{}, []byte("a/b")
						for round := i; !stop.Load(); round++ {
							from := complete.Load()
							var list Targets
							switch round % 4 {
							case 0:
								list = r.Match(topic, nil)
							case 1:
								list = last.Lookup(r, c, topic)
							default:
								list = c.Lookup(r, topic)
							}
							to := begun.Load()
							at := slices.IndexFunc(list, func(t Target) bool { return t.Sub == s })
							if len(list) != size || at < 0 || list[at].IDs[0] < from || list[at].IDs[0] > to {
								t.Errorf("%d targets, the session is %d: %+v, want change %d to %d", len(list), at, list, from, to)
								return
							}
						}
					})
				}
				for i := range uint32(many(10_000)) {
					begun.Store(i + 2)
					r.Subscribe(s, "", filter, Options{ID: i + 2})
					complete.Store(i + 2)
					if i%64 == 0 {
						runtime.Gosched()
					}
				}
				stop.Store(true)
				wg.Wait()
			})
		}
	}
}

// A session that leaves a large set and comes back, at another place, is never in a result twice, and one that stays is
// never missing. The set is so large that changes come faster than its blocks can be collected.
func TestComingBackConcurrent(t *testing.T) {
	r := New(Config{})
	all := sessions(many(1000 * blockSize))
	for _, s := range all {
		r.Subscribe(s, "", "a", Options{})
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			s := all[rand.IntN(len(all)/2)*2]
			r.Unsubscribe(s, "", "a")
			r.Subscribe(s, "", "a", Options{})
		}
	})
	defer wg.Wait()
	defer stop.Store(true)
	seen := make([]int, len(all)+1)
	var dst Targets
	for round := range many(80) {
		dst = r.Match([]byte("a"), dst[:0])
		for _, target := range dst {
			key := target.Sub.Key()
			if seen[key] == round+1 {
				t.Fatalf("session %d is there twice", key)
			}
			seen[key] = round + 1
		}
		for i := 1; i < len(all); i += 2 {
			if key := all[i].Key(); seen[key] != round+1 {
				t.Fatalf("session %d is missing", key)
			}
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"a/b", "a/b"}, {"a/+", "a/"}, {"#", "$SYS"}, {"a/#", "a"}, {"+/+", "/"}, {"//", "//"}, {"$SYS/+", "$SYS/x"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if !valid(filter) || topic == "" || len(topic) > 65535 {
			return
		}
		r := New(Config{})
		s := &session{id: 1}
		r.Subscribe(s, "", filter, Options{})
		if got, want := len(r.Match([]byte(topic), nil)) == 1, naiveMatch(filter, topic); got != want {
			t.Errorf("filter %q, topic %q: match is %v", filter, topic, got)
		}
		if !r.Unsubscribe(s, "", filter) {
			t.Errorf("filter %q: not found again", filter)
		}
		mustBeEmpty(t, r)
	})
}

// valid tells whether wildcards stand alone, and # last [MQTT-4.7.1-1, MQTT-4.7.1-2].
func valid(filter string) bool {
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		if len(l) > 1 && strings.ContainsAny(l, "+#") || l == "#" && i < len(levels)-1 {
			return false
		}
	}
	return filter != "" && len(filter) <= 65535
}
