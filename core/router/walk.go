package router

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// walk is one match under way, and the memory that the next one uses again.
//
// Every node is visited at most once, and each level of the topic is cut and hashed at most once and only if the index
// is that deep, so the cost is bounded by the nodes that exist and by the length of the topic, not by their product.
type walk struct {
	topic  []byte
	seed   maphash.Seed
	levels []level     // cut so far
	todo   []branchOff // other ways to go
	hits   []*subSet   // what matched

	// Scratch of merge.
	lists []Targets
	table []uint32
}

type level struct {
	start, end int32 // in topic
	hash       uint32
}

// branchOff is a node that matches the first depth levels of the topic and was not visited yet.
type branchOff struct {
	node  *node
	depth int
}

// begin prepares a walk and cuts the first level, so that w.levels[0] may be used.
func (w *walk) begin(r *Router, topic []byte) {
	w.topic, w.seed = topic, r.seed
	w.levels = w.levels[:0]
	w.cut(0)
}

// cut appends the level of the topic that starts at the given offset.
func (w *walk) cut(start int) {
	end := bytes.IndexByte(w.topic[start:], '/')
	if end < 0 {
		end = len(w.topic)
	} else {
		end += start
	}
	hash := nonZero(maphash.Bytes(w.seed, w.topic[start:end]))
	w.levels = append(w.levels, level{int32(start), int32(end), hash})
}

// more tells whether the topic has more than depth levels, and has cut them that far.
func (w *walk) more(depth int) bool {
	if depth < len(w.levels) {
		return true
	}
	last := int(w.levels[depth-1].end)
	if last == len(w.topic) {
		return false
	}
	w.cut(last + 1)
	return true
}

// run collects in w.hits the sets of all filters that match.
func (w *walk) run(root *node) {
	n, depth := root, 0
	// Wildcards at the start do not match topics that begin with $ [MQTT-4.7.2-1].
	wild := len(w.topic) == 0 || w.topic[0] != '$'
	for {
		var next *node
		if wild {
			w.hit(n.multi.Load()) // also at the end of the topic: a/# matches a
			next = n.plus.Load()
		}
		wild = true
		if !w.more(depth) {
			w.hit(n)
			next = nil
		} else {
			l := &w.levels[depth]
			if c := child(n, l.hash, w.topic[l.start:l.end]); c != nil {
				if next != nil {
					w.todo = append(w.todo, branchOff{next, depth + 1})
				}
				next = c
			}
		}
		if next != nil {
			n, depth = next, depth+1
			continue
		}
		last := len(w.todo) - 1
		if last < 0 {
			return
		}
		n, depth = w.todo[last].node, w.todo[last].depth
		w.todo[last] = branchOff{} // do not keep pruned nodes alive
		w.todo = w.todo[:last]
	}
}

func (w *walk) hit(n *node) {
	if n == nil {
		return
	}
	if s := n.subs.Load(); s != nil {
		w.hits = append(w.hits, s)
	}
}

// appendTo appends what matched to dst, with one target per session.
func (w *walk) appendTo(dst Targets) Targets {
	switch {
	case len(w.hits) == 0:
		return dst
	case len(w.hits) == 1 && w.hits[0].big == nil:
		return append(dst, w.hits[0].small...)
	}
	return w.merge(dst)
}

// targets returns what appendTo would append to nil, where possible without a copy: if one filter matched, its subscribers
// are the result, and if they are many, the copy is left there for the next lookup of any topic. A copy costs 40 ns
// per target, a fraction of the delivery that follows.
func (w *walk) targets() Targets {
	switch {
	case len(w.hits) == 0:
		return nil
	case len(w.hits) > 1:
		return slices.Clip(w.merge(nil))
	case w.hits[0].big == nil:
		return slices.Clip(w.hits[0].small)
	}
	b := w.hits[0].big
	version := b.version.Load() // before reading: a change meanwhile makes the copy outdated, not wrong
	if f := b.flat.Load(); f != nil && f.version == version {
		return f.targets
	}
	f := &flatTargets{version, slices.Clip(w.merge(nil))}
	b.flat.Store(f)
	return f.targets
}

// merge appends the union of all hits to dst. No hit has a session twice, so the largest one needs only be compared
// with the others: their sessions go into a hash table first.
func (w *walk) merge(dst Targets) Targets {
	total, largest, from, to := 0, 0, 0, 0
	whole := true
	for _, h := range w.hits {
		start, size, ok := len(w.lists), 0, false
		w.lists, ok = h.collect(w.lists)
		whole = whole && ok
		for _, list := range w.lists[start:] {
			size += len(list)
		}
		total += size
		if size > largest {
			largest, from, to = size, start, len(w.lists)
		}
	}
	if !whole { // trust none to be without duplicates
		largest, from, to = 0, 0, 0
	}
	w.resetTable(total - largest)
	base := len(dst)
	dst = slices.Grow(dst, total)
	for _, list := range w.lists[:from] {
		dst = w.union(dst, base, list, true)
	}
	for _, list := range w.lists[to:] {
		dst = w.union(dst, base, list, true)
	}
	if base == len(dst) { // nothing to compare with
		for _, list := range w.lists[from:to] {
			dst = append(dst, list...)
		}
		return dst
	}
	for _, list := range w.lists[from:to] {
		dst = w.union(dst, base, list, false)
	}
	return dst
}

// union adds list to dst[base:]. The sessions that this appends are put into the table for the next call if keep is set.
func (w *walk) union(dst Targets, base int, list Targets, keep bool) Targets {
	mask := uint32(len(w.table) - 1)
next:
	for i := range list {
		t := &list[i]
		if t.Group != nil { // each on its own
			dst = append(dst, *t)
			continue
		}
		at := t.hash & mask
		for ; w.table[at] != 0; at = (at + 1) & mask {
			if have := &dst[base+int(w.table[at])-1]; have.hash == t.hash && have.Sub == t.Sub {
				have.absorb(t)
				continue next
			}
		}
		dst = append(dst, *t)
		if keep {
			w.table[at] = uint32(len(dst) - base)
		}
	}
	return dst
}

// resetTable makes an empty table with room for n sessions, at most half full.
func (w *walk) resetTable(n int) {
	size := 16
	for size < 2*n {
		size *= 2
	}
	if size > cap(w.table) {
		w.table = make([]uint32, size)
		return
	}
	w.table = w.table[:size]
	clear(w.table)
}

// end lets go of everything that the walk does not own, and of memory that only unusual topics need.
func (w *walk) end() {
	w.topic = nil
	w.hits = recycle(w.hits)
	w.lists = recycle(w.lists)
	w.todo = recycle(w.todo)
	w.levels = recycle(w.levels)
	if cap(w.table) > 1<<16 {
		w.table = nil
	}
}

// recycle empties a slice for its next use; a large one is left to the collector.
func recycle[E any](s []E) []E {
	if cap(s) > 4096 {
		return nil
	}
	clear(s)
	return s[:0]
}
