package router

import (
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
)

// Config is what a Router is made with. The zero value is good.
type Config struct {
	Strategy Strategy // of all shared groups
}

// Router is the subscription index of one namespace. All methods are safe for concurrent use; matching takes no lock.
// Make one with [New].
type Router struct {
	strategy Strategy
	seed     maphash.Seed // for the levels of topics and filters
	salt     uint64       // tells routers apart in a shared Cache
	root     *node
	walks    sync.Pool // of *walk, for Match

	// Generations tell caches what changed. Readers load them before they walk, writers add after they published.
	branches [256]atomic.Uint64 // by hash of the first level
	leading  atomic.Uint64      // for filters that start with a wildcard

	mu     sync.Mutex // all changes
	groups map[groupKey]*Group
	stats  Stats
	path   []*node     // scratch of locate
	intern [256]string // level names seen lately, by hash: most trees repeat a few names everywhere
}

type groupKey struct{ group, filter string }

// Stats are the sizes of a Router.
type Stats struct {
	Subscriptions int // of all sessions, shared ones included
	Filters       int // different Topic Filters
	Groups        int // shared subscriptions: different pairs of group and Topic Filter
	Nodes         int // of the index; 1 when it is empty
}

// New returns an empty Router.
func New(c Config) *Router {
	r := &Router{
		strategy: c.Strategy,
		seed:     maphash.MakeSeed(),
		salt:     rand.Uint64(),
		root:     &node{},
		groups:   map[groupKey]*Group{},
		stats:    Stats{Nodes: 1},
	}
	r.walks.New = func() any { return new(walk) }
	return r
}

// Subscribe adds a subscription, or replaces the options of the one that s has for the same group and Topic Filter;
// existed tells which [MQTT-3.8.4-3]. Group "" is an ordinary subscription. The filter must be valid and without the
// $share prefix; it is copied, and a Match that starts after Subscribe returned sees the subscription.
func (r *Router) Subscribe(s Subscriber, group, filter string, o Options) (existed bool) {
	t := newTarget(s, o)
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.reach(filter)
	if group != "" {
		existed = r.join(n, group, filter, &t)
	} else {
		existed = r.put(n, filter, &t)
	}
	if !existed {
		r.stats.Subscriptions++
	}
	return existed
}

// Unsubscribe removes a subscription; existed tells whether there was one. A Match that starts afterwards does not
// see it; one that is under way, or a result that is still held, may.
func (r *Router) Unsubscribe(s Subscriber, group, filter string) (existed bool) {
	t := newTarget(s, Options{})
	r.mu.Lock()
	defer r.mu.Unlock()
	switch path := r.locate(filter); {
	case path == nil:
	case group != "":
		existed = r.leave(path, group, filter, &t)
	default:
		existed = r.drop(path, filter, &t)
	}
	r.path = recycle(r.path)
	if existed {
		r.stats.Subscriptions--
	}
	return existed
}

// Match appends the targets of a Topic Name to dst, without a cache: one per session with a matching ordinary
// subscription, and one per matching shared group. The topic must be a valid name; it is not kept.
func (r *Router) Match(topic []byte, dst Targets) Targets {
	w := r.walks.Get().(*walk)
	w.begin(r, topic)
	w.run(r.root)
	dst = w.appendTo(dst)
	w.end()
	r.walks.Put(w)
	return dst
}

// Group returns the shared group of that name and Topic Filter, or nil if it has no member (any more).
func (r *Router) Group(group, filter string) *Group {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.groups[groupKey{group, filter}]
}

// Stats returns the present sizes.
func (r *Router) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// put adds or replaces a target of a node.
func (r *Router) put(n *node, filter string, t *Target) (existed bool) {
	old := n.subs.Load()
	if have := old.get(t); have != nil && have.equal(t) {
		return true // clients subscribe again after each reconnect; leave the caches alone
	}
	set, existed := old.with(t)
	n.subs.Store(set)
	if old == nil {
		r.stats.Filters++
	}
	r.changed(filter)
	return existed
}

