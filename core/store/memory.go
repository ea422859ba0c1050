package store

// Memory keeps everything in the process's memory. The zero value is ready.
type Memory struct{}

var _ Store = Memory{}

// Queue returns an empty queue.
func (Memory) Queue(namespace, clientID string) Queue { return new(memoryQueue) }

// Sync is always done: nothing here is safer than the process.
func (Memory) Sync(func(error)) bool { return true }

// Close has nothing to do.
func (Memory) Close() error { return nil }

// blockSize is the number of entries of a queue's block: small enough that a
// session with one waiting message costs 1 KB, large enough that a long queue
// is not a list of pointers.
const blockSize = 32

type block struct {
	next    *block
	entries [blockSize]Entry
}

// memoryQueue is a list of blocks.
type memoryQueue struct {
	head, tail *block
	first, end int // index of the first entry in head, and behind the last in tail
	n          int
	bytes      int64
}

func (q *memoryQueue) Push(e Entry) {
	if q.tail == nil || q.end == blockSize {
		b := new(block)
		if q.tail == nil {
			q.head, q.first = b, 0
		} else {
			q.tail.next = b
		}
		q.tail, q.end = b, 0
	}
	q.tail.entries[q.end] = e
	q.end++
	q.n++
	q.bytes += int64(e.Message.Size())
}

func (q *memoryQueue) Front() (Entry, bool) {
	if q.n == 0 {
		return Entry{}, false
	}
	return q.head.entries[q.first], true
}

func (q *memoryQueue) Pop() (Entry, bool) {
	if q.n == 0 {
		return Entry{}, false
	}
	e := q.head.entries[q.first]
	q.head.entries[q.first] = Entry{}
	q.first++
	q.n--
	q.bytes -= int64(e.Message.Size())
	switch {
	case q.n == 0:
		*q = memoryQueue{}
	case q.first == blockSize:
		q.head, q.first = q.head.next, 0
	}
	return e, true
}

func (q *memoryQueue) Len() int     { return q.n }
func (q *memoryQueue) Bytes() int64 { return q.bytes }

func (q *memoryQueue) Clear() {
	for e, ok := q.Pop(); ok; e, ok = q.Pop() {
		e.Message.Unref()
	}
}
