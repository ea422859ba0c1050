package router

import "slices"

// subSet is who subscribed to one Topic Filter: sessions and shared groups, each once. A subSet itself never
// changes: small sets are replaced at each change, large ones live in big.
//
// Any goroutine may read; with and without belong to the holder of Router.mu.
type subSet struct {
	small Targets // the whole set while it fits one block
	big   *bigSet // else
}

// single returns the set of t alone, which most sets are, in one allocation instead of two.
func single(t *Target) *subSet {
	s := &struct {
		subSet
		one [1]Target
	}{one: [1]Target{*t}}
	s.small = s.one[:]
	return &s.subSet
}

// collect appends the pieces of the set to lists. If whole is false, the set changed so fast that a session may be in two
// pieces.
func (s *subSet) collect(lists []Targets) (_ []Targets, whole bool) {
	if s.big != nil {
		return s.big.collect(lists)
	}
	return append(lists, s.small), true
}

// with returns the set with t added, or in place of the target of the same session or group. s may be nil.
func (s *subSet) with(t *Target) (set *subSet, existed bool) {
	switch {
	case s == nil:
		return single(t), false
	case s.big != nil:
		return s.big.with(s, t)
	}
	if i := t.find(s.small); i >= 0 {
		list := slices.Clone(s.small)
		list[i] = *t
		return &subSet{small: list}, true
	}
	if len(s.small) == blockSize {
		b := newBigSet(s.small)
		return b.with(&subSet{big: b}, t)
	}
	return &subSet{small: add(s.small, t)}, false
}

// without returns the set without the session or group of t; nil if nothing is left.
func (s *subSet) without(t *Target) (set *subSet, existed bool) {
	switch {
	case s == nil:
		return nil, false
	case s.big != nil:
		return s.big.without(s, t)
	}
	i := t.find(s.small)
	switch {
	case i < 0:
		return s, false
	case len(s.small) == 1:
		return nil, true
	case len(s.small) == 2:
		return single(&s.small[1-i]), true
	}
	return &subSet{small: remove(s.small, i)}, true
}

// get returns the target of the session or group of t, or nil.
func (s *subSet) get(t *Target) *Target {
	if s == nil {
		return nil
	}
	list := s.small
	if s.big != nil {
		list = s.big.blockOf(t)
	}
	if i := t.find(list); i >= 0 {
		return &list[i]
	}
	return nil
}

// find returns the place of the same session or group in list, or -1.
func (t *Target) find(list Targets) int {
	for i := range list {
		if l := &list[i]; l.hash == t.hash && l.Group == t.Group && l.Sub == t.Sub {
			return i
		}
	}
	return -1
}

// add appends t, mostly in place: readers of older versions of list never look behind their own length, and
// only the newest version is ever added to.
func add(list Targets, t *Target) Targets { return append(list, *t) }

// remove returns a copy of list without its i-th element.
func remove(list Targets, i int) Targets {
	shorter := make(Targets, 0, len(list)-1)
	return append(append(shorter, list[:i]...), list[i+1:]...)
}
