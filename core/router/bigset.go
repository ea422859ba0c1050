package router

import (
	"slices"
	"sync/atomic"
)

// blockSize is the most targets in one block: what a change copies at most. 123 targets of 56 bytes fill one of
// the allocator's size classes (6,912 bytes).
const blockSize = 123

// bigSet is the set of a filter with more subscribers than fit one block. A target stays in its block until the set
// is compacted into a new bigSet, so a reader that goes from block to block misses none that is not just being changed.
type bigSet struct {
	blocks  atomic.Pointer[[]*block]
	version atomic.Uint64 // counts changes, each after it is visible
	flat    atomic.Pointer[flatTargets]

	index map[any]int // which block has a Subscriber or *Group; writer only
	total int         // targets; writer only
}

type block struct{ targets atomic.Pointer[Targets] }

// flatTargets is a copy of all blocks in one piece, made by a reader for the next ones.
type flatTargets struct {
	version uint64
	targets Targets
}

// newBigSet copies list into full blocks.
func newBigSet(list Targets) *bigSet {
	b := &bigSet{index: make(map[any]int, len(list)), total: len(list)}
	blocks := make([]*block, 0, len(list)/blockSize+1)
	for part := range slices.Chunk(list, blockSize) {
		for i := range part {
			b.index[part[i].key()] = len(blocks)
		}
		k := &block{}
		k.set(append(make(Targets, 0, blockSize), part...))
		blocks = append(blocks, k)
	}
	b.blocks.Store(&blocks)
	return b
}

// collect appends the blocks to lists. A session that left one block and came back in another while this went from
// the one to the other would be in both; the version shows that something changed. Loading some pointers takes less time than
// most changes, so a second attempt is rare and a fourth means that the set is changed without pause.
func (b *bigSet) collect(lists []Targets) (_ []Targets, whole bool) {
	start := len(lists)
	for range 4 {
		version := b.version.Load()
		lists = lists[:start]
		for _, k := range *b.blocks.Load() {
			lists = append(lists, k.get())
		}
		if b.version.Load() == version {
			return lists, true
		}
	}
	return lists, false
}

func (b *bigSet) with(s *subSet, t *Target) (set *subSet, existed bool) {
	blocks := *b.blocks.Load()
	if at, ok := b.index[t.key()]; ok {
		list := slices.Clone(blocks[at].get())
		list[t.find(list)] = *t
		blocks[at].set(list)
		b.changed()
		return s, true
	}
	last := blocks[len(blocks)-1]
	if len(last.get()) >= blockSize {
		if b.sparse() {
			return b.compacted().with(t)
		}
		last = &block{}
		last.set(make(Targets, 0, blockSize))
		blocks = append(blocks, last)
		b.blocks.Store(&blocks)
	}
	last.set(add(last.get(), t))
	b.index[t.key()] = len(blocks) - 1
	b.total++
	b.changed()
	return s, false
}

func (b *bigSet) without(s *subSet, t *Target) (set *subSet, existed bool) {
	at, ok := b.index[t.key()]
	if !ok {
		return s, false
	}
	k := (*b.blocks.Load())[at]
	list := k.get()
	k.set(remove(list, t.find(list)))
	delete(b.index, t.key())
	b.total--
	b.changed()
	if b.sparse() {
		return b.compacted(), true
	}
	return s, true
}

// blockOf returns the block that has the session or group of t, or nil.
func (b *bigSet) blockOf(t *Target) Targets {
	if at, ok := b.index[t.key()]; ok {
		return (*b.blocks.Load())[at].get()
	}
	return nil
}

// changed makes a flat copy outdated, and frees it.
func (b *bigSet) changed() {
	b.version.Add(1)
	b.flat.Store(nil)
}

// sparse tells whether three quarters of the blocks' space is unused. Removals leave gaps that are not filled, as
// that would move targets under readers; compacting at a quarter costs O(1) per removal.
func (b *bigSet) sparse() bool { return b.total*4 < len(*b.blocks.Load())*blockSize }

// compacted returns a fresh copy of the set without gaps.
func (b *bigSet) compacted() *subSet {
	list := make(Targets, 0, b.total)
	for _, k := range *b.blocks.Load() {
		list = append(list, k.get()...)
	}
	if len(list) <= blockSize/2 {
		return &subSet{small: list}
	}
	return &subSet{big: newBigSet(list)}
}

// key is what identifies a target in an index.
func (t *Target) key() any {
	if t.Group != nil {
		return t.Group
	}
	return t.Sub
}

func (k *block) get() Targets        { return *k.targets.Load() }
func (k *block) set(targets Targets) { k.targets.Store(&targets) }
