package router

import "sync/atomic"

// node is one level of the Topic Filters that lead to it. Readers follow the atomic pointers without a lock;
// only the holder of Router.mu stores them. level and hash never change.
//
// 64 bytes, one cache line: a node is what a walk touches once per level, and there may be millions.
type node struct {
	subs  atomic.Pointer[subSet] // who subscribed to the filter that ends here; nil for nobody
	only  atomic.Pointer[node]   // the first literal child, valid while table is nil; see addChild
	table atomic.Pointer[table]  // the literal children once there were two
	plus  atomic.Pointer[node]   // child "+"
	multi atomic.Pointer[node]   // child "#", a leaf
	level string
	hash  uint32 // of level by Router.seed; never 0, which marks a free slot of a table
}

// child returns the literal child of that name, or nil. Topics come as bytes, filters as strings.
func child[S string | []byte](n *node, hash uint32, level S) *node {
	if t := n.table.Load(); t != nil {
		return find(t, hash, level)
	}
	if c := n.only.Load(); c != nil && c.hash == hash && c.level == string(level) {
		return c
	}
	return nil
}

// addChild adds a literal child that is not there yet.
//
// The only child stays in n.only when a table takes over: a reader that saw no table must still find it there.
func (n *node) addChild(c *node) {
	t := n.table.Load()
	if t == nil {
		o := n.only.Load()
		if o == nil {
			n.only.Store(c)
			return
		}
		t = newTable(2)
		t.insert(o)
		t.insert(c)
		n.table.Store(t)
		return
	}
	if t.full() {
		t = t.resized()
		t.insert(c)
		n.table.Store(t)
		return
	}
	t.insert(c)
}

// removeChild removes a literal child.
func (n *node) removeChild(c *node) {
	if n.only.Load() == c {
		n.only.Store(nil)
	}
	t := n.table.Load()
	if t == nil {
		return
	}
	t.remove(c)
	switch {
	case t.live == 0: // n.only is nil too: what it holds is in the table
		n.table.Store(nil)
	case t.sparse():
		n.table.Store(t.resized())
	}
}

// empty tells whether nothing needs the node any more.
func (n *node) empty() bool {
	return n.subs.Load() == nil && n.only.Load() == nil && n.table.Load() == nil &&
		n.plus.Load() == nil && n.multi.Load() == nil
}

// table is an open-addressing hash table of children with linear probing. Readers probe it while the writer
// fills slots in place; it is replaced by a larger or smaller one when it gets too full or too sparse, so adding
// and removing are O(1) amortised for any number of children.
type table struct {
	slots []slot // a power of two
	used  int    // slots that are not free: children and tombstones; writer only
	live  int    // children; writer only
}

// slot is free (hash 0), a child, or a tombstone (hash set, no child). A slot never becomes free again, so a
// probe sequence never breaks under a reader. A tombstone may be taken by another child: the reader compares
// the child's own level, not only the hash.
type slot struct {
	hash  atomic.Uint32
	child atomic.Pointer[node]
}

// smallTable is the number of slots up to which a table may fill up completely: a probe over all of it is short.
const smallTable = 8

func newTable(size int) *table { return &table{slots: make([]slot, size)} }

func find[S string | []byte](t *table, hash uint32, level S) *node {
	mask := uint32(len(t.slots) - 1)
	for i, left := hash&mask, len(t.slots); left > 0; i, left = (i+1)&mask, left-1 {
		s := &t.slots[i]
		switch s.hash.Load() {
		case 0:
			return nil
		case hash:
			if c := s.child.Load(); c != nil && c.level == string(level) {
				return c
			}
		}
	}
	return nil
}

func (t *table) full() bool {
	if len(t.slots) <= smallTable {
		return t.used == len(t.slots)
	}
	return t.used >= len(t.slots)/4*3
}

func (t *table) sparse() bool { return len(t.slots) > smallTable && t.live < len(t.slots)/8 }

// resized returns a table with the same children, no tombstones, and room to grow by half at least
// before the next one.
func (t *table) resized() *table {
	size := 2
	for size < 2*t.live {
		size *= 2
	}
	n := newTable(size)
	for i := range t.slots {
		if c := t.slots[i].child.Load(); c != nil {
			n.insert(c)
		}
	}
	return n
}

// insert puts a child into the first slot of its probe sequence that holds none. The caller has made sure that
// there is one and that the child is not in the table.
func (t *table) insert(c *node) {
	mask := uint32(len(t.slots) - 1)
	for i := c.hash & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.child.Load() != nil {
			continue
		}
		if s.hash.Load() == 0 {
			t.used++
		}
		t.live++
		s.child.Store(c)
		s.hash.Store(c.hash)
		return
	}
}

// remove turns the slot of the child into a tombstone.
func (t *table) remove(c *node) {
	mask := uint32(len(t.slots) - 1)
	for i := c.hash & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.child.Load() == c {
			s.child.Store(nil)
			t.live--
			return
		}
	}
}
