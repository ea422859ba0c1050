package router

import "hash/maphash"

const (
	// maxCachedTopic bounds what the copies of topics take: 4 MiB for 4,096 entries.
	maxCachedTopic = 1024
	// targetsPerEntry is how many targets the results in a Cache may have on average: 15 MB for 4,096 entries. Larger
	// results gain least from a cache, as delivering costs more than matching.
	targetsPerEntry = 64
	// A Last lives in every connection, so it keeps only what is small. Other topics take the Cache's way: 25 ns
	// more, which does not show in more than a few deliveries.
	maxLastTopic   = 256
	maxLastTargets = 16
)

// stamp tells until when a result is good: while nothing changed in its branch, nor among the filters that start with
// a wildcard.
type stamp struct {
	router           *Router
	branch           uint8
	changes, leading uint64
}

func (r *Router) stamp(branch uint8) stamp {
	return stamp{r, branch, r.branches[branch].Load(), r.leading.Load()}
}

func (s *stamp) valid(r *Router) bool {
	return s.router == r && s.changes == r.branches[s.branch].Load() && s.leading == r.leading.Load()
}

// Cache holds match results of any number of Routers: a direct-mapped table with one entry per hash. It is for one
// executor at a time, not safe for concurrent use. A hit allocates nothing.
type Cache struct {
	seed      maphash.Seed
	entries   []entry // a power of two, or none yet
	most      int     // of entries
	displaced int     // results that were still good, since the table has this size
	held      int     // targets in all entries
	walk      walk
}

// firstEntries is how large the table is at first: whoever publishes little does not need more.
const firstEntries = 256

type entry struct {
	stamp
	hash    uint64
	topic   []byte
	targets Targets
}

// NewCache returns a cache that grows, as it is used, until it has room for that many topics, rounded up to a power of
// two; 88 bytes each when empty.
func NewCache(entries int) *Cache {
	most := 1
	for most < entries {
		most *= 2
	}
	return &Cache{seed: maphash.MakeSeed(), most: most}
}

// Lookup returns what r.Match would append to nil: the present targets of a topic. The topic is not kept.
func (c *Cache) Lookup(r *Router, topic []byte) Targets {
	targets, _ := c.lookup(r, topic)
	return targets
}

// lookup also returns until when the result is good; nil if it was too large to remember.
func (c *Cache) lookup(r *Router, topic []byte) (Targets, *stamp) {
	if len(topic) > maxCachedTopic {
		return c.match(r, topic, nil), nil
	}
	if c.displaced == len(c.entries) && len(c.entries) < c.most {
		c.grow()
	}
	hash := maphash.Bytes(c.seed, topic) ^ r.salt
	e := &c.entries[hash&uint64(len(c.entries)-1)]
	if e.hash == hash && e.valid(r) && string(e.topic) == string(topic) {
		return e.targets, &e.stamp
	}
	var s stamp
	targets := c.match(r, topic, &s)
	limit := targetsPerEntry * c.most
	if cap(targets) > limit {
		return targets, nil
	}
	c.held += cap(targets) - cap(e.targets)
	if c.held > limit {
		clear(c.entries)
		c.held = cap(targets)
	}
	if e.router != nil && e.hash != hash && e.valid(e.router) {
		c.displaced++
	}
	*e = entry{s, hash, append(e.topic[:0], topic...), targets}
	return targets, &e.stamp
}

// grow makes the table four times as large.
func (c *Cache) grow() {
	old := c.entries
	c.entries, c.displaced, c.held = make([]entry, min(max(4*len(old), firstEntries), c.most)), 0, 0
	for i := range old {
		if e := &old[i]; e.router != nil && e.valid(e.router) {
			c.entries[e.hash&uint64(len(c.entries)-1)] = *e
			c.held += cap(e.targets)
		}
	}
}

// match walks the index. It takes the stamp before, so that a change meanwhile makes it invalid.
func (c *Cache) match(r *Router, topic []byte, s *stamp) Targets {
	w := &c.walk
	w.begin(r, topic)
	if s != nil {
		*s = r.stamp(branch(w.levels[0].hash))
	}
	w.run(r.root)
	targets := w.targets()
	w.end()
	return targets
}

// Last is the result for the topic that a connection published to last; most publish to one topic, or to the same
// one many times in a row. The zero value is empty. It is not safe for concurrent use.
type Last struct {
	stamp
	topic   []byte
	targets Targets
}

// Lookup returns what c.Lookup would, faster if r and the topic are those of the last call and nothing changed.
func (l *Last) Lookup(r *Router, c *Cache, topic []byte) Targets {
	if l.valid(r) && string(l.topic) == string(topic) {
		return l.targets
	}
	return l.refill(r, c, topic)
}

func (l *Last) refill(r *Router, c *Cache, topic []byte) Targets {
	targets, s := c.lookup(r, topic)
	if s != nil && len(topic) <= maxLastTopic && len(targets) <= maxLastTargets {
		*l = Last{*s, append(l.topic[:0], topic...), targets}
	}
	return targets
}
