package services

import (
	"bytes"
	"cmp"
	"slices"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

// pageSize reads page_size.
func pageSize(n uint32) (int, error) {
	if n > maxPage {
		return 0, invalid("page_size %d: at most %d", n, maxPage)
	}
	return cmp.Or(int(n), defaultPage), nil
}

// maxPageBytes ends a page that has one element at least: a WebAssembly guest has to hold
// it.
const maxPageBytes = 1 << 20

// fitting returns how many of a page's elements have room in it.
func fitting(n int, size func(i int) int) int {
	total := 0
	for i := range n {
		if total += size(i); i > 0 && total > maxPageBytes {
			return i
		}
	}
	return n
}

// place is where something stands in a list: by namespace, Client Identifier and what
// the client has. A page token is the place of the last element.
type place struct{ namespace, client, item string }

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.namespace, q.namespace), cmp.Compare(p.client, q.client), cmp.Compare(p.item, q.item))
}

// token writes a place; none of its parts has U+0000, which MQTT has not.
func (p place) token() []byte {
	return []byte(p.namespace + "\x00" + p.client + "\x00" + p.item)
}

// readPlace reads what token wrote. ok is false for the first page.
func readPlace(token []byte) (p place, ok bool, err error) {
	if len(token) == 0 {
		return place{}, false, nil
	}
	parts := bytes.Split(token, []byte{0})
	if len(parts) != 3 {
		return place{}, false, invalid("page: that is no next_page of a response")
	}
	return place{string(parts[0]), string(parts[1]), string(parts[2])}, true, nil
}

// lowest keeps the smallest elements of those that are offered, in a heap with the
// largest of them on top: a list of any length is paged in the memory of one page.
type lowest[T any] struct {
	most    int
	compare func(a, b *T) int
	// drop, if not nil, is called with what is left out.
	drop func(T)

	list []T
	more bool // something was left out
}

func (l *lowest[T]) offer(v T) {
	if len(l.list) < l.most {
		l.list = append(l.list, v)
		l.up(len(l.list) - 1)
		return
	}
	l.more = true
	if l.compare(&v, &l.list[0]) < 0 {
		v, l.list[0] = l.list[0], v
		l.down()
	}
	if l.drop != nil {
		l.drop(v)
	}
}

func (l *lowest[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if l.compare(&l.list[i], &l.list[parent]) <= 0 {
			return
		}
		l.list[i], l.list[parent] = l.list[parent], l.list[i]
		i = parent
	}
}

func (l *lowest[T]) down() {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(l.list) {
			return
		}
		if child+1 < len(l.list) && l.compare(&l.list[child+1], &l.list[child]) > 0 {
			child++
		}
		if l.compare(&l.list[child], &l.list[i]) <= 0 {
			return
		}
		l.list[i], l.list[child] = l.list[child], l.list[i]
		i = child
	}
}

// sorted returns what was kept, in order.
func (l *lowest[T]) sorted() []T {
	slices.SortFunc(l.list, func(a, b T) int { return l.compare(&a, &b) })
	return l.list
}
