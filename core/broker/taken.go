package broker

import (
	"sort"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// taken is a message of a queue that was read and is not acknowledged.
type taken struct {
	offset   uint64
	size     int64
	received int64 // Unix milliseconds
	route    *store.Route
	message  *packet.Message // with a reference; nil if the state is durable
	acked    bool
}

// takenList are messages in the order of their offsets. Acknowledgements come nearly
// in that order: those that do not are marked, and leave with those before them.
type takenList struct {
	items []taken
	live  int
	bytes int64
}

func (l *takenList) add(t taken) {
	if n := len(l.items); n == cap(l.items) && l.live*2 < n {
		// Rather than to grow, leave out what is marked in the middle.
		k := 0
		for _, it := range l.items {
			if !it.acked {
				l.items[k] = it
				k++
			}
		}
		clear(l.items[k:])
		l.items = l.items[:k]
	}
	l.items = append(l.items, t)
	l.live++
	l.bytes += t.size
}

// search returns the index of the first item that is not below offset.
func (l *takenList) search(offset uint64) int {
	return sort.Search(len(l.items), func(i int) bool { return l.items[i].offset >= offset })
}

// after returns the first one behind an offset, nil if there is none. It is valid
// until the next change.
func (l *takenList) after(offset uint64) *taken {
	for i := l.search(offset + 1); i < len(l.items); i++ {
		if !l.items[i].acked {
			return &l.items[i]
		}
	}
	return nil
}

func (l *takenList) first() *taken { return l.after(0) }

// take removes one.
func (l *takenList) take(offset uint64) (t taken, ok bool) {
	i := l.search(offset)
	if i == len(l.items) || l.items[i].offset != offset || l.items[i].acked {
		return t, false
	}
	t = l.items[i]
	l.items[i] = taken{offset: offset, acked: true}
	l.live--
	l.bytes -= t.size
	k := 0
	for k < len(l.items) && l.items[k].acked {
		k++
	}
	if l.items = l.items[k:]; len(l.items) == 0 {
		l.items = nil
	}
	return t, true
}

// clear gives everything back.
func (l *takenList) clear() {
	for _, t := range l.items {
		if t.message != nil {
			t.message.Unref()
		}
	}
	*l = takenList{}
}
