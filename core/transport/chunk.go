package transport

import "sync"

// chunkSizes are the classes of pooled buffers. 512 bytes hold what most connections of a fan-out get in one pass (2,000 of them
// are 1 MiB, not 8), the larger ones follow as a list grows. The two largest only keep partial packets; 1 MiB is a size that people
// choose for payloads, and so has room for a packet around it.
var chunkSizes = [...]int{512, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1<<20 + 64<<10}

const (
	maxOutClass = 3  // out-buffers grow by chunks of at most 64 KiB: writev takes lists, so larger ones bring nothing
	noClass     = -1 // buf is not from a pool
)

// chunk is one piece of a byte queue: buf[off:] is to be consumed, buf[len:cap] is free unless the memory is lent by an owner.
type chunk struct {
	next  *chunk
	buf   []byte
	off   int
	owner Owner // set: buf is lent, nothing may be added
	class int
}

func (k *chunk) bytes() []byte { return k.buf[k.off:] }

// room is what fits in without allocation.
func (k *chunk) room() int {
	if k.owner != nil {
		return 0
	}
	return cap(k.buf) - len(k.buf)
}

// chunkPools are the free chunks by class; lent is for chunks that only refer to an owner's memory.
type chunkPools struct {
	class [len(chunkSizes)]sync.Pool
	lent  sync.Pool
}

// classFor is the smallest class that holds n bytes, or noClass.
func classFor(n int) int {
	for i, size := range chunkSizes {
		if n <= size {
			return i
		}
	}
	return noClass
}

func (cp *chunkPools) get(class int) *chunk {
	if k, ok := cp.class[class].Get().(*chunk); ok {
		return k
	}
	return &chunk{buf: make([]byte, 0, chunkSizes[class]), class: class}
}

// getSize returns a chunk with a capacity of at least n, from the garbage collector where no class is large enough.
func (cp *chunkPools) getSize(n int) *chunk {
	if class := classFor(n); class != noClass {
		return cp.get(class)
	}
	return &chunk{buf: make([]byte, 0, n), class: noClass}
}

func (cp *chunkPools) share(b []byte, owner Owner) *chunk {
	k, ok := cp.lent.Get().(*chunk)
	if !ok {
		k = &chunk{class: noClass}
	}
	k.buf, k.owner = b, owner
	return k
}

// put takes back one chunk and releases what it was lent. No lock may be held: Unref is the owner's code.
func (cp *chunkPools) put(k *chunk) {
	k.next, k.off = nil, 0
	if owner := k.owner; owner != nil {
		k.buf, k.owner = nil, nil
		cp.lent.Put(k)
		owner.Unref()
		return
	}
	if k.class != noClass {
		k.buf = k.buf[:0]
		cp.class[k.class].Put(k)
	}
}

// chunkList is a queue of chunks.
type chunkList struct {
	head, tail *chunk
}

func (l *chunkList) empty() bool { return l.head == nil }

func (l *chunkList) push(k *chunk) {
	if l.tail == nil {
		l.head = k
	} else {
		l.tail.next = k
	}
	l.tail = k
}

// join moves all of m behind l.
func (l *chunkList) join(m *chunkList) {
	switch {
	case m.head == nil:
		return
	case l.tail == nil:
		*l = *m
	default:
		l.tail.next, l.tail = m.head, m.tail
	}
	*m = chunkList{}
}

// take empties l into the result.
func (l *chunkList) take() chunkList {
	m := *l
	*l = chunkList{}
	return m
}

// write copies b behind what is there, in chunks that grow as the list does. headroom bytes are left free in front of each new one.
func (l *chunkList) write(cp *chunkPools, b []byte, headroom int) {
	for len(b) > 0 {
		t := l.tail
		if t == nil || t.room() == 0 {
			t = l.grow(cp, len(b), headroom)
		}
		n := copy(t.buf[len(t.buf):cap(t.buf)], b)
		t.buf = t.buf[:len(t.buf)+n]
		b = b[n:]
	}
}

// grow adds a chunk that is larger than the last one, and large enough for n if a class is.
func (l *chunkList) grow(cp *chunkPools, n, headroom int) *chunk {
	class := classFor(n + headroom)
	if class == noClass || class > maxOutClass {
		class = maxOutClass
	}
	if l.tail != nil && l.tail.owner == nil {
		class = max(class, min(l.tail.class+1, maxOutClass))
	}
	k := cp.get(class)
	k.buf, k.off = k.buf[:headroom], headroom
	l.push(k)
	return k
}

// skip drops the first n bytes and frees the chunks that are used up.
func (l *chunkList) skip(cp *chunkPools, n int) {
	for n > 0 {
		k := l.head
		if have := len(k.buf) - k.off; n < have {
			k.off += n
			return
		} else {
			n -= have
		}
		l.pop(cp)
	}
}

func (l *chunkList) pop(cp *chunkPools) {
	k := l.head
	if l.head = k.next; l.head == nil {
		l.tail = nil
	}
	cp.put(k)
}

// free gives everything back.
func (l *chunkList) free(cp *chunkPools) {
	for l.head != nil {
		l.pop(cp)
	}
}
