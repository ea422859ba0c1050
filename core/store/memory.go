package store

import (
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// Memory keeps everything in the process's memory. The zero value is ready.
type Memory struct{ values memoryValues }

var _ Store = (*Memory)(nil)

// Load finds nothing.
func (*Memory) Load(Loader) error { return nil }

// Create returns the empty state of a session.
func (*Memory) Create(Record, Owner) Session { return NewMemorySession() }

// Retain has nothing to do: core/retained keeps what is retained.
func (*Memory) Retain(string, *packet.Message, *Receipt) {}

// Unretain has nothing to do.
func (*Memory) Unretain(string, string, *Receipt) {}

// Values keeps values as long as the process lives.
func (m *Memory) Values() Values { return &m.values }

// Begin has nothing to do: nothing here outlives a crash.
func (*Memory) Begin() {}

// End has nothing to do.
func (*Memory) End() {}

// Sync is always done: nothing here is safer than the process.
func (*Memory) Sync(func(error)) bool { return true }

// Full is never true.
func (*Memory) Full() bool { return false }

// Stats are all zero.
func (*Memory) Stats() Stats { return Stats{} }

// Close has nothing to do.
func (*Memory) Close() error { return nil }

// memorySession is a list of blocks of waiting messages; whatever else a session
// has, it keeps itself.
type memorySession struct {
	head, tail *block
	first, end int // index of the first entry in head, and behind the last in tail
	n          int
	bytes      int64
}

// NewMemorySession returns the state of a session that nothing has to outlive.
func NewMemorySession() Session { return new(memorySession) }

// blockSize is the number of entries of a queue's block: small enough that a
// session with one waiting message costs 1 KB, large enough that a long queue
// is not a list of pointers.
const blockSize = 32

type block struct {
	next    *block
	entries [blockSize]Entry
}

func (*memorySession) Durable() bool                          { return false }
func (*memorySession) FirstSeq() uint64                       { return firstMemorySeq }
func (*memorySession) Save(Record)                            {}
func (*memorySession) Subscribe(string, Subscription)         {}
func (*memorySession) Unsubscribe(string)                     {}
func (*memorySession) Received(uint16, *Receipt)              {}
func (*memorySession) Released(uint16, *Receipt)              {}
func (*memorySession) Sent(Entry, uint64) Ticket              { return 0 }
func (*memorySession) PubrecReceived(uint64, uint64) Ticket   { return 0 }
func (*memorySession) Settle(uint64, uint64)                  {}
func (*memorySession) Safe(Ticket) bool                       { return true }
func (*memorySession) Inflight() (list []Inflight, ok bool)   { return nil, true }
func (*memorySession) Again(uint64, int, int) ([]Entry, bool) { return nil, true }
func (q *memorySession) Len() int                             { return q.n }
func (q *memorySession) Bytes() int64                         { return q.bytes }
func (q *memorySession) Empty() bool                          { return q.n == 0 }

// firstMemorySeq makes 1 the first Packet Identifier.
const firstMemorySeq = 65535

func (q *memorySession) Add(e Entry, seq uint64, lazy bool, r *Receipt) (pos uint64, t Ticket) {
	if seq != 0 {
		return 0, 0
	}
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
	return 0, 0
}

func (q *memorySession) Front() (*Entry, bool) {
	if q.n == 0 {
		return nil, false
	}
	return &q.head.entries[q.first], true
}

func (q *memorySession) Pop() (Entry, bool) {
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
		*q = memorySession{}
	case q.first == blockSize:
		q.head, q.first = q.head.next, 0
	}
	return e, true
}

func (q *memorySession) End(orphan func(Entry)) {
	for e, ok := q.Pop(); ok; e, ok = q.Pop() {
		if e.QoS > 0 && e.Route != nil && e.Route.Group != "" {
			orphan(e)
			continue
		}
		e.Message.Unref()
	}
}

// memoryValues are Values in a map.
type memoryValues struct {
	mu      sync.Mutex
	buckets map[string]map[string]memoryValue
	last    uint64 // version
}

type memoryValue struct {
	value   []byte
	version uint64
	expires time.Time // zero never
}

func (v memoryValue) live(now time.Time) bool {
	return v.version != 0 && (v.expires.IsZero() || now.Before(v.expires))
}

func (m *memoryValues) Get(bucket, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.buckets[bucket][key]
	if !v.live(time.Now()) {
		return nil, 0, ErrNotFound
	}
	return append([]byte(nil), v.value...), v.version, nil
}

func (m *memoryValues) Set(bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.set(bucket, key, value, ttl), nil
}

func (m *memoryValues) set(bucket, key string, value []byte, ttl time.Duration) uint64 {
	if m.buckets == nil {
		m.buckets = make(map[string]map[string]memoryValue)
	}
	if m.buckets[bucket] == nil {
		m.buckets[bucket] = make(map[string]memoryValue)
	}
	m.last++
	v := memoryValue{value: append([]byte(nil), value...), version: m.last}
	if ttl > 0 {
		v.expires = time.Now().Add(ttl)
	}
	m.buckets[bucket][key] = v
	return v.version
}

func (m *memoryValues) CompareAndSet(bucket, key string, value []byte, ttl time.Duration, version uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.buckets[bucket][key]
	if !v.live(time.Now()) {
		v.version = 0
	}
	if v.version != version {
		return 0, ErrConflict
	}
	return m.set(bucket, key, value, ttl), nil
}

func (m *memoryValues) Delete(bucket, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.buckets[bucket], key)
	return nil
}

func (m *memoryValues) Scan(bucket, prefix string, fn func(key string, value []byte, version uint64) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var keys []string
	for k, v := range m.buckets[bucket] {
		if !v.live(now) {
			delete(m.buckets[bucket], k)
		} else if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		v := m.buckets[bucket][k]
		if !fn(k, v.value, v.version) {
			break
		}
	}
	return nil
}