// drop removes a target from the last node of path, and the nodes that are not needed any more.
func (r *Router) drop(path []*node, filter string, t *Target) (existed bool) {
	n := path[len(path)-1]
	set, existed := n.subs.Load().without(t)
	if !existed {
		return false
	}
	n.subs.Store(set)
	if set == nil {
		r.stats.Filters--
		r.prune(path)
	}
	r.changed(filter)
	return true
}

// join adds or replaces a member of a shared group. The members of an existing group are no concern of caches, as
// their results name the group.
func (r *Router) join(n *node, group, filter string, t *Target) (existed bool) {
	key := groupKey{group, filter}
	g := r.groups[key]
	if g != nil {
		return g.join(t)
	}
	key = groupKey{strings.Clone(group), strings.Clone(filter)}
	g = newGroup(key, r.strategy)
	g.join(t)
	r.groups[key] = g
	r.stats.Groups++
	r.put(n, filter, &Target{Group: g})
	return false
}

func (r *Router) leave(path []*node, group, filter string, t *Target) (existed bool) {
	key := groupKey{group, filter}
	g := r.groups[key]
	if g == nil || !g.leave(t) {
		return false
	}
	if g.size() == 0 {
		delete(r.groups, key)
		r.stats.Groups--
		r.drop(path, filter, &Target{Group: g})
	}
	return true
}

// changed invalidates what caches hold for the topics that the filter may match.
func (r *Router) changed(filter string) {
	switch first, _, _ := strings.Cut(filter, "/"); first {
	case "+", "#":
		r.leading.Add(1)
	default:
		r.branches[branch(r.hash(first))].Add(1)
	}
}

// branch is the place of a first level in Router.branches.
func branch(hash uint32) uint8 { return uint8(hash >> 24) }

func (r *Router) hash(level string) uint32 { return nonZero(maphash.String(r.seed, level)) }

func nonZero(hash uint64) uint32 { return max(uint32(hash), 1) }

// reach returns the node of a filter and makes what is missing on the way.
func (r *Router) reach(filter string) *node {
	n := r.root
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		n = r.step(n, level)
	}
	return n
}

// step returns the child of n with that name, and makes it if there is none.
func (r *Router) step(n *node, level string) *node {
	hash := r.hash(level)
	c := r.next(n, level, hash)
	if c != nil {
		return c
	}
	c = &node{level: r.name(level, hash), hash: hash}
	r.stats.Nodes++
	switch level {
	case "+":
		n.plus.Store(c)
	case "#":
		n.multi.Store(c)
	default:
		n.addChild(c)
	}
	return c
}

// next returns the child of n for one level of a filter, or nil.
func (r *Router) next(n *node, level string, hash uint32) *node {
	switch level {
	case "+":
		return n.plus.Load()
	case "#":
		return n.multi.Load()
	}
	return child(n, hash, level)
}

// name returns a copy of a level that does not hold on to the filter it is part of.
func (r *Router) name(level string, hash uint32) string {
	known := &r.intern[hash&0xff]
	if *known == level {
		return *known
	}
	level = strings.Clone(level)
	if len(level) <= 32 { // a few kilobytes in all
		*known = level
	}
	return level
}

// locate returns the nodes from the root to that of the filter, or nil if there is none. Valid until the next call.
func (r *Router) locate(filter string) []*node {
	r.path = append(r.path[:0], r.root)
	n := r.root
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		if n = r.next(n, level, r.hash(level)); n == nil {
			return nil
		}
		r.path = append(r.path, n)
	}
	return r.path
}

// prune takes off the nodes at the end of path that hold nothing.
func (r *Router) prune(path []*node) {
	for i := len(path) - 1; i > 0 && path[i].empty(); i-- {
		switch n, parent := path[i], path[i-1]; n.level {
		case "+":
			parent.plus.Store(nil)
		case "#":
			parent.multi.Store(nil)
		default:
			parent.removeChild(n)
		}
		r.stats.Nodes--
	}
}
