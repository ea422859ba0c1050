package guard

import "container/list"

// lru keeps a bounded number of things by name; the one that was not touched for longest
// goes first. It is not safe for concurrent use.
type lru[V any] struct {
	max   int
	items map[string]*list.Element
	order list.List // of *item[V], what was touched last in front
	// busy reports whether something must not go now.
	busy func(*V) bool
}

type item[V any] struct {
	key   string
	value V
}

func newLRU[V any](limit int, busy func(*V) bool) *lru[V] {
	return &lru[V]{max: limit, items: map[string]*list.Element{}, busy: busy}
}

// get returns what has a name, nil if there is nothing, and does not touch it.
func (l *lru[V]) get(key string) *V {
	e := l.items[key]
	if e == nil {
		return nil
	}
	return &e.Value.(*item[V]).value
}

// look is get that touches it.
func (l *lru[V]) look(key string) *V {
	if e := l.items[key]; e != nil {
		l.order.MoveToFront(e)
	}
	return l.get(key)
}

// touch is look that makes anew what is not there.
func (l *lru[V]) touch(key string) *V {
	if v := l.look(key); v != nil {
		return v
	}
	l.shrink(l.max - 1)
	e := l.order.PushFront(&item[V]{key: key})
	l.items[key] = e
	return &e.Value.(*item[V]).value
}

// maxLook bounds the search for something to forget; if all that is busy the bound gives
// way, and whoever makes things busy has a bound of their own.
const maxLook = 64

// shrink forgets until n are left.
func (l *lru[V]) shrink(n int) {
	e := l.order.Back()
	for look := 0; len(l.items) > n && e != nil && look < maxLook; {
		previous := e.Prev()
		if i := e.Value.(*item[V]); l.busy != nil && l.busy(&i.value) {
			look++
		} else {
			l.remove(i.key)
		}
		e = previous
	}
}

func (l *lru[V]) remove(key string) {
	if e := l.items[key]; e != nil {
		l.order.Remove(e)
		delete(l.items, key)
	}
}

// each calls f with everything, what was touched last first.
func (l *lru[V]) each(f func(*V)) {
	for e := l.order.Front(); e != nil; e = e.Next() {
		f(&e.Value.(*item[V]).value)
	}
}
